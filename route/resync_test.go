package route

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/bpf"
)

// batch runs a file of commands through ip -batch in the router.
func (l *lab) batch(commands string) {
	l.t.Helper()
	file := filepath.Join(l.t.TempDir(), "batch")
	if err := os.WriteFile(file, []byte(commands), 0o600); err != nil {
		l.t.Fatal(err)
	}
	out, err := exec.Command("ip", "-n", l.router, "-force", "-batch", file).CombinedOutput()
	if err != nil {
		l.t.Fatalf("ip -batch: %v\n%s", err, out)
	}
}

// dumpMaps returns what the data path holds: what it does with each prefix.
func (l *lab) dumpMaps() map[netip.Prefix]string {
	l.t.Helper()
	path, err := newMapPath(l.maps)
	if err != nil {
		l.t.Fatal(err)
	}
	defer path.close()
	routes := make(map[netip.Prefix]string)
	err = path.routes(func(dst netip.Prefix, number uint32) {
		routes[dst] = describeNexthop(l.interfaces, path.nexthop(number))
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return routes
}

// What the kernel drops when the Table does not keep up is found by a dump.
func TestOverflow(t *testing.T) {
	l := newLab(t)
	l.receiveBuffer = 4096
	table := l.start()
	base := table.Stats().Routes
	const n = 5000
	var up, half strings.Builder
	for i := range n {
		fmt.Fprintf(&up, "route add 10.%d.%d.0/24 via 192.0.2.2\n", i>>8, i&0xff)
		if i%2 == 0 {
			fmt.Fprintf(&half, "route del 10.%d.%d.0/24\n", i>>8, i&0xff)
		}
	}
	table.mu.Lock() // keeps the Table from reading
	l.batch(up.String())
	l.batch(half.String())
	table.mu.Unlock()
	took := within(t, 5*time.Second, "resynchronised", func() bool {
		s := table.Stats()
		return s.Overflows > 0 && s.Routes == base+n/2 && s.Forwarding == s.Routes
	})
	t.Logf("resynchronised %v after the Table could read again: %+v", took, table.Stats())
	for i := range n {
		want := "gateway 192.0.2.2 on em0"
		if i%2 == 0 {
			want = "no route"
		}
		if got := l.says(fmt.Sprintf("10.%d.%d.9", i>>8, i&0xff)); got != want {
			t.Fatalf("packets to 10.%d.%d.9: %q, want %q", i>>8, i&0xff, got, want)
		}
	}
}

// Routes that come and go quickly end as Linux has them, and the address
// whose route is replaced all the time always has one.
func TestFlap(t *testing.T) {
	l := newLab(t)
	table := l.start()
	l.ip("route add 172.16.0.0/16 via 192.0.2.2")
	l.want("172.16.0.1", "gateway 192.0.2.2 on em0")
	var flap strings.Builder
	for i := range 3000 {
		via := []string{"192.0.2.2", "198.51.100.2"}[i%2]
		fmt.Fprintf(&flap, "route replace 172.16.0.0/16 via %s\n", via)
		if i%3 == 0 {
			fmt.Fprintf(&flap, "route add 10.1.0.0/16 via %s\nroute del 10.1.0.0/16\n", via)
		}
	}
	done := make(chan struct{})
	lost := make(chan int, 1)
	go func() {
		n := 0
		for {
			select {
			case <-done:
				lost <- n
				return
			default:
				if got := l.says("172.16.0.1"); !strings.HasPrefix(got, "gateway ") {
					n++
				}
			}
		}
	}()
	l.batch(flap.String())
	close(done)
	if n := <-lost; n != 0 {
		t.Errorf("%d looks found no gateway while it was replaced", n)
	}
	l.want("172.16.0.1", "gateway 198.51.100.2 on em1")
	l.want("10.1.0.1", "no route")
	if err := table.compare(); err != nil {
		t.Fatal(err)
	}
	if s := table.Stats(); s.Repairs != 0 || s.MapErrors != 0 {
		t.Errorf("stats: %+v", s)
	}
}

// A new daemon takes the maps over: what is right stays untouched, the rest
// is repaired, and nothing is flushed.
func TestRestart(t *testing.T) {
	l := newLab(t)
	table := l.start()
	ctx := context.Background()
	if _, err := table.RouteAdd(ctx, add("10.1.0.0/16", "192.0.2.2")); err != nil {
		t.Fatal(err)
	}
	l.ip("route add 10.2.0.0/16 via 192.0.2.2")
	l.ip("route add 10.3.0.0/16 via 192.0.2.2")
	l.ip("neigh add 192.0.2.60 lladdr 02:00:00:00:00:60 nud permanent dev em0")
	l.ip("neigh replace 192.0.2.2 lladdr 02:00:00:00:00:02 nud permanent dev em0")
	l.want("10.3.0.1", "gateway 192.0.2.2 on em0")
	number, _ := lookupMap(t, l.maps, mustAddr("10.1.0.1"))
	if err := table.Close(); err != nil {
		t.Fatal(err)
	}
	// While no daemon runs, Linux and the maps drift apart.
	l.ip("route del 10.2.0.0/16")
	l.ip("route replace 10.3.0.0/16 via 198.51.100.2")
	l.ip("route add 10.4.0.0/16 via 192.0.2.2")
	l.ip("neigh del 192.0.2.60 dev em0")
	l.ip("neigh replace 192.0.2.2 lladdr 02:00:00:00:00:03 nud permanent dev em0")
	stray := uint32(0)
	if err := l.maps.Inet.Put(&bpf.RtKey{Prefixlen: 24, Dst: [4]byte{10, 99, 99, 0}}, &stray); err != nil {
		t.Fatal(err)
	}

	stop := make(chan struct{})
	lost := make(chan int, 1)
	go func() {
		n := 0
		for {
			select {
			case <-stop:
				lost <- n
				return
			default:
				if l.says("10.1.0.1") != "gateway 192.0.2.2 on em0" {
					n++
				}
			}
		}
	}()
	table = l.start()
	close(stop)
	if n := <-lost; n != 0 {
		t.Errorf("%d looks missed a route during the restart", n)
	}
	if now, _ := lookupMap(t, l.maps, mustAddr("10.1.0.1")); now != number {
		t.Errorf("next hop %d was replaced by %d", number, now)
	}
	for addr, want := range map[string]string{
		"10.1.0.1":    "gateway 192.0.2.2 on em0",
		"10.2.0.1":    "no route",
		"10.3.0.1":    "gateway 198.51.100.2 on em1",
		"10.4.0.1":    "gateway 192.0.2.2 on em0",
		"10.99.99.99": "no route",
	} {
		if got := l.says(addr); got != want {
			t.Errorf("packets to %s: %q, want %q", addr, got, want)
		}
	}
	if nh, _ := l.route("10.1.0.1"); nh.Lladdr != [6]byte{2, 0, 0, 0, 0, 3} {
		t.Errorf("link address of the gateway: %x", nh.Lladdr)
	}
	em0, _ := l.interfaces.ByName("em0")
	var ll bpf.Llentry
	if l.maps.Arp.Lookup(&bpf.ARPKey{Ifslot: em0.Slot, Addr: [4]byte{192, 0, 2, 60}}, &ll) == nil {
		t.Error("stale neighbour survived")
	}
	entries, err := table.Routes(ctx, routeFilterAll)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Dst == mustPrefix("10.1.0.0/16") && e.Origin != "bsdnet" {
			t.Errorf("route of bsdnet came back as one of %s", e.Origin)
		}
	}
}

// The data path's maps agree with an independent table, whatever random
// changes are made in Linux.
func TestAgainstBart(t *testing.T) {
	l := newLab(t)
	table := l.start()
	random := rand.New(rand.NewPCG(1, 2))
	oracle := newOracle(l.dumpMaps())
	type held struct{ via string }
	have := make(map[netip.Prefix]held)
	randomPrefix := func() netip.Prefix {
		if random.IntN(3) == 0 {
			var b [16]byte
			b[0], b[1], b[2], b[3] = 0x20, 0x01, 0x0d, 0xb8
			b[4] = 0x80 | byte(random.IntN(4))
			for i := 5; i < 16; i++ {
				b[i] = byte(random.Uint32())
			}
			p, _ := netip.AddrFrom16(b).Prefix(34 + random.IntN(95))
			return p
		}
		b := [4]byte{10, byte(random.IntN(4)), byte(random.Uint32()), byte(random.Uint32())}
		p, _ := netip.AddrFrom4(b).Prefix(8 + random.IntN(25))
		return p
	}
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	for round := range rounds {
		var commands strings.Builder
		for range 400 {
			dst := randomPrefix()
			if len(have) > 0 && random.IntN(3) == 0 {
				for dst = range have { //nolint:revive // any
					break
				}
			}
			to := random.IntN(2)
			via := []string{"192.0.2.2", "198.51.100.2"}[to]
			if dst.Addr().Is6() {
				via = []string{"2001:db8:1::2", "2001:db8:2::2"}[to]
			}
			_, exists := have[dst]
			if exists && random.IntN(2) == 0 {
				fmt.Fprintf(&commands, "route del %s\n", dst)
				delete(have, dst)
				oracle.delete(dst)
				continue
			}
			fmt.Fprintf(&commands, "route replace %s via %s\n", dst, via)
			have[dst] = held{via}
			oracle.insert(dst, fmt.Sprintf("gateway %s on em%d", via, to))
		}
		l.batch(commands.String())
		within(t, time.Second, "table caught up", func() bool {
			s := table.Stats()
			return len(table.events) == 0 && s.Forwarding == oracle.size()
		})
		time.Sleep(20 * time.Millisecond)
		for range 4000 {
			addr := randomPrefix().Addr()
			if random.IntN(4) == 0 {
				for dst := range have {
					addr = dst.Addr()
					break
				}
			}
			want := oracle.lookup(addr)
			if got := l.says(addr.String()); got != want {
				t.Fatalf("round %d: packets to %s: %q, want %q", round, addr, got, want)
			}
		}
	}
	t.Logf("%d routes, %+v", len(have), table.Stats())
}
