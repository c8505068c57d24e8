package netif

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/bsdnet/bsdnet/dhclient"
	"github.com/bsdnet/bsdnet/errno"
	ifapi "github.com/bsdnet/bsdnet/ifnet/api"
	"github.com/bsdnet/bsdnet/rc"
	rtapi "github.com/bsdnet/bsdnet/route/api"
)

// leases are what DHCP clients have put on interfaces. Clients use them from
// goroutines of their own.
type leases struct {
	mu     sync.Mutex
	by     map[string]*held
	notes  map[string]string // what of a lease has no effect, and why
	resolv string            // why resolv.conf is not written
}

// held is a lease and what was done for it.
type held struct {
	lease *dhclient.Lease
	mtu   int // before the lease's, 0: it has none
}

func (l *leases) init() { l.by, l.notes = make(map[string]*held), make(map[string]string) }

// dhcp starts or ends the client of an interface; n.mu is held.
func (n *Netif) dhcp(ifp *rc.Interface, index int, lladdr string, report *Report) {
	c := n.clients[ifp.Name]
	if ifp.DHCP == rc.NoDHCP || ifp.Down {
		n.release(ifp.Name, report)
		return
	}
	if c != nil && c.index == index {
		return
	}
	if c != nil { // the interface went and came again
		c.Stop()
		delete(n.clients, ifp.Name)
	}
	mac, err := net.ParseMAC(lladdr)
	if err != nil || len(mac) != 6 {
		report.failed(ifp.Position, errors.New("no link address"), "%s: DHCP", ifp.Name)
		return
	}
	file := n.config.LeasePrefix + ifp.Name
	n.leases.adopt(ifp.Name, file, n.state.Before[ifp.Name].MTU)
	n.config.Devices.SetDHCP(index, true)
	hostname := n.state.Plan.Hostname
	if hostname == "" {
		hostname, _ = os.Hostname()
	}
	name := ifp.Name
	losses, _ := n.link(name)
	n.clients[name] = &client{index: index, losses: losses, Client: dhclient.Start(dhclient.Config{
		Interface: name, Index: index, Lladdr: mac, Hostname: hostname, LeaseFile: file, Log: n.config.Log,
		Apply: func(lease *dhclient.Lease) error { return n.applyLease(name, lease) },
	})}
	report.changed("%s: DHCP", name)
}

// adopt takes a lease of before a restart as what is on the interface, whose
// MTU was another before.
func (l *leases) adopt(name, file string, mtu int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lease := dhclient.ReadLease(file)
	if lease == nil || l.by[name] != nil {
		return
	}
	l.by[name] = &held{lease: lease}
	if lease.MTU != 0 && lease.MTU < mtu {
		l.by[name].mtu = mtu
	}
}

// release ends a client and gives its lease back; n.mu is held.
func (n *Netif) release(name string, report *Report) {
	c := n.clients[name]
	if c == nil {
		return
	}
	delete(n.clients, name)
	if err := c.Release(); err != nil {
		report.warn("%s: DHCP: %v", name, err)
	}
	n.config.Devices.SetDHCP(c.index, false)
	report.changed("%s: no DHCP", name)
}

// applyLease puts a lease on an interface in place of the one before.
func (n *Netif) applyLease(name string, lease *dhclient.Lease) error {
	n.leases.mu.Lock()
	defer n.leases.mu.Unlock()
	ctx := context.Background()
	old := n.leases.by[name]
	next := &held{lease: lease}
	var before *dhclient.Lease
	if old != nil {
		before, next.mtu = old.lease, old.mtu
	}
	var errs []error
	errs = append(errs, n.leaseRoutes(ctx, name, before, nil, lease))
	if before != nil && (lease == nil || lease.Address != before.Address) {
		err := n.config.Ifnet.DeleteAddress(ctx, ifapi.AddressRequest{Name: name, Prefix: before.Address})
		if err != nil && !errors.Is(err, errno.EADDRNOTAVAIL) && !errors.Is(err, errno.ENXIO) {
			errs = append(errs, err)
		}
	}
	delete(n.leases.notes, name)
	if lease == nil {
		delete(n.leases.by, name)
		if next.mtu != 0 {
			errs = append(errs, n.config.Ifnet.SetMTU(ctx, ifapi.NumberRequest{Name: name, Value: next.mtu}))
		}
	} else {
		n.leases.by[name] = next
		errs = append(errs, n.leaseAddress(ctx, name, lease), n.leaseMTU(ctx, name, next), n.leaseRoutes(ctx, name, nil, lease, lease))
		n.leaseHostname(lease)
	}
	return errors.Join(append(errs, n.resolvconf())...)
}

