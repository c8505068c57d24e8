// Package epair is the cloner of epair(4): two Ethernet interfaces back to
// back, of which one may be moved into another network namespace.
package epair

import (
	"fmt"

	"github.com/vishvananda/netlink"

	"github.com/bsdnet/bsdnet/errno"
	"github.com/bsdnet/bsdnet/ifnet"
	"github.com/bsdnet/bsdnet/loader"
)

// Cloner makes pairs.
type Cloner struct {
	table  *ifnet.Table
	dp     *loader.Datapath
	report func(error)
}

// New makes the cloner.
func New(table *ifnet.Table, dp *loader.Datapath, report func(error)) *Cloner {
	return &Cloner{table, dp, report}
}

// Name implements ifnet.Cloner.
func (c *Cloner) Name() string { return "epair" }

// Create implements ifnet.Cloner. epair0 is made of epair0a and epair0b, and
// goes by the name of the former.
func (c *Cloner) Create(clones []*ifnet.Clone) error {
	for n, clone := range clones {
		if err := c.create(clone); err != nil {
			_ = c.Destroy(clones[:n]) // the first error says why
			return err
		}
	}
	return nil
}

func (c *Cloner) create(clone *ifnet.Clone) error {
	pair := clone.Name
	clone.Name = pair + "a"
	var err error
	link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: clone.Name}, PeerName: pair + "b"}
	if clone.Index, err = ifnet.AddDevice(link); err != nil {
		return err
	}
	other, err := netlink.LinkByName(pair + "b")
	if err == nil {
		clone.Partner = other.Attrs().Index
		err = loader.MarkClone(other)
	}
	if err == nil {
		err = ifnet.Take(c.table, c.dp, clone.Index)
	}
	if err == nil {
		err = ifnet.Take(c.table, c.dp, clone.Partner)
	}
	if err != nil {
		_ = c.Destroy([]*ifnet.Clone{clone})
		return errno.Of(err)
	}
	return nil
}

// Destroy implements ifnet.Cloner: one end takes the other along.
func (c *Cloner) Destroy(clones []*ifnet.Clone) error { return ifnet.DestroyDevices(c.table, clones) }

// Adopt takes devices over from an earlier daemon.
func (c *Cloner) Adopt(clones []*ifnet.Clone) []*ifnet.Clone {
	lost, err := ifnet.AdoptDevices(c.table, c.dp, clones)
	if err != nil {
		c.report(fmt.Errorf("adopt epair: %w", err))
	}
	return lost
}
