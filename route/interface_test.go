package route

import (
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/ifnet"
	"github.com/bsdnet/bsdnet/route/api"
)

// flagsOf returns the flags of the next hop that a prefix leads to.
func flagsOf(table *Table, path *memoryPath, dst string) uint32 {
	table.mu.Lock()
	defer table.mu.Unlock()
	number, ok := path.fib[mustPrefix(dst)]
	if !ok {
		return 0
	}
	return path.hops[number].Flags
}

// A route follows the interface it leads over: unknown, owned, without a
// slot, gone.
func TestOwnership(t *testing.T) {
	k, clock := newFakeKernel(), newClock()
	r := gatewayRoute("10.1.0.0/16", "203.0.113.2")
	r.hops[0].ifindex = 4
	later := gatewayRoute("10.2.0.0/16", "203.0.113.2")
	later.hops[0].ifindex = 77
	k.routes = []linuxRoute{r, later}
	table, path := startFake(t, k, clock)
	interfaces := table.interfaces.(*followed)
	want := func(dst string, flags uint32) {
		t.Helper()
		within(t, time.Second, dst, func() bool { return flagsOf(table, path, dst) == flags })
	}
	const gateway = 1<<0 | 1<<1 // NEXTHOP_UP | NEXTHOP_GATEWAY
	want("10.1.0.0/16", bpf.NexthopUp|bpf.NexthopUnowned)
	want("10.2.0.0/16", 0)
	interfaces.change(4, ifnet.Link, func(ifp *ifnet.Ifnet) { ifp.Owned = true })
	want("10.1.0.0/16", gateway)
	interfaces.change(4, ifnet.Link, func(ifp *ifnet.Ifnet) { ifp.HasSlot = false })
	want("10.1.0.0/16", bpf.NexthopUp|bpf.NexthopUnowned)
	interfaces.change(77, ifnet.Attach, func(ifp *ifnet.Ifnet) { ifp.Name, ifp.Up, ifp.Owned, ifp.MTU = "vlan5", true, true, 1500 })
	want("10.2.0.0/16", gateway)
	interfaces.change(77, ifnet.Detach, nil)
	want("10.2.0.0/16", 0)
}

// A gateway on an interface without address resolution is valid as it is.
func TestGatewayNoARP(t *testing.T) {
	k := newFakeKernel()
	k.routes = []linuxRoute{gatewayRoute("10.1.0.0/16", "192.0.2.2")}
	path := newMemoryPath(t)
	interfaces := fakeInterfaces()
	interfaces.byID[2].NoARP = true
	table := newTable(interfaces, path, k, Options{}, newClock().now)
	defer table.Close()
	if err := table.Start(); err != nil {
		t.Fatal(err)
	}
	nh := path.hops[path.fib[mustPrefix("10.1.0.0/16")]]
	if uint32(nh.State) != bpf.NeighbourValid || nh.Lladdr != [6]byte{} {
		t.Errorf("next hop %+v", nh)
	}
	if asked := k.askedFor("192.0.2.2"); len(asked) != 0 {
		t.Errorf("asked for it: %+v", asked)
	}
}

// Of the hops of a multipath route the first that works is used.
func TestMultipath(t *testing.T) {
	k := newFakeKernel()
	r := gatewayRoute("10.1.0.0/16", "192.0.2.2")
	r.hops = []linuxHop{
		{ifindex: 2, gateway: mustAddr("192.0.2.2"), weight: 1},
		{ifindex: 3, gateway: mustAddr("198.51.100.2"), weight: 1},
	}
	k.routes = []linuxRoute{r}
	table, path := startFake(t, k, newClock())
	interfaces := table.interfaces.(*followed)
	slot := func() uint32 {
		table.mu.Lock()
		defer table.mu.Unlock()
		return path.hops[path.fib[mustPrefix("10.1.0.0/16")]].Ifslot
	}
	if got := slot(); got != 2 {
		t.Errorf("slot %d", got)
	}
	interfaces.change(2, ifnet.Link, func(ifp *ifnet.Ifnet) { ifp.Running = false })
	within(t, time.Second, "other hop", func() bool { return slot() == 3 })
	interfaces.change(3, ifnet.Link, func(ifp *ifnet.Ifnet) { ifp.Up = false })
	within(t, time.Second, "hop without carrier, for want of another", func() bool { return slot() == 2 })
	entries, err := table.Routes(t.Context(), api.RouteFilter{Family: api.Inet})
	if err != nil {
		t.Fatal(err)
	}
	entries = slices.DeleteFunc(entries, func(e api.Rtentry) bool { return e.Dst != mustPrefix("10.1.0.0/16") })
	if len(entries) != 2 || entries[0].Flags&api.Up == 0 || entries[1].Flags&api.Up != 0 {
		t.Errorf("listed as %+v", entries)
	}
}

