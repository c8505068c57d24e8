// Package program turns an expanded ruleset into what the data path
// evaluates: an array of lines of 64 bytes, and the tables, pools and tags
// that they name by number. It knows no kernel.
package program

import (
	"fmt"
	"net/netip"
	"slices"
	"unsafe"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/pf/conf"
)

// Line is one line of a ruleset in the data path: a struct pf_rule, pf_rule_ext
// or pf_ruleset.
type Line [64]byte

// Environment is the host that a ruleset is compiled for.
type Environment interface {
	// Slot returns the place of an interface in the ifnet map.
	Slot(name string) (uint32, bool)
	// Group returns the bit of an interface group.
	Group(name string) (uint32, bool)
	// Counters returns the slot of the counters of a rule; rules of the same
	// identity get the same.
	Counters(identity Identity) (uint32, error)
	// Settings returns the entry of pf_set that holds the timeouts of a rule,
	// of which some are set.
	Settings(own conf.Timeouts) (uint16, error)
	// HasTable reports whether a table runs that no ruleset defines: one that
	// pfctl made.
	HasTable(path string) bool
}

// Program is a compiled ruleset.
type Program struct {
	Lines  []Line
	Rules  []*Rule
	Tables []*Table // by number, from 1 on
	Pools  []*Pool
	Tags   []string // by number, from 1 on
	// Ranges are where rules stand in the lines.
	Ranges []Range
	// Trees is the number of runs of rules that have decision trees.
	Trees int
	// Warnings are interfaces that are not there.
	Warnings []Warning
}

// Range is a run of lines.
type Range struct{ First, Count uint32 }

// Rule is a rule of a program.
type Rule struct {
	*conf.Rule
	Anchor   string
	Identity Identity
	Counters uint32 // slot of pf_rule_counts
}

// Table is a table that rules ask: one of the ruleset's, or one that is kept
// for addresses that change or do not fit a prefix.
type Table struct {
	Number uint32
	Name   string // with the path of its anchor, "" for the others
	// Prefixes are its contents as the ruleset has them.
	Prefixes []conf.TablePrefix
	// Interface and Modifiers are set for the addresses of an interface.
	Interface string
	Modifiers conf.Modifier
	Def       *conf.Table
	// References counts the addresses of rules that name it.
	References int
}

// Pool is where a rule translates to. Next of PFPool is a number among the
// program's, from 1 on.
type Pool struct {
	bpf.PFPool
	Members []PoolMember
	// Family is that of the addresses; those of others are left out.
	Family conf.AddressFamily
}

// PoolMember is a prefix of a pool, an interface or a table, whose addresses
// may change.
type PoolMember struct {
	Prefix    netip.Prefix
	Weight    uint16 // 0 is 1
	Interface string
	Modifiers conf.Modifier
	Table     *Table
}

// Warning is something that the ruleset names and the host lacks.
type Warning struct {
	Pos  conf.Position
	Text string
}

// UnsupportedError is a construct that the data path does not enforce.
type UnsupportedError struct {
	Pos  conf.Position
	What string
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("%s:%d: %s is not enforced yet", e.Pos.File, e.Pos.Line, e.What)
}

// never is a slot that no interface has.
const never = uint32(1 << 31)

type compiler struct {
	trial   bool // the program is not for use
	env     Environment
	rs      *conf.Ruleset
	program *Program
	tables  map[string]*Table
	tags    map[string]uint16
	seen    map[Identity]int
	// origin is the binat rule that a rule was made of, and binats its identity.
	origin map[*conf.Rule]*conf.Rule
	binats map[*conf.Rule]Identity
	// binatOf are the binat rules of each anchor as they are compiled.
	binatOf map[*conf.Anchor]binatRules
	errs    []error
	// logMatches says that a rule may want every rule behind it logged, so that
	// all have to be looked at.
	logMatches bool
}

// Compile compiles a ruleset. The errors are all its constructs that are not
// enforced.
func Compile(rs *conf.Ruleset, env Environment) (*Program, []error) {
	return compile(rs, env, false)
}

