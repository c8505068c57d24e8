package program

import (
	"encoding/binary"
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
	t.always = r.Flags&conditions == 0 && r.Ifslot == bpf.IfnetSlots && r.TcpFlagset == 0 && r.Tos == 0 && r.Probability == 0
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

// forest builds the trees of a ruleset.
type forest struct {
	nodes  []bpf.PFTreeNode // left, right: indexes + 1; of a leaf: threshold is an index into leaves
	leaves []bpf.PFRule
	shared map[string]uint32 // leaves with the same rules
}

// trees adds the decision trees of a ruleset's filter rules to the lines of
// the program, and says whether it did.
func (p *Program) trees(rules []bpf.PFRule, ext func(line uint32) *bpf.PFRuleExt) bool {
	if len(rules) < treeMin || !simple(rules) {
		return false
	}
	ranked := byRank(rules)
	f := &forest{shared: make(map[string]uint32)}
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
				roots.Root[family][direction][part] = f.grow(members, everything(), 0)
				ranks.Root[family][direction][part] = members[0].Skip
			}
		}
	}
	f.emit(p, &roots, &ranks)
	return true
}

// grow builds a subtree and returns its node's index + 1.
func (f *forest) grow(rules []*treeRule, space box, depth int) uint32 {
	rules = visible(rules, &space)
	word, threshold, ok := uint32(0), uint32(0), false
	if len(rules) > leafRules && depth < treeDepth {
		word, threshold, ok = choose(rules, &space)
	}
	if !ok {
		return f.leaf(rules)
	}
	left, right := space, space
	left.high[word], right.low[word] = threshold, threshold+1
	index := len(f.nodes)
	f.nodes = append(f.nodes, bpf.PFTreeNode{Threshold: threshold, Word: word})
	l := f.grow(within(rules, &left), left, depth+1)
	r := f.grow(within(rules, &right), right, depth+1)
	f.nodes[index].Left, f.nodes[index].Right = l, r
	return uint32(index + 1)
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
	best := float64(len(rules))
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
			doubled := left + right - len(rules)
			if cost := float64(max(left, right)) + 1.5*float64(doubled); cost < best {
				best, word, threshold, ok = cost, w, edge, true
			}
		}
	}
	return word, threshold, ok
}

// leaf returns a leaf with the rules, one that is there already if possible.
func (f *forest) leaf(rules []*treeRule) uint32 {
	if len(rules) == 0 {
		return 0
	}
	key := make([]byte, 0, 4*len(rules))
	for _, r := range rules {
		key = binary.NativeEndian.AppendUint32(key, r.Skip)
	}
	if node, ok := f.shared[string(key)]; ok {
		return node
	}
	f.nodes = append(f.nodes, bpf.PFTreeNode{Word: bpf.PFTreeLeaf, Threshold: uint32(len(f.leaves)), Left: uint32(len(rules))})
	for _, r := range rules {
		f.leaves = append(f.leaves, r.PFRule)
	}
	f.shared[string(key)] = uint32(len(f.nodes))
	return uint32(len(f.nodes))
}

// emit writes nodes and leaves behind the lines of the program and roots into
// their place.
func (f *forest) emit(p *Program, roots, ranks *bpf.PFRoots) {
	nodeLine := uint32(len(p.Lines))
	lines := (len(f.nodes) + 3) / 4
	leafLine := nodeLine + uint32(lines)
	number := func(index uint32) uint32 {
		if index == 0 {
			return 0
		}
		return 4*nodeLine + index - 1
	}
	empty := bpf.PFTreeNode{Word: bpf.PFTreeLeaf}
	for at := 0; at < len(f.nodes); at += 4 {
		var four [4]bpf.PFTreeNode
		for i := range four {
			four[i] = empty
			if at+i >= len(f.nodes) {
				continue
			}
			n := f.nodes[at+i]
			if n.Word == bpf.PFTreeLeaf {
				n.Threshold += leafLine
			} else {
				n.Left, n.Right = number(n.Left), number(n.Right)
			}
			four[i] = n
		}
		p.Lines = append(p.Lines, *(*Line)(unsafe.Pointer(&four)))
	}
	for i := range f.leaves {
		p.Lines = append(p.Lines, *(*Line)(unsafe.Pointer(&f.leaves[i])))
	}
	p.Ranges = append(p.Ranges, Range{leafLine, uint32(len(f.leaves))})
	for family := range roots.Root {
		for direction := range roots.Root[family] {
			for part, index := range roots.Root[family][direction] {
				roots.Root[family][direction][part] = number(index)
			}
		}
	}
	p.Lines[bpf.PFTreeRoots] = *(*Line)(unsafe.Pointer(roots))
	p.Lines[bpf.PFTreeRoots+1] = *(*Line)(unsafe.Pointer(ranks))
}
