package audit

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/bsdnet/bsdnet/pf/conf"
	"github.com/bsdnet/bsdnet/pf/reference"
)

// Report is what came of an audit.
type Report struct {
	New string `json:"new"` // name of the ruleset that is tried
	Now string `json:"now"` // and of the other, "" if there is none
	// Since is when it began.
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"`

	Judged    uint64 `json:"judged"`    // packets
	NotJudged uint64 `json:"notJudged"` // and those that could not be
	// Same, WouldBlock and WouldPass count packets by verdict: both passed or
	// both blocked, only the new one blocks, only the new one passes.
	SamePass   uint64 `json:"samePass"`
	SameBlock  uint64 `json:"sameBlock"`
	WouldBlock uint64 `json:"wouldBlock"`
	WouldPass  uint64 `json:"wouldPass"`

	Packets []Tally     `json:"packets"`
	Lines   []LineCount `json:"lines"` // of the new ruleset
	// States are those that exist; of an audit of a running pf.
	States *States `json:"states,omitempty"`

	comparison *Comparison
}

// LineCount is what a line of the new ruleset decided.
type LineCount struct {
	Line    Line   `json:"line"`
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
	Differ  uint64 `json:"differ"` // of the packets: those of which the other ruleset says otherwise
}

// States are the states there are, judged as the first packets of theirs.
type States struct {
	Seen   int     `json:"seen"`
	Left   int     `json:"left"`   // more than could be looked at
	Lost   int     `json:"lost"`   // would not be made
	NoKeep int     `json:"noKeep"` // would pass without a state
	Kinds  []Tally `json:"kinds"`  // of those that would not be made
}

// Differs reports whether the rulesets disagree about any packet or state.
func (r *Report) Differs() bool {
	return r.WouldBlock+r.WouldPass > 0 || r.States != nil && r.States.Lost > 0
}

// NewReport begins a report on a ruleset and, unless now is "", another.
func NewReport(name, now string, since time.Time) *Report {
	return &Report{New: name, Now: now, Since: since, Until: since, comparison: NewComparison()}
}

// Add counts a packet.
func (r *Report) Add(now, next Verdict, where Where, at time.Time, p *reference.Packet) {
	r.Judged++
	r.Until = at
	switch {
	case now.Pass && next.Pass:
		r.SamePass++
	case now.Pass:
		r.WouldBlock++
	case next.Pass:
		r.WouldPass++
	default:
		r.SameBlock++
	}
	r.comparison.Add(now, next, where, at, p)
}

// Finish makes the lists out of what was counted so far. lines are those of
// the new ruleset.
func (r *Report) Finish(lines map[*conf.Rule]Line) {
	r.Packets = r.comparison.Tallies()
	counts := make(map[Line]*LineCount)
	for _, line := range lines {
		counts[line] = &LineCount{Line: line}
	}
	for _, t := range r.Packets {
		c := counts[t.New.Line]
		if c == nil {
			c = &LineCount{Line: t.New.Line}
			counts[t.New.Line] = c
		}
		c.Packets += t.Count
		c.Bytes += t.Bytes
		if t.Now.Pass != t.New.Pass {
			c.Differ += t.Count
		}
	}
	r.Lines = nil
	for _, c := range counts {
		r.Lines = append(r.Lines, *c)
	}
	slices.SortFunc(r.Lines, func(a, b LineCount) int {
		return cmp.Or(cmp.Compare(a.Line.Anchor, b.Line.Anchor), cmp.Compare(a.Line.Number, b.Line.Number), cmp.Compare(a.Line.Text, b.Line.Text))
	})
}

// Write prints a report for people; with verbose also lines of the new ruleset
// that decided nothing.
func (r *Report) Write(w io.Writer, verbose bool) error {
	p := &printer{w: w}
	if !r.Since.IsZero() {
		p.f("%s since %s, %s\n", r.New, r.Since.Format(time.ANSIC), r.Until.Sub(r.Since).Round(time.Second))
	} else {
		p.f("%s\n", r.New)
	}
	p.f("packets judged: %d, not judged: %d\n", r.Judged, r.NotJudged)
	if r.Now != "" {
		p.f("  passed by both %d, blocked by both %d\n", r.SamePass, r.SameBlock)
		p.f("  passed by %s, blocked by %s: %d\n", r.Now, r.New, r.WouldBlock)
		p.f("  blocked by %s, passed by %s: %d\n", r.Now, r.New, r.WouldPass)
		p.differences(r, true)
		p.differences(r, false)
	} else {
		p.f("  passed %d, blocked %d\n", r.SamePass, r.SameBlock)
	}
	p.states(r)
	p.f("\nby line of %s:\n", r.New)
	for _, c := range r.Lines {
		if c.Packets == 0 && !verbose {
			continue
		}
		p.f("  %s\n    [ Packets: %-10d Bytes: %-12d", c.Line, c.Packets, c.Bytes)
		if r.Now != "" {
			p.f(" Differ: %-10d", c.Differ)
		}
		p.f(" ]\n")
	}
	return p.err
}

// String is a line as pfctl -vv shows rules, with its place before it.
func (l Line) String() string {
	text := l.Text
	if l.Number >= 0 {
		text = fmt.Sprintf("@%d %s", l.Number, l.Text)
	}
	if l.Anchor != "" {
		text = l.Anchor + " " + text
	}
	if l.Place != "" {
		text = l.Place + ": " + text
	}
	return text
}

// printer keeps the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) f(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

// differences prints what the new ruleset would block and the other passes, or
// the other way round.
func (p *printer) differences(r *Report, passesNow bool) {
	title := "\nwould be passed:\n"
	if passesNow {
		title = "\nwould be blocked:\n"
	}
	for _, t := range r.Packets {
		if t.Now.Pass == t.New.Pass || t.Now.Pass != passesNow {
			continue
		}
		p.f("%s  %s %s on %s, the last %s\n", title, packets(t.Count), t.Direction, t.Interface, t.Example)
		p.verdicts(&t)
		title = ""
	}
}

func packets(n uint64) string {
	if n == 1 {
		return "1 packet"
	}
	return fmt.Sprintf("%d packets", n)
}

func (p *printer) verdicts(t *Tally) {
	reason := ""
	if t.New.Reason != "" {
		reason = " (" + t.New.Reason + ")"
	}
	p.f("    now %s\n    new %s%s\n", t.Now.Line, t.New.Line, reason)
}

func (p *printer) states(r *Report) {
	if r.States == nil {
		return
	}
	s := r.States
	p.f("\nstates looked at: %d", s.Seen)
	if s.Left > 0 {
		p.f(" of %d", s.Seen+s.Left)
	}
	p.f("; would not be made: %d\n", s.Lost)
	for _, t := range s.Kinds {
		p.f("  %d %s on %s, such as %s\n", t.Count, t.Direction, t.Interface, t.Example)
		p.verdicts(&t)
	}
}
