package conf

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// FormatOptions choose how rules print.
type FormatOptions struct {
	// Numbers puts "@n" before rules, as pfctl -vv does.
	Numbers bool
	// SwapPorts prints ports the other way than the dialect does: names in
	// OpenBSD (pfctl -P), numbers in FreeBSD (its -P).
	SwapPorts bool
	// DirectivesOnly leaves out the rules.
	DirectivesOnly bool
	// AnchorPaths prints the names of anchors that rules call as they were
	// written, so that they can be read again, and as pfctl -sr does. Where it
	// parses, pfctl of FreeBSD and DragonFly shows the end of a path only.
	AnchorPaths bool
}

// Format writes a ruleset as pfctl -nv of its dialect does: macros, options,
// tables and queues in the order of the file, then the rules. Reading it again
// gives the same ruleset.
func Format(w io.Writer, rs *Ruleset, o FormatOptions) error {
	f := formatter{w: bufio.NewWriter(w), dialect: rs.Dialect, options: o}
	for i := range rs.Directives {
		f.directive(&rs.Directives[i])
	}
	if !o.DirectivesOnly {
		for _, q := range rs.Queues {
			f.queue(q)
		}
		f.anchor(rs.Main)
	}
	return f.w.Flush()
}

// formatter writes lines; errors wait for the flush.
type formatter struct {
	w       *bufio.Writer
	dialect Dialect
	options FormatOptions
}

// anchor writes the rules of a main ruleset, list by list. pfctl writes ether
// rules after scrub rules, and refuses that order when it reads them.
func (f *formatter) anchor(a *Anchor) {
	f.ether(a, 0)
	for _, action := range []Action{Scrub, Nat, Rdr, Binat} {
		f.rules(a, action, 0)
	}
	// pfctl writes these inside the braces of inline anchors, where tables are
	// not allowed.
	for _, t := range a.optimized {
		f.table(t)
	}
	f.rules(a, Pass, 0)
}

func (f *formatter) indent(depth int) {
	for range depth {
		f.w.WriteString("  ")
	}
}

// rules writes one kind of rule of an anchor, and of the inline anchors that
// the rules call.
func (f *formatter) rules(a *Anchor, kind Action, depth int) {
	for _, r := range *a.list(kind) {
		if !f.options.Numbers {
			f.indent(depth)
		}
		f.w.WriteString(r.text(f.dialect, f.options))
		if c := r.Anchor; c != nil && c.Inline {
			// Unnamed anchors need their braces even if they are empty.
			if c.Printed == "" || len(*c.Target.list(kind)) > 0 {
				f.w.WriteString(" {\n")
				f.rules(c.Target, kind, depth+1)
				f.indent(depth)
				f.w.WriteString("}")
			}
		}
		f.w.WriteByte('\n')
	}
}

func (f *formatter) ether(a *Anchor, depth int) {
	for _, r := range a.Ether {
		if !f.options.Numbers {
			f.indent(depth)
		}
		f.w.WriteString(r.text(f.options))
		if c := r.Anchor; c != nil && c.Inline {
			if c.Printed == "" || len(c.Target.Ether) > 0 {
				f.w.WriteString(" {\n")
				f.ether(c.Target, depth+1)
				f.indent(depth)
				f.w.WriteString("}")
			}
		}
		f.w.WriteByte('\n')
	}
}

func (f *formatter) directive(d *Directive) {
	if d.Table != nil {
		f.table(d.Table)
		return
	}
	f.w.WriteString(d.Text)
	f.w.WriteByte('\n')
}

func (f *formatter) table(t *Table) {
	w := f.w
	fmt.Fprintf(w, "table <%s>", numberNameText(t.Name))
	for _, flag := range []struct {
		set  bool
		text string
	}{{t.Const, " const"}, {t.Persist, " persist"}, {t.Counters, " counters"}} {
		if flag.set {
			w.WriteString(flag.text)
		}
	}
	open := false
	for _, s := range t.Sources {
		if s.File != "" {
			if open {
				w.WriteString(" }")
				open = false
			}
			w.WriteString(" file " + quote(s.File))
			continue
		}
		// Adjacent lists print as one.
		if !open {
			w.WriteString(" {")
			open = true
		}
		for i := range s.Addrs {
			w.WriteString(s.Addrs[i].text())
		}
	}
	switch {
	case open:
		w.WriteString(" }")
	case t.Initialized && len(t.Sources) == 0:
		w.WriteString(" { }")
	}
	w.WriteByte('\n')
}

