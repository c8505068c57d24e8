package ifnet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/bpf"
)

// Follow fills the table from the kernel of the calling thread's network
// namespace and keeps it up to date until ctx ends. It returns when the table
// is filled. Where events are lost, the whole is read again; lost is told why.
func (t *Table) Follow(ctx context.Context, lost func(error)) error {
	ns, err := netns.Get()
	if err != nil {
		return fmt.Errorf("find network namespace: %w", err)
	}
	f, err := t.subscribe(ns)
	if err != nil {
		ns.Close()
		return err
	}
	go func() {
		defer ns.Close()
		for {
			if f != nil {
				f.run(ctx, t)
				f.close()
			}
			if ctx.Err() != nil {
				return
			}
			if f != nil {
				lost(errEventsLost)
			}
			if f, err = t.subscribe(ns); err != nil {
				lost(err)
				pause(ctx, time.Second)
			}
		}
	}()
	return nil
}

// errEventsLost is what happens when the kernel has more to tell than the
// buffer holds.
var errEventsLost = errors.New("interface events lost, reading all again")

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// follower is one subscription. The kernel ends it when the buffer overflows.
type follower struct {
	links  <-chan deviceEvent
	addrs  chan netlink.AddrUpdate
	done   chan struct{}
	handle *netlink.Handle
	socket *nl.SocketHandle // for dumps of links
}

// eventBuffer is the size in bytes of the socket buffer for events.
const eventBuffer = 4 << 20