// leaseAddress adds the address for as long as the lease lasts: the kernel
// takes it away if nobody renews it.
func (n *Netif) leaseAddress(ctx context.Context, name string, lease *dhclient.Lease) error {
	request := ifapi.AddressRequest{Name: name, Prefix: lease.Address, Broadcast: lease.Broadcast}
	left := uint32(ifapi.Infinite)
	if until := time.Until(lease.Expire()); until < 1<<31*time.Second {
		left = uint32(max(until/time.Second, 1))
	}
	request.Vltime, request.Pltime = &left, &left
	if err := n.config.Ifnet.AddAddress(ctx, request); err != nil {
		return fmt.Errorf("address %s: %w", lease.Address, err)
	}
	return nil
}

// leaseMTU sets the MTU that a server told, and remembers the one before.
func (n *Netif) leaseMTU(ctx context.Context, name string, h *held) error {
	ifp, ok := n.config.Devices.ByName(name)
	if !ok || h.lease.MTU == 0 || h.lease.MTU == ifp.MTU {
		return nil
	}
	if h.lease.MTU > ifp.MTU && h.mtu == 0 {
		return nil // no larger than the link was set up for
	}
	if h.mtu == 0 {
		h.mtu = ifp.MTU
	}
	return n.config.Ifnet.SetMTU(ctx, ifapi.NumberRequest{Name: name, Value: min(h.lease.MTU, h.mtu)})
}

// routesOf are the routes that a lease asks for.
func routesOf(name string, lease *dhclient.Lease) []rtapi.RouteRequest {
	if lease == nil {
		return nil
	}
	var requests []rtapi.RouteRequest
	for _, r := range lease.Routes {
		request := rtapi.RouteRequest{Dst: r.Destination, Flags: rtapi.Static, Exact: true}
		if r.Gateway.IsUnspecified() {
			request.Interface = name
		} else {
			request.Gateway, request.Ifp = r.Gateway, name
		}
		requests = append(requests, request)
	}
	if len(lease.Routers) > 0 {
		requests = append(requests, rtapi.RouteRequest{
			Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Gateway: lease.Routers[0], Ifp: name, Flags: rtapi.Static, Exact: true,
		})
	}
	return requests
}

// leaseRoutes deletes the routes of old that keep does not have, and adds
// those of add.
func (n *Netif) leaseRoutes(ctx context.Context, name string, old, add, keep *dhclient.Lease) error {
	var errs []error
	wanted := routesOf(name, keep)
	for _, r := range routesOf(name, old) {
		if slices.Contains(wanted, r) && (keep == nil || keep.Address == old.Address) {
			continue
		}
		if have, ok := n.route(ctx, r.Dst); !ok || !leadsTo(have, r) {
			continue // it is not ours any more
		}
		if _, err := n.config.Route.RouteDelete(ctx, r); err != nil && !errors.Is(err, errno.ESRCH) {
			errs = append(errs, fmt.Errorf("route %s: %w", r.Dst, err))
		}
	}
	for _, r := range routesOf(name, add) {
		have, ok := n.route(ctx, r.Dst)
		if ok && leadsTo(have, r) {
			continue
		}
		if ok {
			n.leases.notes[name] = fmt.Sprintf("the route to %s that its server gives is not used: there is one by %s", r.Dst, have.Interface.Name)
			continue
		}
		if _, err := n.config.Route.RouteAdd(ctx, r); err != nil {
			errs = append(errs, fmt.Errorf("route %s: %w", r.Dst, err))
		}
	}
	return errors.Join(errs...)
}

// leaseHostname names a host that has no name by its lease.
func (n *Netif) leaseHostname(lease *dhclient.Lease) {
	have, err := os.Hostname()
	if lease.Hostname == "" || n.config.Hostname == nil || err != nil || have != "" && have != "(none)" && have != "localhost" {
		return
	}
	if err := n.config.Hostname(lease.Hostname); err != nil {
		n.config.Log.Warn("hostname of lease not set", "hostname", lease.Hostname, "err", err)
	}
}
