package conf

import "fmt"

// side is the source or the destination of a rule.
type side func(*Rule) *RuleAddr

func srcOf(r *Rule) *RuleAddr { return &r.Src }
func dstOf(r *Rule) *RuleAddr { return &r.Dst }

// place is an address with its negation.
type place struct {
	addr Addr
	not  bool
}

func (a *RuleAddr) place() place { return place{a.Addr, a.Not} }

// tableOf collects the addresses of alike rules.
type tableOf struct {
	table *Table
	side  side
	count int
	made  bool
}

// combine puts the addresses of rules that differ in nothing else into a table,
// from tableThreshold rules on.
func (z *optimizer) combine(a *Anchor, rules []*Rule) []*Rule {
	mergeable := func(r *Rule) { r.Src.Addr, r.Dst.Addr = Addr{}, Addr{} }
	groups := make(map[ruleKey]int)
	var members []*mergeGroup
	var k ruleKey
	for i, r := range rules {
		k.set(r, mergeable)
		n, ok := groups[k]
		if !ok {
			n = len(members)
			groups[k] = n
			members = append(members, newMergeGroup())
		}
		members[n].add(i, r)
	}
	c := combiner{optimizer: z, rules: rules, tables: make([]*tableOf, len(rules)), gone: make([]bool, len(rules))}
	// Tables get their numbers in the order of the rules.
	group := make([]*mergeGroup, len(rules))
	for _, m := range members {
		for _, i := range m.all {
			group[i] = m
		}
	}
	for i := range rules {
		if !c.gone[i] {
			c.gather(i, group[i])
		}
	}
	var left []*Rule
	for i, r := range rules {
		t := c.tables[i]
		switch {
		case c.gone[i], t != nil && t.count >= tableThreshold && t.made:
			continue
		case t != nil && t.count >= tableThreshold:
			t.made = true
			t.side(r).Addr = Addr{Kind: AddrTable, Name: t.table.Name}
			z.rs.Main.optimized = append(z.rs.Main.optimized, t.table)
			z.rs.Main.addTable(t.table)
		}
		left = append(left, r)
	}
	return left
}

// mergeGroup are the rules that differ in addresses only, by index.
type mergeGroup struct {
	all   []int
	bySrc map[place][]int
	byDst map[place][]int
}

func newMergeGroup() *mergeGroup {
	return &mergeGroup{bySrc: make(map[place][]int), byDst: make(map[place][]int)}
}

func (m *mergeGroup) add(i int, r *Rule) {
	m.all = append(m.all, i)
	m.bySrc[r.Src.place()] = append(m.bySrc[r.Src.place()], i)
	m.byDst[r.Dst.place()] = append(m.byDst[r.Dst.place()], i)
}

type combiner struct {
	*optimizer
	rules  []*Rule
	tables []*tableOf
	gone   []bool
}

// gather joins later rules to rule i: those with the same source or the same
// destination, whichever comes first.
func (c *combiner) gather(i int, m *mergeGroup) {
	r := c.rules[i]
	sameSrc, sameDst := after(m.bySrc[r.Src.place()], i), after(m.byDst[r.Dst.place()], i)
	for len(sameSrc) > 0 || len(sameDst) > 0 {
		var j int
		s := srcOf
		if len(sameDst) == 0 || len(sameSrc) > 0 && sameSrc[0] <= sameDst[0] {
			j, sameSrc = sameSrc[0], sameSrc[1:]
			s = dstOf
			if len(sameDst) > 0 && sameDst[0] == j {
				sameDst = sameDst[1:]
				continue // both the same: covered already, or different otherwise
			}
		} else {
			j, sameDst = sameDst[0], sameDst[1:]
		}
		c.join(i, j, s)
	}
}

// after leaves the indices above i of a sorted list.
func after(list []int, i int) []int {
	low, high := 0, len(list)
	for low < high {
		mid := (low + high) / 2
		if list[mid] <= i {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return list[low:]
}

// join adds rule j to the table of rule i if only the addresses of a side
// differ.
func (c *combiner) join(i, j int, s side) {
	if c.gone[j] || c.tables[j] != nil {
		return
	}
	t := c.tables[i]
	if t != nil && !sameSide(t.side, s) {
		return
	}
	x, y := s(c.rules[i]), s(c.rules[j])
	if !x.isNetwork() || !y.isNetwork() || x.Not != y.Not || x.Port != y.Port {
		return
	}
	f := c.rules[i].Family
	if f == Unspecified {
		// A table needs addresses; "any" of no family is none.
		return
	}
	if t == nil {
		t = &tableOf{table: c.newTable(c.rules[i].Pos), side: s}
		c.tables[i] = t
		t.add(x.Addr, f)
	}
	t.add(y.Addr, f)
	c.tables[j] = t
	if t.count >= tableThreshold {
		c.gone[j] = true
	}
}

func (a *RuleAddr) isNetwork() bool { return a.Addr.Kind == AddrPrefix || a.Addr.Kind == AddrAny }

func sameSide(a, b side) bool {
	var r Rule
	return a(&r) == b(&r)
}

func (t *tableOf) add(addr Addr, f AddressFamily) {
	t.table.append(host{addr: addr, family: f})
	t.count++
}

func (z *optimizer) newTable(pos Position) *Table {
	for {
		name := fmt.Sprintf("__automatic_%d", z.next)
		z.next++
		if !z.used[name] {
			z.used[name] = true
			return &Table{Name: name, Pos: pos, Const: true, Automatic: true, Initialized: true}
		}
	}
}
