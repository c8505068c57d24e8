package conf

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
)

// packet is what the rules of TestOptimizeKeepsMeaning look at.
type packet struct {
	in       bool
	iface    string
	proto    uint8
	src, dst netip.Addr
	srcPort  uint16
	dstPort  uint16
}

// evaluator decides about packets by the rules, one after the other.
type evaluator struct {
	tables map[string][]netip.Prefix
}

func newEvaluator(rs *Ruleset) *evaluator {
	e := &evaluator{tables: make(map[string][]netip.Prefix)}
	for _, t := range rs.Main.Tables {
		for _, p := range t.Prefixes {
			e.tables[t.Name] = append(e.tables[t.Name], p.Prefix)
		}
	}
	return e
}

// verdict is what happens to a packet: what the deciding rule does, and the tags
// that match rules set before.
func (e *evaluator) verdict(rs *Ruleset, p packet) string {
	verdict, tag := "pass by default", ""
	for _, r := range rs.Main.Filter {
		if !e.matches(r, p) || r.Tagged != "" && (r.Tagged == tag) == r.TaggedNot {
			continue
		}
		if r.Tag != "" {
			tag = r.Tag
		}
		if r.Action == Match {
			continue
		}
		verdict = fmt.Sprint(r.Action, r.Return, r.State, r.Log, r.Labels, r.StateOptions.Max)
		if r.Quick {
			break
		}
	}
	return verdict + " tag " + tag
}

func (e *evaluator) matches(r *Rule, p packet) bool {
	switch {
	case r.Direction == In && !p.in, r.Direction == Out && p.in:
		return false
	case r.Interface != "" && (r.Interface == p.iface) == r.InterfaceNot:
		return false
	case r.Family == Inet && !p.src.Is4(), r.Family == Inet6 && p.src.Is4():
		return false
	case r.Protocol != 0 && r.Protocol != p.proto:
		return false
	}
	return e.address(&r.Src, p.src) && e.address(&r.Dst, p.dst) &&
		portMatches(r.Src.Port, p.srcPort) && portMatches(r.Dst.Port, p.dstPort)
}

func (e *evaluator) address(a *RuleAddr, ip netip.Addr) bool {
	found := false
	switch a.Addr.Kind {
	case AddrAny:
		return true
	case AddrPrefix:
		found = netip.PrefixFrom(a.Addr.IP, int(a.Addr.Bits)).Contains(ip)
	case AddrTable:
		for _, p := range e.tables[a.Addr.Name] {
			found = found || p.Contains(ip)
		}
	}
	return found != a.Not
}

func portMatches(r PortRange, port uint16) bool {
	switch r.Op {
	case OpEqual:
		return port == r.Low
	case OpRange:
		return port >= r.Low && port <= r.High
	case OpMore:
		return port > r.Low
	}
	return true
}

// randomRules is a ruleset that gives the optimizer much to do.
func randomRules(rnd *rand.Rand) string {
	pick := func(words ...string) string { return words[rnd.IntN(len(words))] }
	var b strings.Builder
	for range 5 + rnd.IntN(40) {
		action := pick("pass", "pass", "block", "block", "block return", "match")
		b.WriteString(action)
		b.WriteString(pick("", " in", " in", " out"))
		if action != "match" {
			b.WriteString(pick("", "", "", " log"))
			b.WriteString(pick("", "", "", " quick"))
		}
		b.WriteString(pick("", "", " on em0", " on em1", " on ! em0"))
		six := rnd.IntN(5) == 0
		proto := pick("", " proto tcp", " proto udp", " proto { tcp, udp }")
		b.WriteString(proto)
		address := func() string {
			if six {
				return pick("any", "2001:db8::/64", "2001:db8::1", "<t>")
			}
			return pick("any", "any", "10.0.0.0/8", "10.0.0.0/30", "! 10.0.0.0/29", "<t>",
				"{ 10.0.0.1, 10.0.0.2, 10.0.0.3, 10.0.0.4, 10.0.0.5, 10.0.0.6, 10.0.0.7 }",
				fmt.Sprintf("10.0.0.%d", rnd.IntN(8)), fmt.Sprintf("10.0.0.%d", rnd.IntN(8)))
		}
		port := func() string {
			if proto == "" {
				return ""
			}
			return pick("", "", " port 1", " port 1:3", " port > 2", " port { 1, 2, 3, 4, 5, 6, 7 }")
		}
		b.WriteString(" from " + address() + port() + " to " + address() + port())
		b.WriteString(pick("", "", "", "", " label x"))
		if action == "match" {
			b.WriteString(" tag " + pick("red", "blue"))
		} else {
			b.WriteString(pick("", "", "", " tagged red", " ! tagged blue"))
		}
		if action == "pass" {
			b.WriteString(pick("", "", " no state", " keep state (max 5)"))
		}
		b.WriteString("\n")
	}
	return b.String()
}

func randomPacket(rnd *rand.Rand) packet {
	p := packet{
		in: rnd.IntN(2) == 0, iface: fmt.Sprintf("em%d", rnd.IntN(2)),
		proto: []uint8{1, protocolTCP, protocolUDP}[rnd.IntN(3)],
	}
	address := func() netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(rnd.IntN(9))}) }
	if rnd.IntN(4) == 0 {
		base := netip.MustParseAddr("2001:db8::").As16()
		address = func() netip.Addr {
			base[15] = byte(rnd.IntN(3))
			return netip.AddrFrom16(base)
		}
	}
	p.src, p.dst = address(), address()
	if p.proto != 1 {
		p.srcPort, p.dstPort = uint16(rnd.IntN(9)), uint16(rnd.IntN(9))
	}
	return p
}

// TestOptimizeKeepsMeaning compares what rules do to random packets before and
// after the optimizer, with invented counters for profile.
func TestOptimizeKeepsMeaning(t *testing.T) {
	before, after := 0, 0
	for seed := range uint64(400) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		text := "table <t> { 10.0.0.2, 10.0.0.5, 2001:db8::1 }\n" + randomRules(rnd)
		for _, dialect := range []Dialect{FreeBSD, OpenBSD} {
			load := func() *Ruleset {
				rs, err := Load("random", strings.NewReader(text), Config{Dialect: dialect})
				if err != nil {
					t.Fatalf("%s%v", text, err)
				}
				return rs
			}
			plain, optimized := load(), load()
			level := []Optimization{OptimizeBasic, OptimizeProfile}[seed%2]
			counters := make(map[*Rule]uint64)
			Optimize(optimized, OptimizeOptions{Level: level, Packets: func(r *Rule) (uint64, bool) {
				if _, ok := counters[r]; !ok {
					counters[r] = uint64(rnd.IntN(100))
				}
				return counters[r], true
			}})
			before += len(plain.Main.Filter)
			after += len(optimized.Main.Filter)
			one, two := newEvaluator(plain), newEvaluator(optimized)
			for range 150 {
				p := randomPacket(rnd)
				if want, got := one.verdict(plain, p), two.verdict(optimized, p); want != got {
					var b strings.Builder
					Format(&b, optimized, FormatOptions{})
					t.Fatalf("seed %d, %v: %+v: %s, optimized %s\n%s\n%s", seed, dialect, p, want, got, text, b.String())
				}
			}
		}
	}
	t.Logf("%d rules became %d", before, after)
	if after >= before {
		t.Error("nothing was optimized")
	}
}
