package route

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/route/api"
)

// day is a model of what a table should hold: when each route ends and since
// when each neighbour has failed.
type day struct {
	*rand.Rand
	t      *testing.T
	table  *Table
	path   *memoryPath
	clock  *clock
	ends   map[netip.Prefix]int64 // seconds since 1970, 0: never
	failed map[netip.Addr]time.Time
	valid  map[netip.Addr]bool
	count  map[string]int
}

// Two days of routes and neighbours that come, fail and expire, by a clock
// that is moved: none goes early or late, and nothing is left of those gone.
func TestDay(t *testing.T) {
	const seed = 1
	clock := newClock()
	table, path := startFake(t, newFakeKernel(), clock)
	table.mu.Lock()
	base := len(table.fib.nexthops.byNumber) // of the interfaces and their addresses
	table.mu.Unlock()
	d := &day{
		Rand: rand.New(rand.NewPCG(seed, 0)), t: t, table: table, path: path, clock: clock,
		ends: make(map[netip.Prefix]int64), failed: make(map[netip.Addr]time.Time), valid: make(map[netip.Addr]bool), count: make(map[string]int),
	}
	end := clock.now().Add(48 * time.Hour)
	for clock.now().Before(end) && !t.Failed() {
		d.step()
		step := time.Duration(1+d.IntN(20)) * time.Second
		if d.IntN(50) == 0 {
			step += time.Duration(d.IntN(1800)) * time.Second
		}
		clock.advance(step)
		table.tick()
		table.expirePaths()
		d.check()
	}
	// Everything ends.
	for dst := range d.ends {
		d.route("RouteDelete", dst, 0)
	}
	for addr := range d.valid {
		table.apply(neighbour(addr.String(), unix.NUD_STALE, 9), true)
	}
	d.valid, d.ends = make(map[netip.Addr]bool), make(map[netip.Prefix]int64)
	clock.advance(nexthopGrace + defaultHostDown)
	table.tick()
	d.failed = make(map[netip.Addr]time.Time)
	d.check()
	table.mu.Lock()
	defer table.mu.Unlock()
	for what, left := range map[string]int{
		"next hops": len(table.fib.nexthops.byNumber) - base, "retired next hops": len(table.fib.nexthops.retired), "expiring routes": len(table.expiring),
		"failed neighbours": len(table.neighbours.failed), "written neighbours": len(table.neighbours.written),
	} {
		if left != 0 {
			t.Errorf("%d %s are left", left, what)
		}
	}
	if d.count["expired"] < 500 || d.count["forgotten"] < 500 {
		t.Errorf("too little happened: %v", d.count)
	}
	t.Logf("48 hours: %v", d.count)
}

func (d *day) step() {
	dst := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(d.IntN(4)), byte(d.IntN(40)), 0}), 24)
	now := d.clock.now().Unix()
	_, there := d.ends[dst]
	switch d.IntN(6) {
	case 0, 1:
		ends := int64(0)
		if d.IntN(4) > 0 {
			ends = now + 1 + d.Int64N(3*3600)
		}
		if there {
			d.route("RouteChange", dst, ends)
		} else {
			d.route("RouteAdd", dst, ends)
		}
		d.ends[dst] = ends
	case 2:
		if there {
			d.route("RouteDelete", dst, 0)
			delete(d.ends, dst)
		}
	default:
		addr := netip.AddrFrom4([4]byte{192, 0, 2, byte(100 + d.IntN(100))})
		switch d.IntN(3) {
		case 0:
			d.table.apply(neighbour(addr.String(), unix.NUD_REACHABLE, 9), false)
			d.valid[addr] = true
			delete(d.failed, addr)
		case 1:
			d.table.apply(neighbour(addr.String(), unix.NUD_FAILED, 0), false)
			d.failed[addr] = d.clock.now()
			delete(d.valid, addr)
		case 2:
			d.table.apply(neighbour(addr.String(), unix.NUD_REACHABLE, 9), true)
			delete(d.failed, addr)
			delete(d.valid, addr)
		}
	}
}

func (d *day) route(verb string, dst netip.Prefix, ends int64) {
	d.t.Helper()
	r := api.RouteRequest{Dst: dst, Gateway: netip.AddrFrom4([4]byte{192, 0, 2, byte(2 + d.IntN(20))}), Flags: api.Gateway}
	if verb != "RouteDelete" {
		r.Inits, r.Metrics.Expire = api.RTVExpire, ends
	} else {
		r.Gateway, r.Flags = netip.Addr{}, 0
	}
	call := map[string]func(context.Context, api.RouteRequest) (api.Rtentry, error){
		"RouteAdd": d.table.RouteAdd, "RouteChange": d.table.RouteChange, "RouteDelete": d.table.RouteDelete,
	}[verb]
	if _, err := call(context.Background(), r); err != nil {
		d.t.Fatalf("%s %s expire %d at %d: %v", verb, dst, ends, d.clock.now().Unix(), err)
	}
	d.count[verb]++
}

// check compares the data path with the model.
func (d *day) check() {
	d.t.Helper()
	now := d.clock.now()
	for dst, ends := range d.ends {
		if ends != 0 && now.Unix() >= ends {
			delete(d.ends, dst)
			d.count["expired"]++
		}
	}
	for addr, since := range d.failed {
		if now.Sub(since) >= defaultHostDown {
			delete(d.failed, addr)
			d.count["forgotten"]++
		}
	}
	d.table.mu.Lock()
	defer d.table.mu.Unlock()
	for third := range 4 {
		for fourth := range 40 {
			dst := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(third), byte(fourth), 0}), 24)
			_, want := d.ends[dst]
			if _, got := d.path.fib[dst]; got != want {
				d.t.Errorf("at %v: route to %s is there: %v, want %v", now, dst, got, want)
			}
		}
	}
	for last := 100; last < 200; last++ {
		addr := netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", last))
		ll, got := d.path.neighs[neighbourKey{2, addr}]
		_, failed := d.failed[addr]
		switch {
		case got != (failed || d.valid[addr]):
			d.t.Errorf("at %v: neighbour %s is there: %v, want failed %v or valid %v", now, addr, got, failed, d.valid[addr])
		case got && failed != (uint32(ll.State) == bpf.NeighbourFailed):
			d.t.Errorf("at %v: neighbour %s is in state %d, failed: %v", now, addr, ll.State, failed)
		}
	}
}
