package conf

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
)

// OptimizeOptions choose what [Optimize] does.
type OptimizeOptions struct {
	Level Optimization
	// Packets gives how often a rule of the running ruleset that means the
	// same matched, for OptimizeProfile. Nil makes profile the same as basic.
	Packets func(*Rule) (packets uint64, known bool)
}

// The number of rules from which a table is faster than the rules.
const tableThreshold = 6

// maxPairs bounds the pairs of rules that are compared with each other; in
// larger blocks only identical rules are removed and the order stays.
const maxPairs = 8_000_000

// Optimize changes the filter rules as pfctl's ruleset optimizer does: it
// removes rules that another covers, puts the addresses of alike rules into
// tables, and reorders rules for the kernel's skip steps. The meaning of the
// ruleset stays the same. Rules with labels, limits, probabilities or anchors
// stay where they are, and nothing moves past them.
func Optimize(rs *Ruleset, o OptimizeOptions) {
	if o.Level == OptimizeNone {
		return
	}
	used := make(map[string]bool)
	next := 0
	rs.Main.Walk(func(a *Anchor) {
		for _, t := range a.Tables {
			used[t.Name] = true
			var n int
			if _, err := fmt.Sscanf(t.Name, "__automatic_%d", &n); err == nil {
				next = max(next, n+1)
			}
		}
	})
	z := optimizer{rs: rs, options: o, next: next, used: used}
	// In the order that pfctl prints anchors, which numbers the tables.
	z.anchor(rs.Main)
}

type optimizer struct {
	rs      *Ruleset
	options OptimizeOptions
	next    int
	used    map[string]bool
}

func (z *optimizer) anchor(a *Anchor) {
	var rules []*Rule
	for _, block := range superblocks(a.Filter) {
		rules = append(rules, z.block(a, block)...)
	}
	for i, r := range rules {
		r.Number = i
	}
	a.Filter = rules
	for _, r := range rules {
		if r.Anchor != nil && r.Anchor.Inline {
			z.anchor(r.Anchor.Target)
		}
	}
}

// block optimizes the rules of one superblock.
func (z *optimizer) block(a *Anchor, rules []*Rule) []*Rule {
	if len(rules) < 2 {
		return rules
	}
	rules = removeCovered(rules)
	rules = z.combine(a, rules)
	if z.options.Level == OptimizeProfile && z.options.Packets != nil && rules[0].Quick {
		if sorted, ok := z.byPackets(rules); ok {
			return sorted
		}
	}
	return reorder(rules)
}

// byPackets puts the rules that match most first. All of a superblock do the
// same to a packet, and with quick the first that matches is the last.
func (z *optimizer) byPackets(rules []*Rule) ([]*Rule, bool) {
	counts := make(map[*Rule]uint64)
	for _, r := range rules {
		if n, known := z.options.Packets(r); known {
			counts[r] = n
		}
	}
	if len(counts) == 0 {
		return rules, false
	}
	var sorted []*Rule
	for _, r := range rules {
		at := len(sorted)
		for i, s := range sorted {
			if counts[r] > counts[s] {
				at = i
				break
			}
		}
		sorted = append(sorted, nil)
		copy(sorted[at+1:], sorted[at:])
		sorted[at] = r
	}
	return sorted, true
}

// ruleKey is a rule without some fields, comparable as a whole.
type ruleKey struct {
	rule            Rule
	nat, rdr, route string
}

// set makes it the key of a rule from which clear has removed fields. Keys are
// large: one is used for all rules of a loop.
func (k *ruleKey) set(r *Rule, clear func(*Rule)) {
	*k = ruleKey{rule: *r, nat: r.Nat.key(), rdr: r.Rdr.key(), route: r.Route.key()}
	k.rule.Nat, k.rule.Rdr, k.rule.Route, k.rule.Anchor = nil, nil, nil, nil
	k.rule.Number, k.rule.Pos = 0, Position{}
	clear(&k.rule)
}

// key is a text that is equal for equal pools.
func (p *Pool) key() string {
	if p == nil {
		return ""
	}
	return fmt.Sprintf("%+v", *p)
}

// barrier reports whether a rule is a block of its own, which nothing moves
// past.
func (r *Rule) barrier() bool {
	s := &r.StateOptions
	return r.Labels != [maxLabels]string{} || r.Probability != 0 || r.Anchor != nil ||
		s.Max != 0 || s.SrcNodes != 0 || s.SrcStates != 0 || s.SrcConn != 0 || s.SrcConnRate != Rate{} ||
		s.SourceTrack == SourceTrackRule
}

// movable leaves what must be the same for all rules of a superblock.
func movable(r *Rule) {
	r.Family, r.Interface, r.InterfaceNot, r.RoutingDomain = 0, "", false, 0
	r.Tagged, r.TaggedNot = "", false
	r.OS, r.OSNumber = "", 0
	r.StateOptions.Timeouts = Timeouts{}
	r.ReturnICMP, r.ReturnICMP6 = 0, 0
	r.User, r.Group = IDRange{}, IDRange{}
	r.Direction, r.Protocol = 0, 0
	r.ICMPType, r.ICMPCode = 0, 0
	r.Flags, r.FlagSet, r.TOS = 0, 0, 0
	r.Src, r.Dst = RuleAddr{}, RuleAddr{}
	r.NewFamily = 0
}

