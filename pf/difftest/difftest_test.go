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
	"time"

	"github.com/bsdnet/bsdnet/loader"
)

// Sizes of a run. BSDNET_DIFF_RULESETS asks for more rulesets,
// BSDNET_DIFF_SEED begins at another one.
const (
	defaultRulesets   = 200
	packetsPerRuleset = 60
	longRulesets      = 10000
	longPackets       = 100
	longUses          = 1000 // at least, of each construct in a long run
)

// constructs are what has to take part in decisions often enough.
var constructs = []string{
	"pass", "block", "match", "quick", "direction", "inet", "inet6", "proto", "flags", "icmp-type", "icmp code", "tos", "fragments",
	"on interface", "on ! interface", "on group", "set skip",
	"from or to prefix", "from or to range", "from or to <table>", "from or to (interface)", "from ! or to !",
	"from port =", "from port !=", "from port <", "from port <=", "from port >", "from port >=", "from port :", "from port ><", "from port <>",
	"to port =", "to port !=", "to port <", "to port <=", "to port >", "to port >=", "to port :", "to port ><", "to port <>",
	"tag", "tagged", "! tagged", "anchor", "anchor quick", "anchor wildcard",
	"keep state", "no state", "sloppy", "if-bound", "allow-opts", "return",
	"scrub", "no scrub", "no-df", "min-ttl", "max-mss", "set-tos", "fragment to reassemble", "fragment with df",
	"timeout of a rule", "max states of a rule", "short way of a flow",
	"nat", "nat pass", "no nat", "rdr", "no rdr", "bitmask", "static-port", "binat", "no binat", "round-robin", "random", "source-hash",
	"sticky-address of a known source", "sticky-address of a new source",
	"pool of (interface)", "pool of <table>", "pool of a list", "next address for a free port",
	"nat-to of nat", "nat-to of match", "nat-to of pass", "rdr-to of rdr", "rdr-to of match", "rdr-to of pass",
	"no-route", "urpf-failed", "received-on", "! received-on",
	"drop short", "drop normalize", "drop state-limit", "options blocked", "fragment", "adaptive timeout", "state over", "state mismatch",
	"icmp error of state", "icmp error translated", "icmp error out of window", "icmp error without state",
}

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
		packets = longPackets
	}
	r := newRouter(t)
	uses, kinds := make(map[string]int), make(map[string]int)
	trees := 0
	failures, done := 0, 0
	deadline, limited := t.Deadline()
	for seed := first; seed < first+rulesets && failures < 5; seed++ {
		if limited && time.Until(deadline) < 20*time.Second {
			t.Logf("stopped in time after %d of %d rulesets", done, rulesets)
			break
		}
		done++
		for _, build := range []loader.Build{loader.XDP, loader.TC} {
			g := &generator{Rand: rand.New(rand.NewPCG(uint64(seed), 0))}
			t.Run(fmt.Sprintf("%d/%s", seed, build), func(t *testing.T) {
				r.TB = t
				x := r.begin(build, g.ruleset())
				defer x.end()
				trees += btoi(x.trees)
				before := r.flows()
				g.traffic(x, packets, kinds)
				uses["short way of a flow"] += int(r.flows() - before)
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
	fmt.Printf("%d of %d programs have decision trees\n", trees, 2*done)
	if uses["short way of a flow"] == 0 {
		t.Error("no packet went the short way")
	}
	for _, name := range constructs {
		if done >= longRulesets && failures == 0 && uses[name] < longUses {
			t.Errorf("%s took part %d times, want at least %d", name, uses[name], longUses)
		}
	}
}
