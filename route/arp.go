package route

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/ifnet"
	"github.com/bsdnet/bsdnet/route/api"
)

// maxAge is how long a BSD believes an ARP entry after it was confirmed
// (net.link.ether.inet.max_age). Linux has no such limit; it is what arp
// counts down.
const maxAge = 20 * time.Minute

// iftype returns the type of an interface as arp prints it.
func iftype(ifp *ifnet.Ifnet) string {
	switch {
	case ifp.Type == "vlan", ifp.Type == "bridge":
		return ifp.Type
	case len(ifp.Lladdr) == 6 && !ifp.Loopback:
		return "ethernet"
	}
	return ""
}

// Neighbours lists the neighbours. See [api.Backend].
func (t *Table) Neighbours(_ context.Context, filter api.NeighbourFilter) ([]api.Neighbour, error) {
	if err := t.begin(); err != nil {
		return nil, err
	}
	defer t.end()
	index := 0
	if filter.Interface != "" {
		ifp, ok := t.interfaces.ByName(filter.Interface)
		if !ok {
			return nil, api.Errorf(api.ENXIO, "interface %s does not exist", filter.Interface)
		}
		index = ifp.Index
	}
	var proxies []linuxNeighbour
	if err := t.kernel.dumpProxies(func(n linuxNeighbour) { proxies = append(proxies, n) }); err != nil {
		return nil, fail(err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []api.Neighbour
	add := func(n api.Neighbour, ifp *ifnet.Ifnet) {
		if !filter.Family.Has(n.Addr) || index != 0 && ifp.Index != index || n.Addr.IsMulticast() {
			return
		}
		if filter.Addr.IsValid() && (n.Addr != filter.Addr.WithZone("") || filter.Addr.Zone() != "" && filter.Addr.Zone() != ifp.Name) {
			return
		}
		n.Interface, n.Iftype = api.Link{Index: ifp.Index, Name: ifp.Name}, iftype(ifp)
		list = append(list, n)
	}
	now := t.now()
	for key, info := range t.neighbours.known {
		ifp, ok := t.interfaces.ByIndex(key.ifindex)
		if !ok || ifp.Loopback || info.state&unix.NUD_NOARP != 0 {
			continue
		}
		n := api.Neighbour{
			Addr:      key.addr,
			State:     nudState(info.state),
			Permanent: info.state&unix.NUD_PERMANENT != 0,
			Router:    info.flags&unix.NTF_ROUTER != 0,
		}
		if info.state&(nudUsable|unix.NUD_FAILED) != 0 {
			n.Lladdr = lladdrString(info.lladdr)
		}
		if info.state&nudUsable != 0 && !n.Permanent {
			n.Expire = int((maxAge - now.Sub(info.changed)) / time.Second)
		}
		add(n, ifp)
	}
	for _, p := range proxies {
		if ifp, ok := t.interfaces.ByIndex(p.ifindex); ok {
			add(api.Neighbour{
				Addr:      p.addr,
				Lladdr:    lladdrString(ifp.Lladdr),
				State:     api.Reachable,
				Permanent: true,
				Published: true,
			}, ifp)
		}
	}
	for _, ifp := range t.interfaces.All() {
		if iftype(ifp) == "" {
			continue
		}
		for _, a := range ifp.Addrs {
			add(api.Neighbour{
				Addr:      a.Prefix.Addr().WithZone(""),
				Lladdr:    lladdrString(ifp.Lladdr),
				State:     api.Reachable,
				Permanent: true,
				Local:     true,
			}, ifp)
		}
	}
	slices.SortStableFunc(list, func(a, b api.Neighbour) int {
		if c := a.Addr.Compare(b.Addr); c != 0 {
			return c
		}
		return a.Interface.Index - b.Interface.Index
	})
	return list, nil
}

// neighbourInterface returns the interface of a neighbour that is to be set.
func (t *Table) neighbourInterface(name string, addr netip.Addr) (*ifnet.Ifnet, error) {
	if name == "" {
		name = addr.Zone()
	}
	if name != "" {
		ifp, ok := t.interfaces.ByName(name)
		if !ok {
			return nil, api.Errorf(api.ENXIO, "interface %s does not exist", name)
		}
		return ifp, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	ifp, ok := t.onLink(addr.WithZone(""))
	if !ok || iftype(ifp) == "" {
		return nil, api.Errorf(api.ENETUNREACH, "cannot intuit interface index and type for %s", addr)
	}
	return ifp, nil
}

// NeighbourSet makes or replaces a neighbour in Linux; the maps follow. See
// [api.Backend].
func (t *Table) NeighbourSet(_ context.Context, req api.NeighbourRequest) error {
	if err := t.begin(); err != nil {
		return err
	}
	defer t.end()
	if !req.Addr.IsValid() {
		return api.Errorf(api.EINVAL, "")
	}
	ifp, err := t.neighbourInterface(req.Interface, req.Addr)
	if err != nil {
		return err
	}
	n := linuxNeighbour{ifindex: ifp.Index, addr: req.Addr.WithZone("")}
	if req.Lladdr != "auto" {
		lladdr, err := net.ParseMAC(req.Lladdr)
		if err != nil || len(lladdr) != 6 {
			return api.Errorf(api.EINVAL, "invalid Ethernet address '%s'", req.Lladdr)
		}
		n.lladdr = lladdr
	}
	if req.Published {
		// Linux answers with the address of its interface, no other.
		if n.lladdr != nil && !bytes.Equal(n.lladdr, ifp.Lladdr) {
			return api.Errorf(api.EOPNOTSUPP, "publish %s: only with the address of %s, %s, or auto",
				req.Addr, ifp.Name, lladdrString(ifp.Lladdr))
		}
		n.lladdr, n.flags = nil, ntfProxy
		return fail(t.kernel.neighbourSet(n, true))
	}
	if n.lladdr == nil {
		return api.Errorf(api.EINVAL, "invalid Ethernet address '%s'", req.Lladdr)
	}
	n.state = unix.NUD_PERMANENT
	if req.Temporary {
		n.state = unix.NUD_REACHABLE
	}
	return fail(t.kernel.neighbourSet(n, true))
}

// NeighbourDelete removes neighbours from Linux; the maps follow. See
// [api.Backend].
func (t *Table) NeighbourDelete(_ context.Context, filter api.NeighbourFilter) error {
	if err := t.begin(); err != nil {
		return err
	}
	defer t.end()
	addr := filter.Addr.WithZone("")
	var doomed []linuxNeighbour
	err := t.kernel.dumpProxies(func(n linuxNeighbour) {
		if n.addr == addr {
			doomed = append(doomed, linuxNeighbour{ifindex: n.ifindex, addr: addr, flags: ntfProxy})
		}
	})
	t.mu.Lock()
	for key := range t.neighbours.known {
		ifp, ok := t.interfaces.ByIndex(key.ifindex)
		if key.addr != addr || !ok || filter.Interface != "" && ifp.Name != filter.Interface ||
			filter.Addr.Zone() != "" && ifp.Name != filter.Addr.Zone() {
			continue
		}
		doomed = append(doomed, linuxNeighbour{ifindex: key.ifindex, addr: addr})
	}
	t.mu.Unlock()
	if len(doomed) == 0 && err == nil {
		return api.Errorf(api.ENOENT, "")
	}
	for _, n := range doomed {
		err = errors.Join(err, t.kernel.neighbourDelete(n))
	}
	return fail(err)
}

// Nd6Routers lists the default routers that router advertisements named. See
// [api.Backend].
func (t *Table) Nd6Routers(context.Context) ([]api.Nd6Router, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var routers []api.Nd6Router
	n, ok := t.rib.nodes[netip.PrefixFrom(netip.IPv6Unspecified(), 0)]
	if !ok {
		return nil, nil
	}
	for _, p := range n.paths {
		if p.protocol != unix.RTPROT_RA {
			continue
		}
		for _, hop := range p.hops {
			if ifp, ok := t.interfaces.ByIndex(hop.ifindex); ok {
				routers = append(routers, api.Nd6Router{Addr: hop.gateway, Interface: ifp.Name})
			}
		}
	}
	return routers, nil
}

// Nd6Prefixes lists the IPv6 prefixes that are on a link. See [api.Backend].
func (t *Table) Nd6Prefixes(context.Context) ([]api.Nd6Prefix, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var prefixes []api.Nd6Prefix
	t.rib.each(func(dst netip.Prefix, p *path) {
		if !dst.Addr().Is6() || dst.IsSingleIP() || p.kind != kindUnicast || p.flags&api.Gateway != 0 {
			return
		}
		for _, hop := range p.hops {
			if ifp, ok := t.interfaces.ByIndex(hop.ifindex); ok && !ifp.Loopback {
				prefixes = append(prefixes, api.Nd6Prefix{
					Prefix:     dst,
					Interface:  ifp.Name,
					Advertised: p.protocol == unix.RTPROT_RA,
				})
			}
		}
	})
	slices.SortFunc(prefixes, func(a, b api.Nd6Prefix) int {
		if c := comparePrefixes(a.Prefix, b.Prefix); c != 0 {
			return c
		}
		return bytes.Compare([]byte(a.Interface), []byte(b.Interface))
	})
	return prefixes, nil
}
