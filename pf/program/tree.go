package program

import (
	"encoding/binary"
	"math"
	"slices"
	"sync"
	"unsafe"

	"github.com/bsdnet/bsdnet/bpf"
)

// Decision trees, after HyperSplit and CutSplit: the space of keys is cut in
// two, at an edge of a rule, until few rules meet a box. Rules with a wide
// source or destination would be in many boxes, so they have trees of their
// own; a packet walks up to four.

const (
	treeWords = 11 // of a key that are cut
	// leafRules is the number of rules in a box that is not cut further. To
	// look at a rule costs more than a level of cuts.
	leafRules = 2
	treeDepth = 3 * int(bpf.PFTreeLines)
	// treeMin is the length of a run of rules from which trees pay.
	treeMin = 8
	// wide is the number of low bits from which an address counts as wide.
	wide = 24
)

// box is a range of every word of the key, both ends included.
type box struct{ low, high [treeWords]uint32 }

func everything() box {
	var b box
	for i := range b.high {
		b.high[i] = ^uint32(0)
	}
	return b
}

// treeRule is a rule with the box outside of which it cannot match.
type treeRule struct {
	bpf.PFRule
	box
	// always says that it matches everything in its box.
	always bool
}

// plain reports whether a rule can be in a tree: it decides, and changes
// nothing that a later rule sees.
func plain(r *bpf.PFRule) bool {
	switch uint32(r.Action) {
	case bpf.PFPass, bpf.PFDrop, bpf.PFNAT, bpf.PFRDR, bpf.PFBinat, bpf.PFNo:
		return r.Tag == 0
	}
	return false
}

// run is a run of plain rules in a list.
type run struct {
	tree  uint32 // line of the PF_TREE in front of it
	count uint32
}

// plainRun returns how many plain rules stand at the beginning of a list, none
// if trees do not pay.
func plainRun(rules []bpf.PFRule) int {
	n := 0
	for n < len(rules) && plain(&rules[n]) {
		n++
	}
	if n < treeMin {
		return 0
	}
	return n
}

// byRank puts the rules of a run, which begins at a line, in an order in which
// the first that matches is pf's verdict, and gives them their ranks: quick
// rules in the order of the file and the others behind them in reverse. With
// first, all rules are quick.
func byRank(rules []bpf.PFRule, line uint32, first bool) []bpf.PFRule {
	ranked := slices.Clone(rules)
	for i := range ranked {
		ranked[i].Skip = line + uint32(i)
		if !first && ranked[i].Flags&bpf.PfrQuick == 0 {
			ranked[i].Skip = bpf.PFRankLast - ranked[i].Skip
		}
	}
	slices.SortFunc(ranked, func(a, b bpf.PFRule) int { return int(a.Skip) - int(b.Skip) })
	return ranked
}

// refusesReplies reports whether a rule takes no ICMP replies: they alone make
// no state.
func refusesReplies(r *bpf.PFRule) bool {
	return uint32(r.Action) == bpf.PFPass && r.Flags&(bpf.PfrKeepState|bpf.PfrSloppy) == bpf.PfrKeepState &&
		(r.Proto == 0 || r.Proto == 1 || r.Proto == 58)
}

