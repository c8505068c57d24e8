package reference

import (
	"net/netip"
	"slices"
	"time"

	"github.com/bsdnet/bsdnet/pf/conf"
)

// SourceNode is what sticky-address remembers of a source under a rule.
type SourceNode struct {
	Source netip.Addr
	Rule   *conf.Rule
	NatTo  bool // of nat-to, else of rdr-to
	// Redirect is the address that the source got.
	Redirect netip.Addr
	States   int
	// Ends is when it is over once no state holds it.
	Ends time.Duration
}

// SourceNodes returns those that are not over.
func (f *Firewall) SourceNodes() []*SourceNode {
	f.nodes = slices.DeleteFunc(f.nodes, func(n *SourceNode) bool { return n.States == 0 && f.env.Now() >= n.Ends })
	return f.nodes
}

// sticky returns the address that the source of a packet has already. Either
// way the packet's state will hold a node.
func (p *pool) sticky() (kept netip.Addr, ok bool) {
	if !p.StickyAddress {
		return kept, false
	}
	wanted := &SourceNode{Source: p.source, Rule: p.rule, NatTo: p.Pool == p.rule.Nat}
	p.f.wanted = slices.DeleteFunc(p.f.wanted, func(n *SourceNode) bool { return n.NatTo == wanted.NatTo })
	p.f.wanted = append(p.f.wanted, wanted)
	if n := p.f.node(wanted); n != nil {
		p.f.use("sticky-address of a known source")
		return n.Redirect, true
	}
	p.f.use("sticky-address of a new source")
	return kept, false
}

// stick notes the address that a packet got from a pool.
func (p *pool) stick(ip netip.Addr) {
	if p.StickyAddress {
		p.f.wanted[len(p.f.wanted)-1].Redirect = ip
	}
}

// node returns the node like another.
func (f *Firewall) node(like *SourceNode) *SourceNode {
	for _, n := range f.SourceNodes() {
		if n.Source == like.Source && n.Rule == like.Rule && n.NatTo == like.NatTo {
			return n
		}
	}
	return nil
}

// hold makes a new state hold the nodes that its first packet found or made.
func (f *Firewall) hold(s *State) {
	for _, wanted := range f.wanted {
		n := f.node(wanted)
		if n == nil {
			n = wanted
			f.nodes = append(f.nodes, n)
		}
		n.States++
		s.nodes = append(s.nodes, n)
	}
}

// letGo makes a state that is over hold no nodes.
func (f *Firewall) letGo(s *State) {
	track := f.rules.Options.Timeouts[conf.TimeoutSrcTrack]
	if own := s.Timeouts[conf.TimeoutSrcTrack]; own != 0 {
		track = own
	}
	for _, n := range s.nodes {
		n.States--
		n.Ends = f.env.Now() + time.Duration(track)*time.Second
	}
}
