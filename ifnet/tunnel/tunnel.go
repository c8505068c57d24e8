// Package tunnel is the cloners of interfaces whose packets travel in packets:
// gif(4) and gre(4).
//
// The device that the host sees is a tun of Linux, which is point-to-point.
// Nothing ever reads from it: what the host sends on it, the data path takes
// at its egress, and what comes out of the tunnel it gives to it as input. The
// file of the device that the cloner holds is its carrier.
package tunnel

import (
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"os"
	"sync"

	"github.com/vishvananda/netlink"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/errno"
	"github.com/bsdnet/bsdnet/ifnet"
	"github.com/bsdnet/bsdnet/ifnet/api"
	"github.com/bsdnet/bsdnet/loader"
)

// Tunnels is what the cloners have in common.
type Tunnels struct {
	ioctl  *ifnet.Ioctl
	table  *ifnet.Table
	dp     *loader.Datapath
	mirror *loader.TunnelMirror
	config *loader.Config
	report func(error)

	mu    sync.Mutex // guards files, which Close may meet at work
	files map[int]*os.File
	keys  map[int][]bpf.TunnelKey // that the data path has, by index of the interface
	owner map[bpf.TunnelKey]int
	users map[bpf.TunnelKey]int // of keys that tunnels share: how many do
	inUDP map[int]bool
}

// New opens the tunnels of a data path.
func New(ioctl *ifnet.Ioctl, table *ifnet.Table, dp *loader.Datapath, config *loader.Config, report func(error)) (*Tunnels, error) {
	mirror, err := loader.NewTunnelMirror(dp, config.FIBGeneration())
	if err != nil {
		return nil, fmt.Errorf("open tunnels: %w", err)
	}
	return &Tunnels{
		ioctl: ioctl, table: table, dp: dp, config: config, mirror: mirror, report: report,
		files: make(map[int]*os.File), keys: make(map[int][]bpf.TunnelKey), owner: make(map[bpf.TunnelKey]int),
		users: make(map[bpf.TunnelKey]int), inUDP: make(map[int]bool),
	}, nil
}

// Close lets go of the devices, which stay.
func (t *Tunnels) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, file := range t.files {
		file.Close()
	}
	t.mirror.Close()
}

// kind is what tells the cloners apart.
type kind struct {
	name           string
	mtu            int // in bytes, of a new interface
	mtuMin, mtuMax int
	entry          func(clone *ifnet.Clone, flags api.Flags) bpf.Tunnel
	keys           func(clone *ifnet.Clone) []bpf.TunnelKey
	taken          errno.Errno // the error where another has the ends
	options        api.TunnelOptions
	header         func(*api.Tunnel) int // bytes that options add to the headers; nil: none do
}

// Cloner makes tunnels of one kind. Its methods are for [ifnet.Ioctl] to call.
type Cloner struct {
	*Tunnels
	kind
}

// Name implements ifnet.Cloner.
func (c *Cloner) Name() string { return c.name }

// MTULimit returns the largest MTU that a tunnel may have.
func (c *Cloner) MTULimit(*ifnet.Ifnet) int { return c.mtuMax }

// MTUMinimum returns the smallest.
func (c *Cloner) MTUMinimum() int { return c.mtuMin }

// Create implements ifnet.Cloner.
func (c *Cloner) Create(clones []*ifnet.Clone) error {
	for n, clone := range clones {
		if err := c.create(clone); err != nil {
			made := clones[:n]
			if clone.Index != 0 {
				made = clones[:n+1]
			}
			return errors.Join(err, c.Destroy(made))
		}
	}
	return nil
}

func (c *Cloner) create(clone *ifnet.Clone) (err error) {
	link := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: clone.Name}, Mode: netlink.TUNTAP_MODE_TUN}
	if clone.Index, err = ifnet.AddTuntap(link); err != nil {
		return err
	}
	device := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: clone.Index}}
	if err := netlink.LinkSetMTU(device, c.mtu); err != nil {
		return errno.Of(err)
	}
	clone.Tunnel = &api.Tunnel{}
	return c.take(clone, clone.Name)
}