// ruleBox computes the box of a rule for a family.
func ruleBox(r *bpf.PFRule, ext *bpf.PFRuleExt, six bool) treeRule {
	t := treeRule{PFRule: *r, box: everything()}
	address := func(word uint32, value, mask uint32, value6, mask6 *[16]uint8, table, not uint32) {
		if r.Flags&(table|not) != 0 {
			return
		}
		if !six {
			t.prefix(word, swap(value), swap(mask))
			return
		}
		for i := range uint32(4) {
			t.prefix(word+i, binary.BigEndian.Uint32(value6[4*i:]), binary.BigEndian.Uint32(mask6[4*i:]))
		}
	}
	none := &bpf.PFRuleExt{}
	if ext == nil {
		ext = none
	}
	address(bpf.PFWordSrc, r.Saddr, r.Smask, &ext.Saddr, &ext.Smask, bpf.PfrSrcTable, bpf.PfrSrcNot)
	address(bpf.PFWordDst, r.Daddr, r.Dmask, &ext.Daddr, &ext.Dmask, bpf.PfrDstTable, bpf.PfrDstNot)
	if r.Flags&(bpf.PfrSport|bpf.PfrSportNot) == bpf.PfrSport {
		t.low[bpf.PFWordSport], t.high[bpf.PFWordSport] = uint32(r.Sport[0]), uint32(r.Sport[1])
	}
	if r.Flags&(bpf.PfrDport|bpf.PfrDportNot) == bpf.PfrDport {
		t.low[bpf.PFWordDport], t.high[bpf.PFWordDport] = uint32(r.Dport[0]), uint32(r.Dport[1])
	}
	if r.Proto != 0 {
		t.low[bpf.PFWordProto], t.high[bpf.PFWordProto] = uint32(r.Proto), uint32(r.Proto)
	}
	t.always = r.Flags&^unconditional == 0 && r.Ifslot == bpf.IfnetSlots && r.TcpFlagset == 0 && r.Tos == 0 &&
		r.Probability == 0 && r.Tagged == 0 && !refusesReplies(r)
	return t
}

// unconditional are the flags that do not narrow what a rule matches beyond
// its box.
const unconditional = bpf.PfrQuick | bpf.PfrIn | bpf.PfrOut | bpf.PfrKeepState | bpf.PfrSloppy | bpf.PfrIfbound |
	bpf.PfrAllowopts | bpf.PfrLog | bpf.PfrLogAll | bpf.PfrReturnRst | bpf.PfrReturnICMP | bpf.PfrNatpass | bpf.PfrActions

// swap turns a word between the host's order and the network's.
func swap(v uint32) uint32 {
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], v)
	return binary.BigEndian.Uint32(b[:])
}

func (b *box) prefix(word, value, mask uint32) {
	b.low[word], b.high[word] = value&mask, value|^mask
}

func (b *box) meets(other *box) bool {
	for i := range b.low {
		if b.high[i] < other.low[i] || b.low[i] > other.high[i] {
			return false
		}
	}
	return true
}

func (b *box) covers(other *box) bool {
	for i := range b.low {
		if b.low[i] > other.low[i] || b.high[i] < other.high[i] {
			return false
		}
	}
	return true
}

// part says which of the trees a rule goes to.
func (t *treeRule) part() int {
	part := 0
	if uint64(t.high[bpf.PFWordSrc])-uint64(t.low[bpf.PFWordSrc]) >= 1<<wide {
		part |= 1
	}
	if uint64(t.high[bpf.PFWordDst])-uint64(t.low[bpf.PFWordDst]) >= 1<<wide {
		part |= 2
	}
	return part
}

// node is a cut or a leaf.
type node struct {
	word, threshold uint32
	left, right     *node
	leaf            bool
	rules           []bpf.PFRule // of a leaf
}

// forest builds the trees of a run and puts them into lines.
type forest struct {
	shared map[string]uint32 // children that are leaves, by the ranks in them
	leaves []Line
	rules  []uint32 // which of the leaves' lines are rules
	cuts   []bpf.PFCuts
	first  uint32 // line of the first cuts
}

