// Package wg is the cloner of wg(4): tunnels of WireGuard, by the kernel where
// it has it, else by a process for each interface, which outlives the daemon.
package wg

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/errno"
	"github.com/bsdnet/bsdnet/ifnet"
	"github.com/bsdnet/bsdnet/ifnet/api"
	"github.com/bsdnet/bsdnet/ifnet/wg/engine"
	"github.com/bsdnet/bsdnet/loader"
)

// mtuDefault leaves room for the headers over IPv6 on Ethernet.
const mtuDefault = 1420

// Cloner makes tunnels. Its methods are for [ifnet.Ioctl] to call.
type Cloner struct {
	table  *ifnet.Table
	dp     *loader.Datapath
	dir    string
	report func(error)

	mu      sync.Mutex // guards what follows
	closed  bool
	watched map[int]*watch // processes by index of the interface
	kernels map[int]bool   // whether WireGuard is in the kernel, by index
}

// New makes the cloner. dir, of this instance alone, is for sockets and
// configurations, which have keys in them.
func New(table *ifnet.Table, dp *loader.Datapath, dir string, report func(error)) (*Cloner, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("prepare for WireGuard: %w", err)
	}
	_ = os.MkdirAll(engine.PublicDir, 0o755) // without it all works but wg(8)
	return &Cloner{table: table, dp: dp, dir: dir, report: report, watched: make(map[int]*watch), kernels: make(map[int]bool)}, nil
}

// Name implements ifnet.Cloner.
func (c *Cloner) Name() string { return "wg" }

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
	clone.Wg = &ifnet.CloneWg{}
	link := &netlink.Wireguard{LinkAttrs: netlink.LinkAttrs{Name: clone.Name, MTU: mtuDefault}}
	clone.Index, err = ifnet.AddDevice(link)
	clone.Wg.Kernel = err == nil
	if errors.Is(err, errno.EOPNOTSUPP) {
		err = c.createTun(clone)
	}
	if err == nil {
		err = ifnet.Take(c.table, c.dp, clone.Index)
	}
	if err == nil {
		c.note(clone)
	}
	if err != nil {
		if clone.Index != 0 {
			_ = c.Destroy([]*ifnet.Clone{clone})
		}
		return err
	}
	return nil
}

// createTun makes the tun of a tunnel and starts its process.
func (c *Cloner) createTun(clone *ifnet.Clone) error {
	c.removeFiles(clone.Name) // of one of the same name that ended badly
	file, err := openTun(clone.Name, unix.IFF_TUN_EXCL)
	if err != nil {
		return errno.Of(err)
	}
	defer file.Close()
	link, err := netlink.LinkByName(clone.Name)
	if err != nil {
		return errno.Of(err)
	}
	clone.Index = link.Attrs().Index
	err = errors.Join(loader.MarkClone(link), netlink.LinkSetMTU(link, mtuDefault), persist(file), quiet(clone.Name))
	if err == nil {
		err = c.start(clone, file)
	}
	return err
}

// quiet keeps Linux from giving a tunnel a link-local address: who is to be
// reached there is a matter of the peers' addresses.
func quiet(device string) error {
	err := os.WriteFile(filepath.Join("/proc/sys/net/ipv6/conf", device, "addr_gen_mode"), []byte("1"), 0)
	if errors.Is(err, os.ErrNotExist) { // no IPv6
		return nil
	}
	return err
}

// Destroy implements ifnet.Cloner. A process ends with its interface.
func (c *Cloner) Destroy(clones []*ifnet.Clone) error {
	for _, clone := range clones {
		c.unwatch(clone.Index)
	}
	err := ifnet.DestroyDevices(c.table, clones)
	for _, clone := range clones {
		c.removeFiles(clone.Name)
	}
	return err
}

// Gone forgets the keys of an interface that somebody else deleted.
func (c *Cloner) Gone(clone *ifnet.Clone) {
	c.unwatch(clone.Index)
	c.removeFiles(clone.Name)
}

// Adopt takes tunnels over from an earlier daemon, and starts processes that
// are gone again.
func (c *Cloner) Adopt(clones []*ifnet.Clone) []*ifnet.Clone {
	lost, err := ifnet.AdoptDevices(c.table, c.dp, clones)
	errs := []error{err}
	names := make(map[string]bool)
	for _, clone := range clones {
		if slices.Contains(lost, clone) {
			continue
		}
		names[clone.Name] = true
		if clone.Wg == nil {
			clone.Wg = &ifnet.CloneWg{}
		}
		c.note(clone)
		if !clone.Wg.Kernel {
			errs = append(errs, c.resume(clone))
		}
	}
	errs = append(errs, c.sweep(names))
	if err := errors.Join(errs...); err != nil {
		c.report(fmt.Errorf("adopt wg: %w", err))
	}
	return lost
}