// take puts a device under the data path and writes its tunnel.
func (c *Cloner) take(clone *ifnet.Clone, device string) error {
	file, err := ifnet.OpenTun(device)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.files[clone.Index] = file
	c.mu.Unlock()
	c.table.Settle(clone.Index)
	return errors.Join(
		c.table.Own(clone.Index, true),
		c.dp.AttachOutput(clone.Index),
		c.write(clone),
	)
}

// write makes the data path know a tunnel as it is now.
func (c *Cloner) write(clone *ifnet.Clone) error {
	ifp, ok := c.table.ByIndex(clone.Index)
	if !ok || !ifp.HasSlot {
		return errno.ENXIO
	}
	var entry bpf.Tunnel
	var keys []bpf.TunnelKey
	ends := clone.Tunnel.Source.IsValid()
	if ends {
		entry, keys = c.entry(clone, c.ioctl.Flags(clone.Index)), c.kind.keys(clone)
	}
	errs := []error{c.forget(clone.Index), c.mirror.Put(ifp.Slot, &entry)}
	for _, key := range keys {
		errs = append(errs, c.mirror.PutKey(key, ifp.Slot))
		if shared(key) {
			c.users[key]++
		} else {
			c.owner[key] = clone.Index
		}
	}
	errs = append(errs, c.setUDP(clone.Index, entry.Flags&bpf.TunnelUDP != 0))
	c.Tunnels.keys[clone.Index] = keys
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Join(append(errs, ifnet.SetCarrier(c.files[clone.Index], ends))...)
}

// shared reports whether a key is one that tunnels between the same ends have
// in common.
func shared(key bpf.TunnelKey) bool { return key.Kind == uint16(bpf.TunnelGreends) }

// setUDP makes the data path look for GRE in UDP while a tunnel wants it.
func (t *Tunnels) setUDP(index int, on bool) error {
	if t.inUDP[index] == on {
		return nil
	}
	t.inUDP[index] = on
	if !on {
		delete(t.inUDP, index)
	}
	return t.config.Commit(func(c *bpf.Config) error {
		c.Flags &^= bpf.ConfigGreudp
		if len(t.inUDP) > 0 {
			c.Flags |= bpf.ConfigGreudp
		}
		return nil
	})
}

// forget takes the keys of a tunnel out of the data path.
func (c *Cloner) forget(index int) error {
	var errs []error
	for _, key := range c.Tunnels.keys[index] {
		if shared(key) {
			if c.users[key]--; c.users[key] > 0 {
				continue
			}
			delete(c.users, key)
		}
		errs = append(errs, c.mirror.DeleteKey(key))
		delete(c.owner, key)
	}
	delete(c.Tunnels.keys, index)
	return errors.Join(errs...)
}

// Destroy implements ifnet.Cloner.
func (c *Cloner) Destroy(clones []*ifnet.Clone) error {
	var errs []error
	c.mu.Lock()
	for _, clone := range clones {
		errs = append(errs, c.forget(clone.Index), c.setUDP(clone.Index, false))
		if ifp, ok := c.table.ByIndex(clone.Index); ok && ifp.HasSlot {
			errs = append(errs, c.mirror.Put(ifp.Slot, &bpf.Tunnel{}))
		}
		if file := c.files[clone.Index]; file != nil {
			file.Close()
			delete(c.files, clone.Index)
		}
	}
	c.mu.Unlock()
	return errors.Join(append(errs, ifnet.DestroyDevices(c.table, clones))...)
}

// Adopt takes devices over from an earlier daemon.
func (c *Cloner) Adopt(clones []*ifnet.Clone) (lost []*ifnet.Clone) {
	for _, clone := range clones {
		ifp, ok := c.table.ByIndex(clone.Index)
		if !ok {
			lost = append(lost, clone)
			continue
		}
		if clone.Tunnel == nil {
			clone.Tunnel = &api.Tunnel{}
		}
		if err := c.take(clone, ifp.Device); err != nil {
			c.report(fmt.Errorf("adopt %s: %w", clone.Name, err))
		}
	}
	if err := c.prune(); err != nil {
		c.report(fmt.Errorf("adopt %s: %w", c.name, err))
	}
	return lost
}