// trees adds the decision trees of a run of rules to the lines of the program
// and returns the line of its roots.
func (p *Program) trees(rules []bpf.PFRule, line uint32, first bool, ext func(line uint32) *bpf.PFRuleExt) uint32 {
	ranked := byRank(rules, line, first)
	at := uint32(len(p.Lines))
	roots := [4]bpf.PFRoots{}
	f := &forest{shared: make(map[string]uint32), first: at + uint32(len(roots))}
	var grown [4][bpf.PFTreeParts]*node
	var growing sync.WaitGroup
	for family, six := range []bool{false, true} {
		for direction, bit := range []uint32{bpf.PfrIn, bpf.PfrOut} {
			var parts [bpf.PFTreeParts][]*treeRule
			for i := range ranked {
				r := &ranked[i]
				if r.Flags&bit == 0 || r.Af == 4 && six || r.Af == 6 && !six {
					continue
				}
				t := ruleBox(r, ext(r.Ext), six)
				parts[t.part()] = append(parts[t.part()], &t)
			}
			row := 2*family + direction
			for part, members := range parts {
				if len(members) > 0 {
					roots[row].Rank[part] = members[0].Skip
					growing.Go(func() { grown[row][part] = new(edges).grow(members, everything(), 0) })
				}
			}
		}
	}
	growing.Wait()
	for row := range grown {
		for part, root := range grown[row] {
			if root != nil {
				roots[row].Root[part] = f.place(root)
			}
		}
	}
	for i := range roots {
		p.Lines = append(p.Lines, *(*Line)(unsafe.Pointer(&roots[i])))
	}
	f.emit(p, at)
	p.Trees++
	return at
}

// grow builds a subtree.
func (e *edges) grow(rules []*treeRule, space box, depth int) *node {
	rules = visible(rules, &space)
	if len(rules) > leafRules && depth < treeDepth {
		if word, threshold, ok := e.choose(rules, &space); ok {
			left, right := space, space
			left.high[word], right.low[word] = threshold, threshold+1
			return &node{
				word: word, threshold: threshold,
				left:  e.grow(within(rules, &left), left, depth+1),
				right: e.grow(within(rules, &right), right, depth+1),
			}
		}
	}
	leaf := &node{leaf: true}
	for _, r := range rules {
		leaf.rules = append(leaf.rules, r.PFRule)
	}
	return leaf
}

// visible drops the rules behind one that matches everything in the space.
func visible(rules []*treeRule, space *box) []*treeRule {
	for i, r := range rules {
		if r.always && r.covers(space) {
			return rules[:i+1]
		}
	}
	return rules
}

func within(rules []*treeRule, space *box) []*treeRule {
	var inside []*treeRule
	for _, r := range rules {
		if r.meets(space) {
			inside = append(inside, r)
		}
	}
	return inside
}

const (
	// cuts is how many edges are tried of each word, twice as many at most.
	cuts = 12
	// sampled is how many rules' edges are looked at to find them.
	sampled = 512
)

// edges are those at which a word is tried to be cut, in order, and what a cut
// at each would do.
type edges struct {
	all   []uint32
	tried []uint32
	left  [2*cuts + 2]int // rules that begin at or before the edge
	right [2*cuts + 2]int // rules that end behind it
}

// pick chooses edges of a word, evenly spread among those of the rules.
func (e *edges) pick(rules []*treeRule, w uint32, space *box) {
	e.all, e.tried = e.all[:0], e.tried[:0]
	for i := 0; i < len(rules); i += 1 + len(rules)/sampled {
		if r := rules[i]; r.high[w] < space.high[w] {
			e.all = append(e.all, r.high[w])
		}
		if r := rules[i]; r.low[w] > space.low[w] {
			e.all = append(e.all, r.low[w]-1)
		}
	}
	slices.Sort(e.all)
	e.all = slices.Compact(e.all)
	step := max(1, len(e.all)/cuts)
	for i := step / 2; i < len(e.all); i += step {
		if e.all[i] != ^uint32(0) {
			e.tried = append(e.tried, e.all[i])
		}
	}
}

// count finds how many rules there would be on either side of each edge.
func (e *edges) count(rules []*treeRule, w uint32) {
	clear(e.left[:])
	clear(e.right[:])
	for _, r := range rules {
		begin, _ := slices.BinarySearch(e.tried, r.low[w])
		end, _ := slices.BinarySearch(e.tried, r.high[w])
		e.left[begin]++
		e.right[end]++
	}
	for i := 1; i <= len(e.tried); i++ {
		e.left[i] += e.left[i-1]
	}
	// What ends at or before an edge is not right of it.
	ended := 0
	for i := range e.tried {
		ended += e.right[i]
		e.right[i] = len(rules) - ended
	}
}

