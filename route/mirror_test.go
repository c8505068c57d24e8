package route

import (
	"strings"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/bpf"
)

// What Linux holds at the start is in the maps when Start returns.
func TestStartImportsLinux(t *testing.T) {
	l := newLab(t)
	l.ip("route add 10.1.0.0/16 via 192.0.2.2")
	l.ip("route add default via 198.51.100.2 metric 100")
	l.ip("route add blackhole 10.2.0.0/16")
	l.ip("route add unreachable 10.3.0.0/16")
	l.ip("route add prohibit 10.4.0.0/16")
	l.ip("route add throw 10.5.0.0/16")
	l.ip("route add 10.6.0.0/16 via 203.0.113.9")
	l.ip("route add 10.7.0.0/16 via 192.0.2.2 mtu 1400")
	l.ip("route add 10.8.0.0/16 via inet6 2001:db8:1::2 dev em0")
	l.ip("route add 10.9.0.0/16 nexthop via 192.0.2.2 weight 2 nexthop via 198.51.100.2")
	l.ip("route add 2001:db8:9::/48 via 2001:db8:1::2")
	l.ip("route add default via 2001:db8:2::2")
	l.start()
	for addr, want := range map[string]string{
		"10.1.2.3":        "gateway 192.0.2.2 on em0",
		"8.8.8.8":         "gateway 198.51.100.2 on em1 default",
		"10.2.0.1":        "blackhole",
		"10.3.0.1":        "reject",
		"10.4.0.1":        "reject",
		"10.5.0.1":        "reject",
		"10.6.0.1":        "unowned on en0",
		"10.7.0.1":        "gateway 192.0.2.2 on em0 mtu 1400",
		"10.8.0.1":        "gateway 2001:db8:1::2 on em0",
		"10.9.0.1":        "gateway 192.0.2.2 on em0",
		"192.0.2.1":       "local on em0",
		"192.0.2.255":     "broadcast on em0",
		"192.0.2.77":      "on em0",
		"203.0.113.1":     "local on en0",
		"203.0.113.7":     "unowned on en0",
		"127.0.0.1":       "local on lo",
		"127.1.2.3":       "local on lo",
		"255.255.255.255": "broadcast",
		"224.0.0.1":       "multicast",
		"::1":             "local on lo",
		"ff02::1":         "multicast",
		"2001:db8:1::1":   "local on em0",
		"2001:db8:1::99":  "on em0",
		"2001:db8:9::1":   "gateway 2001:db8:1::2 on em0",
		"2001:4860::1":    "gateway 2001:db8:2::2 on em1 default",
	} {
		if got := l.says(addr); got != want {
			t.Errorf("packets to %s: %q, want %q", addr, got, want)
		}
	}
	if s := l.table.Stats(); s.Skipped != 0 || s.MapErrors != 0 {
		t.Errorf("unexpected stats: %+v", s)
	}
}

// Changes that others make in Linux reach the maps within 100 ms.
func TestFollowLinux(t *testing.T) {
	l := newLab(t)
	l.start()
	var worst time.Duration
	do := func(ip, addr, want string) {
		t.Helper()
		l.ip(ip)
		took := l.want(addr, want)
		worst = max(worst, took)
	}
	do("route add 10.1.0.0/16 via 192.0.2.2", "10.1.0.1", "gateway 192.0.2.2 on em0")
	do("route add 10.1.0.0/16 via 198.51.100.2 metric 5", "10.1.0.1", "gateway 192.0.2.2 on em0")
	do("route del 10.1.0.0/16 via 192.0.2.2", "10.1.0.1", "gateway 198.51.100.2 on em1")
	do("route replace 10.1.0.0/16 via 198.51.100.9 metric 5", "10.1.0.1", "gateway 198.51.100.9 on em1")
	do("route replace blackhole 10.1.0.0/16 metric 5", "10.1.0.1", "blackhole")
	do("route del blackhole 10.1.0.0/16 metric 5", "10.1.0.1", "no route")
	do("route add default dev em0", "10.1.0.1", "on em0 default")
	do("route add 10.2.0.0/16 dev en0", "10.2.0.1", "unowned on en0")
	do("route add 2001:db8:9::/48 via 2001:db8:1::2", "2001:db8:9::1", "gateway 2001:db8:1::2 on em0")
	do("route append 2001:db8:9::/48 via 2001:db8:2::2", "2001:db8:9::1", "gateway 2001:db8:1::2 on em0")
	do("route del 2001:db8:9::/48 via 2001:db8:1::2", "2001:db8:9::1", "gateway 2001:db8:2::2 on em1")
	do("route del 2001:db8:9::/48", "2001:db8:9::1", "no route")
	do("addr add 172.16.5.1/24 brd + dev em1", "172.16.5.1", "local on em1")
	l.want("172.16.5.9", "on em1")
	l.want("172.16.5.255", "broadcast on em1")
	do("addr del 172.16.5.1/24 dev em1", "172.16.5.9", "on em0 default")
	l.want("172.16.5.1", "on em0 default")
	l.want("172.16.5.255", "on em0 default")
	do("addr add 2001:db8:5::1/64 dev em1 nodad", "2001:db8:5::1", "local on em1")
	l.want("2001:db8:5::2", "on em1")
	do("addr del 2001:db8:5::1/64 dev em1", "2001:db8:5::1", "no route")
	do("route add local 172.31.0.0/16 dev lo", "172.31.4.4", "local on lo")
	t.Logf("slowest change reached the maps %v after ip(8) returned", worst)
}