// prune takes keys of this kind out of the data path whose tunnels are gone.
func (c *Cloner) prune() error {
	keys, err := c.mirror.Keys()
	if err != nil {
		return err
	}
	var errs []error
	for key, slot := range keys {
		ifp, ok := c.table.BySlot(slot)
		nobody := c.owner[key] == 0 && c.users[key] == 0
		if !ok || !ifp.Tunnel() || ifp.Cloner == c.name && nobody {
			errs = append(errs, c.mirror.DeleteKey(key))
		}
	}
	return errors.Join(errs...)
}

// FlagsChanged follows link0 to link2.
func (c *Cloner) FlagsChanged(clone *ifnet.Clone) error { return c.write(clone) }

// SetTunnel changes a tunnel, all that is said of it or nothing.
func (c *Cloner) SetTunnel(clone *ifnet.Clone, r api.TunnelRequest) error {
	before := *clone.Tunnel
	next := before
	if err := c.change(&next, r); err != nil {
		return err
	}
	*clone.Tunnel = next
	if next.Source.IsValid() {
		for _, key := range c.kind.keys(clone) {
			if other, taken := c.owner[key]; taken && other != clone.Index {
				*clone.Tunnel = before
				return c.taken
			}
		}
	}
	if err := c.adjust(clone, &before); err != nil {
		return err
	}
	return c.write(clone)
}

// adjust makes an MTU that nobody chose fit the headers of a tunnel.
func (c *Cloner) adjust(clone *ifnet.Clone, before *api.Tunnel) error {
	ifp, ok := c.table.ByIndex(clone.Index)
	if !ok || c.header == nil {
		return nil
	}
	was, is := c.mtu-c.header(before), c.mtu-c.header(clone.Tunnel)
	if was == is || ifp.MTU != was {
		return nil
	}
	if err := netlink.LinkSetMTU(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: clone.Index}}, is); err != nil {
		return errno.Of(err)
	}
	c.table.Settle(clone.Index)
	return nil
}

// change checks a request and does it to a tunnel.
func (c *Cloner) change(t *api.Tunnel, r api.TunnelRequest) error {
	if r.Delete {
		t.Source, t.Destination = netip.Addr{}, netip.Addr{}
	}
	if r.Source.IsValid() || r.Destination.IsValid() {
		source, destination := r.Source.Unmap(), r.Destination.Unmap()
		switch {
		case source.BitLen() != destination.BitLen() || source.Zone() != "" || destination.Zone() != "":
			return errno.EINVAL
		case source.IsUnspecified() || destination.IsUnspecified():
			return errno.EADDRNOTAVAIL
		}
		t.Source, t.Destination = source, destination
	}
	if r.FIB != nil {
		if *r.FIB != 0 {
			return errno.Errorf(errno.EINVAL, "there is one routing table, fib 0")
		}
		t.FIB = *r.FIB
	}
	if (r.Set|r.Clear)&^c.options != 0 || (r.Key != nil || r.Port != nil) && c.options&api.GreOptions == 0 {
		return errno.EINVAL
	}
	t.Options = (t.Options | r.Set) &^ r.Clear
	if r.Key != nil {
		t.Key = *r.Key
	}
	if r.Port != nil {
		t.Port = *r.Port
	}
	return nil
}

// family is the outer family of a tunnel, as the data path has it.
func family(addr netip.Addr) uint8 {
	if addr.Is4() {
		return 4
	}
	return 6
}

// bytes16 is an address in network order, IPv4 in the first four bytes.
func bytes16(addr netip.Addr) (out [16]uint8) {
	copy(out[:], addr.AsSlice())
	return out
}

func networkOrder16(v uint16) uint16 { return bits.ReverseBytes16(v) }
func networkOrder32(v uint32) uint32 { return bits.ReverseBytes32(v) }
