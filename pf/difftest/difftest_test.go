// Package difftest compares pf in the data path with the reference evaluator:
// random rulesets, and for each a sequence of packets that its rules know.
package difftest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/bsdnet/bsdnet/loader"
)

// Sizes of a run. BSDNET_DIFF_RULESETS asks for more rulesets,
// BSDNET_DIFF_SEED begins at another one.
const (
	defaultRulesets   = 200
	packetsPerRuleset = 60
)

func number(t *testing.T, variable string, otherwise int) int {
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

// TestDifferential wants the same from both builds and the reference: verdict,
// packet, counters of all rules, states.
func TestDifferential(t *testing.T) {
	rulesets := number(t, "BSDNET_DIFF_RULESETS", defaultRulesets)
	first := number(t, "BSDNET_DIFF_SEED", 1)
	packets := packetsPerRuleset
	if rulesets > defaultRulesets {
		packets = 100
	}
	r := newRouter(t)
	uses, kinds := make(map[string]int), make(map[string]int)
	failures := 0
	for seed := first; seed < first+rulesets && failures < 5; seed++ {
		for _, build := range []loader.Build{loader.XDP, loader.TC} {
			g := &generator{Rand: rand.New(rand.NewPCG(uint64(seed), 0))}
			t.Run(fmt.Sprintf("%d/%s", seed, build), func(t *testing.T) {
				r.TB = t
				x := r.begin(build, g.ruleset())
				defer x.end()
				g.traffic(x, packets, kinds)
				for construct, n := range x.firewall.Uses {
					uses[construct] += n
				}
				if t.Failed() {
					failures++
				}
			})
		}
	}
	r.TB = t
	for title, counts := range map[string]map[string]int{"construct": uses, "traffic": kinds} {
		for _, name := range slices.Sorted(maps.Keys(counts)) {
			fmt.Printf("%-10s %-40s %8d\n", title, name, counts[name])
		}
	}
}