// A nexthop object that Linux does not spell out is left to Linux.
func TestOpaqueNexthop(t *testing.T) {
	k := newFakeKernel()
	k.routes = []linuxRoute{{dst: mustPrefix("10.1.0.0/16"), table: unix.RT_TABLE_MAIN, kind: unix.RTN_UNICAST}}
	table, path := startFake(t, k, newClock())
	if got := flagsOf(table, path, "10.1.0.0/16"); got != bpf.NexthopUp|bpf.NexthopUnowned {
		t.Errorf("flags %#x", got)
	}
}

// What happens to interfaces is told as FreeBSD's routing socket tells it.
func TestInterfaceMessages(t *testing.T) {
	table, _ := startFake(t, newFakeKernel(), newClock())
	sub := table.Subscribe(64)
	interfaces := table.interfaces.(*followed)
	up := func(ifp *ifnet.Ifnet) { ifp.Name, ifp.Up, ifp.Running = "vlan5", true, true }
	interfaces.change(9, ifnet.Attach, up)
	interfaces.change(9, ifnet.Link, up)
	interfaces.change(9, ifnet.AddressAdd, func(ifp *ifnet.Ifnet) { ifp.Addrs = []ifnet.Addr{{Prefix: mustPrefix("10.5.0.1/24")}} })
	interfaces.change(9, ifnet.AddressDelete, func(ifp *ifnet.Ifnet) { ifp.Addrs = nil })
	interfaces.change(9, ifnet.Detach, nil)
	var got []api.MessageType
	for len(got) < 5 {
		select {
		case m := <-sub.C:
			// The host route of the address may come and go, or never be seen.
			if m.Type != api.RTMAdd && m.Type != api.RTMDelete {
				got = append(got, m.Type)
			}
		case <-time.After(time.Second):
			t.Fatalf("messages: %v", got)
		}
	}
	want := []api.MessageType{api.RTMIfannounce, api.RTMIfinfo, api.RTMNewaddr, api.RTMDeladdr, api.RTMIfannounce}
	if !slices.Equal(got, want) {
		t.Errorf("messages %v, want %v", got, want)
	}
}

// A listener that does not read loses its own messages, and nobody else's.
func TestSlowListener(t *testing.T) {
	table, _ := startFake(t, newFakeKernel(), newClock())
	slow, quick := table.Subscribe(2), table.Subscribe(16)
	for range 10 {
		table.Miss(mustAddr("192.0.2.9"))
	}
	if slow.Dropped() != 8 || quick.Dropped() != 0 || len(quick.C) != 10 {
		t.Errorf("dropped %d and %d", slow.Dropped(), quick.Dropped())
	}
	slow.Close()
	slow.Close()
	table.Close()
	if _, ok := <-slow.C; !ok {
		t.Error("what was queued is lost")
	}
}

// An error of Linux is the answer, and nothing is half done.
func TestLinuxRefuses(t *testing.T) {
	k := newFakeKernel()
	table, path := startFake(t, k, newClock())
	k.refuse = unix.EPERM
	before := len(path.fib)
	_, err := table.RouteAdd(t.Context(), add("10.1.0.0/16", "192.0.2.2"))
	if api.ErrnoOf(err) != api.EPERM || len(path.fib) != before {
		t.Errorf("%v, %d routes", err, len(path.fib)-before)
	}
	if _, err := table.RouteGet(t.Context(), api.RouteRequest{Dst: mustPrefix("10.1.0.0/16"), Exact: true}); api.ErrnoOf(err) != api.ESRCH {
		t.Errorf("in the table: %v", err)
	}
}

func TestClosed(t *testing.T) {
	table, _ := startFake(t, newFakeKernel(), newClock())
	if err := table.Close(); err != nil {
		t.Fatal(err)
	}
	if err := table.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	if _, err := table.RouteAdd(t.Context(), add("10.1.0.0/16", "192.0.2.2")); err == nil {
		t.Error("a closed table took a route")
	}
}