// The neighbours of the kernel are in arp, nd6 and the next hops.
func TestFollowNeighbours(t *testing.T) {
	l := newLab(t)
	l.ip("neigh add 192.0.2.50 lladdr 02:00:00:00:00:50 nud permanent dev em0")
	l.start()
	em0, _ := l.interfaces.ByName("em0")
	var ll bpf.Llentry
	lookup := func(addr [4]byte) bool {
		return l.maps.Arp.Lookup(&bpf.ARPKey{Ifslot: em0.Slot, Addr: addr}, &ll) == nil
	}
	if !lookup([4]byte{192, 0, 2, 50}) || ll.Lladdr != [6]byte{2, 0, 0, 0, 0, 0x50} || uint32(ll.State) != bpf.NeighbourValid {
		t.Fatalf("permanent neighbour: %+v", ll)
	}
	l.ip("neigh add 192.0.2.51 lladdr 02:00:00:00:00:51 nud stale dev em0")
	within(t, 100*time.Millisecond, "stale neighbour", func() bool { return lookup([4]byte{192, 0, 2, 51}) })
	l.ip("route add 10.1.0.0/16 via 192.0.2.51")
	l.want("10.1.0.1", "gateway 192.0.2.51 on em0")
	if nh, _ := l.route("10.1.0.1"); nh.Lladdr != [6]byte{2, 0, 0, 0, 0, 0x51} || uint32(nh.State) != bpf.NeighbourValid {
		t.Errorf("next hop: %+v", nh)
	}
	// A gateway in use is kept confirmed by the kernel.
	within(t, time.Second, "managed", func() bool {
		return strings.Contains(l.ip("neigh show 192.0.2.51 dev em0"), "managed")
	})
	l.ip("neigh replace 192.0.2.51 lladdr 02:00:00:00:00:52 nud reachable dev em0")
	took := within(t, 100*time.Millisecond, "new link address", func() bool {
		nh, _ := l.route("10.1.0.1")
		return nh.Lladdr == [6]byte{2, 0, 0, 0, 0, 0x52}
	})
	t.Logf("new link address in the next hop after %v", took)
	l.ip("neigh del 192.0.2.51 dev em0")
	within(t, 5*time.Second, "neighbour gone", func() bool {
		nh, _ := l.route("10.1.0.1")
		return uint32(nh.State) != bpf.NeighbourValid
	})
	// An entry made by hand stays one, also when it becomes a gateway.
	l.ip("route add 10.2.0.0/16 via 192.0.2.50")
	l.want("10.2.0.1", "gateway 192.0.2.50 on em0")
	time.Sleep(50 * time.Millisecond)
	if out := l.ip("neigh show 192.0.2.50 dev em0"); !strings.Contains(out, "PERMANENT") {
		t.Errorf("neighbour made by hand: %s", out)
	}
	// Neighbours of a v6 link.
	l.ip("neigh add 2001:db8:1::7 lladdr 02:00:00:00:00:07 nud reachable dev em0")
	key := bpf.Nd6Key{Ifslot: em0.Slot, Addr: mustAddr("2001:db8:1::7").As16()}
	within(t, 100*time.Millisecond, "IPv6 neighbour", func() bool { return l.maps.Nd6.Lookup(&key, &ll) == nil })
}

// Resolve makes the kernel ask, and the answer comes as an event.
func TestResolve(t *testing.T) {
	l := newLab(t)
	table := l.start()
	events := make(chan NeighbourEvent, 64)
	cancel := table.SubscribeNeighbours(func(e NeighbourEvent) {
		// The hosts' neighbour discovery adds its own.
		if !e.Addr.IsLinkLocalUnicast() {
			events <- e
		}
	})
	defer cancel()
	em0, _ := l.interfaces.ByName("em0")
	for _, addr := range []string{"192.0.2.2", "2001:db8:1::2"} {
		began := time.Now()
		if _, ok, err := table.Resolve(em0.Slot, mustAddr(addr)); err != nil || ok {
			t.Fatalf("resolve %s: %v, %v", addr, ok, err)
		}
		select {
		case e := <-events:
			if !e.Valid || e.Addr != mustAddr(addr) || e.Ifslot != em0.Slot || e.Lladdr == [6]byte{} {
				t.Fatalf("resolve %s: event %+v", addr, e)
			}
			t.Logf("%s resolved in %v", addr, time.Since(began))
		case <-time.After(2 * time.Second):
			t.Fatalf("resolve %s: no event", addr)
		}
		if _, ok, _ := table.Resolve(em0.Slot, mustAddr(addr)); !ok {
			t.Errorf("resolve %s again: not known", addr)
		}
	}
	if testing.Short() {
		return
	}
	for range 2 {
		if _, _, err := table.Resolve(em0.Slot, mustAddr("192.0.2.200")); err != nil {
			t.Fatal(err)
		}
		select {
		case e := <-events:
			if e.Valid || e.Addr != mustAddr("192.0.2.200") {
				t.Fatalf("event %+v", e)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("a neighbour that is not there: no event")
		}
	}
	if _, _, err := table.Resolve(12345, mustAddr("192.0.2.2")); err == nil {
		t.Error("resolve on an interface that is not there: no error")
	}
}

// Unloading gives gateways back to the ordinary care of the kernel.
func TestRelease(t *testing.T) {
	l := newLab(t)
	l.ip("route add 10.1.0.0/16 via 192.0.2.2")
	table := l.start()
	managed := func() bool { return strings.Contains(l.ip("neigh show 192.0.2.2 dev em0"), "managed") }
	within(t, time.Second, "managed", managed)
	if err := table.Close(); err != nil {
		t.Fatal(err)
	}
	if !managed() {
		t.Error("the end of the daemon released the gateway")
	}
	if err := Release(l.maps, &l.ns); err != nil {
		t.Fatal(err)
	}
	if managed() {
		t.Error("not released")
	}
}