// compile is Compile; a trial only finds the errors.
func compile(rs *conf.Ruleset, env Environment, trial bool) (*Program, []error) {
	c := &compiler{
		trial: trial, env: env, rs: rs, program: &Program{}, tables: make(map[string]*Table),
		tags: make(map[string]uint16), seen: make(map[Identity]int),
		origin: make(map[*conf.Rule]*conf.Rule), binats: make(map[*conf.Rule]Identity), binatOf: make(map[*conf.Anchor]binatRules),
	}
	c.options()
	c.logMatches = logsMatches(rs)
	c.declare(rs.Main)
	var head bpf.PFRuleset
	c.program.Lines = make([]Line, 1)
	// binat rules come before all others.
	head.Nat, head.NatCount = c.list(rs.Main, true,
		func(a *conf.Anchor) []*conf.Rule { return c.binat(a).nat }, func(a *conf.Anchor) []*conf.Rule { return a.Nat })
	head.Rdr, head.RdrCount = c.list(rs.Main, true,
		func(a *conf.Anchor) []*conf.Rule { return c.binat(a).rdr }, func(a *conf.Anchor) []*conf.Rule { return a.Rdr })
	head.Scrub, head.ScrubCount = c.list(rs.Main, true, func(a *conf.Anchor) []*conf.Rule { return a.Scrub })
	head.Filter, head.FilterCount = c.list(rs.Main, false, func(a *conf.Anchor) []*conf.Rule { return a.Filter })
	if rs.Options.StatePolicy {
		head.Flags |= bpf.PFStateIfbound
	}
	c.program.Lines[0] = *(*Line)(unsafe.Pointer(&head))
	if len(c.errs) > 0 {
		return nil, c.errs
	}
	return c.program, nil
}

// rules returns the rules that have been compiled into a run of lines.
func (c *compiler) rules(first, count uint32) []bpf.PFRule {
	rules := make([]bpf.PFRule, count)
	for i := range rules {
		rules[i] = *(*bpf.PFRule)(unsafe.Pointer(&c.program.Lines[first+uint32(i)]))
	}
	return rules
}

// ext returns the IPv6 addresses in a line, nil for line 0.
func (c *compiler) ext(line uint32) *bpf.PFRuleExt {
	if line == 0 {
		return nil
	}
	return (*bpf.PFRuleExt)(unsafe.Pointer(&c.program.Lines[line]))
}

func (c *compiler) unsupported(pos conf.Position, what string) {
	c.errs = append(c.errs, &UnsupportedError{pos, what})
}

// declare gives numbers to the tables of the ruleset.
func (c *compiler) declare(anchor *conf.Anchor) {
	anchor.Walk(func(a *conf.Anchor) {
		for _, def := range a.Tables {
			t := c.newTable()
			t.Name, t.Prefixes, t.Def = tablePath(a.Path, def.Name), def.Prefixes, def
			c.tables[t.Name] = t
		}
	})
}

func tablePath(anchor, name string) string {
	if anchor == "" {
		return name
	}
	return anchor + "/" + name
}

func (c *compiler) newTable() *Table {
	t := &Table{Number: uint32(len(c.program.Tables) + 1)}
	c.program.Tables = append(c.program.Tables, t)
	return t
}

// list is a list of rules on its way into lines.
type list struct {
	rules func(*conf.Anchor) []*conf.Rule
	first uint32 // its first line
	lines []bpf.PFRule
	ext   []Line
	runs  []run
}

// list compiles lists of an anchor, one after the other, with all that they
// call; it returns the first line and the number of lines. What does not
// fit in the line of a rule follows the list, and then the trees. With first,
// the first match decides.
func (c *compiler) list(anchor *conf.Anchor, firstMatch bool, lists ...func(*conf.Anchor) []*conf.Rule) (first, count uint32) {
	l := &list{first: uint32(len(c.program.Lines))}
	for _, l.rules = range lists {
		c.anchor(anchor, l)
	}
	first, count = l.first, uint32(len(l.lines))
	for i := range l.lines {
		if l.lines[i].Ext != 0 {
			l.lines[i].Ext += first + count - 1
		}
		c.program.Lines = append(c.program.Lines, *(*Line)(unsafe.Pointer(&l.lines[i])))
	}
	c.program.Ranges = append(c.program.Ranges, Range{first, count})
	c.program.Lines = append(c.program.Lines, l.ext...)
	if c.trial || len(c.errs) > 0 {
		return first, count
	}
	for _, run := range l.runs {
		roots := c.program.trees(c.rules(run.tree+1, run.count), run.tree+1, firstMatch, c.ext)
		(*bpf.PFRule)(unsafe.Pointer(&c.program.Lines[run.tree])).Ext = roots
	}
	return first, count
}

// anchor appends the rules of an anchor, those of the anchors that it calls in
// place, and a tree in front of each run of plain rules. Ext holds one more
// than the index in ext, until list knows the line.
func (c *compiler) anchor(anchor *conf.Anchor, l *list) {
	rules := l.rules(anchor)
	compiled := make([]bpf.PFRule, len(rules))
	for i, rule := range rules {
		line, addresses, actions := c.rule(anchor, rule)
		if addresses != nil || actions != nil {
			if addresses == nil {
				addresses = &bpf.PFRuleExt{}
			}
			l.ext = append(l.ext, *(*Line)(unsafe.Pointer(addresses)))
			line.Ext = uint32(len(l.ext))
		}
		if actions != nil {
			l.ext = append(l.ext, *(*Line)(unsafe.Pointer(actions)))
			line.Flags |= bpf.PfrActions
		}
		compiled[i] = line
	}
	for i := 0; i < len(rules); {
		if n := plainRun(compiled[i:untilReceived(rules, i)]); n > 0 && !c.logMatches {
			at := l.next()
			l.runs = append(l.runs, run{tree: at, count: uint32(n)})
			l.lines = append(l.lines, bpf.PFRule{Action: uint8(bpf.PFTree), Skip: at + 1 + uint32(n)})
			l.lines = append(l.lines, compiled[i:i+n]...)
			i += n
			continue
		}
		if rules[i].ReceivedOn != "" {
			c.received(rules[i], compiled[i], l)
		} else {
			c.place(rules[i], compiled[i], l)
		}
		i++
	}
}

