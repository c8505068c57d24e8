package reference

import (
	"net/netip"
	"time"

	"github.com/bsdnet/bsdnet/pf/conf"
)

// Environment is the host that the rules are for.
type Environment interface {
	// Exists reports whether a name is an interface.
	Exists(name string) bool
	Loopback(name string) bool
	InGroup(name, group string) bool
	// Addresses of an interface or of a group's, as modifiers select them.
	Addresses(name string, modifiers conf.Modifier) []conf.TablePrefix
	// Chosen returns what the packet's next translation chose where the choice
	// is free: an address or port that chance decides. Not ok: it is open.
	Chosen() (chosen netip.AddrPort, ok bool)
	// Route returns the interface that leads to an address; local is whether
	// the address is the host's own, ok whether there is a route.
	Route(ip netip.Addr) (iface string, local, ok bool)
	// Now is the time that states are measured by.
	Now() time.Duration
}

// Reason is why a packet was decided as it was.
type Reason string

// The reasons.
const (
	Matched       Reason = "match"
	Short         Reason = "short"
	Normalize     Reason = "normalize"
	Option        Reason = "ip-option"
	StateMismatch Reason = "state-mismatch"
	StateInsert   Reason = "state-insert"
	StateLimit    Reason = "state-limit"
	Untranslated  Reason = "translate"
	Fragment      Reason = "fragment"
	Reassemble    Reason = "reassemble" // held until it is whole
)

// Decision is what becomes of a packet.
type Decision struct {
	Pass   bool
	Reason Reason
	// Rule is the filter rule that decided, nil for the default; of a packet
	// with a state it is the rule that made the state.
	Rule *conf.Rule
	// Translation is the nat or rdr rule of the packet's state, if it has one.
	Translation *conf.Rule
	// Answer is what the sender of a blocked packet is told.
	Answer conf.ReturnKind
	State  *State
	// Created says that the packet made State.
	Created bool
	// Packet is the packet as it goes on.
	Packet Packet
}

// Counters are those of a rule.
type Counters struct {
	Packets, Bytes [2]uint64 // in, out
	States         uint64
}

// Firewall is a ruleset at work.
type Firewall struct {
	rules  *conf.Ruleset
	env    Environment
	states []*State
	// byKey are the states by the keys of packets that come in and go out.
	byKey map[conf.Direction]map[Key][]*State
	// positions are the addresses that each pool has given out in turn.
	positions map[poolOf]uint64
	nodes     []*SourceNode
	wanted    []*SourceNode // by the packet in hand

	// Counts are the counters by rule; nil is the default rule.
	Counts map[*conf.Rule]*Counters
	// Uses are how often each construct took part in a decision.
	Uses map[string]int
}

// New returns a firewall without states.
func New(rules *conf.Ruleset, env Environment) *Firewall {
	f := &Firewall{rules: rules, env: env, positions: make(map[poolOf]uint64),
		Counts: make(map[*conf.Rule]*Counters), Uses: make(map[string]int)}
	f.Clear()
	return f
}

// States returns the states that have not been removed, expired or not.
func (f *Firewall) States() []*State { return f.states }

// Test decides one packet at an interface.
func (f *Firewall) Test(packet Packet, dir conf.Direction, iface string) Decision {
	if f.skipped(iface) {
		f.use("set skip")
		return Decision{Pass: true, Packet: packet}
	}
	if reason := normalize(&packet); reason != "" {
		f.use("drop " + string(reason))
		return Decision{Reason: reason, Packet: packet}
	}
	if reason := f.normalizeByRules(&packet, dir, iface); reason != "" {
		return Decision{Reason: reason, Packet: packet}
	}
	if packet.Fragment {
		f.use("fragment")
		return f.filter(packet, dir, iface)
	}
	if packet.icmpError() {
		if s := f.related(&packet, dir, iface); s != nil {
			return f.testError(s, packet, dir)
		}
		f.use("icmp error without state")
		return f.filter(packet, dir, iface)
	}
	s := f.find(keyOf(&packet, dir), packet.Protocol, dir, iface)
	if s != nil && (f.Expired(s) || s.reused(&packet)) {
		f.use("state over")
		f.Remove(s)
		s = nil
	}
	if s == nil {
		return f.filter(packet, dir, iface)
	}
	return f.testState(s, packet, dir)
}

// testState decides a packet that belongs to a state.
func (f *Firewall) testState(s *State, packet Packet, dir conf.Direction) Decision {
	d := Decision{Reason: Matched, Rule: s.Rule, Translation: s.Translation, State: s, Packet: packet}
	ok, refresh := s.track(&packet, dir)
	if !ok {
		f.use("state mismatch")
		d.Reason = StateMismatch
		return d
	}
	if refresh {
		s.Last = f.env.Now()
	}
	f.account(s, &packet, dir)
	if packet.blockedOptions() && !s.AllowOptions {
		d.Reason = Option
		return d
	}
	d.Pass = true
	s.translate(&d.Packet, dir)
	if s.Tag != "" {
		d.Packet.Tag = s.Tag
	}
	f.scrub(&d.Packet, &s.Actions)
	return d
}

// account counts a packet for a state and its rules.
func (f *Firewall) account(s *State, packet *Packet, dir conf.Direction) {
	way := s.way(dir)
	s.Packets[way]++
	s.Bytes[way] += uint64(packet.Length)
	f.count(s.Rule, packet, dir)
	if s.Translation != nil {
		f.count(s.Translation, packet, dir)
	}
}

func (f *Firewall) counters(r *conf.Rule) *Counters {
	c := f.Counts[r]
	if c == nil {
		c = new(Counters)
		f.Counts[r] = c
	}
	return c
}

func (f *Firewall) count(r *conf.Rule, packet *Packet, dir conf.Direction) {
	i := 0
	if dir == conf.Out {
		i = 1
	}
	c := f.counters(r)
	c.Packets[i]++
	c.Bytes[i] += uint64(packet.Length)
}

func (f *Firewall) use(construct string) { f.Uses[construct]++ }

func (f *Firewall) skipped(iface string) bool {
	for _, name := range f.rules.Options.SkipOn {
		if f.isInterface(name, iface) {
			return true
		}
	}
	return false
}

// isInterface reports whether a name of a rule stands for an interface.
func (f *Firewall) isInterface(name, iface string) bool {
	if f.env.Exists(name) {
		return name == iface
	}
	return f.env.InGroup(iface, name)
}

// normalize refuses packets that no stack sends and that filters fall for.
func normalize(p *Packet) Reason {
	if p.Protocol == ICMP && !p.Src.Is4() || p.Protocol == ICMPv6 && p.Src.Is4() {
		return Normalize
	}
	switch {
	case p.SourceRouted:
		return Option
	case p.Fragment || p.Headless:
		return ""
	case p.Broken:
		return Short
	}
	switch p.Protocol {
	case UDP:
		if p.DstPort == 0 {
			return Short
		}
	case TCP:
		flags := p.TCP.Flags
		switch {
		case p.DstPort == 0:
			return Short
		case flags&SYN != 0 && flags&(RST|FIN) != 0,
			flags&(SYN|ACK|RST) == 0,
			flags&ACK == 0 && flags&(FIN|PUSH|URG) != 0:
			return Normalize
		}
	}
	return ""
}
