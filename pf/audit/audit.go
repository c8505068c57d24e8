// Package audit says what a ruleset would do with packets and states, beside
// what another does, line by line of pf.conf. The new one is judged by the
// reference evaluator of pf/reference.
package audit

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/bsdnet/bsdnet/pf/conf"
	"github.com/bsdnet/bsdnet/pf/reference"
)

// Line is a rule as a person finds it.
type Line struct {
	Anchor string `json:"anchor,omitempty"`
	Number int    `json:"number"`          // as pfctl -vv shows it, -1: no rule, the default
	Place  string `json:"place,omitempty"` // file and line, "" where that is not known
	Text   string `json:"text"`
}

// Default is what decides where no rule does.
var Default = Line{Number: -1, Text: "no rule: pass"}

// LineOf is the line of a rule, nil: the default.
func LineOf(r *conf.Rule, anchor string, dialect conf.Dialect) Line {
	if r == nil {
		return Default
	}
	return Line{Anchor: anchor, Number: r.Number, Place: fmt.Sprintf("%s:%d", r.Pos.File, r.Pos.Line), Text: r.Text(dialect, conf.FormatOptions{})}
}

// Verdict is what a ruleset makes of a packet.
type Verdict struct {
	Pass   bool   `json:"pass"`
	Line   Line   `json:"line"`
	Reason string `json:"reason,omitempty"` // of what no rule blocks
}

// VerdictOf makes a verdict of a decision.
func VerdictOf(d *reference.Decision, line Line) Verdict {
	v := Verdict{Pass: d.Pass, Line: line}
	if d.Reason != reference.Matched {
		v.Reason = string(d.Reason)
	}
	return v
}

// Where is where a packet was judged.
type Where struct {
	Direction string `json:"direction"` // "in" or "out"
	Interface string `json:"interface"`
}

// pairMax bounds how many different pairs of verdicts are told apart.
const pairMax = 1 << 16

type pair struct {
	now, next Verdict
	where     Where
}

// Tally counts packets or states of one pair of verdicts.
type Tally struct {
	Where
	Now   Verdict   `json:"now"`
	New   Verdict   `json:"new"`
	Count uint64    `json:"count"`
	Bytes uint64    `json:"bytes,omitempty"`
	Last  time.Time `json:"last,omitzero"`
	// Example is the last of them.
	Example string `json:"example"`
}

// Comparison counts what two rulesets make of packets. Its methods must not
// be called concurrently.
type Comparison struct {
	pairs  map[pair]*Tally
	beyond uint64 // packets whose pair of verdicts found no room
}

// NewComparison returns an empty one.
func NewComparison() *Comparison { return &Comparison{pairs: make(map[pair]*Tally)} }

// Add counts a packet.
func (c *Comparison) Add(now, next Verdict, where Where, at time.Time, p *reference.Packet) {
	key := pair{now, next, where}
	t := c.pairs[key]
	if t == nil {
		if len(c.pairs) >= pairMax {
			c.beyond++
			return
		}
		t = &Tally{Now: now, New: next, Where: where}
		c.pairs[key] = t
	}
	t.Count++
	t.Bytes += uint64(p.Length)
	t.Last = at
	if now.Pass != next.Pass {
		t.Example = Describe(p)
	}
}

// Tallies returns the pairs, those of most packets first.
func (c *Comparison) Tallies() []Tally {
	list := make([]Tally, 0, len(c.pairs))
	for _, t := range c.pairs {
		list = append(list, *t)
	}
	slices.SortFunc(list, func(a, b Tally) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.New.Line.Number, b.New.Line.Number),
			cmp.Compare(a.Now.Line.Number, b.Now.Line.Number), cmp.Compare(a.Direction, b.Direction), cmp.Compare(a.Interface, b.Interface))
	})
	return list
}

// protocols have names; others are numbers.
var protocols = map[uint8]string{reference.ICMP: "icmp", reference.IGMP: "igmp", reference.TCP: "tcp", reference.UDP: "udp", reference.ICMPv6: "icmp6"}

// Describe is a packet in a few words.
func Describe(p *reference.Packet) string {
	name, ok := protocols[p.Protocol]
	if !ok {
		name = fmt.Sprintf("proto %d", p.Protocol)
	}
	switch {
	case p.Fragment:
		return fmt.Sprintf("%s > %s %s fragment", p.Src, p.Dst, name)
	case p.Protocol == reference.TCP || p.Protocol == reference.UDP:
		text := fmt.Sprintf("%s > %s %s", end(p.Src, p.SrcPort), end(p.Dst, p.DstPort), name)
		if p.Protocol == reference.TCP {
			text += " " + flags(p.TCP.Flags)
		}
		return text
	case p.Protocol == reference.ICMP || p.Protocol == reference.ICMPv6:
		return fmt.Sprintf("%s > %s %s type %d code %d", p.Src, p.Dst, name, p.ICMP.Type, p.ICMP.Code)
	}
	return fmt.Sprintf("%s > %s %s", p.Src, p.Dst, name)
}

// end is an address and port as pfctl prints them.
func end(ip fmt.Stringer, port uint16) string {
	text := ip.String()
	if slices.Contains([]byte(text), ':') {
		return fmt.Sprintf("%s[%d]", text, port)
	}
	return fmt.Sprintf("%s:%d", text, port)
}

func flags(f uint8) string {
	const letters = "FSRPAUEW"
	var text []byte
	for i := range len(letters) {
		if f&(1<<i) != 0 {
			text = append(text, letters[i])
		}
	}
	if text == nil {
		return "flags none"
	}
	return "flags " + string(text)
}
