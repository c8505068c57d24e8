package ifnet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/internal/lab"
)

// fakeMirror keeps what the table writes into the data path.
type fakeMirror struct {
	entries map[uint32]bpf.Ifnet
	ports   map[uint32]int
}

func (m *fakeMirror) PutIfnet(slot uint32, entry *bpf.Ifnet) error {
	m.entries[slot] = *entry
	return nil
}

func (m *fakeMirror) SetPort(slot uint32, ifindex int) error {
	m.ports[slot] = ifindex
	return nil
}

func (m *fakeMirror) SetForeignPort(slot uint32, ifindex int) error { return m.SetPort(slot, ifindex) }
func (m *fakeMirror) PutVlan(bpf.VlanKey, uint32) error             { return nil }
func (m *fakeMirror) DeleteVlan(bpf.VlanKey) error                  { return nil }
func (m *fakeMirror) Vlans() ([]bpf.VlanKey, error)                 { return nil, nil }
func (m *fakeMirror) XDPXmit(int) bool                              { return true }

// TestFollow changes interfaces of a namespace and wants the table to tell.
func TestFollow(t *testing.T) {
	host := lab.MustHost(t, "follow")
	table := NewTable()
	mirror := &fakeMirror{make(map[uint32]bpf.Ifnet), make(map[uint32]int)}
	table.SetMirror(mirror, func(err error) { t.Error(err) })
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := host.Do(func() error { return table.Follow(ctx, func(err error) { t.Error(err) }) }); err != nil {
		t.Fatal(err)
	}
	events := make(chan Event, 256)
	table.Subscribe(func(e Event) { events <- e })
	await := func(what string, fits func(Event) bool) *Ifnet {
		t.Helper()
		deadline := time.After(5 * time.Second)
		for {
			select {
			case e := <-events:
				if fits(e) {
					return e.If
				}
			case <-deadline:
				t.Fatalf("no event: %s", what)
			}
		}
	}
	if lo, ok := table.ByName("lo"); !ok || !lo.Loopback || !lo.Up {
		t.Fatalf("lo is %+v", lo)
	}

	host.MustRun(t, "ip", "link", "add", "em0", "type", "veth", "peer", "name", "far0")
	em0 := await("attach", func(e Event) bool { return e.Kind == Attach && e.If.Device == "em0" })
	if err := table.Own(em0.Index, true); err != nil {
		t.Fatal(err)
	}
	if entry := mirror.entries[em0.Slot]; entry.IfFlags&bpf.IfnetOwned != 0 {
		t.Error("entry written before the slot was given")
	}
	owned, _ := table.ByIndex(em0.Index)
	entry := mirror.entries[owned.Slot]
	if entry.IfIndex != uint32(em0.Index) || entry.IfFlags&(bpf.IfnetOwned|bpf.IfnetTC) != bpf.IfnetOwned|bpf.IfnetTC || entry.IfFlags&bpf.IfnetUp != 0 {
		t.Errorf("entry of an owned interface that is down: %+v", entry)
	}
	if found, ok := table.BySlot(owned.Slot); !ok || found.Index != em0.Index {
		t.Errorf("slot %d holds %+v", owned.Slot, found)
	}

	host.MustRun(t, "ip", "link", "set", "em0", "up", "mtu", "1400")
	await("up", func(e Event) bool { return e.If.Device == "em0" && e.If.Up && e.If.MTU == 1400 })
	if entry := mirror.entries[owned.Slot]; entry.IfMtu != 1400 || entry.IfFlags&bpf.IfnetUp == 0 {
		t.Errorf("entry after up: %+v", entry)
	}
	host.MustRun(t, "ip", "addr", "add", "192.0.2.1/24", "brd", "192.0.2.255", "dev", "em0")
	with := await("address", func(e Event) bool { return e.Kind == AddressAdd && e.Addr.Prefix.String() == "192.0.2.1/24" })
	if len(with.Addrs) == 0 || with.Addrs[0].Broadcast.String() != "192.0.2.255" {
		t.Errorf("addresses %+v", with.Addrs)
	}
	host.MustRun(t, "ip", "addr", "del", "192.0.2.1/24", "dev", "em0")
	await("address gone", func(e Event) bool { return e.Kind == AddressDelete && e.Addr.Prefix.String() == "192.0.2.1/24" })

	host.MustRun(t, "ip", "link", "add", "br0", "type", "bridge")
	host.MustRun(t, "ip", "link", "set", "em0", "master", "br0")
	await("master", func(e Event) bool { return e.If.Device == "em0" && e.If.Master != 0 })
	if mirror.entries[owned.Slot].IfFlags&bpf.IfnetUpper == 0 {
		t.Error("an interface in a bridge is not left to the host")
	}
	host.MustRun(t, "ip", "link", "set", "em0", "nomaster")
	await("no master", func(e Event) bool { return e.If.Device == "em0" && e.If.Master == 0 })

	host.MustRun(t, "ip", "link", "del", "em0")
	await("detach", func(e Event) bool { return e.Kind == Detach && e.If.Device == "em0" })
	if entry := mirror.entries[owned.Slot]; entry != (bpf.Ifnet{}) || mirror.ports[owned.Slot] != 0 {
		t.Errorf("entry after detach: %+v, port %d", entry, mirror.ports[owned.Slot])
	}
}

// TestOverflow makes more events than the buffer holds while nobody reads, and
// wants the table to know of it and to be right in the end.
func TestOverflow(t *testing.T) {
	host := lab.MustHost(t, "overflow")
	table := NewTable()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	lost := make(chan error, 16)
	follow := func() error { return table.Follow(ctx, func(err error) { lost <- err }) }
	if err := host.Do(follow); err != nil {
		t.Fatal(err)
	}
	host.MustRun(t, "ip", "link", "add", "em0", "type", "veth", "peer", "name", "far0")
	// A subscriber that is slow holds the follower up.
	release := make(chan struct{})
	table.Subscribe(func(Event) { <-release })
	var script strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&script, "addr add 10.%d.%d.1/24 dev em0\n", i/256, i%256)
	}
	for i := range 2 * eventBuffer / eventSize {
		fmt.Fprintf(&script, "link set em0 mtu %d\n", 1300+i%2)
	}
	script.WriteString("link set em0 mtu 1299\n")
	batch := filepath.Join(t.TempDir(), "batch")
	if err := os.WriteFile(batch, []byte(script.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	host.MustRun(t, "ip", "-batch", batch)
	close(release)
	select {
	case err := <-lost:
		if !errors.Is(err, errEventsLost) {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the buffer did not overflow")
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		if em0, ok := table.ByName("em0"); ok && em0.MTU == 1299 && len(em0.Addrs) == 3000 {
			return
		}
		if time.Now().After(deadline) {
			em0, _ := table.ByName("em0")
			t.Fatalf("em0 has %d addresses, MTU %d", len(em0.Addrs), em0.MTU)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// eventSize is no more than an event of a link takes of the buffer, in bytes.
const eventSize = 1024

// TestSlots fills a probe sequence.
func TestSlots(t *testing.T) {
	taken := make(map[uint32]bool)
	for i := range bpf.IfnetProbes {
		slot, ok := slotOf(7+int(i)*int(bpf.IfnetSlots), func(s uint32) bool { return taken[s] })
		if !ok || slot != 7+i {
			t.Fatalf("slot %d %v, want %d", slot, ok, 7+i)
		}
		taken[slot] = true
	}
	if slot, ok := slotOf(7+100*int(bpf.IfnetSlots), func(s uint32) bool { return taken[s] }); ok {
		t.Fatalf("slot %d beyond the probes", slot)
	}
}
