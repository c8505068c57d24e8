package program

import (
	"fmt"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/pf/conf"
)

// actions compiles the options of a rule that few rules have; nil: it has none.
func (c *compiler) actions(r *conf.Rule) *bpf.PFRuleActions {
	a := &bpf.PFRuleActions{MaxStates: r.StateOptions.Max}
	set := func(on bool, bit uint32) {
		if on {
			a.Act.Flags |= uint16(bit)
		}
	}
	s := &r.Scrub
	set(s.NoDF, bpf.PfaNodf)
	set(s.RandomID, bpf.PfaRandomid)
	set(s.MinTTL != 0, bpf.PfaMinttl)
	set(s.MaxMSS != 0, bpf.PfaMaxmss)
	set(r.Action == conf.Scrub && s.Fragments == conf.FragmentsNoReassemble, bpf.PfaNoreassemble)
	set(r.Log&conf.LogUser != 0, bpf.PfaLogUser)
	set(r.Log&conf.LogMatches != 0, bpf.PfaLogMatches)
	a.Act.MinTtl, a.Act.MaxMss, a.Act.LogIf = s.MinTTL, s.MaxMSS, r.LogIf
	if tos, ok := s.SetTOS.Get(); ok {
		set(true, bpf.PfaSettos)
		a.Act.SetTos = tos
	}
	if prio, ok := r.SetPrio[0].Get(); ok {
		set(true, bpf.PfaSetprio)
		a.Act.SetPrio = [2]uint8{prio, prio}
		if second, ok := r.SetPrio[1].Get(); ok {
			a.Act.SetPrio[1] = second
		}
	}
	if own := r.StateOptions.Timeouts; own != (conf.Timeouts{}) {
		number, err := c.env.Settings(own)
		if err != nil {
			c.errs = append(c.errs, fmt.Errorf("%s:%d: %w", r.Pos.File, r.Pos.Line, err))
		}
		a.Act.Timeouts = number
	}
	if *a == (bpf.PFRuleActions{}) {
		return nil
	}
	return a
}

// logsMatches reports whether any rule has log (matches).
func logsMatches(rs *conf.Ruleset) (logs bool) {
	rs.Main.Walk(func(a *conf.Anchor) {
		for _, r := range a.Filter {
			logs = logs || r.Log&conf.LogMatches != 0
		}
	})
	return logs
}
