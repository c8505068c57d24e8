// Package tun is the cloners of tun(4) and tap(4): devices of Linux that
// programs open by /dev/net/tun, which stay when they close them.
package tun

import (
	"fmt"

	"github.com/vishvananda/netlink"

	"github.com/bsdnet/bsdnet/ifnet"
	"github.com/bsdnet/bsdnet/loader"
)

// Cloner makes devices of one mode.
type Cloner struct {
	name   string
	mode   netlink.TuntapMode
	table  *ifnet.Table
	dp     *loader.Datapath
	report func(error)
}

// NewTun makes the cloner of tun(4).
func NewTun(table *ifnet.Table, dp *loader.Datapath, report func(error)) *Cloner {
	return &Cloner{"tun", netlink.TUNTAP_MODE_TUN, table, dp, report}
}

// NewTap makes the cloner of tap(4).
func NewTap(table *ifnet.Table, dp *loader.Datapath, report func(error)) *Cloner {
	return &Cloner{"tap", netlink.TUNTAP_MODE_TAP, table, dp, report}
}

// Name implements ifnet.Cloner.
func (c *Cloner) Name() string { return c.name }

// Create implements ifnet.Cloner.
func (c *Cloner) Create(clones []*ifnet.Clone) (err error) {
	for n, clone := range clones {
		link := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: clone.Name}, Mode: c.mode}
		if clone.Index, err = ifnet.AddTuntap(link); err == nil {
			err = ifnet.Take(c.table, c.dp, clone.Index)
		}
		if err != nil {
			made := clones[:n]
			if clone.Index != 0 {
				made = clones[:n+1]
			}
			_ = c.Destroy(made) // the first error says why
			return err
		}
	}
	return nil
}

// Destroy implements ifnet.Cloner.
func (c *Cloner) Destroy(clones []*ifnet.Clone) error { return ifnet.DestroyDevices(c.table, clones) }

// Adopt takes devices over from an earlier daemon.
func (c *Cloner) Adopt(clones []*ifnet.Clone) []*ifnet.Clone {
	lost, err := ifnet.AdoptDevices(c.table, c.dp, clones)
	if err != nil {
		c.report(fmt.Errorf("adopt %s: %w", c.name, err))
	}
	return lost
}
