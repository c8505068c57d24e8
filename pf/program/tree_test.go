package program

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unsafe"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/pf/conf"
)

// compile compiles the text of a ruleset for a host on which everything is there.
func compile(t testing.TB, text string) *Program {
	t.Helper()
	rs, err := conf.Load("test", strings.NewReader(text), conf.Config{})
	if err != nil {
		t.Fatal(err)
	}
	p, errs := Compile(rs, noHost{})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return p
}

func (p *Program) rule(line uint32) *bpf.PFRule {
	return (*bpf.PFRule)(unsafe.Pointer(&p.Lines[line]))
}

// matches is what the data path asks of a rule, as far as these tests go.
func matches(r *bpf.PFRule, ext *bpf.PFRuleExt, key *[treeWords]uint32, six bool) bool {
	box := ruleBox(r, ext, six)
	for i, word := range key {
		if word < box.low[i] || word > box.high[i] {
			return false
		}
	}
	return true
}

// linear is pf's verdict by walking the list.
func linear(p *Program, key *[treeWords]uint32, six bool, direction uint32) int {
	head := (*bpf.PFRuleset)(unsafe.Pointer(&p.Lines[0]))
	found := -1
	for line := head.Filter; line < head.Filter+head.FilterCount; line++ {
		r := p.rule(line)
		if r.Flags&direction == 0 || r.Af == 4 && six || r.Af == 6 && !six {
			continue
		}
		if matches(r, p.ext(r.Ext), key, six) {
			found = int(line)
			if r.Flags&bpf.PfrQuick != 0 {
				break
			}
		}
	}
	return found
}

func (p *Program) ext(line uint32) *bpf.PFRuleExt {
	if line == 0 {
		return nil
	}
	return (*bpf.PFRuleExt)(unsafe.Pointer(&p.Lines[line]))
}

// walk is the verdict by the trees, as the data path walks them: the rank of
// the rule that decides, or -1, and how many rules and nodes were looked at.
func walk(t testing.TB, p *Program, key *[treeWords]uint32, six bool, direction int) (rank, looked int) {
	t.Helper()
	roots := (*bpf.PFRoots)(unsafe.Pointer(&p.Lines[bpf.PFTreeRoots]))
	ranks := (*bpf.PFRoots)(unsafe.Pointer(&p.Lines[bpf.PFTreeRoots+1]))
	family := 0
	if six {
		family = 1
	}
	rank = -1
	for part := range bpf.PFTreeParts {
		node := roots.Root[family][direction][part]
		if node == 0 || rank >= 0 && int(ranks.Root[family][direction][part]) >= rank {
			continue
		}
		for depth := 0; node != 0; depth++ {
			if depth > int(bpf.PFTreeDepth) {
				t.Fatal("tree too deep")
			}
			looked++
			n := (*[4]bpf.PFTreeNode)(unsafe.Pointer(&p.Lines[node/4]))[node%4]
			if n.Word != bpf.PFTreeLeaf {
				node = n.Right
				if key[n.Word] <= n.Threshold {
					node = n.Left
				}
				continue
			}
			for line := n.Threshold; line < n.Threshold+n.Left; line++ {
				looked++
				r := p.rule(line)
				if matches(r, p.ext(r.Ext), key, six) {
					if rank < 0 || int(r.Skip) < rank {
						rank = int(r.Skip)
					}
					break
				}
			}
			break
		}
	}
	return rank, looked
}

// rankOf is the rank of the rule in a line of the list.
func rankOf(p *Program, line int) int {
	head := (*bpf.PFRuleset)(unsafe.Pointer(&p.Lines[0]))
	quick, last := 0, 0
	total := 0
	for l := head.Filter; l < head.Filter+head.FilterCount; l++ {
		if p.rule(l).Flags&bpf.PfrQuick != 0 {
			total++
		}
	}
	for l := head.Filter; l < uint32(line); l++ {
		if p.rule(l).Flags&bpf.PfrQuick != 0 {
			quick++
		} else {
			last++
		}
	}
	if p.rule(uint32(line)).Flags&bpf.PfrQuick != 0 {
		return quick
	}
	return total + int(head.FilterCount) - total - 1 - last
}

