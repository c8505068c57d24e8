package program

import (
	"encoding/binary"
	"math"
	"slices"
	"unsafe"

	"github.com/bsdnet/bsdnet/bpf"
)

// Decision trees, after HyperSplit and CutSplit: the space of keys is cut in
// two, at an edge of a rule, until few rules meet a box. Rules with a wide
// source or destination would be in many boxes, so they have trees of their
// own; a packet walks up to four.

const (
	treeWords = 11 // of a key that are cut
	leafRules = 8  // a box with so few rules is not cut further
	treeDepth = 60
	// treeMin is the number of rules from which trees pay.
	treeMin = 8
	// wide is the number of low bits from which an address counts as wide.
	wide = 16
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

// simple reports whether the first match in the order of ranks decides: no
// rule changes what a later one sees.
func simple(rules []bpf.PFRule) bool {
	for i := range rules {
		r := &rules[i]
		if a := uint32(r.Action); a != bpf.PFPass && a != bpf.PFDrop || r.Tag != 0 || r.Tagged != 0 {
			return false
		}
	}
	return true
}

// byRank puts quick rules in the order of the file and the others behind them
// in reverse: the first that matches is pf's verdict.
func byRank(rules []bpf.PFRule) []bpf.PFRule {
	var quick, last []bpf.PFRule
	for _, r := range rules {
		if r.Flags&bpf.PfrQuick != 0 {
			quick = append(quick, r)
		} else {
			last = append(last, r)
		}
	}
	slices.Reverse(last)
	ranked := append(quick, last...)
	for i := range ranked {
		ranked[i].Skip = uint32(i)
	}
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
	const conditions = bpf.PfrSrcTable | bpf.PfrDstTable | bpf.PfrSrcNot | bpf.PfrDstNot | bpf.PfrSport | bpf.PfrDport |
		bpf.PfrFragment | bpf.PfrICMPType | bpf.PfrICMPCode | bpf.PfrIfNot | bpf.PfrIfGroup | bpf.PfrIfAny
	t.always = r.Flags&conditions == 0 && r.Ifslot == bpf.IfnetSlots && r.TcpFlagset == 0 && r.Tos == 0 && r.Probability == 0 &&
		!refusesReplies(r)
	return t
}

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
	rules           []bpf.PFRule // of a leaf
}

// forest builds the trees of a ruleset and puts them into lines.
type forest struct {
	shared map[string]uint32 // first lines of leaves, by the ranks in them
	leaves []bpf.PFRule
	lines  []treeLine
	first  uint32 // line of the first node
}

// treeLine holds a node and its two children, so that one look at memory
// decides two cuts.
type treeLine [4]bpf.PFTreeNode

// trees adds the decision trees of a ruleset's filter rules to the lines of
// the program, and says whether it did.
func (p *Program) trees(rules []bpf.PFRule, ext func(line uint32) *bpf.PFRuleExt) bool {
	if len(rules) < treeMin || !simple(rules) {
		return false
	}
	ranked := byRank(rules)
	f := &forest{shared: make(map[string]uint32), first: uint32(len(p.Lines))}
	var roots, ranks bpf.PFRoots
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
			for part, members := range parts {
				if len(members) == 0 {
					continue
				}
				roots.Root[family][direction][part] = f.place(grow(members, everything(), 0))
				ranks.Root[family][direction][part] = members[0].Skip
			}
		}
	}
	f.emit(p, &roots, &ranks)
	return true
}

