package route

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/route/api"
)

var _ api.Backend = (*Table)(nil)

// fail gives an error the form that the control socket carries.
func fail(err error) error {
	var own *api.Error
	if err == nil || errors.As(err, &own) {
		return err
	}
	return &api.Error{Errno: api.ErrnoOf(err)}
}

// begin locks the Table for a command; end unlocks it.
func (t *Table) begin() error {
	t.command.Lock()
	t.mu.Lock()
	closed := t.closed || !t.started
	t.mu.Unlock()
	if closed {
		t.command.Unlock()
		return api.Errorf(api.EIO, "%s", errClosed)
	}
	return nil
}

func (t *Table) end() { t.command.Unlock() }

// RouteAdd adds a route to Linux and to the RIB. See [api.Backend].
func (t *Table) RouteAdd(_ context.Context, req api.RouteRequest) (api.Rtentry, error) {
	if err := t.begin(); err != nil {
		return api.Rtentry{}, err
	}
	defer t.end()
	req.Dst = req.Dst.Masked()
	t.mu.Lock()
	var p *path
	_, err := t.exact(req.Dst)
	if errors.Is(err, api.ESRCH) {
		p, err = t.build(req)
	} else {
		err = api.Errorf(api.EEXIST, "")
	}
	usable := false
	if err == nil {
		_, usable = t.usable(req.Dst, p)
		usable = usable && !t.mirrorFull
	}
	t.mu.Unlock()
	if err != nil {
		return api.Rtentry{}, err
	}
	// Linux refuses routes over interfaces that are down; it gets them when
	// they are up.
	if usable {
		if err := t.kernel.routeSet(p.export(req.Dst), false); err != nil {
			return api.Rtentry{}, fail(err)
		}
		p.mirrored = true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	who := askerOf(req)
	t.put(req.Dst, nil, p, who)
	e := t.describe(req.Dst, p)
	t.answer(who, api.RTMAdd, e)
	return e, nil
}

// RouteChange changes a route in Linux and in the RIB. A route that somebody
// else made becomes bsdnet's. See [api.Backend].
func (t *Table) RouteChange(_ context.Context, req api.RouteRequest) (api.Rtentry, error) {
	if err := t.begin(); err != nil {
		return api.Rtentry{}, err
	}
	defer t.end()
	req.Dst = req.Dst.Masked()
	t.mu.Lock()
	old, p, usable, err := t.changed(req)
	usable = usable && !t.mirrorFull
	t.mu.Unlock()
	if err != nil {
		return api.Rtentry{}, err
	}
	if usable {
		if err := t.kernel.routeSet(p.export(req.Dst), true); err != nil {
			return api.Rtentry{}, fail(err)
		}
		p.mirrored = true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	who := askerOf(req)
	t.put(req.Dst, old, p, who)
	e := t.describe(req.Dst, p)
	typ := api.RTMChange
	if req.LocksOnly {
		typ = api.RTMLock
	}
	t.answer(who, typ, e)
	return e, nil
}

// changed makes the path that a request to change asks for.
func (t *Table) changed(req api.RouteRequest) (old, p *path, usable bool, err error) {
	if !req.Dst.IsValid() {
		return nil, nil, false, api.Errorf(api.EINVAL, "")
	}
	old, err = t.current(req.Dst, func(*path) bool { return true })
	if err != nil {
		return nil, nil, false, err
	}
	next := *old
	next.owner, next.protocol, next.mirrored, next.seen = ownerBSD, Protocol, false, 0
	if req.LocksOnly {
		next.metrics = old.metrics.Lock(req.Metrics.Locks, req.Inits)
		_, usable = t.usable(req.Dst, &next)
		return old, &next, usable, nil
	}
	next.metrics = old.metrics.Merge(req.Metrics, req.Inits)
	cleared := req.Fmask & api.Fmask &^ req.Flags
	next.flags = next.flags&^cleared | req.Flags&api.Settable
	discards := req.Flags&(api.Reject|api.Blackhole) != 0
	if old.discards() && cleared&old.flags&(api.Reject|api.Blackhole) != 0 && !req.Gateway.IsValid() && req.Interface == "" {
		if !old.gateway.IsValid() {
			return nil, nil, false, api.Errorf(api.EINVAL, "")
		}
		req.Gateway = old.gateway // it leads there again
	}
	if req.Ifp != "" && !req.Gateway.IsValid() && req.Interface == "" && !discards {
		// The same gateway, if there is one, by another interface.
		if len(old.hops) > 0 && old.hops[0].gateway.IsValid() {
			req.Gateway = old.hops[0].gateway
		} else {
			req.Interface = req.Ifp
		}
	}
	if req.Gateway.IsValid() || req.Interface != "" || discards {
		if discards && !req.Gateway.IsValid() && req.Interface == "" {
			req.Gateway = netip.IPv4Unspecified() // where a discarding route leads is of no matter
			if len(old.hops) > 0 && old.hops[0].gateway.IsValid() {
				req.Gateway = old.hops[0].gateway
			}
		}
		if err := t.lead(&next, req); err != nil {
			return nil, nil, false, err
		}
	}
	next.finishFlags(req.Dst)
	_, usable = t.usable(req.Dst, &next)
	return old, &next, usable, nil
}

// RouteDelete removes a route, also one that somebody else made. See
// [api.Backend].
func (t *Table) RouteDelete(_ context.Context, req api.RouteRequest) (api.Rtentry, error) {
	if err := t.begin(); err != nil {
		return api.Rtentry{}, err
	}
	defer t.end()
	req.Dst = req.Dst.Masked()
	t.mu.Lock()
	p, err := t.current(req.Dst, func(p *path) bool { return t.leads(p, req) })
	t.mu.Unlock()
	if err != nil {
		return api.Rtentry{}, err
	}
	e, err := t.removePath(req.Dst, p, askerOf(req))
	return e, fail(err)
}

// leads reports whether a path leads where a request says, if it says so.
func (t *Table) leads(p *path, req api.RouteRequest) bool {
	if req.Gateway.IsValid() {
		gateway := req.Gateway.WithZone("")
		if p.gateway != gateway && !slices.ContainsFunc(p.hops, func(h linuxHop) bool { return h.gateway == gateway }) {
			return false
		}
	}
	if req.Interface != "" {
		ifp, err := t.interfaceRoute(req)
		if err != nil || !p.usesInterface(ifp.Index) {
			return false
		}
	}
	return true
}

// RouteGet looks a destination up in the RIB. See [api.Backend].
func (t *Table) RouteGet(_ context.Context, req api.RouteRequest) (api.Rtentry, error) {
	if !req.Dst.IsValid() || req.Fib != 0 {
		return api.Rtentry{}, api.Errorf(api.EINVAL, "")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if req.Exact {
		dst := req.Dst.Masked()
		p, err := t.exact(dst)
		if err != nil {
			return api.Rtentry{}, err
		}
		return t.describe(dst, p), nil
	}
	n, ok := t.lookup(req.Dst.Addr())
	if !ok {
		return api.Rtentry{}, api.Errorf(api.ESRCH, "")
	}
	c, _ := t.choose(n)
	return t.entry(n.dst, c), nil
}

func (t *Table) exact(dst netip.Prefix) (*path, error) {
	n, ok := t.rib.nodes[dst]
	if ok {
		if c, ok := t.choose(n); ok && c.path.shown(dst) {
			return c.path, nil
		}
		for _, p := range n.paths {
			if p.shown(dst) {
				return p, nil
			}
		}
	}
	return nil, api.Errorf(api.ESRCH, "")
}

// lookup returns the longest prefix with a usable route. Groups and broadcast
// addresses are not routes to a BSD.
func (t *Table) lookup(addr netip.Addr) (*node, bool) {
	return t.rib.lookup(addr, func(n *node) bool {
		c, ok := t.choose(n)
		return ok && c.path.kind != kindBroadcast && c.path.kind != kindMulticast
	})
}

// RouteFlush deletes the routes through gateways. See [api.Backend].
func (t *Table) RouteFlush(ctx context.Context, filter api.RouteFilter) ([]api.Rtentry, error) {
	if err := t.begin(); err != nil {
		return nil, err
	}
	defer t.end()
	type found struct {
		dst netip.Prefix
		p   *path
	}
	var all []found
	t.mu.Lock()
	t.rib.each(func(dst netip.Prefix, p *path) {
		if imported(p) && p.flags&api.Gateway != 0 && filter.Family.Has(dst.Addr()) {
			all = append(all, found{dst, p})
		}
	})
	t.mu.Unlock()
	slices.SortFunc(all, func(a, b found) int { return comparePrefixes(a.dst, b.dst) })
	var flushed []api.Rtentry
	for _, f := range all {
		if err := ctx.Err(); err != nil {
			return flushed, err
		}
		e, err := t.removePath(f.dst, f.p, asker{})
		if err != nil {
			return flushed, fail(err)
		}
		flushed = append(flushed, e)
	}
	return flushed, nil
}

func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(
		cmp.Compare(a.Addr().BitLen(), b.Addr().BitLen()),
		a.Addr().Compare(b.Addr()),
		cmp.Compare(a.Bits(), b.Bits()),
	)
}

// Routes lists the table. A multipath route is listed once for each of its
// hops, a link-local one once for each link. See [api.Backend].
func (t *Table) Routes(_ context.Context, filter api.RouteFilter) ([]api.Rtentry, error) {
	if filter.Fib != 0 {
		return nil, api.Errorf(api.EINVAL, "%d: invalid fib", filter.Fib)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	entries := make([]api.Rtentry, 0, len(t.rib.nodes))
	for dst, n := range t.rib.nodes {
		if !filter.Family.Has(dst.Addr()) {
			continue
		}
		if a := dst.Addr(); a.Is6() && a.IsLinkLocalUnicast() {
			entries = t.linkLocal(entries, n)
			continue
		}
		p, err := t.exact(dst)
		if err != nil {
			continue
		}
		if p.kind != kindUnicast || len(p.hops) < 2 {
			entries = append(entries, t.describe(n.dst, p))
			continue
		}
		for _, hop := range p.hops {
			one := *p
			one.hops = []linuxHop{hop}
			e := t.describe(n.dst, &one)
			e.Metrics.Weight = uint64(hop.weight)
			entries = append(entries, e)
		}
	}
	slices.SortStableFunc(entries, func(a, b api.Rtentry) int {
		return cmp.Or(comparePrefixes(a.Dst, b.Dst), cmp.Compare(a.Zone, b.Zone))
	})
	return entries, nil
}

// linkLocal appends the routes to a link-local prefix, which is another one on
// each link.
func (t *Table) linkLocal(entries []api.Rtentry, n *node) []api.Rtentry {
	listed := make(map[int]struct{})
	for _, p := range n.paths {
		if !p.shown(n.dst) || len(p.hops) == 0 {
			continue
		}
		index := p.hops[0].ifindex
		if _, ok := listed[index]; !ok {
			listed[index] = struct{}{}
			entries = append(entries, t.describe(n.dst, p))
		}
	}
	return entries
}

// monitorBuffer is the number of messages that a monitor may lag behind.
const monitorBuffer = 8192

// Subscribe returns a stream of all messages from now on, with room for as
// many as the listener may lag behind.
func (t *Table) Subscribe(buffer int) *Subscription { return t.hub.Subscribe(buffer) }

// Monitor passes messages on. See [api.Backend].
func (t *Table) Monitor(ctx context.Context, notify func(api.Message) error) error {
	sub := t.Subscribe(monitorBuffer)
	defer sub.Close()
	for {
		select {
		case <-ctx.Done():
			return nil
		case m, ok := <-sub.C:
			if !ok {
				return nil
			}
			if err := notify(*m); err != nil {
				return err
			}
			if n := sub.Dropped(); n > 0 {
				return api.Errorf(api.ENOBUFS, "%d messages lost", n)
			}
		}
	}
}

// Miss tells the subscribers that there is no route to a destination. netisr
// calls it, at a limited rate.
func (t *Table) Miss(dst netip.Addr) {
	t.hub.Publish(api.Message{
		Type:  api.RTMMiss,
		Time:  t.now(),
		Flags: api.Done,
		Dst:   netip.PrefixFrom(dst.WithZone(""), dst.BitLen()),
	})
}

// Redirect takes an ICMP redirect: author, the router that sent it, says that
// dst is better reached through gateway. It is accepted under the rules of
// rtredirect in the BSD sources: the new gateway is on a link of the interface
// that the redirect came in by, the author is the gateway in use for dst, and
// the new gateway is not this host. An accepted one makes a DYNAMIC host
// route, or changes a host route that there is.
func (t *Table) Redirect(dst, gateway, author netip.Addr, ifindex int) error {
	dst, gateway, author = dst.WithZone(""), gateway.WithZone(""), author.WithZone("")
	host := netip.PrefixFrom(dst, dst.BitLen())
	if err := t.begin(); err != nil {
		return err
	}
	defer t.end()
	t.mu.Lock()
	err := t.checkRedirect(dst, gateway, author, ifindex)
	old, missing := t.current(host, func(*path) bool { return true })
	if err == nil && missing != nil && !errors.Is(missing, api.ESRCH) {
		err = missing
	}
	if err != nil {
		t.stats.BadRedirs++
	}
	t.mu.Unlock()
	m := api.Message{Type: api.RTMRedirect, Time: t.now(), Dst: host, Gateway: gateway, Author: author}
	if err != nil {
		m.Errno = api.ErrnoOf(err)
		t.hub.Publish(m)
		return fail(err)
	}
	p := &path{
		owner:    ownerBSD,
		kind:     kindUnicast,
		protocol: Protocol,
		linux:    unix.RTN_UNICAST,
		table:    unix.RT_TABLE_MAIN,
		flags:    api.Dynamic,
		hops:     []linuxHop{{ifindex: ifindex, gateway: gateway, weight: 1}},
	}
	if dst.Is6() {
		p.priority = mirrorPriority6
	}
	if old != nil {
		p.flags, p.metrics, p.priority = old.flags|api.Modified, old.metrics, old.priority
	}
	p.finishFlags(host)
	if err := t.kernel.routeSet(p.export(host), old != nil); err != nil {
		return fail(err)
	}
	p.mirrored = true
	t.mu.Lock()
	defer t.mu.Unlock()
	if old != nil {
		t.stats.NewGateway++
	} else {
		t.stats.Dynamic++
	}
	t.put(host, old, p, asker{})
	m.Flags = p.flags | api.Done
	t.hub.Publish(m)
	return nil
}

func (t *Table) checkRedirect(dst, gateway, author netip.Addr, ifindex int) error {
	if !dst.IsValid() || !gateway.IsValid() || dst.Is4() != gateway.Is4() || dst.IsMulticast() || gateway.IsMulticast() {
		return api.Errorf(api.EINVAL, "")
	}
	n, ok := t.lookup(dst)
	if !ok {
		return api.Errorf(api.EHOSTUNREACH, "")
	}
	c, _ := t.choose(n)
	if c.hop == nil || c.path.kind != kindUnicast || c.hop.gateway != author || c.hop.ifindex != ifindex {
		return api.Errorf(api.EINVAL, "")
	}
	if _, own := t.interfaceOf(gateway); own {
		return api.Errorf(api.EHOSTUNREACH, "")
	}
	if gateway.Is6() && gateway.IsLinkLocalUnicast() {
		return nil
	}
	if ifp, ok := t.onLink(gateway); !ok || ifp.Index != ifindex {
		return api.Errorf(api.ENETUNREACH, "")
	}
	return nil
}