// quote puts a string in quotes so that it is read as it is. pfctl does not
// care about quotes within.
func quote(s string) string {
	if strings.HasSuffix(s, "\\") {
		// Not possible within quotes, so it was not.
		i := strings.LastIndexByte(s, ' ') + 1
		bare := strings.ReplaceAll(s[i:], "\\", "\\\\")
		if i == 0 {
			return bare
		}
		return quote(s[:i-1]) + " " + bare
	}
	q := byte('"')
	if strings.IndexByte(s, q) >= 0 && strings.IndexByte(s, '\'') < 0 {
		q = '\''
	}
	if strings.IndexByte(s, q) < 0 && strings.IndexByte(s, '\\') < 0 {
		return string(q) + s + string(q)
	}
	b := []byte{q}
	for i := range len(s) {
		// After a backslash, blanks need one of their own.
		if s[i] == q || i > 0 && s[i-1] == '\\' && (s[i] == ' ' || s[i] == '\t') {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return string(append(b, q))
}

func (e *TableEntry) text() string {
	s := " "
	if e.Not {
		s = " !"
	}
	if e.Addr.Kind == AddrAny {
		// pfctl prints "any", which tables do not take.
		return s + anyPrefix(e.family)
	}
	return s + e.Addr.text(e.family, false)
}

func anyPrefix(f AddressFamily) string {
	if f == Inet {
		return "0.0.0.0/0"
	}
	return "::/0"
}

// queue writes an OpenBSD queue and those below it.
func (f *formatter) queue(q *Queue) {
	f.w.WriteString(q.text())
	f.w.WriteByte('\n')
	for _, c := range q.Children {
		f.queue(c)
	}
}

func (q *Queue) text() string {
	var b strings.Builder
	b.WriteString("queue " + numberNameText(q.Name))
	if q.Parent != "" {
		b.WriteString(" parent " + numberNameText(q.Parent))
	} else if q.Interface != "" {
		b.WriteString(" on " + nameText(q.Interface))
	}
	if q.Flows != 0 {
		fmt.Fprintf(&b, " flows %d", q.Flows)
		if q.Quantum > 0 {
			fmt.Fprintf(&b, " quantum %d", q.Quantum)
		}
	}
	if q.Flows == 0 || q.Bandwidth != (ServiceCurve{}) || q.Min != (ServiceCurve{}) || q.Max != (ServiceCurve{}) {
		if q.Bandwidth == (ServiceCurve{}) {
			b.WriteString(" bandwidth 0")
		}
		b.WriteString(q.Bandwidth.text(" bandwidth "))
		b.WriteString(q.Min.text(", min "))
		b.WriteString(q.Max.text(", max "))
	}
	if q.Default {
		b.WriteString(" default")
	}
	if q.Limit != 0 {
		fmt.Fprintf(&b, " qlimit %d", q.Limit)
	}
	return b.String()
}

func (c ServiceCurve) text(prefix string) string {
	if c == (ServiceCurve{}) {
		return ""
	}
	s := prefix + bitsText(c.M2)
	if c.Milliseconds != 0 {
		s += fmt.Sprintf(" burst %s for %dms", bitsText(c.M1), c.Milliseconds)
	}
	return s
}

// bitsText writes a bandwidth with the greatest unit that divides it.
func bitsText(v uint64) string {
	units := []string{"", "K", "M", "G"}
	i := 0
	for ; v >= 1000 && v%1000 == 0 && i < len(units)-1; i++ {
		v /= 1000
	}
	return strconv.FormatUint(v, 10) + units[i]
}
