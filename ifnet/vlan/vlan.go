// Package vlan is the cloner of vlan(4): interfaces that stand for an 802.1Q
// or 802.1ad tag on another.
//
// The user's end of a veth pair carries the name, in the host's namespace. The
// data path gives it what arrives with the tag, and sends what it sends with
// the tag on; forwarded packets never see it.
package vlan

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/errno"
	"github.com/bsdnet/bsdnet/ifnet"
	"github.com/bsdnet/bsdnet/ifnet/api"
	"github.com/bsdnet/bsdnet/loader"
)

// Cloner makes vlans. Its methods are for [ifnet.Ioctl] to call.
type Cloner struct {
	ioctl   *ifnet.Ioctl
	table   *ifnet.Table
	dp      *loader.Datapath
	private netns.NsHandle
	stack   *netlink.Handle // in the private namespace
	carrier map[int]bool    // what the stack's end of each vlan was told last
	gro     map[int]bool    // user's ends that poll for frames of XDP
	report  func(error)
}

// New makes the cloner. private is the namespace of the stack's ends.
func New(ioctl *ifnet.Ioctl, table *ifnet.Table, dp *loader.Datapath, private netns.NsHandle, report func(error)) (*Cloner, error) {
	if err := loader.QuietPrivate(private); err != nil {
		return nil, fmt.Errorf("prepare for vlans: %w", err)
	}
	stack, err := netlink.NewHandleAt(private, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink of the private namespace: %w", err)
	}
	return &Cloner{
		ioctl: ioctl, table: table, dp: dp, private: private, stack: stack, report: report,
		carrier: make(map[int]bool), gro: make(map[int]bool),
	}, nil
}

// Close lets go of the private namespace.
func (c *Cloner) Close() { c.stack.Close() }

// Name implements ifnet.Cloner.
func (c *Cloner) Name() string { return "vlan" }

// Match takes em0.5 for the tag 5 on em0.
func (c *Cloner) Match(name string) (*api.Vlan, bool) {
	dot := strings.LastIndexByte(name, '.')
	if dot <= 0 {
		return nil, false
	}
	tag, err := strconv.Atoi(name[dot+1:])
	if err != nil || tag < 0 || strconv.Itoa(tag) != name[dot+1:] {
		return nil, false
	}
	return &api.Vlan{Parent: name[:dot], Tag: tag}, true
}

// Limits of a tag.
const (
	tagMin, tagMax = 1, 4094
	pcpMax         = 7
	tagLen         = 4
	mtuDefault     = 1500
)

// check finds the parent of a tag and says why it cannot have it. self is the
// vlan that wants it, 0: a new one.
func (c *Cloner) check(v *api.Vlan, self int, missing errno.Errno) (*ifnet.Ifnet, error) {
	if v.Proto == 0 {
		v.Proto = api.Vlan8021Q
	}
	if v.Tag < tagMin || v.Tag > tagMax || v.PCP < 0 || v.PCP > pcpMax || v.Proto != api.Vlan8021Q && v.Proto != api.Vlan8021AD {
		return nil, errno.EINVAL
	}
	parent, ok := c.table.ByName(v.Parent)
	if !ok {
		return nil, missing
	}
	if len(parent.Lladdr) != 6 || parent.Loopback {
		return nil, errno.EPROTONOSUPPORT
	}
	if !parent.Owned {
		return nil, errno.Errorf(errno.EPROTONOSUPPORT, "%s is not under the data path (bsdnet load -i %s)", parent.Name, parent.Device)
	}
	depth := 1
	for below := parent; ; depth++ {
		if below.Index == self || depth > int(bpf.EncapMax) {
			return nil, errno.EINVAL // a loop, or too deep
		}
		if below.Vlan == nil {
			break
		}
		next, ok := c.table.ByIndex(below.Vlan.Parent)
		if !ok {
			break
		}
		below = next
	}
	tag := ifnet.Tag{Parent: parent.Index, Proto: v.Proto, VID: uint16(v.Tag)}
	if other, taken := c.table.Tagged(tag); taken && other != self {
		return nil, errno.EEXIST
	}
	return parent, nil
}

// limit is the largest MTU on a parent: its own, for Ethernet has room for one
// tag. On a vlan there is none for another.
func limit(parent *ifnet.Ifnet) int {
	if parent.Vlan != nil {
		return parent.MTU - tagLen
	}
	return parent.MTU
}