// untilReceived is the place of the next rule that asks where a packet came in.
func untilReceived(rules []*conf.Rule, from int) int {
	for from < len(rules) && rules[from].ReceivedOn == "" {
		from++
	}
	return from
}

// place appends a rule.
func (c *compiler) place(rule *conf.Rule, line bpf.PFRule, l *list) {
	if rule.Anchor == nil {
		l.lines = append(l.lines, line)
		return
	}
	c.call(line, l, func() {
		for _, called := range c.called(rule.Anchor) {
			c.anchor(called, l)
		}
	})
}

// received appends a rule inside of a call that asks where a packet came in.
func (c *compiler) received(rule *conf.Rule, line bpf.PFRule, l *list) {
	call := bpf.PFRule{Action: uint8(bpf.PFAnchor), Flags: bpf.PfrIn | bpf.PfrOut | bpf.PfrReceived, Ifslot: bpf.IfnetSlots, Number: line.Number}
	c.iface(rule.Pos, rule.ReceivedOn, rule.ReceivedOnNot, &call)
	c.call(call, l, func() { c.place(rule, line, l) })
}

// next is the line of the next rule.
func (l *list) next() uint32 { return l.first + uint32(len(l.lines)) }

// call appends a line that calls rules, those rules, and their end.
func (c *compiler) call(line bpf.PFRule, l *list, rules func()) {
	begin := l.next()
	l.lines = append(l.lines, line)
	rules()
	end := bpf.PFRule{Action: uint8(bpf.PFAnchorEnd), Flags: line.Flags & bpf.PfrQuick, Skip: begin, Number: line.Number}
	l.lines = append(l.lines, end)
	l.lines[begin-l.first].Skip = l.next()
}

// called returns the anchors that a call evaluates.
func (c *compiler) called(call *conf.AnchorCall) []*conf.Anchor {
	if call.Target != nil {
		return []*conf.Anchor{call.Target}
	}
	if !call.Wildcard {
		if a := c.rs.Main.Lookup(call.Path); a != nil {
			return []*conf.Anchor{a}
		}
		return nil
	}
	parent := c.rs.Main
	if path := call.Path; len(path) > 2 {
		parent = c.rs.Main.Lookup(path[:len(path)-2])
	}
	if parent == nil {
		return nil
	}
	return slices.Clone(parent.Children)
}

// tag returns the number of a tag, 0 for none.
func (c *compiler) tag(name string) uint16 {
	if name == "" {
		return 0
	}
	number, ok := c.tags[name]
	if !ok {
		c.program.Tags = append(c.program.Tags, name)
		number = uint16(len(c.program.Tags))
		c.tags[name] = number
	}
	return number
}

// prefixTable returns a table that holds the addresses from a first to a last.
func (c *compiler) rangeTable(from, to netip.Addr) *Table {
	key := from.String() + " - " + to.String()
	if t, ok := c.tables[key]; ok {
		return t
	}
	t := c.newTable()
	for _, p := range rangePrefixes(from, to) {
		t.Prefixes = append(t.Prefixes, conf.TablePrefix{Prefix: p})
	}
	c.tables[key] = t
	return t
}

// interfaceTable returns the table of an interface's addresses.
func (c *compiler) interfaceTable(name string, modifiers conf.Modifier) *Table {
	key := "(" + name + modifiers.String() + ")"
	if t, ok := c.tables[key]; ok {
		return t
	}
	t := c.newTable()
	t.Interface, t.Modifiers = name, modifiers
	c.tables[key] = t
	return t
}

// findTable looks a table up as the kernel does: in the rule's anchor, else in
// the main ruleset. One that only rules name is what pfctl made it, or empty.
func (c *compiler) findTable(anchor, name string) *Table {
	path := name
	for _, candidate := range []string{tablePath(anchor, name), name} {
		if t, ok := c.tables[candidate]; ok {
			t.References++
			return t
		}
		if c.env.HasTable(candidate) {
			path = candidate
			break
		}
	}
	t := c.newTable()
	t.Name, t.References = path, 1
	c.tables[path] = t
	return t
}
