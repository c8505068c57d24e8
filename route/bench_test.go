package route

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/route/api"
)

var benchSizes = []int{1000, 100_000}

func benchPrefix(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
}

// fillLinux adds n routes with ip(8).
func (l *lab) fillLinux(n int) {
	var commands strings.Builder
	for i := range n {
		fmt.Fprintf(&commands, "route add %s via 192.0.2.%d\n", benchPrefix(i), 2+i%16)
	}
	l.batch(commands.String())
}

// BenchmarkStart is the time from the start of the daemon to right maps, with
// the routes in Linux and the maps empty.
func BenchmarkStart(b *testing.B) {
	for _, n := range benchSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			l := newLab(b)
			l.fillLinux(n)
			for b.Loop() {
				b.StopTimer()
				l.maps = newMaps(b, 1<<17)
				b.StartTimer()
				l.start()
				b.StopTimer()
				l.table.Close()
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/route")
		})
	}
}

// BenchmarkRestart is the same with the maps as they should be.
func BenchmarkRestart(b *testing.B) {
	for _, n := range benchSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			l := newLab(b)
			l.fillLinux(n)
			l.start().Close()
			for b.Loop() {
				l.start().Close()
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/route")
		})
	}
}

// BenchmarkFollow is the time to take over routes that Linux tells of while
// the Table runs: RIB and maps, without the kernel's own time.
func BenchmarkFollow(b *testing.B) {
	for _, n := range benchSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			l := newLab(b)
			table := l.start()
			em0, _ := l.interfaces.ByName("em0")
			batches := func(deleted bool) []kernelBatch {
				var all []kernelBatch
				for i := 0; i < n; i += 1000 {
					var batch kernelBatch
					for j := i; j < min(i+1000, n); j++ {
						batch.events = append(batch.events, kernelEvent{deleted: deleted, port: 1, route: &linuxRoute{
							dst: benchPrefix(j), table: unix.RT_TABLE_MAIN, kind: unix.RTN_UNICAST, protocol: unix.RTPROT_BGP,
							hops: []linuxHop{{ifindex: em0.Index, gateway: mustAddr(fmt.Sprintf("192.0.2.%d", 2+j%16)), weight: 1}},
						}})
					}
					all = append(all, batch)
				}
				return all
			}
			for b.Loop() {
				b.StopTimer()
				adds, deletes := batches(false), batches(true)
				b.StartTimer()
				for _, batch := range adds {
					table.takeKernel(batch)
				}
				b.StopTimer()
				for _, batch := range deletes {
					table.takeKernel(batch)
				}
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/route")
		})
	}
}

// BenchmarkRouteAdd is one route added by a command: RIB, maps and Linux.
func BenchmarkRouteAdd(b *testing.B) {
	l := newLab(b)
	table := l.start()
	i := 0
	for b.Loop() {
		req := api.RouteRequest{Dst: benchPrefix(i % 100_000), Gateway: mustAddr("192.0.2.2"), Flags: api.Static}
		if _, err := table.RouteAdd(context.Background(), req); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

// TestFollowLag adds many routes with ip(8) and measures how far the maps are
// behind when ip returns.
func TestFollowLag(t *testing.T) {
	n := 1000
	if !testing.Short() {
		n = 20_000
	}
	l := newLab(t)
	table := l.start()
	began := time.Now()
	l.fillLinux(n)
	took := time.Since(began)
	lag := within(t, 5*time.Second, "caught up", func() bool {
		_, ok := lookupMap(t, l.maps, benchPrefix(n-1).Addr())
		return ok && table.Stats().Forwarding >= n
	})
	t.Logf("%d routes: ip took %v, the maps were right %v later", n, took, lag)
	if lag > max(100*time.Millisecond, took/5) {
		t.Errorf("maps were %v behind", lag)
	}
	if s := table.Stats(); s.Overflows != 0 || s.Resyncs != 1 {
		t.Errorf("stats: %+v", s)
	}
}
