package reference

import "github.com/bsdnet/bsdnet/pf/conf"

// Actions are what rules want done to the packets that they let pass.
type Actions struct {
	NoDF   bool
	MinTTL uint8
	MaxMSS uint16
	SetTOS conf.Optional
}

// add puts what a rule wants on top of what those before it wanted.
func (a *Actions) add(r *conf.Rule) {
	s := &r.Scrub
	a.NoDF = a.NoDF || s.NoDF
	if s.MinTTL != 0 {
		a.MinTTL = s.MinTTL
	}
	if s.MaxMSS != 0 {
		a.MaxMSS = s.MaxMSS
	}
	if s.SetTOS != 0 {
		a.SetTOS = s.SetTOS
	}
}

// scrub does to a packet what rules want.
func (f *Firewall) scrub(p *Packet, a *Actions) {
	if a.NoDF && p.DF {
		f.use("no-df")
		p.DF = false
	}
	if p.TTL < a.MinTTL {
		f.use("min-ttl")
		p.TTL = a.MinTTL
	}
	if tos, ok := a.SetTOS.Get(); ok {
		f.use("set-tos")
		p.TOS = tos | p.TOS&3 // congestion is not ours to deny
	}
	if a.MaxMSS != 0 && p.Protocol == TCP && !p.Fragment && p.TCP.Flags&SYN != 0 && p.TCP.MSS > a.MaxMSS {
		f.use("max-mss")
		p.TCP.MSS = a.MaxMSS
	}
}

// normalizeByRules applies the older scrub rules, which come before all others:
// the first that matches holds for the packet. It returns a reason when the
// packet does not go on.
func (f *Firewall) normalizeByRules(p *Packet, dir conf.Direction, iface string) Reason {
	e := &evaluation{f: f, packet: p, dir: dir, iface: iface, first: true}
	e.walk(f.rules.Main, func(a *conf.Anchor) []*conf.Rule { return a.Scrub })
	if e.rule == nil || e.rule.Action == conf.NoScrub {
		return ""
	}
	f.count(e.rule, p, dir)
	var a Actions
	a.add(e.rule)
	f.scrub(p, &a)
	switch {
	case !p.Fragment:
		return ""
	case p.DF:
		f.use("fragment with df")
		return Fragment
	case e.rule.Scrub.Fragments != conf.FragmentsNoReassemble:
		f.use("fragment to reassemble")
		return Reassemble
	}
	return ""
}
