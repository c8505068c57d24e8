package control

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/bsdnet/bsdnet/errno"
	ifapi "github.com/bsdnet/bsdnet/ifnet/api"
	"github.com/bsdnet/bsdnet/route/api"
)

// snapshot is the configuration of an instance at a time.
type snapshot struct {
	PF         []*PFSource       `json:"pf"`
	PFBoot     bootState         `json:"pf_boot,omitzero"`
	PFLoaded   bool              `json:"pf_loaded"`
	PFEnabled  bool              `json:"pf_enabled"`
	Sysctl     map[string]string `json:"sysctl"`
	Routes     []api.Rtentry     `json:"routes"`
	Interfaces []ifapi.Interface `json:"interfaces"`
}

func (d *Daemon) snapshot(ctx context.Context) (*snapshot, error) {
	s := &snapshot{Sysctl: make(map[string]string)}
	d.pf.mu.Lock()
	rules, _ := d.pf.engine.Rules()
	s.PF, s.PFBoot, s.PFLoaded, s.PFEnabled = slices.Clone(d.pf.sources), d.pf.boot, rules != nil, d.pf.enabled()
	d.pf.mu.Unlock()
	for name, node := range d.sysctlNodes() {
		if node.set != nil {
			s.Sysctl[name] = node.saved(d)
		}
	}
	var err error
	if s.Routes, err = d.staticRoutes(ctx); err != nil {
		return nil, err
	}
	s.Interfaces, err = d.ioctl.Interfaces(ctx, ifapi.Name{Keys: true})
	return s, err
}

// staticRoutes are the routes that bsdnet was told.
func (d *Daemon) staticRoutes(ctx context.Context) ([]api.Rtentry, error) {
	all, err := api.Backend(d.route).Routes(ctx, api.RouteFilter{})
	return slices.DeleteFunc(all, func(r api.Rtentry) bool { return r.Origin != "bsdnet" }), err
}

