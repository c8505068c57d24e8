// Package loop is the cloner of lo(4). lo0 is the loopback interface of Linux,
// which has no more than one; further ones are veth pairs whose other end, in
// the private namespace, takes everything and gives nothing back. Linux loops
// what is for an address of theirs by lo0, as it does for those of any
// interface.
package loop

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/errno"
	"github.com/bsdnet/bsdnet/ifnet"
	"github.com/bsdnet/bsdnet/loader"
)

// mtu is LOMTU of FreeBSD and DragonFly, in bytes.
const mtu = 16384

// Cloner makes loopback interfaces.
type Cloner struct {
	table   *ifnet.Table
	dp      *loader.Datapath
	private netns.NsHandle
	report  func(error)
}

// New makes the cloner. private is the namespace of the other ends.
func New(table *ifnet.Table, dp *loader.Datapath, private netns.NsHandle, report func(error)) *Cloner {
	return &Cloner{table, dp, private, report}
}

// Name implements ifnet.Cloner.
func (c *Cloner) Name() string { return ifnet.LoopbackCloner }

// Create implements ifnet.Cloner.
func (c *Cloner) Create(clones []*ifnet.Clone) error {
	for n, clone := range clones {
		if err := c.create(clone); err != nil {
			_ = c.Destroy(clones[:n]) // the first error says why
			return err
		}
	}
	return nil
}

func (c *Cloner) create(clone *ifnet.Clone) (err error) {
	link := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: clone.Name, MTU: mtu},
		PeerName:  clone.Name, PeerNamespace: netlink.NsFd(int(c.private)),
	}
	if clone.Index, err = ifnet.AddDevice(link); err != nil {
		return err
	}
	device := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: clone.Name, Index: clone.Index}}
	err = errors.Join(
		c.otherUp(clone.Name),
		netlink.LinkSetARPOff(device),
		noLinkLocal(device),
		ifnet.Take(c.table, c.dp, clone.Index),
	)
	if err != nil {
		_ = c.Destroy([]*ifnet.Clone{clone})
		return errno.Of(err)
	}
	return nil
}

// noLinkLocal keeps Linux from making a link-local address out of the address
// of a link that there is not.
func noLinkLocal(device netlink.Link) error {
	const genModeNone = 1 // IN6_ADDR_GEN_MODE_NONE
	err := netlink.LinkSetIP6AddrGenMode(device, genModeNone)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		return nil // a kernel without IPv6
	}
	return err
}

// otherUp gives an interface its carrier.
func (c *Cloner) otherUp(name string) error {
	handle, err := netlink.NewHandleAt(c.private, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer handle.Close()
	other, err := handle.LinkByName(name)
	if err != nil {
		return err
	}
	return handle.LinkSetUp(other)
}

// Destroy implements ifnet.Cloner: one end takes the other along.
func (c *Cloner) Destroy(clones []*ifnet.Clone) error { return ifnet.DestroyDevices(c.table, clones) }

// Adopt takes devices over from an earlier daemon.
func (c *Cloner) Adopt(clones []*ifnet.Clone) []*ifnet.Clone {
	lost, err := ifnet.AdoptDevices(c.table, c.dp, clones)
	if err != nil {
		c.report(fmt.Errorf("adopt lo: %w", err))
	}
	return lost
}
