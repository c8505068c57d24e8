package route

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/ifnet"
)

// noMirror is an ifnet map that is not there.
type noMirror struct{}

func (noMirror) PutVlan(bpf.VlanKey, uint32) error { return nil }
func (noMirror) DeleteVlan(bpf.VlanKey) error      { return nil }
func (noMirror) Vlans() ([]bpf.VlanKey, error)     { return nil, nil }
func (noMirror) PutIfnet(uint32, *bpf.Ifnet) error { return nil }
func (noMirror) SetPort(uint32, int) error         { return nil }
func (noMirror) SetForeignPort(uint32, int) error  { return nil }
func (noMirror) XDPXmit(int) bool                  { return true }

// followIfnet follows the router with the model that the daemon uses.
func (l *lab) followIfnet() *ifnet.Table {
	l.t.Helper()
	table := ifnet.NewTable()
	table.SetMirror(noMirror{}, func(err error) { l.t.Error(err) })
	ctx, cancel := context.WithCancel(context.Background())
	l.t.Cleanup(cancel)
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread dies in its namespace
		if err := netns.Set(l.ns); err != nil {
			done <- err
			return
		}
		done <- table.Follow(ctx, func(err error) {
			if ctx.Err() == nil {
				l.t.Error(err)
			}
		})
	}()
	if err := <-done; err != nil {
		l.t.Fatal(err)
	}
	return table
}

// The Table and the model of interfaces together, as in the daemon.
func TestWithIfnet(t *testing.T) {
	l := newLab(t)
	interfaces := l.followIfnet()
	own := func(name string) {
		t.Helper()
		ifp, ok := interfaces.ByName(name)
		if !ok {
			t.Fatalf("no %s", name)
		}
		if err := interfaces.Own(ifp.Index, false); err != nil {
			t.Fatal(err)
		}
	}
	own("em0")
	table, err := New(interfaces, l.maps, Options{Netns: &l.ns})
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	if err := table.Start(); err != nil {
		t.Fatal(err)
	}
	want := func(addr, says string) {
		t.Helper()
		var got string
		began := time.Now()
		for time.Since(began) < 100*time.Millisecond {
			got = "no route"
			if nh, ok := l.route(addr); ok {
				got = describeNexthop(interfaces, nh)
			}
			if got == says {
				return
			}
			time.Sleep(200 * time.Microsecond)
		}
		t.Fatalf("packets to %s: %q, want %q", addr, got, says)
	}
	if _, err := table.RouteAdd(t.Context(), add("10.1.0.0/16", "198.51.100.2")); err != nil {
		t.Fatal(err)
	}
	want("10.1.0.1", "unowned")
	own("em1")
	want("10.1.0.1", "gateway 198.51.100.2 on em1")
	want("198.51.100.1", "local on em1")
	l.ip("link set em1 down")
	want("10.1.0.1", "no route")
	l.ip("link set em1 up")
	want("10.1.0.1", "gateway 198.51.100.2 on em1")
	want("198.51.100.9", "on em1")
	l.ip("addr add 10.77.0.1/24 brd + dev em0")
	want("10.77.0.1", "local on em0")
	want("10.77.0.255", "broadcast on em0")
	l.ip("addr del 10.77.0.1/24 dev em0")
	want("10.77.0.1", "no route")
	ifp, _ := interfaces.ByName("em1")
	if err := interfaces.Disown(ifp.Index); err != nil {
		t.Fatal(err)
	}
	want("10.1.0.1", "unowned")
	l.ip("link del em1")
	want("10.1.0.1", "no route")
	if s := table.Stats(); s.MapErrors != 0 {
		t.Errorf("stats: %+v", s)
	}
}