// superblocks divides rules into runs whose order does not matter: the last
// rule that matches decides, or the first with quick, and all do the same.
func superblocks(rules []*Rule) [][]*Rule {
	var blocks [][]*Rule
	var first, k ruleKey
	for _, r := range rules {
		k.set(r, movable)
		if n := len(blocks); n > 0 {
			head := blocks[n-1][0]
			if !r.barrier() && sameGroup(head, r) && k == first && !head.barrier() {
				blocks[n-1] = append(blocks[n-1], r)
				continue
			}
		}
		blocks = append(blocks, []*Rule{r})
		first = k
	}
	return blocks
}

// sameGroup reports whether interface names let rules be in one block. A group
// may get or lose members at any time, so it goes with its own name only.
func sameGroup(a, b *Rule) bool {
	if isGroupName(a.Interface) || isGroupName(b.Interface) {
		return strings.EqualFold(a.Interface, b.Interface)
	}
	return true
}

// isGroupName tells groups by their name, which ends in no digit.
func isGroupName(name string) bool {
	return name != "" && !isDigit(int(name[len(name)-1]))
}

// coverable leaves what must be the same for one rule to cover another.
func coverable(r *Rule) {
	r.Family, r.Interface, r.Direction, r.Protocol, r.Flags, r.FlagSet = 0, "", 0, 0, 0, 0
	r.Src = RuleAddr{Not: r.Src.Not}
	r.Dst = RuleAddr{Not: r.Dst.Not}
}

// removeCovered removes rules that match only what another of the block does.
func removeCovered(rules []*Rule) []*Rule {
	classes := make(map[ruleKey]int)
	class := make([]int, len(rules))
	sizes := make(map[int]int)
	var k ruleKey
	for i, r := range rules {
		k.set(r, coverable)
		n, ok := classes[k]
		if !ok {
			n = len(classes)
			classes[k] = n
		}
		class[i] = n
		sizes[n]++
	}
	pairs := 0
	for _, n := range sizes {
		pairs += n * n / 2
	}
	if pairs > maxPairs {
		return removeDuplicates(rules)
	}
	members := make([][]int, len(classes))
	for i, c := range class {
		members[c] = append(members[c], i)
	}
	gone := make([]bool, len(rules))
	for _, m := range members {
		for at, i := range m {
			if gone[i] {
				continue
			}
			for _, j := range m[at+1:] {
				if gone[j] {
					continue
				}
				if rules[i].covers(rules[j]) {
					gone[j] = true
				} else if rules[j].covers(rules[i]) {
					gone[i] = true
					break
				}
			}
		}
	}
	return without(rules, gone)
}

func without(rules []*Rule, gone []bool) []*Rule {
	var left []*Rule
	for i, r := range rules {
		if !gone[i] {
			left = append(left, r)
		}
	}
	return left
}

func removeDuplicates(rules []*Rule) []*Rule {
	seed := maphash.MakeSeed()
	seen := make(map[uint64][]*Rule, len(rules))
	var left []*Rule
	var k, other ruleKey
	for _, r := range rules {
		k.set(r, func(*Rule) {})
		hash := maphash.Comparable(seed, k)
		if slices.ContainsFunc(seen[hash], func(r *Rule) bool { other.set(r, func(*Rule) {}); return other == k }) {
			continue
		}
		seen[hash] = append(seen[hash], r)
		left = append(left, r)
	}
	return left
}

// covers reports whether r matches everything that sub does; what coverable
// leaves is the same.
func (r *Rule) covers(sub *Rule) bool {
	if r.Interface != "" && r.Interface != sub.Interface ||
		r.Direction != InOut && r.Direction != sub.Direction ||
		r.Protocol != 0 && r.Protocol != sub.Protocol ||
		r.Family != Unspecified && r.Family != sub.Family {
		return false
	}
	if (r.Flags != 0 || r.FlagSet != 0) && (r.Flags != sub.Flags || r.FlagSet != sub.FlagSet) {
		return false
	}
	return r.Src.covers(&sub.Src, r.Family == sub.Family) && r.Dst.covers(&sub.Dst, r.Family == sub.Family)
}

func (a *RuleAddr) covers(sub *RuleAddr, sameFamily bool) bool {
	if a.Port.Op != OpNone && a.Port != sub.Port {
		return false
	}
	switch {
	case a.Addr == sub.Addr:
		return true
	case a.Addr.Kind == AddrAny:
		return !a.Not && !sub.Not
	case a.Addr.Kind != AddrPrefix || sub.Addr.Kind != AddrPrefix || !sameFamily:
		return false
	}
	// pfctl takes negated networks for covered too, which would be wrong.
	if a.Not || a.Addr.Bits >= sub.Addr.Bits || a.Addr.IP.BitLen() != sub.Addr.IP.BitLen() {
		return false
	}
	return prefixAddr(sub.Addr.IP, int(a.Addr.Bits)) == a.Addr
}
