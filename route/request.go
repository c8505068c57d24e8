package route

import (
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/ifnet"
	"github.com/bsdnet/bsdnet/route/api"
)

// asker is who a change was made for, as the message that tells of it says.
type asker struct {
	pid, seq int
	sender   api.Sender
	dst      netip.Prefix // of the request, where there is a sender
	inits    api.MetricBits
}

func askerOf(req api.RouteRequest) asker {
	return asker{pid: req.Pid, seq: req.Seq, sender: req.Sender, dst: req.Dst, inits: req.Inits}
}

// answer tells of what a routing socket asked for, also where the change makes
// no difference to anybody. The caller holds mu.
func (t *Table) answer(who asker, typ api.MessageType, e api.Rtentry) {
	if who.sender.Socket == 0 {
		return
	}
	t.hub.Publish(api.Message{
		Type: typ, Time: t.now(), Pid: who.pid, Seq: who.seq, Sender: who.sender,
		Flags: e.Flags | api.Done, Dst: e.Dst, Gateway: e.Gateway, Link: e.Interface, Ifa: e.Ifa,
		Metrics: e.Metrics, Inits: who.inits,
	})
}

// build makes the path that a request to add asks for.
func (t *Table) build(req api.RouteRequest) (*path, error) {
	dst := req.Dst
	if !dst.IsValid() {
		return nil, api.Errorf(api.EINVAL, "")
	}
	if req.Fib != 0 {
		return nil, api.Errorf(api.EINVAL, "fib %d does not exist", req.Fib)
	}
	p := &path{
		owner:    ownerBSD,
		kind:     kindUnicast,
		protocol: Protocol,
		linux:    unix.RTN_UNICAST,
		table:    unix.RT_TABLE_MAIN,
		flags:    req.Flags & api.Settable,
		metrics:  api.Metrics{}.Merge(req.Metrics, req.Inits),
	}
	if dst.Addr().Is6() {
		p.priority = mirrorPriority6
	}
	if err := t.lead(p, req); err != nil {
		return nil, err
	}
	p.finishFlags(dst)
	return p, nil
}

// lead sets where a path leads, by the gateway, interface and flags of a
// request.
func (t *Table) lead(p *path, req api.RouteRequest) error {
	discard := req.Flags & (api.Reject | api.Blackhole)
	switch {
	case discard == api.Reject|api.Blackhole:
		return api.Errorf(api.EINVAL, "")
	case !req.Gateway.IsValid() && req.Interface == "":
		return api.Errorf(api.EINVAL, "")
	case discard == api.Reject:
		p.kind, p.linux, p.hops, p.gateway = kindReject, unix.RTN_UNREACHABLE, nil, req.Gateway.WithZone("")
		return nil
	case discard == api.Blackhole:
		p.kind, p.linux, p.hops, p.gateway = kindBlackhole, unix.RTN_BLACKHOLE, nil, req.Gateway.WithZone("")
		return nil
	}
	p.kind, p.linux, p.gateway = kindUnicast, unix.RTN_UNICAST, netip.Addr{}
	p.flags &^= api.Reject | api.Blackhole
	if req.Ifa.IsValid() {
		p.prefsrc = req.Ifa.WithZone("")
	}
	if req.Interface != "" {
		ifp, err := t.interfaceRoute(req)
		if err != nil {
			return err
		}
		p.hops = []linuxHop{{ifindex: ifp.Index, weight: 1}}
		return nil
	}
	if req.Dst.Addr().Is6() && req.Gateway.Is4() {
		return api.Errorf(api.EAFNOSUPPORT, "")
	}
	if req.Dst.IsSingleIP() && req.Dst.Addr() == req.Gateway.WithZone("") {
		return api.Errorf(api.EADDRINUSE, "")
	}
	hop, err := t.gatewayHop(req)
	if err != nil {
		return err
	}
	p.hops = []linuxHop{hop}
	return nil
}

// interfaceRoute returns the interface of an interface route, given by name
// or by an address of this host on it.
func (t *Table) interfaceRoute(req api.RouteRequest) (*ifnet.Ifnet, error) {
	if ifp, ok := t.interfaces.ByName(req.Interface); ok {
		return ifp, nil
	}
	if addr, err := netip.ParseAddr(req.Interface); err == nil {
		if ifp, ok := t.interfaceOf(addr); ok {
			return ifp, nil
		}
	}
	return nil, noInterface(req.Interface)
}

func noInterface(name string) error {
	return api.Errorf(api.ENXIO, "interface '%s' does not exist", name)
}

// interfaceOf returns the interface that has an address.
func (t *Table) interfaceOf(addr netip.Addr) (*ifnet.Ifnet, bool) {
	for _, ifp := range t.interfaces.All() {
		for _, a := range ifp.Addrs {
			if a.Prefix.Addr().WithZone("") == addr.WithZone("") && (addr.Zone() == "" || addr.Zone() == ifp.Name) {
				return ifp, true
			}
		}
	}
	return nil, false
}

