package vlan

import (
	"bytes"
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/ifnet"
	"github.com/bsdnet/bsdnet/ifnet/api"
	"github.com/bsdnet/bsdnet/loader"
)

// Adopt takes vlans over from an earlier daemon.
func (c *Cloner) Adopt(clones []*ifnet.Clone) (lost []*ifnet.Clone) {
	for _, clone := range clones {
		ifp, ok := c.table.ByIndex(clone.Index)
		if !ok || ifp.Type != "veth" {
			lost = append(lost, clone)
			continue
		}
		v := &ifnet.Vlan{StackSlot: uint32(clone.Stack) % bpf.IfnetSlots, Parent: clone.Parent}
		if clone.Vlan != nil {
			v.Proto, v.VID, v.PCP = clone.Vlan.Proto, uint16(clone.Vlan.Tag), uint8(clone.Vlan.PCP)
		}
		err := errors.Join(
			c.dp.AttachOutput(clone.Index),
			c.table.SetStackPort(v.StackSlot, clone.Stack),
			c.table.SetVlan(clone.Index, v),
		)
		if err != nil {
			c.report(fmt.Errorf("adopt %s: %w", clone.Name, err))
		}
	}
	for _, clone := range clones {
		c.refresh(clone)
	}
	for _, parent := range c.ioctl.Forced() {
		c.demand(parent) // of a vlan that is gone it may ask for too much
	}
	return lost
}

// Changed implements what follows from changes of parents and of vlans.
func (c *Cloner) Changed(indexes map[int]bool, clones []*ifnet.Clone) bool {
	changed := false
	parents := make(map[int]bool)
	for _, clone := range clones {
		if !indexes[clone.Parent] && !indexes[clone.Index] {
			continue
		}
		before := *clone
		parents[clone.Parent] = true
		if clone.Parent != 0 {
			if _, there := c.table.ByIndex(clone.Parent); !there {
				if err := c.attach(clone, nil); err != nil {
					c.report(fmt.Errorf("detach %s: %w", clone.Name, err))
				}
			}
		}
		c.refresh(clone)
		changed = changed || before != *clone
	}
	for parent := range parents {
		c.demand(parent)
	}
	return changed
}

// refresh makes a vlan follow its parent: link address, MTU, carrier.
func (c *Cloner) refresh(clone *ifnet.Clone) {
	ifp, ok := c.table.ByIndex(clone.Index)
	if !ok {
		return
	}
	parent, attached := c.table.ByIndex(clone.Parent)
	var errs []error
	device := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: clone.Index}}
	if attached {
		if now := net.HardwareAddr(parent.Lladdr).String(); now != clone.Lladdr {
			if !bytes.Equal(ifp.Lladdr, parent.Lladdr) {
				errs = append(errs, netlink.LinkSetHardwareAddr(device, parent.Lladdr))
			}
			clone.Lladdr = now
		}
		if most := limit(parent); ifp.MTU > most {
			errs = append(errs, netlink.LinkSetMTU(device, most))
		}
		if c.fromXDP(parent) && !c.gro[clone.Index] {
			// A frame that XDP sends into a veth is lost unless its other end polls.
			errs = append(errs, loader.SetOffload(ifp.Device, loader.OffloadGRO, true))
			c.gro[clone.Index] = true
		}
	}
	if up := attached && parent.Up && parent.Running; up != c.carrier[clone.Index] {
		stack := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: clone.Stack}}
		set := c.stack.LinkSetDown
		if up {
			set = c.stack.LinkSetUp
		}
		errs = append(errs, set(stack))
		c.carrier[clone.Index] = up
	}
	if err := errors.Join(errs...); err != nil {
		c.report(fmt.Errorf("%s: follow parent: %w", clone.Name, err))
	}
}

// fromXDP reports whether frames come from a parent by XDP.
func (c *Cloner) fromXDP(parent *ifnet.Ifnet) bool {
	for parent.Vlan != nil {
		below, ok := c.table.ByIndex(parent.Vlan.Parent)
		if !ok {
			return false
		}
		parent = below
	}
	return !parent.TC
}

// demand makes a parent receive what its vlans want.
func (c *Cloner) demand(index int) {
	parent, ok := c.table.ByIndex(index)
	if !ok {
		return
	}
	var up []*ifnet.Ifnet
	for _, child := range c.table.Children(index) {
		if ifp, ok := c.table.ByIndex(child); ok && ifp.Up {
			up = append(up, ifp)
		}
	}
	if err := c.ioctl.Force(index, demanded(parent, up, filters(parent.Device))); err != nil {
		c.report(fmt.Errorf("%s: receive for its vlans: %w", parent.Name, err))
	}
}

// filters reports whether a device drops frames of tags that it was not told
// of. Only the 8021q of Linux can tell it of one.
func filters(device string) bool {
	for _, offload := range []loader.Offload{loader.OffloadVlanFilter, loader.OffloadStagFilter} {
		if on, err := loader.GetOffload(device, offload); err == nil && on {
			return true
		}
	}
	return false
}

// demanded are the flags that a parent needs for its vlans that are up: groups,
// and frames for other stations where a vlan is promiscuous or has a link
// address of its own. A device that filters stops when it receives everything.
func demanded(parent *ifnet.Ifnet, up []*ifnet.Ifnet, filters bool) (flags api.Flags) {
	for _, ifp := range up {
		flags |= api.IffAllmulti
		if filters || ifp.Promisc || !bytes.Equal(ifp.Lladdr, parent.Lladdr) {
			flags |= api.IffPpromisc
		}
	}
	return flags
}
