package difftest

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/loader"
)

// Days of conversations with pauses of seconds to hours, in which the clock is
// moved: states end neither early nor late, and none is left over.
func TestDay(t *testing.T) {
	r := newRouter(t)
	for _, build := range []loader.Build{loader.XDP, loader.TC} {
		t.Run(string(build), func(t *testing.T) {
			r.TB = t
			g := &generator{Rand: rand.New(rand.NewPCG(86400, 0))}
			x := r.begin(build, "pass keep state\n")
			defer x.end()
			kinds, packets, most := make(map[string]int), 0, 0
			for (x.advanced < 24*time.Hour || packets < 3000) && !x.failed {
				n := 1 + g.IntN(20)
				g.traffic(x, n, kinds)
				packets += n
				most = max(most, len(x.firewall.States()))
				x.history = nil
				x.advance(time.Duration(1+g.IntN(600)) * time.Second)
			}
			t.Logf("%s: %v simulated, %d packets, at most %d states at once, compared after each packet", build, x.advanced, packets, most)
		})
	}
	r.TB = t
}
