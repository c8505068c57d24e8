package difftest

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/loader"
)

// flowRulesets let conversations go on, so that they have flows.
var flowRulesets = map[string]string{
	"plain":       "pass\n",
	"two rules":   "block\npass in\npass out\n",
	"if-bound":    "set state-policy if-bound\npass\n",
	"max-mss":     "match all scrub (max-mss 1301)\npass\n",
	"no state":    "pass in no state\npass out\n",
	"sloppy":      "pass in keep state (sloppy)\npass out\n",
	"nat":         "nat on em1 -> 203.0.113.1\npass\n",
	"nat-to":      "match out on em1 inet from 10.0.0.0/8 nat-to 203.0.113.1\npass\n",
	"nat66":       "match out on em1 inet6 nat-to 2001:db8:1::1\npass\n",
	"rdr":         "rdr on em0 inet proto tcp to any port 80 -> 203.0.113.9 port 8080\npass\n",
	"rdr-to nat":  "match in on em0 inet proto { tcp udp } to any rdr-to 203.0.113.9\nmatch out on em1 inet nat-to 203.0.113.1\npass\n",
	"blocked":     "pass in\nblock out on em1 proto udp\n",
	"timeouts":    "set timeout { tcp.established 60, udp.multiple 30 }\npass in keep state (tcp.established 20)\npass out\n",
	"logged":      "pass in log (all)\npass out\n",
	"set-tos":     "match all set tos 0x10\npass\n",
	"scrub":       "scrub in all no-df\nscrub out on em1 proto tcp max-mss 1301\npass\n",
	"scrub twice": "scrub in all min-ttl 70\nscrub out all min-ttl 65\nmatch in scrub (no-df)\nmatch out on em1 inet nat-to 203.0.113.1 scrub (min-ttl 66)\npass\n",
}

// TestFlow is the differential test where the short way is taken often: by
// conversations that go on, while what flows are made of changes.
func TestFlow(t *testing.T) {
	r := newRouter(t)
	// Those that must not take it, with the reason.
	long := map[string]bool{"sloppy": true, "logged": true}
	for name, rules := range flowRulesets {
		for _, build := range []loader.Build{loader.XDP, loader.TC} {
			t.Run(fmt.Sprintf("%s/%s", name, build), func(t *testing.T) {
				r.TB = t
				before := r.flows()
				for seed := range uint64(4) {
					g := &generator{Rand: rand.New(rand.NewPCG(seed, 1))}
					x := r.begin(build, rules)
					for range 8 {
						g.traffic(x, 40, map[string]int{})
						switch g.IntN(4) {
						case 0:
							atomic.AddUint64(r.config.FIBGeneration(), 1)
						case 1:
							if err := r.config.Commit(func(*bpf.Config) error { return nil }); err != nil {
								t.Fatal(err)
							}
						}
					}
					x.end()
				}
				flows := r.flows() - before
				if long[name] != (flows == 0) {
					t.Errorf("%d packets went the short way", flows)
				}
			})
		}
	}
}