func (c *Cloner) note(clone *ifnet.Clone) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kernels[clone.Index] = clone.Wg.Kernel
}

// Engine is what does the cryptography of a tunnel.
type Engine struct {
	Name   string       `json:"name"`
	Engine api.WgEngine `json:"engine"`
	PID    int          `json:"pid,omitempty"`
}

// Engines returns those of all tunnels, by name. It does not wait for requests
// that are at work.
func (c *Cloner) Engines() []Engine {
	c.mu.Lock()
	kernels := maps.Clone(c.kernels)
	c.mu.Unlock()
	var all []Engine
	for index, kernel := range kernels {
		ifp, ok := c.table.ByIndex(index)
		if !ok {
			continue
		}
		e := Engine{Name: ifp.Name, Engine: api.WgKernel}
		if !kernel {
			e.Engine, e.PID = process{c.dir}.engine(ifp.Device)
		}
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b Engine) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// sweep removes what there is of interfaces that are gone.
func (c *Cloner) sweep(names map[string]bool) error {
	entries, err := os.ReadDir(c.dir)
	for _, entry := range entries {
		if name, _, _ := strings.Cut(entry.Name(), "."); !names[name] {
			c.removeFiles(name)
		}
	}
	return err
}

// Renamed follows the device of a clone to another name.
func (c *Cloner) Renamed(clone *ifnet.Clone, before string) error {
	if clone.Wg.Kernel {
		return nil
	}
	return ask(socketOf(c.dir, before), opRename+clone.Name, nothing)
}

func nothing(string, string) error { return nil }

// driver speaks to what does the cryptography.
type driver interface {
	get(name string) (*api.Wg, error)
	set(name string, r *api.WgRequest) error
}

func (c *Cloner) driver(clone *ifnet.Clone) driver {
	if clone.Wg.Kernel {
		return kernel{}
	}
	return process{c.dir}
}

// GetWg returns a tunnel as it is.
func (c *Cloner) GetWg(clone *ifnet.Clone, device string, keys bool) *api.Wg {
	wg, err := c.driver(clone).get(device)
	if err != nil {
		return &api.Wg{Engine: api.WgDown}
	}
	for i := range wg.Peers {
		p := &wg.Peers[i]
		p.Description = clone.Wg.Descriptions[p.PublicKey]
		if !keys {
			p.PresharedKey = nil
		}
		slices.SortFunc(p.AllowedIPs, netip.Prefix.Compare)
	}
	slices.SortFunc(wg.Peers, func(a, b api.WgPeer) int { return strings.Compare(a.PublicKey.String(), b.PublicKey.String()) })
	if !keys {
		wg.PrivateKey = nil
	}
	return wg
}

// SetWg changes a tunnel.
func (c *Cloner) SetWg(clone *ifnet.Clone, device string, r api.WgRequest) error {
	e := c.driver(clone)
	have, err := e.get(device)
	if err != nil {
		return err
	}
	if err := check(have, &r); err != nil {
		return err
	}
	r.Peers = slices.Clone(r.Peers)
	for i := range r.Peers {
		withdraw(have, &r.Peers[i])
	}
	if err := e.set(device, &r); err != nil {
		return err
	}
	clone.Wg.Describe(&r)
	return nil
}

// check refuses what would be wrong only in part.
func check(have *api.Wg, r *api.WgRequest) error {
	if r.Table != nil && *r.Table != 0 {
		return errno.Errorf(errno.EINVAL, "routing table %d: there is only table 0", *r.Table)
	}
	own := have.PublicKey
	if r.PrivateKey != nil {
		public := r.PrivateKey.Public()
		own = &public
	}
	for _, p := range r.Peers {
		switch {
		case p.EndpointHost != "":
			return errno.Errorf(errno.EINVAL, "endpoint %s: not an address", p.EndpointHost)
		case own != nil && p.PublicKey == *own && !p.Remove:
			return errno.Errorf(errno.EINVAL, "peer %s: this is the key of the interface itself", p.PublicKey)
		}
	}
	return nil
}

// withdraw makes a list to be set of one that leaves some out.
func withdraw(have *api.Wg, p *api.WgPeerRequest) {
	if len(p.RemoveAllowedIPs) == 0 {
		return
	}
	list := p.AllowedIPs
	if !p.ReplaceAllowedIPs {
		for _, old := range have.Peers {
			if old.PublicKey == p.PublicKey {
				list = append(slices.Clone(old.AllowedIPs), list...)
			}
		}
	}
	p.AllowedIPs = slices.DeleteFunc(slices.Clone(list), func(prefix netip.Prefix) bool {
		return slices.Contains(p.RemoveAllowedIPs, prefix)
	})
	p.ReplaceAllowedIPs, p.RemoveAllowedIPs = true, nil
}
