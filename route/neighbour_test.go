package route

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/bpf"
)

// startFake starts a Table without a kernel.
func startFake(t *testing.T, k *fakeKernel, clock *clock) (*Table, *memoryPath) {
	t.Helper()
	path := newMemoryPath(t)
	table := newTable(fakeInterfaces(), path, k, Options{Audit: time.Hour}, clock.now)
	t.Cleanup(func() { table.Close() })
	if err := table.Start(); err != nil {
		t.Fatal(err)
	}
	return table, path
}

func neighbour(addr string, state uint16, last byte) linuxNeighbour {
	n := linuxNeighbour{ifindex: 2, addr: mustAddr(addr), state: state}
	if last != 0 {
		n.lladdr = []byte{2, 0, 0, 0, 0, last}
	}
	return n
}

// apply takes a notification of a neighbour as the follower does.
func (t *Table) apply(n linuxNeighbour, deleted bool) {
	t.takeKernel(kernelBatch{events: []kernelEvent{{neighbour: &n, deleted: deleted}}})
}

func TestNeighbourStates(t *testing.T) {
	for _, c := range []struct {
		name  string
		state uint16
		want  uint32
		there bool
	}{
		{"reachable", unix.NUD_REACHABLE, bpf.NeighbourValid, true},
		{"stale", unix.NUD_STALE, bpf.NeighbourValid, true},
		{"delay", unix.NUD_DELAY, bpf.NeighbourValid, true},
		{"probe", unix.NUD_PROBE, bpf.NeighbourValid, true},
		{"permanent", unix.NUD_PERMANENT, bpf.NeighbourValid, true},
		{"noarp", unix.NUD_NOARP, bpf.NeighbourValid, true},
		{"failed", unix.NUD_FAILED, bpf.NeighbourFailed, true},
		{"incomplete", unix.NUD_INCOMPLETE, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			table, path := startFake(t, newFakeKernel(), newClock())
			key := neighbourKey{2, mustAddr("192.0.2.9")}
			table.apply(neighbour("192.0.2.9", unix.NUD_REACHABLE, 9), false)
			n := neighbour("192.0.2.9", c.state, 10)
			table.apply(n, false)
			ll, ok := path.neighs[key]
			if ok != c.there || ok && uint32(ll.State) != c.want {
				t.Errorf("entry %+v, %v", ll, ok)
			}
			table.apply(n, true)
			if _, ok := path.neighs[key]; ok {
				t.Error("entry survived its deletion")
			}
		})
	}
}

// A neighbour that did not answer is forgotten after a while, so that the
// next packet makes the kernel try again.
func TestFailedExpires(t *testing.T) {
	clock := newClock()
	table, path := startFake(t, newFakeKernel(), clock)
	key := neighbourKey{2, mustAddr("192.0.2.9")}
	table.apply(neighbour("192.0.2.9", unix.NUD_FAILED, 0), false)
	clock.advance(defaultHostDown - time.Millisecond)
	table.tick()
	if _, ok := path.neighs[key]; !ok {
		t.Error("forgotten too soon")
	}
	clock.advance(time.Millisecond)
	table.tick()
	if _, ok := path.neighs[key]; ok {
		t.Error("not forgotten")
	}
}

// The kernel is asked to confirm neighbours that XDP forwards to, because
// that traffic refreshes nothing; entries made by hand are left alone.
func TestConfirm(t *testing.T) {
	k, clock := newFakeKernel(), newClock()
	table, _ := startFake(t, k, clock)
	table.apply(neighbour("192.0.2.9", unix.NUD_STALE, 9), false)
	table.apply(neighbour("192.0.2.10", unix.NUD_PERMANENT, 10), false)
	table.apply(neighbour("192.0.2.11", unix.NUD_REACHABLE, 11), false)
	clock.advance(confirmAfter - time.Second)
	table.tick()
	clock.advance(time.Second)
	table.tick()
	table.tick()
	var asked []linuxNeighbour
	within(t, time.Second, "asked", func() bool {
		asked = append(asked, k.askedFor("192.0.2.9")...)
		return len(asked) > 0
	})
	time.Sleep(10 * time.Millisecond)
	asked = append(asked, k.askedFor("192.0.2.9")...)
	if len(asked) != 1 || asked[0].flags != unix.NTF_USE || asked[0].ifindex != 2 {
		t.Errorf("requests: %+v", asked)
	}
	if len(k.askedFor("192.0.2.10"))+len(k.askedFor("192.0.2.11")) != 0 {
		t.Error("asked for a neighbour that needs nothing")
	}
}

func gatewayRoute(dst, gateway string) linuxRoute {
	return linuxRoute{
		dst: mustPrefix(dst), table: unix.RT_TABLE_MAIN, kind: unix.RTN_UNICAST, protocol: unix.RTPROT_STATIC,
		hops: []linuxHop{{ifindex: 2, gateway: mustAddr(gateway), weight: 1}},
	}
}

// A gateway in use is managed by the kernel, and no longer when it is not in
// use; kernels that cannot are asked again and again.
func TestGatewayIsManaged(t *testing.T) {
	k, clock := newFakeKernel(), newClock()
	k.routes = []linuxRoute{gatewayRoute("10.1.0.0/16", "192.0.2.2")}
	table, path := startFake(t, k, clock)
	within(t, time.Second, "managed", func() bool {
		asked := k.askedFor("192.0.2.2")
		return len(asked) == 1 && asked[0].flagsExt == ntfExtManaged
	})
	n := neighbour("192.0.2.2", unix.NUD_REACHABLE, 2)
	n.flagsExt = ntfExtManaged
	table.apply(n, false)
	number := path.fib[mustPrefix("10.1.0.0/16")]
	if nh := path.hops[number]; nh.Lladdr[5] != 2 || uint32(nh.State) != bpf.NeighbourValid {
		t.Errorf("next hop %+v", nh)
	}
	// Deleted by somebody: it is wanted back.
	clock.advance(2 * time.Second)
	table.apply(n, true)
	within(t, time.Second, "managed again", func() bool { return len(k.askedFor("192.0.2.2")) == 1 })
	table.apply(n, false)
	r := gatewayRoute("10.1.0.0/16", "192.0.2.2")
	table.takeKernel(kernelBatch{events: []kernelEvent{{route: &r, deleted: true}}})
	clock.advance(nexthopGrace)
	table.tick()
	within(t, time.Second, "released", func() bool {
		asked := k.askedFor("192.0.2.2")
		return len(asked) == 1 && asked[0].flagsExt == 0
	})
}

func TestGatewayWithoutManaged(t *testing.T) {
	k, clock := newFakeKernel(), newClock()
	k.unmanaged = true
	k.routes = []linuxRoute{gatewayRoute("10.1.0.0/16", "192.0.2.2")}
	table, _ := startFake(t, k, clock)
	within(t, time.Second, "asked", func() bool { return len(k.askedFor("192.0.2.2")) == 1 })
	table.apply(neighbour("192.0.2.2", unix.NUD_STALE, 2), false)
	clock.advance(resolveAgain)
	table.tick()
	within(t, time.Second, "asked again", func() bool { return len(k.askedFor("192.0.2.2")) == 1 })
}