// grow builds a subtree.
func grow(rules []*treeRule, space box, depth int) *node {
	rules = visible(rules, &space)
	if len(rules) > leafRules && depth < treeDepth {
		if word, threshold, ok := choose(rules, &space); ok {
			left, right := space, space
			left.high[word], right.low[word] = threshold, threshold+1
			return &node{
				word: word, threshold: threshold,
				left:  grow(within(rules, &left), left, depth+1),
				right: grow(within(rules, &right), right, depth+1),
			}
		}
	}
	leaf := &node{word: bpf.PFTreeLeaf}
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

// cuts is how many edges are tried of each word.
const cuts = 12

// choose finds the cut that leaves the fewest rules on the fuller side without
// doubling too many. Not ok: no cut helps.
func choose(rules []*treeRule, space *box) (word, threshold uint32, ok bool) {
	best := math.Inf(1)
	edges := make([]uint32, 0, 2*len(rules))
	lows, highs := make([]uint32, len(rules)), make([]uint32, len(rules))
	for w := range uint32(treeWords) {
		edges = edges[:0]
		for i, r := range rules {
			lows[i], highs[i] = r.low[w], r.high[w]
			if highs[i] < space.high[w] {
				edges = append(edges, highs[i])
			}
			if lows[i] > space.low[w] {
				edges = append(edges, lows[i]-1)
			}
		}
		if len(edges) == 0 {
			continue
		}
		slices.Sort(edges)
		edges = slices.Compact(edges)
		slices.Sort(lows)
		slices.Sort(highs)
		step := max(1, len(edges)/cuts)
		for e := step / 2; e < len(edges); e += step {
			edge := edges[e]
			// left are those that begin at or before the edge, right those that end behind it.
			left, _ := slices.BinarySearch(lows, edge+1)
			before, _ := slices.BinarySearch(highs, edge+1)
			right := len(rules) - before
			if edge == ^uint32(0) {
				continue
			}
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

// place puts a subtree into lines and returns the number of its root.
func (f *forest) place(root *node) uint32 {
	at := len(f.lines)
	f.lines = append(f.lines, treeLine{})
	number := 4 * (f.first + uint32(at))
	line := treeLine{1: {Word: bpf.PFTreeLeaf}, 2: {Word: bpf.PFTreeLeaf}, 3: {Word: bpf.PFTreeLeaf}}
	line[0] = f.entry(root)
	if root.word != bpf.PFTreeLeaf {
		line[0].Left, line[0].Right = number+1, number+2
		for i, child := range []*node{root.left, root.right} {
			entry := f.entry(child)
			if child.word != bpf.PFTreeLeaf {
				entry.Left, entry.Right = f.place(child.left), f.place(child.right)
			}
			line[i+1] = entry
		}
	}
	f.lines[at] = line
	return number
}

// entry is a node without its children; the rules of a leaf get their place
// among the leaves, shared with a leaf of the same rules.
func (f *forest) entry(n *node) bpf.PFTreeNode {
	if n.word != bpf.PFTreeLeaf {
		return bpf.PFTreeNode{Word: n.word, Threshold: n.threshold}
	}
	key := make([]byte, 0, 4*len(n.rules))
	for i := range n.rules {
		key = binary.NativeEndian.AppendUint32(key, n.rules[i].Skip)
	}
	first, ok := f.shared[string(key)]
	if !ok {
		first = uint32(len(f.leaves))
		f.shared[string(key)] = first
		f.leaves = append(f.leaves, n.rules...)
	}
	return bpf.PFTreeNode{Word: bpf.PFTreeLeaf, Threshold: first, Left: uint32(len(n.rules))}
}

// emit appends nodes and leaves to the lines of the program and writes the
// roots into their place.
func (f *forest) emit(p *Program, roots, ranks *bpf.PFRoots) {
	base := f.first + uint32(len(f.lines))
	for i := range f.lines {
		for j := range f.lines[i] {
			if n := &f.lines[i][j]; n.Word == bpf.PFTreeLeaf {
				n.Threshold += base
			}
		}
		p.Lines = append(p.Lines, *(*Line)(unsafe.Pointer(&f.lines[i])))
	}
	for i := range f.leaves {
		p.Lines = append(p.Lines, *(*Line)(unsafe.Pointer(&f.leaves[i])))
	}
	p.Ranges = append(p.Ranges, Range{base, uint32(len(f.leaves))})
	p.Lines[bpf.PFTreeRoots] = *(*Line)(unsafe.Pointer(roots))
	p.Lines[bpf.PFTreeRoots+1] = *(*Line)(unsafe.Pointer(ranks))
}
