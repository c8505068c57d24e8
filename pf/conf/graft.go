package conf

import (
	"slices"
	"strings"
)

// Graft puts the rules and tables of a part that was read for the main ruleset
// or an anchor (Config.Anchor) in the place of those that rs has there, in the
// given sections. Anchors that the part does not hold stay as they are. The
// part must not be used any more.
func (rs *Ruleset) Graft(part *Ruleset, sections Section) {
	part.Main.Walk(func(from *Anchor) {
		to := rs.Main.descend(from.Path)
		if sections&SectionFilter != 0 {
			to.Scrub, to.Filter = from.Scrub, from.Filter
		}
		if sections&SectionNat != 0 {
			to.Nat, to.Rdr, to.Binat = from.Nat, from.Rdr, from.Binat
		}
		if sections&SectionEther != 0 {
			to.Ether = from.Ether
		}
		if sections&SectionTables != 0 {
			to.Tables = from.Tables
		}
	})
	if sections&SectionOptions != 0 {
		rs.Options = part.Options
	}
	if sections&SectionQueues != 0 {
		rs.Queues, rs.ALTQ = part.Queues, part.ALTQ
	}
	rs.link()
}

// link makes calls of inline anchors lead to the anchors that rs has now, and
// makes those that rules only name.
func (rs *Ruleset) link() {
	var calls []*AnchorCall
	rs.Main.Walk(func(a *Anchor) {
		for _, rules := range a.lists() {
			for _, r := range rules {
				if r.Anchor != nil {
					calls = append(calls, r.Anchor)
				}
			}
		}
	})
	called := make(map[*Anchor]bool)
	for _, c := range calls {
		path := c.Path
		if c.Wildcard {
			path = strings.TrimSuffix(strings.TrimSuffix(path, "*"), "/")
		}
		a := rs.Main.descend(path)
		called[a] = true
		if c.Target != nil {
			c.Target = a
		}
	}
	rs.Main.prune(called)
}

// prune drops empty anchors that nobody calls, and reports whether a itself is
// one of them.
func (a *Anchor) prune(called map[*Anchor]bool) bool {
	a.Children = slices.DeleteFunc(a.Children, func(c *Anchor) bool { return c.prune(called) })
	empty := len(a.Children) == 0 && len(a.Tables) == 0 && len(a.Ether) == 0
	for _, rules := range a.lists() {
		empty = empty && len(rules) == 0
	}
	return empty && !called[a]
}

// descend finds or makes the anchor of a path below the main ruleset.
func (a *Anchor) descend(path string) *Anchor {
	for name := range strings.SplitSeq(path, "/") {
		if name != "" {
			a = a.child(name)
		}
	}
	return a
}

// NewRuleset is an empty ruleset with the defaults of a dialect.
func NewRuleset(d Dialect) *Ruleset { return newRuleset(&Config{Dialect: d}) }
