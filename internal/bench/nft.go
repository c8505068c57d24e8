package bench

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// firstMatch puts rules into an order in which the first that matches decides:
// quick ones as they stand, then the others the other way round.
func firstMatch(filters []Filter) []Filter {
	var quick, last []Filter
	for _, f := range filters {
		if f.Quick {
			quick = append(quick, f)
		} else {
			last = append(last, f)
		}
	}
	slices.Reverse(last)
	return append(quick, last...)
}

func verdictWord(f *Filter, pass, block string) string {
	if f.Pass {
		return pass
	}
	return block
}

func nftRule(f *Filter) string {
	text := fmt.Sprintf("ip saddr %s ip daddr %s ", f.Src, f.Dst)
	if f.Src.Bits() == 0 {
		text = strings.TrimPrefix(text, "ip saddr 0.0.0.0/0 ")
	}
	text = strings.Replace(text, "ip daddr 0.0.0.0/0 ", "", 1)
	if f.Proto != 0 {
		text += fmt.Sprintf("meta l4proto %d ", f.Proto)
	}
	if f.hasPorts() {
		text += fmt.Sprintf("th sport %d-%d th dport %d-%d ", f.Sport[0], f.Sport[1], f.Dport[0], f.Dport[1])
	}
	return text + verdictWord(f, "accept", "drop")
}

// NFTLinear is a set of rules for nftables, one after the other.
func NFTLinear(filters []Filter) string {
	var b strings.Builder
	b.WriteString("table ip filter {\nchain forward {\ntype filter hook forward priority 0; policy accept;\n")
	for _, f := range firstMatch(filters) {
		b.WriteString(nftRule(&f) + "\n")
	}
	b.WriteString("}\n}\n")
	return b.String()
}

// IPTables is a set of rules for iptables-restore, one after the other.
func IPTables(filters []Filter) string {
	var b strings.Builder
	b.WriteString("*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n")
	for _, f := range firstMatch(filters) {
		fmt.Fprintf(&b, "-A FORWARD -s %s -d %s", f.Src, f.Dst)
		if f.Proto != 0 {
			fmt.Fprintf(&b, " -p %d", f.Proto)
		}
		if f.hasPorts() {
			name := map[uint8]string{6: "tcp", 17: "udp"}[f.Proto]
			fmt.Fprintf(&b, " -m %s --sport %d:%d --dport %d:%d", name, f.Sport[0], f.Sport[1], f.Dport[0], f.Dport[1])
		}
		b.WriteString(" -j " + verdictWord(&f, "ACCEPT", "DROP") + "\n")
	}
	b.WriteString("COMMIT\n")
	return b.String()
}

// dimension is a part of the key by which nftables can look up an interval.
type dimension struct {
	expression string
	address    bool
	most       uint32
	edges      func(f *Filter) (low, high uint32)
}

func prefixEdges(address [4]byte, bits int) (uint32, uint32) {
	low := binary.BigEndian.Uint32(address[:])
	return low, low | uint32(uint64(1)<<(32-bits)-1)
}

var dimensions = []dimension{
	{"ip saddr", true, ^uint32(0), func(f *Filter) (uint32, uint32) { return prefixEdges(f.Src.Addr().As4(), f.Src.Bits()) }},
	{"ip daddr", true, ^uint32(0), func(f *Filter) (uint32, uint32) { return prefixEdges(f.Dst.Addr().As4(), f.Dst.Bits()) }},
	{"meta l4proto", false, 255, func(f *Filter) (uint32, uint32) {
		if f.Proto == 0 {
			return 0, 255
		}
		return uint32(f.Proto), uint32(f.Proto)
	}},
}

const (
	nftLeaf  = 16 // rules that are not split further
	nftWays  = 64 // intervals of one map
	nftDepth = 3
	nftAdded = 4 // times the rules there are that the first split may make of them; later ones three
)

// nftSplit cuts rules by the intervals of one part of the key.
func nftSplit(rules []Filter, d *dimension) (starts []uint32, groups [][]Filter) {
	starts = []uint32{0}
	for i := range rules {
		low, high := d.edges(&rules[i])
		starts = append(starts, low)
		if high < d.most {
			starts = append(starts, high+1)
		}
	}
	slices.Sort(starts)
	starts = slices.Compact(starts)
	if step := (len(starts) + nftWays - 1) / nftWays; step > 1 {
		var fewer []uint32
		for i := 0; i < len(starts); i += step {
			fewer = append(fewer, starts[i])
		}
		starts = fewer
	}
	groups = make([][]Filter, len(starts))
	for i := range rules {
		low, high := d.edges(&rules[i])
		first, exact := slices.BinarySearch(starts, low)
		if !exact {
			first--
		}
		for g := first; g < len(starts) && starts[g] <= high; g++ {
			groups[g] = append(groups[g], rules[i])
		}
	}
	return starts, groups
}

type nftTree struct {
	chains strings.Builder
	next   int
}

// chain writes rules as a chain and returns its name.
func (n *nftTree) chain(rules []Filter, depth int) string {
	name := fmt.Sprintf("c%d", n.next)
	n.next++
	var best *dimension
	var starts []uint32
	var groups [][]Filter
	if len(rules) > nftLeaf && depth < nftDepth {
		least := len(rules)
		for i := range dimensions {
			s, g := nftSplit(rules, &dimensions[i])
			most, total := 0, 0
			for _, group := range g {
				most, total = max(most, len(group)), total+len(group)
			}
			room := nftAdded * len(rules)
			if depth > 0 {
				room = 3 * len(rules)
			}
			if most < least && total <= room {
				least, best, starts, groups = most, &dimensions[i], s, g
			}
		}
	}
	if best == nil {
		fmt.Fprintf(&n.chains, "chain %s {\n", name)
		for i := range rules {
			n.chains.WriteString(nftRule(&rules[i]) + "\n")
		}
		n.chains.WriteString("}\n")
		return name
	}
	value := func(v uint32) string {
		if best.address {
			return fmt.Sprintf("%d.%d.%d.%d", v>>24, v>>16&255, v>>8&255, v&255)
		}
		return fmt.Sprint(v)
	}
	var elements []string
	for i, group := range groups {
		if len(group) == 0 {
			continue
		}
		high := best.most
		if i+1 < len(starts) {
			high = starts[i+1] - 1
		}
		key := value(starts[i])
		if high != starts[i] {
			key += "-" + value(high)
		}
		elements = append(elements, key+" : goto "+n.chain(group, depth+1))
	}
	fmt.Fprintf(&n.chains, "chain %s {\n%s vmap { %s }\n}\n", name, best.expression, strings.Join(elements, ", "))
	return name
}

// NFTMaps is a set of rules in the best form that nftables has for it: verdict
// maps of intervals that lead to chains of few rules.
func NFTMaps(filters []Filter) string {
	n := &nftTree{}
	top := n.chain(firstMatch(filters), 0)
	return "table ip filter {\n" + n.chains.String() +
		"chain forward {\ntype filter hook forward priority 0; policy accept;\njump " + top + "\n}\n}\n"
}
