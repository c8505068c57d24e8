package route

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/route/api"
	"github.com/bsdnet/bsdnet/route/fibalgo"
)

func loadOf(dsts []netip.Prefix, gateways int) iter.Seq2[api.RouteRequest, error] {
	return func(yield func(api.RouteRequest, error) bool) {
		for i, dst := range dsts {
			gateway := netip.AddrFrom4([4]byte{192, 0, 2, byte(2 + i%gateways)})
			if !yield(api.RouteRequest{Dst: dst, Gateway: gateway, Flags: api.Static | api.Gateway}, nil) {
				return
			}
		}
	}
}

func TestLoad(t *testing.T) {
	l := newLab(t)
	table := l.start()
	dsts := fibalgo.Internet(rand.New(rand.NewPCG(1, 9)), 5000, true)
	if n, err := table.Load(loadOf(dsts, 50)); err != nil || n != len(dsts) {
		t.Fatalf("%d routes, %v", n, err)
	}
	l.agree(table, true, 20_000)
	e, err := table.RouteGet(context.Background(), api.RouteRequest{Dst: dsts[7], Exact: true})
	if err != nil || e.Gateway != mustAddr("192.0.2.9") || e.Flags != api.Up|api.Gateway|api.Static || e.Interface.Name != "em0" || e.Nexthop == 0 {
		t.Errorf("%+v, %v", e, err)
	}
	within(t, 10*time.Second, "Linux has them", func() bool { return table.Stats().Unmirrored == 0 })
	if out := l.ip("route show " + dsts[7].String()); !strings.Contains(out, "via 192.0.2.9") {
		t.Errorf("Linux: %s", out)
	}
	if err := table.compare(); err != nil {
		t.Fatal(err)
	}
	if s := table.Stats(); s.Repairs != 0 || s.MapErrors != 0 || s.MirrorLag != "" {
		t.Errorf("stats: %+v", s)
	}
	// What cannot be, or is there already, changes nothing.
	before := table.Algo(api.Inet).Routes
	fresh := mustPrefix("203.0.113.128/25")
	for name, bad := range map[string]iter.Seq2[api.RouteRequest, error]{
		"there": loadOf([]netip.Prefix{fresh, dsts[3]}, 5),
		"twice": loadOf([]netip.Prefix{fresh, fresh}, 5),
		"unreachable": func(yield func(api.RouteRequest, error) bool) {
			_ = yield(api.RouteRequest{Dst: fresh, Gateway: mustAddr("192.0.2.2"), Flags: api.Static}, nil) &&
				yield(api.RouteRequest{Dst: mustPrefix("10.250.0.0/16"), Gateway: mustAddr("192.88.99.1"), Flags: api.Static}, nil)
		},
	} {
		_, err := table.Load(bad)
		var wrong *LoadError
		var failed *api.Error
		if !errors.As(err, &failed) {
			t.Errorf("%s: %v", name, err)
		}
		if !errors.As(err, &wrong) || wrong.Number != 2 {
			t.Errorf("%s: %v", name, err)
		}
		if now := table.Algo(api.Inet).Routes; now != before {
			t.Errorf("%s: %d routes, %d before", name, now, before)
		}
	}
	// The mirror's limit.
	table.SetMirrorLimit(5100)
	more := make([]netip.Prefix, 200)
	for i := range more {
		more[i] = mustPrefix(fmt.Sprintf("198.19.%d.0/24", i))
	}
	if _, err := table.Load(loadOf(more, 5)); err != nil {
		t.Fatal(err)
	}
	within(t, 5*time.Second, "100 more are in Linux", func() bool { return table.Stats().Unmirrored == 100 })
	table.SetMirrorLimit(MirrorAll)
	within(t, 5*time.Second, "all are", func() bool { return table.Stats().Unmirrored == 0 })
}

// BenchmarkLoad is a full table, from requests to right maps; and one change
// to it.
func BenchmarkLoad(b *testing.B) {
	for _, n := range []int{100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			l := newLab(b)
			dsts := fibalgo.Internet(rand.New(rand.NewPCG(1, 9)), n, true)
			for b.Loop() {
				b.StopTimer()
				l.maps = newMaps(b, 1<<17)
				table := l.start()
				table.SetMirrorLimit(0)
				b.StartTimer()
				if _, err := table.Load(loadOf(dsts, 200)); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				began := time.Now()
				const changes = 200
				for i := range changes {
					q := api.RouteRequest{Dst: dsts[i*37], Gateway: mustAddr("192.0.2.250"), Flags: api.Static}
					if _, err := table.RouteChange(context.Background(), q); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(time.Since(began).Microseconds())/changes, "µs/change")
				b.ReportMetric(float64(table.Algo(api.Inet).Bytes)/(1<<20), "MiB")
				table.Close()
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/route")
		})
	}
}