// gatewayHop returns the way to a gateway, which must be on a link: on the
// interface that the request names, else where an address of this host or an
// interface route says.
func (t *Table) gatewayHop(req api.RouteRequest) (linuxHop, error) {
	gateway := req.Gateway.WithZone("")
	hop := linuxHop{gateway: gateway, weight: 1}
	named := req.Ifp
	if named == "" {
		named = req.Gateway.Zone()
	}
	if named != "" {
		ifp, ok := t.interfaces.ByName(named)
		if !ok {
			return hop, noInterface(named)
		}
		hop.ifindex = ifp.Index
		if on, ok := t.onLink(gateway); !ok || on.Index != ifp.Index {
			hop.flags |= unix.RTNH_F_ONLINK // take the request's word for it
		}
		if gateway.IsLinkLocalUnicast() && gateway.Is6() {
			hop.flags = 0
		}
		return hop, nil
	}
	if _, own := t.interfaceOf(gateway); own || gateway.IsLoopback() {
		return hop, api.Errorf(api.EINVAL, "")
	}
	if req.Ifa.IsValid() {
		ifp, ok := t.interfaceOf(req.Ifa)
		if !ok {
			return hop, api.Errorf(api.EADDRNOTAVAIL, "")
		}
		hop.ifindex = ifp.Index
		return hop, nil
	}
	ifp, ok := t.onLink(gateway)
	if !ok {
		return hop, api.Errorf(api.ENETUNREACH, "")
	}
	if n, ok := t.rib.nodes[req.Dst]; ok && req.Dst.Contains(gateway) && len(n.paths) > 0 && t.onlyBy(n, gateway) {
		return hop, api.Errorf(api.EADDRINUSE, "")
	}
	hop.ifindex = ifp.Index
	return hop, nil
}

// onlyBy reports whether an address is reached by one node alone: a gateway
// that would be its own way if that node's route led to it.
func (t *Table) onlyBy(n *node, addr netip.Addr) bool {
	found, ok := t.rib.lookup(addr, func(other *node) bool {
		_, usable := t.choose(other)
		return usable
	})
	return ok && found == n
}

// onLink returns the interface on which an address can be reached without a
// gateway.
func (t *Table) onLink(addr netip.Addr) (*ifnet.Ifnet, bool) {
	if addr.Is6() && addr.IsLinkLocalUnicast() {
		return nil, false // on every link: the zone must tell
	}
	var best *ifnet.Ifnet
	bits := -1
	for _, ifp := range t.interfaces.All() {
		for _, a := range ifp.Addrs {
			switch {
			case a.Peer.IsValid() && a.Peer == addr:
				return ifp, true
			case a.Prefix.Bits() > bits && a.Prefix.Contains(addr) && !a.Prefix.IsSingleIP():
				best, bits = ifp, a.Prefix.Bits()
			}
		}
	}
	n, ok := t.rib.lookup(addr, func(n *node) bool {
		c, ok := t.choose(n)
		return ok && c.path.kind == kindUnicast
	})
	if ok && n.dst.Bits() >= bits {
		if c, _ := t.choose(n); !c.hop.gateway.IsValid() {
			return c.ifp, true
		}
		if n.dst.Bits() > bits {
			return nil, false
		}
	}
	return best, best != nil
}

// current returns the path of a prefix that a request means: the one in use,
// or the first that netstat lists.
func (t *Table) current(dst netip.Prefix, match func(*path) bool) (*path, error) {
	n, ok := t.rib.nodes[dst]
	if !ok {
		return nil, api.Errorf(api.ESRCH, "")
	}
	if c, ok := t.choose(n); ok && c.path.shown(dst) && match(c.path) {
		return pinned(c.path)
	}
	for _, p := range n.paths {
		if p.shown(dst) && match(p) {
			return pinned(p)
		}
	}
	return nil, api.Errorf(api.ESRCH, "")
}

// pinned refuses to touch own addresses: they go with the address.
func pinned(p *path) (*path, error) {
	if p.kind == kindLocal {
		return nil, api.Errorf(api.EADDRINUSE, "")
	}
	return p, nil
}

// put enters a path of bsdnet in place of old, which may be nil, and brings
// the FIB up to date. The caller holds command and mu.
func (t *Table) put(dst netip.Prefix, old, p *path, who asker) {
	if old != nil {
		t.rib.replace(dst, old, p)
		delete(t.expiring, dst)
	} else {
		t.rib.insert(dst, p)
	}
	if p.metrics.Expire != 0 {
		t.expiring[dst] = p
	}
	t.asker = who
	t.flush()
	t.asker = asker{}
}

// take removes a path and brings the FIB up to date. The caller holds command
// and mu.
func (t *Table) take(dst netip.Prefix, p *path, who asker) {
	t.rib.remove(dst, p)
	if t.expiring[dst] == p {
		delete(t.expiring, dst)
	}
	t.asker = who
	t.flush()
	t.asker = asker{}
}

// removePath deletes a path from Linux and from the RIB. The caller holds
// command.
func (t *Table) removePath(dst netip.Prefix, p *path, who asker) (api.Rtentry, error) {
	if p.owner == ownerLinux || p.mirrored {
		err := t.kernel.routeDelete(p.export(dst))
		// Linux may have dropped it with its interface.
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return api.Rtentry{}, err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.describe(dst, p)
	t.take(dst, p, who)
	t.answer(who, api.RTMDelete, e)
	return e, nil
}

// expirePaths removes the paths whose time is over.
func (t *Table) expirePaths() {
	t.command.Lock()
	defer t.command.Unlock()
	now := t.now()
	over := make(map[netip.Prefix]*path)
	t.mu.Lock()
	for dst, p := range t.expiring {
		if p.expired(now) {
			over[dst] = p
		}
	}
	t.mu.Unlock()
	for dst, p := range over {
		if _, err := t.removePath(dst, p, asker{}); err != nil {
			t.log.Warn("removing an expired route failed", "destination", dst, "error", err)
		}
	}
}

// describe returns a path as the commands see it, in use or not.
func (t *Table) describe(dst netip.Prefix, p *path) api.Rtentry {
	if c, ok := t.usable(dst, p); ok {
		return t.entry(dst, c)
	}
	c := choice{path: p}
	if len(p.hops) > 0 {
		c.hop = &p.hops[0]
		c.ifp, _ = t.interfaces.ByIndex(c.hop.ifindex)
	}
	e := t.entry(dst, c)
	e.Flags &^= api.Up
	return e
}