// subscribe begins to listen and then reads everything, so that nothing is
// missed in between.
func (t *Table) subscribe(ns netns.NsHandle) (*follower, error) {
	f := &follower{done: make(chan struct{})}
	err := f.open(ns)
	if err == nil {
		err = t.resync(f)
	}
	if err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

func (f *follower) open(ns netns.NsHandle) (err error) {
	if f.links, err = subscribeDevices(ns, f.done); err != nil {
		return fmt.Errorf("subscribe to links: %w", err)
	}
	addrs := make(chan netlink.AddrUpdate, 256)
	err = netlink.AddrSubscribeWithOptions(addrs, f.done, netlink.AddrSubscribeOptions{
		Namespace: &ns, ReceiveBufferSize: eventBuffer, ReceiveBufferForceSize: true,
	})
	if err != nil {
		return fmt.Errorf("subscribe to addresses: %w", err)
	}
	f.addrs = addrs
	if f.handle, err = netlink.NewHandleAt(ns, unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("open rtnetlink: %w", err)
	}
	socket, err := nl.GetNetlinkSocketAt(ns, netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open rtnetlink: %w", err)
	}
	f.socket = &nl.SocketHandle{Socket: socket}
	return nil
}

func (f *follower) close() {
	close(f.done)
	if f.addrs != nil {
		go func() { // the package would wait for a reader for ever
			for range f.addrs {
			}
		}()
	}
	if f.handle != nil {
		f.handle.Close()
	}
	if f.socket != nil {
		f.socket.Close()
	}
}

// run takes events into the table until ctx ends or one of the subscriptions does.
func (f *follower) run(ctx context.Context, t *Table) {
	for {
		select {
		case <-ctx.Done():
			return
		case update, ok := <-f.links:
			switch {
			case !ok:
				return
			case update.gone:
				t.settling.Lock()
				delete(t.settled, update.Attrs().Index)
				t.settling.Unlock()
				t.remove(update.Attrs().Index)
			case t.settledLately(update.Attrs().Index):
				t.reread(f.socket, update.Attrs().Index)
			default:
				t.update(update.device)
			}
		case update, ok := <-f.addrs:
			if !ok {
				return
			}
			f.addresses(t, update)
		}
	}
}

// resync compares the whole table with the kernel's.
func (t *Table) resync(f *follower) error {
	devices, err := whole(func() ([]device, error) { return readDevices(f.socket, 0) })
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	seen := make(map[int]bool)
	for _, d := range devices {
		seen[d.Attrs().Index] = true
		t.update(d)
	}
	for _, ifp := range t.All() {
		if !seen[ifp.Index] {
			t.remove(ifp.Index)
		}
	}
	addrs, err := whole(func() ([]netlink.Addr, error) { return f.handle.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	byIndex := make(map[int][]Addr)
	for _, addr := range addrs {
		if a, ok := fromNetlink(addr); ok {
			byIndex[addr.LinkIndex] = append(byIndex[addr.LinkIndex], a)
		}
	}
	for _, ifp := range t.All() {
		t.setAddrs(ifp.Index, byIndex[ifp.Index])
	}
	return nil
}

// whole reads a list again that changed while the kernel gave it.
func whole[T any](read func() ([]T, error)) (list []T, err error) {
	for range 10 {
		if list, err = read(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return list, err
}

// fromNetlink turns a kernel address into ours. Tentative and failed
// duplicates are left out until the kernel settles them.
func fromNetlink(addr netlink.Addr) (Addr, bool) {
	if addr.IPNet == nil {
		return Addr{}, false
	}
	ip, ok := netip.AddrFromSlice(addr.IP)
	if !ok {
		return Addr{}, false
	}
	ip = ip.Unmap()
	ones, _ := addr.Mask.Size()
	a := Addr{Prefix: netip.PrefixFrom(ip, ones), Scope: addr.Scope}
	if b, ok := netip.AddrFromSlice(addr.Broadcast); ok {
		a.Broadcast = b.Unmap()
	}
	if addr.Peer != nil && !addr.Peer.IP.Equal(addr.IP) {
		if p, ok := netip.AddrFromSlice(addr.Peer.IP); ok {
			a.Peer = p.Unmap()
		}
	}
	return a, true
}

// addresses takes an event of an address into the table, and those that came
// with it: thousands of interfaces that come up are one look, not thousands.
func (f *follower) addresses(t *Table, update netlink.AddrUpdate) {
	changed := make(map[int]bool)
	for {
		if update.NewAddr {
			changed[update.LinkIndex] = true
		} else {
			t.deleteAddr(update)
		}
		select {
		case next, ok := <-f.addrs:
			if ok {
				update = next
				continue
			}
		default:
		}
		break
	}
	if len(changed) == 0 {
		return
	}
	// Events lack broadcast and peer: ask for them.
	list, err := whole(func() ([]netlink.Addr, error) { return f.handle.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return
	}
	byIndex := make(map[int][]Addr)
	for _, addr := range list {
		if a, ok := fromNetlink(addr); ok && changed[addr.LinkIndex] {
			byIndex[addr.LinkIndex] = append(byIndex[addr.LinkIndex], a)
		}
	}
	for index := range changed {
		t.setAddrs(index, byIndex[index])
	}
}

// deleteAddr takes away the address of an event.
func (t *Table) deleteAddr(update netlink.AddrUpdate) {
	ip, ok := netip.AddrFromSlice(update.LinkAddress.IP)
	if !ok {
		return
	}
	ones, _ := update.LinkAddress.Mask.Size()
	prefix := netip.PrefixFrom(ip.Unmap(), ones)
	if ifp, ok := t.ByIndex(update.LinkIndex); ok {
		t.setAddrs(ifp.Index, slices.DeleteFunc(slices.Clone(ifp.Addrs), func(a Addr) bool { return a.Prefix == prefix }))
	}
}

// Settle takes in what the kernel says of an interface now, before the event
// comes. It works in the network namespace of the calling thread.
func (t *Table) Settle(index int) {
	t.settling.Lock()
	t.settled[index] = time.Now()
	t.settling.Unlock()
	t.reread(nil, index)
}

// settledTime is how long after Settle an event may tell of what was before.
const settledTime = time.Second

// settledLately reports whether an event of an interface may be older than what
// the table knows.
func (t *Table) settledLately(index int) bool {
	t.settling.Lock()
	defer t.settling.Unlock()
	at, ok := t.settled[index]
	if ok && time.Since(at) > settledTime {
		delete(t.settled, index)
		ok = false
	}
	return ok
}

// reread takes in what the kernel says of an interface now, in the namespace of
// a socket or, without one, of the calling thread.
func (t *Table) reread(socket *nl.SocketHandle, index int) {
	t.settling.Lock()
	defer t.settling.Unlock()
	if devices, err := readDevices(socket, index); err == nil && len(devices) == 1 {
		t.update(devices[0])
	}
}

// update takes in what the kernel says of a link.
func (t *Table) update(d device) {
	attrs := d.Attrs()
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.byIndex[attrs.Index]
	next := &Ifnet{
		Index:        attrs.Index,
		Name:         t.alias(attrs.Name),
		Device:       attrs.Name,
		Up:           attrs.RawFlags&unix.IFF_UP != 0,
		Running:      attrs.RawFlags&unix.IFF_LOWER_UP != 0,
		Loopback:     attrs.RawFlags&unix.IFF_LOOPBACK != 0,
		PointToPoint: attrs.RawFlags&unix.IFF_POINTOPOINT != 0,
		Broadcast:    attrs.RawFlags&unix.IFF_BROADCAST != 0,
		Multicast:    attrs.RawFlags&unix.IFF_MULTICAST != 0,
		NoARP:        attrs.RawFlags&unix.IFF_NOARP != 0,
		Promisc:      attrs.RawFlags&unix.IFF_PROMISC != 0 || attrs.Promisc > 0,
		MTU:          attrs.MTU,
		Lladdr:       bytes.Clone(attrs.HardwareAddr),
		Type:         d.Type(),
		Encap:        attrs.EncapType,
		Master:       attrs.MasterIndex,
		Parent:       attrs.ParentIndex,
		Description:  attrs.Alias,
		carrierDowns: d.carrierDowns,
	}
	kind := Attach
	if old != nil {
		next.Addrs, next.Groups, next.Slot, next.HasSlot, next.Owned, next.TC = old.Addrs, old.Groups, old.Slot, old.HasSlot, old.Owned, old.TC
		next.XDPXmit, next.Role, next.Vlan = old.XDPXmit, old.Role, old.Vlan
		next.clonedBy(old.Cloner)
		next.LinkLosses, next.Monitor = old.LinkLosses, old.Monitor
		if old.Running && (!next.Running || next.carrierDowns != old.carrierDowns) {
			next.LinkLosses++
		}
		kind = Link
		if old.Name != next.Name {
			kind = Rename
		}
	}
	t.byIndex[attrs.Index] = next
	t.stacked(old, -1)
	t.stacked(next, 1)
	if old != nil && equal(old, next) {
		return
	}
	t.write(next)
	t.writeBelow(old, next)
	t.publish(Event{Kind: kind, If: next})
}

// equal compares all but the addresses, which have events of their own.
func equal(a, b *Ifnet) bool {
	x, y := *a, *b
	same := bytes.Equal(x.Lladdr, y.Lladdr) && slices.Equal(x.Groups, y.Groups)
	return same && x.Index == y.Index && x.Slot == y.Slot && x.HasSlot == y.HasSlot && x.Name == y.Name &&
		x.Device == y.Device && x.Owned == y.Owned && x.Up == y.Up && x.Running == y.Running &&
		x.NoARP == y.NoARP && x.Promisc == y.Promisc && x.MTU == y.MTU && x.Master == y.Master &&
		x.LinkLosses == y.LinkLosses && x.Parent == y.Parent && x.Description == y.Description && x.PointToPoint == y.PointToPoint
}

// writeBelow writes the interfaces anew whose upper devices changed by this one.
func (t *Table) writeBelow(old, next *Ifnet) {
	if old != nil && next != nil && old.Parent == next.Parent && old.Type == next.Type {
		return
	}
	for _, ifp := range []*Ifnet{old, next} {
		if ifp == nil || ifp.Parent == 0 {
			continue
		}
		if below, ok := t.byIndex[ifp.Parent]; ok && below.Owned {
			t.write(below)
		}
	}
}

func (t *Table) remove(index int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ifp, ok := t.byIndex[index]
	if !ok {
		return
	}
	delete(t.byIndex, index)
	t.stacked(ifp, -1)
	t.forgetVlan(ifp)
	delete(t.dhcp, index)
	if ifp.HasSlot {
		t.clear(ifp.Slot)
	}
	t.writeBelow(ifp, nil)
	for _, addr := range ifp.Addrs {
		t.publish(Event{Kind: AddressDelete, If: ifp, Addr: addr})
	}
	t.publish(Event{Kind: Detach, If: ifp})
}

func (t *Table) setAddrs(index int, addrs []Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old, ok := t.byIndex[index]
	if !ok {
		return
	}
	slices.SortFunc(addrs, func(a, b Addr) int { return a.Prefix.Addr().Compare(b.Prefix.Addr()) })
	next := *old
	next.Addrs = addrs
	t.byIndex[index] = &next
	before, after := addrSet(old.Addrs), addrSet(addrs)
	for _, addr := range old.Addrs {
		if !after[addr] {
			t.publish(Event{Kind: AddressDelete, If: &next, Addr: addr})
		}
	}
	for _, addr := range addrs {
		if !before[addr] {
			t.publish(Event{Kind: AddressAdd, If: &next, Addr: addr})
		}
	}
}

func addrSet(addrs []Addr) map[Addr]bool {
	set := make(map[Addr]bool, len(addrs))
	for _, addr := range addrs {
		set[addr] = true
	}
	return set
}

// publish tells the subscribers; t.mu is held.
func (t *Table) publish(event Event) {
	for _, id := range slices.Sorted(maps.Keys(t.subs)) {
		t.subs[id](event)
	}
}

// hardwareAddr copies a link address of six bytes into the data path's form.
func hardwareAddr(lladdr net.HardwareAddr) (out [6]uint8) {
	copy(out[:], lladdr)
	return out
}

// flags translates the state of an interface into the data path's.
func (t *Table) flags(ifp *Ifnet) (flags uint32) {
	set := func(on bool, bit uint32) {
		if on {
			flags |= bit
		}
	}
	set(ifp.Owned, bpf.IfnetOwned)
	set(ifp.Up && !ifp.Monitor, bpf.IfnetUp)
	set(ifp.Monitor, bpf.IfnetMonitor)
	set(ifp.Promisc, bpf.IfnetPromisc)
	set(ifp.Loopback, bpf.IfnetLoopback)
	set(ifp.PointToPoint, bpf.IfnetPointopoint)
	set(ifp.NoARP, bpf.IfnetNoarp)
	set(ifp.Master != 0 || t.uppers[ifp.Index] > 0, bpf.IfnetUpper)
	set(len(ifp.Lladdr) != 6, bpf.IfnetRawip)
	set(ifp.XDPXmit, bpf.IfnetXDPXmit)
	set(ifp.TC, bpf.IfnetTC)
	set(t.skipped(ifp), bpf.IfnetPfskip)
	set(t.dhcp[ifp.Index], bpf.IfnetDHCP)
	set(ifp.Tunnel(), bpf.IfnetTunnel|bpf.IfnetClone)
	set(ifp.Role == RoleNetisr, bpf.IfnetNetisr)
	set(ifp.Role == RoleFunnel, bpf.IfnetFunnel)
	return flags
}

// stacked counts a device of the host as one on top of another.
func (t *Table) stacked(ifp *Ifnet, n int) {
	if ifp == nil || ifp.Parent == 0 || ifp.Type == "veth" {
		return
	}
	if t.uppers[ifp.Parent] += n; t.uppers[ifp.Parent] == 0 {
		delete(t.uppers, ifp.Parent)
	}
}