// goBack makes the configuration what it was, as far as it can, and reports
// all that failed. The filter comes first: nothing may pass in between that
// passes neither before nor after.
func (d *Daemon) goBack(ctx context.Context, s *snapshot) error {
	errs := []error{d.goBackPF(s)}
	errs = append(errs, d.goBackInterfaces(ctx, s), d.goBackRoutes(ctx, s))
	nodes := d.sysctlNodes()
	set := maps.Clone(s.Sysctl)
	maps.DeleteFunc(set, func(name, value string) bool {
		node, ok := nodes[name]
		return !ok || node.saved(d) == value
	})
	if len(set) > 0 {
		_, err := d.Sysctl(SysctlRequest{Set: set})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (d *Daemon) goBackPF(s *snapshot) error {
	f := d.pf
	f.mu.Lock()
	defer f.mu.Unlock()
	if rules, _ := f.engine.Rules(); rules != nil || s.PFLoaded {
		// Tables that went are filled anew from the text.
		if _, err := f.put(s.PF, func(p *PFSource) bool {
			return !slices.ContainsFunc(f.sources, func(q *PFSource) bool { return p.Text == q.Text && p.Anchor == q.Anchor })
		}); err != nil {
			return fmt.Errorf("pf: %w", err)
		}
	}
	f.boot = s.PFBoot
	var err error
	if f.enabled() != s.PFEnabled {
		f.engine.Switched()
		err = f.setEnabled(s.PFEnabled)
	}
	return errors.Join(err, f.save())
}

func (d *Daemon) goBackRoutes(ctx context.Context, s *snapshot) error {
	now, err := d.staticRoutes(ctx)
	if err != nil {
		return err
	}
	same := func(a, b api.Rtentry) bool {
		return a.Dst == b.Dst && a.Zone == b.Zone && a.Fib == b.Fib && a.Gateway == b.Gateway && a.Interface.Name == b.Interface.Name &&
			a.Flags == b.Flags && a.Metrics == b.Metrics
	}
	has := func(list []api.Rtentry, r api.Rtentry) bool {
		return slices.ContainsFunc(list, func(other api.Rtentry) bool { return same(r, other) })
	}
	backend := api.Backend(d.route)
	var errs []error
	for _, r := range now {
		if !has(s.Routes, r) {
			_, err := backend.RouteDelete(ctx, routeRequest(r))
			errs = append(errs, err)
		}
	}
	for _, r := range s.Routes {
		if !has(now, r) {
			_, err := backend.RouteAdd(ctx, routeRequest(r))
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// routeRequest asks for a route like one that was.
func routeRequest(r api.Rtentry) api.RouteRequest {
	q := api.RouteRequest{Dst: r.Dst, Gateway: r.Gateway, Flags: r.Flags & (api.Settable | api.Host | api.Gateway), Fib: r.Fib, Metrics: r.Metrics}
	if !r.Gateway.IsValid() {
		q.Interface = r.Interface.Name
	}
	return q
}

// goBackInterfaces takes away clones and addresses that are new, and puts back
// addresses, flags and MTUs. Clones that were destroyed are made again.
func (d *Daemon) goBackInterfaces(ctx context.Context, s *snapshot) error {
	now, err := d.ioctl.Interfaces(ctx, ifapi.Name{Keys: true})
	if err != nil {
		return err
	}
	var errs []error
	for _, ifp := range now {
		if ifp.Cloner == "" || find(s.Interfaces, ifp.Name) != nil {
			continue
		}
		if err := d.ioctl.Destroy(ctx, []ifapi.Name{{Name: ifp.Name}}); !errors.Is(err, errno.ENXIO) { // else it went with its other end
			errs = append(errs, err)
		}
	}
	for i := range s.Interfaces {
		if before := &s.Interfaces[i]; before.Cloner != "" {
			errs = append(errs, d.goBackClone(ctx, before, find(now, before.Name)))
		}
	}
	// What was made or attached anew has an MTU of its own.
	if now, err = d.ioctl.Interfaces(ctx, ifapi.Name{}); err != nil {
		return errors.Join(append(errs, err)...)
	}
	for i := range s.Interfaces {
		before := &s.Interfaces[i]
		if after := find(now, before.Name); after != nil {
			errs = append(errs, d.goBackInterface(ctx, before, after))
		}
	}
	return errors.Join(errs...)
}

// goBackClone makes a clone again that is gone, and puts a vlan back on its
// parent.
func (d *Daemon) goBackClone(ctx context.Context, before, after *ifapi.Interface) error {
	if after != nil {
		return errors.Join(d.goBackVlan(ctx, before, after), d.goBackWg(ctx, before, after))
	}
	if _, there := d.ifnet.ByName(before.Name); there {
		return nil // it came with its other end
	}
	return errors.Join(d.remake(ctx, before), d.goBackWg(ctx, before, nil))
}

// goBackWg gives a wg(4) the keys and peers that it had; after is nil for one
// that was made again.
func (d *Daemon) goBackWg(ctx context.Context, before, after *ifapi.Interface) error {
	if before.Wg == nil || before.Wg.Engine == ifapi.WgDown {
		return nil
	}
	r := before.Wg.Request()
	if after != nil && after.Wg != nil && reflect.DeepEqual(after.Wg.Request(), r) {
		return nil
	}
	r.Name = before.Name
	return d.ioctl.SetWg(ctx, *r)
}

// remake makes a clone that was destroyed; an epair comes with both ends. One
// that had been renamed is made by its cloner's name first.
func (d *Daemon) remake(ctx context.Context, before *ifapi.Interface) error {
	name := before.Name
	if before.Cloner == "epair" {
		name = strings.TrimRight(name, "ab")
	}
	_, err := d.ioctl.Create(ctx, []ifapi.CreateRequest{{Name: name, Vlan: before.Vlan}})
	if !errors.Is(err, errno.EINVAL) {
		return err
	}
	names, err := d.ioctl.Create(ctx, []ifapi.CreateRequest{{Name: before.Cloner, Vlan: before.Vlan}})
	if err != nil {
		return err
	}
	return d.ioctl.SetName(ctx, ifapi.TextRequest{Name: names[0], Value: before.Name})
}

func find(list []ifapi.Interface, name string) *ifapi.Interface {
	for i := range list {
		if list[i].Name == name {
			return &list[i]
		}
	}
	return nil
}

func (d *Daemon) goBackInterface(ctx context.Context, before, after *ifapi.Interface) error {
	var errs []error
	has := func(list []ifapi.Address, a ifapi.Address) bool {
		return slices.ContainsFunc(list, func(b ifapi.Address) bool { return a.Prefix == b.Prefix && a.Destination == b.Destination })
	}
	for _, a := range after.Addresses {
		if !has(before.Addresses, a) {
			err := d.ioctl.DeleteAddress(ctx, ifapi.AddressRequest{Name: before.Name, Prefix: a.Prefix})
			if !errors.Is(err, errno.EADDRNOTAVAIL) {
				errs = append(errs, err)
			}
		}
	}
	for _, a := range before.Addresses {
		if !has(after.Addresses, a) && !(a.Prefix.Addr().Is6() && a.Prefix.Addr().IsLinkLocalUnicast()) {
			errs = append(errs, d.ioctl.AddAddress(ctx, ifapi.AddressRequest{Name: before.Name, Prefix: a.Prefix, Broadcast: broadcastOf(a), Destination: a.Destination, Flags: a.Flags}))
		}
	}
	if before.MTU != after.MTU {
		errs = append(errs, d.ioctl.SetMTU(ctx, ifapi.NumberRequest{Name: before.Name, Value: before.MTU}))
	}
	if changed := (before.Flags ^ after.Flags) & ifapi.IffUp; changed != 0 {
		errs = append(errs, d.ioctl.SetFlags(ctx, ifapi.FlagsRequest{Name: before.Name, Set: before.Flags & changed, Clear: after.Flags & changed}))
	}
	return errors.Join(errs...)
}

// goBackVlan gives a vlan the parent and tag that it had.
func (d *Daemon) goBackVlan(ctx context.Context, before, after *ifapi.Interface) error {
	if before.Cloner != "vlan" || vlanOf(before) == vlanOf(after) {
		return nil
	}
	var errs []error
	if vlanOf(after).Parent != "" {
		errs = append(errs, d.ioctl.SetVlan(ctx, ifapi.VlanRequest{Name: before.Name}))
	}
	if was := vlanOf(before); was.Parent != "" {
		errs = append(errs, d.ioctl.SetVlan(ctx, ifapi.VlanRequest{Name: before.Name, Vlan: was}))
	}
	return errors.Join(errs...)
}

// vlanOf is zero for one that is on no parent.
func vlanOf(ifp *ifapi.Interface) ifapi.Vlan {
	if ifp.Vlan == nil {
		return ifapi.Vlan{}
	}
	return *ifp.Vlan
}

// broadcastOf is none for point-to-point addresses.
func broadcastOf(a ifapi.Address) netip.Addr {
	if a.Destination.IsValid() {
		return netip.Addr{}
	}
	return a.Broadcast
}