// randomRules writes rules whose addresses nest and overlap.
func randomRules(random *rand.Rand, n int, six bool) string {
	var b strings.Builder
	b.WriteString("set ruleset-optimization none\n")
	address := func() string {
		switch {
		case random.IntN(4) == 0:
			return "any"
		case six:
			return fmt.Sprintf("2001:db8:%x:%x::/%d", random.IntN(4), random.IntN(4)<<14, []int{32, 48, 50, 64, 128}[random.IntN(5)])
		}
		return fmt.Sprintf("10.%d.%d.%d/%d", random.IntN(3), random.IntN(4)<<6, random.IntN(256), []int{8, 12, 16, 18, 24, 32}[random.IntN(6)])
	}
	port := func() string {
		if random.IntN(2) == 0 {
			return ""
		}
		low := random.IntN(2000)
		return fmt.Sprintf(" port %d:%d", low, low+random.IntN(500))
	}
	for range n {
		line := []string{"pass", "block"}[random.IntN(2)] + []string{"", " in", " out"}[random.IntN(3)]
		if random.IntN(3) == 0 {
			line += " quick"
		}
		line += map[bool]string{true: " inet6", false: " inet"}[six]
		if random.IntN(3) > 0 {
			line += fmt.Sprintf(" proto %s from %s%s to %s%s", []string{"tcp", "udp"}[random.IntN(2)], address(), port(), address(), port())
		} else {
			line += fmt.Sprintf(" from %s to %s", address(), address())
		}
		if strings.HasPrefix(line, "pass") {
			line += " flags any no state"
			if !strings.Contains(line, "tcp") {
				line = strings.Replace(line, " flags any", "", 1)
			}
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

func randomKey(random *rand.Rand, six bool) (key [treeWords]uint32) {
	for _, at := range []uint32{bpf.PFWordSrc, bpf.PFWordDst} {
		if six {
			key[at], key[at+1] = 0x20010db8, uint32(random.IntN(4))<<16|uint32(random.IntN(4))<<14
			key[at+3] = uint32(random.IntN(2))
		} else {
			key[at] = 10<<24 | uint32(random.IntN(3))<<16 | uint32(random.IntN(4))<<14 | uint32(random.IntN(256))
		}
	}
	key[bpf.PFWordSport], key[bpf.PFWordDport] = uint32(random.IntN(2600)), uint32(random.IntN(2600))
	key[bpf.PFWordProto] = []uint32{6, 17, 47}[random.IntN(3)]
	return key
}

// TestTrees wants the trees and the list to decide alike, on random rules and
// packets.
func TestTrees(t *testing.T) {
	random := rand.New(rand.NewPCG(17, 4))
	decided := 0
	for round := range 60 {
		six := round%2 == 1
		p := compile(t, randomRules(random, 10+random.IntN(300), six))
		for range 400 {
			key := randomKey(random, six)
			for direction, bit := range []uint32{bpf.PfrIn, bpf.PfrOut} {
				line := linear(p, &key, six, bit)
				want := -1
				if line >= 0 {
					want = rankOf(p, line)
					decided++
				}
				if got, _ := walk(t, p, &key, six, direction); got != want {
					t.Fatalf("round %d: trees say rank %d, the list %d, for %v", round, got, want, key)
				}
			}
		}
	}
	if decided < 10000 {
		t.Errorf("only %d packets matched a rule", decided)
	}
}

// TestTreeWhen wants trees for plain rules alone.
func TestTreeWhen(t *testing.T) {
	plain := strings.Repeat("block in from 10.0.0.1\n", 2)
	for i := range 20 {
		plain += fmt.Sprintf("pass in from 10.0.%d.0/24 no state\n", i)
	}
	for name, c := range map[string]struct {
		text string
		want bool
	}{
		"plain":  {plain, true},
		"few":    {"block all\n", false},
		"match":  {plain + "match in from 10.0.0.0/8 tag x\n", false},
		"anchor": {plain + "anchor \"a\" {\nblock all\n}\n", false},
	} {
		p := compile(t, c.text)
		head := (*bpf.PFRuleset)(unsafe.Pointer(&p.Lines[0]))
		if got := head.Flags&bpf.PFTrees != 0; got != c.want {
			t.Errorf("%s: trees %v, want %v", name, got, c.want)
		}
	}
}
