package audit

import (
	"net/netip"

	"github.com/bsdnet/bsdnet/pf/conf"
	"github.com/bsdnet/bsdnet/pf/reference"
)

// Shadow is a ruleset that judges packets and does nothing to them. Its methods
// must not be called concurrently.
type Shadow struct {
	firewall *reference.Firewall
	lines    map[*conf.Rule]Line
	// What is known of packets that came in, for when they go out: two
	// generations, so that their number is bounded.
	young, old map[flow]passage
}

// flow is a packet on its way between two interfaces.
type flow struct {
	src, dst netip.AddrPort
	protocol uint8
}

type passage struct {
	tag, receivedOn string
}

// passageMax is the size of a generation of passages.
const passageMax = 1 << 14

// NewShadow makes a shadow of a ruleset; places says where rules are written,
// nil: where they say themselves.
func NewShadow(rules *conf.Ruleset, env reference.Environment, places map[*conf.Rule]string) *Shadow {
	return &Shadow{firewall: reference.New(rules, env), lines: linesOf(rules, places), young: make(map[flow]passage)}
}

// linesOf are the lines of the filter and translation rules of a ruleset.
func linesOf(rules *conf.Ruleset, places map[*conf.Rule]string) map[*conf.Rule]Line {
	lines := make(map[*conf.Rule]Line)
	rules.Main.Walk(func(a *conf.Anchor) {
		for _, list := range [][]*conf.Rule{a.Nat, a.Rdr, a.Binat, a.Filter} {
			for _, r := range list {
				line := LineOf(r, a.Path, rules.Dialect)
				if places != nil {
					line.Place = places[r]
				}
				lines[r] = line
			}
		}
	})
	return lines
}

// Judge decides a packet at an interface.
func (s *Shadow) Judge(p reference.Packet, dir conf.Direction, iface string) Verdict {
	if dir == conf.Out {
		if from, ok := s.passage(flowOf(&p)); ok {
			p.Tag, p.ReceivedOn = from.tag, from.receivedOn
		}
	} else {
		p.ReceivedOn = iface
	}
	d := s.firewall.Test(p, dir, iface)
	if d.State != nil && d.Reason == reference.StateMismatch {
		// Packets of a state that the ruleset in force has are not seen here,
		// so this one may be of another time.
		s.firewall.Remove(d.State)
		d = s.firewall.Test(p, dir, iface)
	}
	if dir == conf.In && d.Pass {
		s.remember(flowOf(&d.Packet), passage{d.Packet.Tag, iface})
	}
	return VerdictOf(&d, s.line(&d))
}

// line is what decided: of what passes by a translation rule alone, that rule.
func (s *Shadow) line(d *reference.Decision) Line {
	switch {
	case d.Rule != nil:
		return s.lines[d.Rule]
	case d.Pass && d.Translation != nil:
		return s.lines[d.Translation]
	}
	return Default
}

// JudgeAlone decides a packet as the first of its conversation; keeps says that
// it would leave a state behind. What the shadow knows of others is lost.
func (s *Shadow) JudgeAlone(p reference.Packet, dir conf.Direction, iface string) (v Verdict, keeps bool) {
	s.firewall.Clear()
	if dir == conf.In {
		p.ReceivedOn = iface
	}
	d := s.firewall.Test(p, dir, iface)
	return VerdictOf(&d, s.line(&d)), d.Created
}

// Lines are the lines of the ruleset.
func (s *Shadow) Lines() map[*conf.Rule]Line { return s.lines }

// Purge forgets states that have expired.
func (s *Shadow) Purge() { s.firewall.Purge() }

func flowOf(p *reference.Packet) flow {
	return flow{netip.AddrPortFrom(p.Src, p.SrcPort), netip.AddrPortFrom(p.Dst, p.DstPort), p.Protocol}
}

func (s *Shadow) remember(f flow, p passage) {
	if len(s.young) >= passageMax {
		s.old, s.young = s.young, make(map[flow]passage)
	}
	s.young[f] = p
}

func (s *Shadow) passage(f flow) (passage, bool) {
	if p, ok := s.young[f]; ok {
		return p, true
	}
	p, ok := s.old[f]
	return p, ok
}