// choose finds the cut that leaves the fewest rules on the fuller side without
// doubling too many. Not ok: no cut helps.
func (e *edges) choose(rules []*treeRule, space *box) (word, threshold uint32, ok bool) {
	best := math.Inf(1)
	for w := range uint32(treeWords) {
		e.pick(rules, w, space)
		if len(e.tried) == 0 {
			continue
		}
		e.count(rules, w)
		for i, edge := range e.tried {
			left, right := e.left[i], e.right[i]
			if max(left, right) == len(rules) {
				continue // one side would be as full as before
			}
			doubled := left + right - len(rules)
			if cost := float64(max(left, right)) + 1.5*float64(doubled); cost < best {
				best, word, threshold, ok = cost, w, edge, true
			}
		}
	}
	return word, threshold, ok
}

// place puts a subtree into lines and returns it as a child. Lines of leaves
// count from the end of the cuts until emit knows where that is.
func (f *forest) place(n *node) uint32 {
	if n.leaf {
		return f.leaf(n.rules)
	}
	at := len(f.cuts)
	f.cuts = append(f.cuts, bpf.PFCuts{})
	var cuts bpf.PFCuts
	heap := [2*bpf.PFTreeCuts + 1]*node{n}
	for i := range bpf.PFTreeCuts {
		if heap[i].leaf {
			// What ends before the third level goes on to the left.
			cuts.Threshold[i] = ^uint32(0)
			heap[2*i+1], heap[2*i+2] = heap[i], heap[i]
			continue
		}
		cuts.Threshold[i] = heap[i].threshold
		cuts.Words |= heap[i].word << (4 * i)
		heap[2*i+1], heap[2*i+2] = heap[i].left, heap[i].right
	}
	for i := range cuts.Child {
		cuts.Child[i] = f.place(heap[bpf.PFTreeCuts+uint32(i)])
	}
	f.cuts[at] = cuts
	return f.first + uint32(at)
}

// leaf gives the rules of a leaf their place among the leaves, shared with a
// leaf of the same rules.
func (f *forest) leaf(rules []bpf.PFRule) uint32 {
	key := make([]byte, 0, 4*len(rules))
	for i := range rules {
		key = binary.NativeEndian.AppendUint32(key, rules[i].Skip)
	}
	if child, ok := f.shared[string(key)]; ok {
		return child
	}
	child := bpf.PFChildLeaf | uint32(len(f.leaves))
	if len(rules) > int(bpf.PFLeafRules) {
		child |= bpf.PFChildLong
		head := bpf.PFLeaf{Count: uint32(len(rules))}
		f.leaves = append(f.leaves, *(*Line)(unsafe.Pointer(&head)))
	} else {
		child |= uint32(len(rules)) << bpf.PFChildCount
	}
	for i := range rules {
		f.rules = append(f.rules, uint32(len(f.leaves)))
		f.leaves = append(f.leaves, *(*Line)(unsafe.Pointer(&rules[i])))
	}
	f.shared[string(key)] = child
	return child
}

// emit appends cuts and leaves to the lines of the program, in which the roots
// are at a line already.
func (f *forest) emit(p *Program, roots uint32) {
	base := f.first + uint32(len(f.cuts))
	shift := func(child *uint32) {
		if *child&bpf.PFChildLeaf != 0 {
			*child += base
		}
	}
	for i := range uint32(4) {
		row := (*bpf.PFRoots)(unsafe.Pointer(&p.Lines[roots+i]))
		for part := range row.Root {
			shift(&row.Root[part])
		}
	}
	for i := range f.cuts {
		for j := range f.cuts[i].Child {
			shift(&f.cuts[i].Child[j])
		}
		p.Lines = append(p.Lines, *(*Line)(unsafe.Pointer(&f.cuts[i])))
	}
	p.Lines = append(p.Lines, f.leaves...)
	for _, line := range f.rules {
		if last := len(p.Ranges) - 1; last >= 0 && p.Ranges[last].First+p.Ranges[last].Count == base+line {
			p.Ranges[last].Count++
			continue
		}
		p.Ranges = append(p.Ranges, Range{base + line, 1})
	}
}