// MTULimit returns the largest MTU that a vlan may have, 0: any.
func (c *Cloner) MTULimit(ifp *ifnet.Ifnet) int {
	if ifp.Vlan == nil {
		return 0
	}
	parent, ok := c.table.ByIndex(ifp.Vlan.Parent)
	if !ok {
		return 0
	}
	return limit(parent)
}

// Create implements ifnet.Cloner.
func (c *Cloner) Create(clones []*ifnet.Clone) error {
	for n, clone := range clones {
		if err := c.create(clone); err != nil {
			undo := c.Destroy(clones[:n])
			for _, made := range clones[:n] {
				c.table.Forget(made.Index)
			}
			return errors.Join(err, undo)
		}
	}
	return nil
}

func (c *Cloner) create(clone *ifnet.Clone) error {
	mtu := mtuDefault
	var parent *ifnet.Ifnet
	var lladdr net.HardwareAddr
	if clone.Vlan != nil && clone.Vlan.Parent == "" {
		return errno.EINVAL
	}
	if clone.Vlan != nil {
		var err error
		if parent, err = c.check(clone.Vlan, 0, errno.ENXIO); err != nil {
			return err
		}
		mtu, lladdr = limit(parent), parent.Lladdr
	}
	r, err := c.table.Reserve()
	if err != nil {
		return errno.ENOSPC
	}
	clone.Index, clone.Stack = r.Index, r.Stack
	veth := &loader.CloneVeth{Name: clone.Name, Index: r.Index, Stack: r.Stack, MTU: mtu, Lladdr: lladdr}
	if err := veth.Create(c.private); err != nil {
		c.table.Unreserve(r)
		return fail(err)
	}
	err = c.dp.AttachOutput(r.Index)
	if err == nil {
		err = c.table.SetStackPort(r.StackSlot, r.Stack)
	}
	if err == nil {
		c.table.Settle(r.Index)
		err = c.attach(clone, parent)
	}
	if err != nil {
		undo := c.Destroy([]*ifnet.Clone{clone})
		c.table.Forget(clone.Index)
		c.table.Unreserve(r)
		return errors.Join(fail(err), undo)
	}
	return nil
}

// fail makes an error of a request of the kernel's.
func fail(err error) error {
	return errno.Errorf(errno.Of(err), "%v", err)
}

// attach makes a vlan stand for its tag on parent; nil: for none.
func (c *Cloner) attach(clone *ifnet.Clone, parent *ifnet.Ifnet) error {
	v := &ifnet.Vlan{StackSlot: uint32(clone.Stack) % bpf.IfnetSlots}
	clone.Parent, clone.Lladdr = 0, ""
	if parent != nil {
		clone.Parent, clone.Lladdr = parent.Index, net.HardwareAddr(parent.Lladdr).String()
		v.Parent, v.Proto, v.VID, v.PCP = parent.Index, clone.Vlan.Proto, uint16(clone.Vlan.Tag), uint8(clone.Vlan.PCP)
	} else {
		clone.Vlan = nil
	}
	if err := c.table.SetVlan(clone.Index, v); err != nil {
		return err
	}
	c.refresh(clone)
	return nil
}

// SetVlan attaches a vlan to a parent, changes its tag there, or detaches it.
func (c *Cloner) SetVlan(clone *ifnet.Clone, v api.Vlan) error {
	before := clone.Parent
	if v.Parent == "" {
		err := c.attach(clone, nil)
		c.demand(before)
		return err
	}
	parent, err := c.check(&v, clone.Index, errno.ENOENT)
	if err != nil {
		return err
	}
	if before != 0 && before != parent.Index {
		return errno.EBUSY
	}
	clone.Vlan = &v
	if before == 0 {
		device := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: clone.Index}}
		if err := errors.Join(netlink.LinkSetHardwareAddr(device, parent.Lladdr), netlink.LinkSetMTU(device, limit(parent))); err != nil {
			clone.Vlan = nil
			return fail(err)
		}
		c.table.Settle(clone.Index)
	}
	return c.attach(clone, parent)
}

// Destroy implements ifnet.Cloner.
func (c *Cloner) Destroy(clones []*ifnet.Clone) error {
	indexes := make([]int, len(clones))
	parents := make(map[int]bool)
	for n, clone := range clones {
		indexes[n] = clone.Index
		parents[clone.Parent] = true
		delete(c.carrier, clone.Index)
		delete(c.gro, clone.Index)
	}
	if len(indexes) == 0 {
		return nil
	}
	if err := loader.DeleteLinks(indexes); err != nil {
		return fail(err)
	}
	for _, index := range indexes {
		c.table.Forget(index)
	}
	for parent := range parents {
		c.demand(parent)
	}
	return nil
}
