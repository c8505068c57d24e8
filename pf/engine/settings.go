package engine

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/pf/conf"
)

// ownTimeouts are the timeouts of rules that have some of their own, and the
// entries of the data path's settings that hold them.
type ownTimeouts struct {
	numbers map[conf.Timeouts]uint16
	next    uint16
	free    []uint16
}

// newOwnTimeouts leaves alone the entries that states name already.
func newOwnTimeouts(inStates map[uint16]bool) ownTimeouts {
	o := ownTimeouts{numbers: make(map[conf.Timeouts]uint16), next: 1}
	for number := range inStates {
		o.next = max(o.next, number+1)
	}
	return o
}

// timeoutsInStates are the entries that live states name.
func (e *Engine) timeoutsInStates() map[uint16]bool {
	used := make(map[uint16]bool)
	slots := e.states.used()
	for i := range slots {
		s := &slots[i]
		if atomic.LoadUint64(&s.Tag)>>32 == uint64(bpf.PFStateLive) && uint32(s.Flags)&bpf.PFStateActions != 0 {
			used[e.actions.Values[i].Timeouts] = true
		}
	}
	delete(used, 0)
	return used
}

// Settings implements program.Environment.
func (v environment) Settings(own conf.Timeouts) (uint16, error) {
	o := &v.timeouts
	number, ok := o.numbers[own]
	if !ok {
		if len(o.free) == 0 && uint32(o.next) >= bpf.PFSettingsMax {
			v.reclaimTimeouts()
		}
		switch {
		case len(o.free) > 0:
			number, o.free = o.free[len(o.free)-1], o.free[:len(o.free)-1]
		case uint32(o.next) < bpf.PFSettingsMax:
			number = o.next
			o.next++
		default:
			return 0, fmt.Errorf("more than %d different timeouts of rules", bpf.PFSettingsMax-1)
		}
		o.numbers[own] = number
	}
	v.writeOwn(number, &own, v.options)
	return number, nil
}

// reclaimTimeouts frees the entries of rules that are no more and have no
// states.
func (e *Engine) reclaimTimeouts() {
	used := e.timeoutsInStates()
	if e.program != nil {
		for _, r := range e.program.Rules {
			used[e.timeouts.numbers[r.StateOptions.Timeouts]] = true
		}
	}
	for own, number := range e.timeouts.numbers {
		if !used[number] {
			delete(e.timeouts.numbers, own)
			e.timeouts.free = append(e.timeouts.free, number)
		}
	}
}

// applyOwn writes the timeouts of rules anew, when those of all have changed.
func (e *Engine) applyOwn() {
	o := e.currentOptions()
	for own, number := range e.timeouts.numbers {
		e.writeOwn(number, &own, &o)
	}
}

// writeOwn writes the timeouts of a rule: its own, and for the rest those of
// all.
func (e *Engine) writeOwn(number uint16, own *conf.Timeouts, o *conf.Options) {
	set, all := &e.settings.Values[number], &e.settings.Values[0]
	adaptive := own[conf.TimeoutAdaptiveStart] != 0
	flags := uint32(0)
	if adaptive {
		flags = bpf.PFSetAdaptiveRule
	}
	atomic.StoreUint32(&set.Flags, flags)
	track := own[conf.TimeoutSrcTrack]
	if track == 0 {
		track = o.Timeouts[conf.TimeoutSrcTrack]
	}
	atomic.StoreUint32(&set.SrcTrack, track*e.clock.hertz)
	for i, timeout := range timeouts {
		value := own[timeout]
		switch {
		case timeout == conf.TimeoutAdaptiveStart || timeout == conf.TimeoutAdaptiveEnd:
			if !adaptive {
				value = atomic.LoadUint32(&all.Timeout[i])
			}
		case value == 0:
			value = o.Timeouts[timeout] * e.clock.hertz
		default:
			value *= e.clock.hertz
		}
		atomic.StoreUint32(&set.Timeout[i], value)
	}
}

// Fragments is where fragments are held until their packets are whole.
type Fragments interface {
	SetReassembly(fragments int, timeout time.Duration)
	// FragmentsDropped is the number of those refused or held for too long.
	FragmentsDropped() uint64
}

// SetFragments says where fragments are held. It is called once, before any
// load.
func (e *Engine) SetFragments(f Fragments) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.fragments = f
	e.applyFragments(e.currentOptions())
}

// defaultFragments is the limit where a dialect has none.
const defaultFragments = 5000

func (e *Engine) applyFragments(o conf.Options) {
	limit := int(o.Limits[conf.LimitFrags])
	if limit == 0 {
		limit = defaultFragments
	}
	if e.fragments != nil {
		e.fragments.SetReassembly(limit, time.Duration(o.Timeouts[conf.TimeoutFragment])*time.Second)
	}
}

// normalization is what a ruleset has the data path do to packets before all
// rules. With scrub rules, those alone say what is reassembled.
func normalization(rs *conf.Ruleset) (flags uint32) {
	rs.Main.Walk(func(a *conf.Anchor) {
		if len(a.Scrub) > 0 {
			flags = bpf.PFSetNormalize
		}
	})
	if flags == 0 && rs.Options.Reassemble {
		flags = bpf.PFSetReassemble
		if rs.Options.ReassembleDF {
			flags |= bpf.PFSetReassembleNodf
		}
	}
	return flags
}

// willNormalize has the data path do what either of two rulesets wants, while
// one takes the place of the other.
func (e *Engine) willNormalize(rs *conf.Ruleset) {
	flags := &e.settings.Values[0].Flags
	atomic.StoreUint32(flags, atomic.LoadUint32(flags)|normalization(rs))
}

func (e *Engine) normalize(rs *conf.Ruleset) {
	atomic.StoreUint32(&e.settings.Values[0].Flags, normalization(rs))
}
