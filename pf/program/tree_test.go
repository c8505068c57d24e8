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

// compileText compiles the text of a ruleset for a host on which everything is there.
func compileText(t testing.TB, text string) *Program {
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

// linear is the line of the rule that decides, by walking the list without
// its trees, 0 if none.
func linear(p *Program, key *[treeWords]uint32, six bool, direction uint32) (found uint32) {
	head := (*bpf.PFRuleset)(unsafe.Pointer(&p.Lines[0]))
	for line := head.Filter; line < head.Filter+head.FilterCount; line++ {
		r := p.rule(line)
		if uint32(r.Action) == bpf.PFTree || r.Flags&direction == 0 || r.Af == 4 && six || r.Af == 6 && !six {
			continue
		}
		if matches(r, p.ext(r.Ext), key, six) {
			found = line
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

// lineOf is the line of the rule with a rank.
func lineOf(rank uint32) uint32 {
	if rank <= bpf.PFRankQuick {
		return rank
	}
	return bpf.PFRankLast - rank
}

// descend goes from a root to a leaf as the data path does.
func descend(t testing.TB, p *Program, child uint32, key *[treeWords]uint32) uint32 {
	t.Helper()
	for range bpf.PFTreeLines {
		if child&bpf.PFChildLeaf != 0 {
			return child
		}
		cuts := (*bpf.PFCuts)(unsafe.Pointer(&p.Lines[child]))
		at := uint32(0)
		for range 3 {
			word := key[cuts.Words>>(4*at)&15]
			if at = 2*at + 1; word > cuts.Threshold[at/2] {
				at++
			}
		}
		child = cuts.Child[at-bpf.PFTreeCuts]
	}
	if child&bpf.PFChildLeaf == 0 {
		t.Fatal("tree too deep")
	}
	return child
}

// classify is the line of the rule of a run that decides, by its trees.
func classify(t testing.TB, p *Program, roots uint32, key *[treeWords]uint32, six bool, direction int) uint32 {
	t.Helper()
	if six {
		roots += 2
	}
	row := (*bpf.PFRoots)(unsafe.Pointer(&p.Lines[roots+uint32(direction)]))
	best := ^uint32(0)
	for part, root := range row.Root {
		if root == 0 || row.Rank[part] >= best {
			continue
		}
		leaf := descend(t, p, root, key)
		line, count := leaf&bpf.PFChildLine, leaf>>bpf.PFChildCount&bpf.PFChildCountMask
		if leaf&bpf.PFChildLong != 0 {
			count = (*bpf.PFLeaf)(unsafe.Pointer(&p.Lines[line])).Count
			line++
		}
		for ; count > 0; count-- {
			if r := p.rule(line); matches(r, p.ext(r.Ext), key, six) {
				best = min(best, r.Skip)
				break
			}
			line++
		}
	}
	if best == ^uint32(0) {
		return 0
	}
	return lineOf(best)
}

// walk is the line of the rule that decides, by the trees of the list.
func walk(t testing.TB, p *Program, key *[treeWords]uint32, six bool, direction int, bit uint32) (found uint32) {
	t.Helper()
	head := (*bpf.PFRuleset)(unsafe.Pointer(&p.Lines[0]))
	for line := head.Filter; line < head.Filter+head.FilterCount; {
		r := p.rule(line)
		decided := uint32(0)
		if uint32(r.Action) == bpf.PFTree {
			decided = classify(t, p, r.Ext, key, six, direction)
			line = r.Skip
		} else {
			if r.Flags&bit != 0 && (r.Af == 0 || (r.Af == 6) == six) && matches(r, p.ext(r.Ext), key, six) {
				decided = line
			}
			line++
		}
		if decided != 0 {
			if found = decided; p.rule(found).Flags&bpf.PfrQuick != 0 {
				break
			}
		}
	}
	return found
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
		p := compileText(t, randomRules(random, 10+random.IntN(300), six))
		for range 400 {
			key := randomKey(random, six)
			for direction, bit := range []uint32{bpf.PfrIn, bpf.PfrOut} {
				want := linear(p, &key, six, bit)
				if want != 0 {
					decided++
				}
				if got := walk(t, p, &key, six, direction, bit); got != want {
					t.Fatalf("round %d: trees say line %d, the list %d, for %v", round, got, want, key)
				}
			}
		}
	}
	if decided < 10000 {
		t.Errorf("only %d packets matched a rule", decided)
	}
}

// TestLongLeaf wants rules that no cut tells apart to be found all the same.
func TestLongLeaf(t *testing.T) {
	text := "set ruleset-optimization none\n"
	for i := range 40 {
		text += fmt.Sprintf("pass in inet from 10.0.0.0/8 to any tos %d no state\n", 4*i+4)
	}
	p := compileText(t, text+"block in quick inet from 10.1.2.3 to any\n")
	key := [treeWords]uint32{bpf.PFWordSrc: 10<<24 | 5}
	if got, want := walk(t, p, &key, false, 0, bpf.PfrIn), linear(p, &key, false, bpf.PfrIn); got != want || want == 0 {
		t.Errorf("line %d decides, want %d", got, want)
	}
	if p.Trees != 1 {
		t.Errorf("%d trees", p.Trees)
	}
}

// TestTreeWhen wants trees for runs of plain rules, wherever they stand.
func TestTreeWhen(t *testing.T) {
	plain := strings.Repeat("block in from 10.0.0.1\n", 2)
	for i := range 20 {
		plain += fmt.Sprintf("pass in from 10.0.%d.0/24 no state\n", i)
	}
	for name, c := range map[string]struct {
		text string
		want int
	}{
		"plain":       {plain, 1},
		"few":         {"block all\n", 0},
		"match":       {plain + "match in from 10.0.0.0/8 tag x\n" + plain, 2},
		"anchor":      {"anchor \"a\" {\n" + plain + "}\n" + plain, 2},
		"tagged":      {"match in from 10.0.0.0/8 tag x\npass in tagged x no state\n" + plain, 1},
		"translation": {strings.Repeat("rdr on lo0 proto tcp to 10.0.0.1 port 80 -> 10.0.0.2\n", 9), 1},
	} {
		p := compileText(t, "set ruleset-optimization none\n"+c.text)
		if p.Trees != c.want {
			t.Errorf("%s: %d runs have trees, want %d", name, p.Trees, c.want)
		}
	}
}
