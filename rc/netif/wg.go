package netif

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	ifapi "github.com/bsdnet/bsdnet/ifnet/api"
	"github.com/bsdnet/bsdnet/rc"
)

// wg makes a wg(4) what the plan says; n.mu is held. Peers that others have
// added stay, and so do endpoints that have moved since.
func (n *Netif) wg(ctx context.Context, ifp *rc.Interface, is *ifapi.Interface, was *rc.Interface, report *Report) {
	delete(n.lookups, ifp.Name)
	if is.Wg == nil {
		return
	}
	want, before := wanted(ifp), wanted(was)
	for _, p := range want.Peers {
		if p.EndpointHost != "" && unknown(p, peerOf(before, p.PublicKey), is.Wg) {
			n.lookups[ifp.Name] = true // by followEndpoints, which may take its time
		}
	}
	r, changes := differences(want, before, is.Wg)
	if len(changes) == 0 {
		return
	}
	r.Name = ifp.Name
	if err := n.config.Ifnet.SetWg(ctx, *r); err != nil {
		report.failed(ifp.Position, err, "%s: WireGuard", ifp.Name)
		return
	}
	report.changed("%s: WireGuard: %s", ifp.Name, strings.Join(changes, ", "))
}

// unknown reports whether the name of an endpoint is to be looked up: it is
// another one than before, or the peer has none.
func unknown(p ifapi.WgPeerRequest, before *ifapi.WgPeerRequest, have *ifapi.Wg) bool {
	if before != nil && (before.EndpointHost != p.EndpointHost || before.EndpointService != p.EndpointService) {
		return true
	}
	return !slices.ContainsFunc(have.Peers, func(q ifapi.WgPeer) bool { return q.PublicKey == p.PublicKey && q.Endpoint.IsValid() })
}

// wanted is what an interface of a plan says of WireGuard, each peer once.
func wanted(ifp *rc.Interface) *ifapi.WgRequest {
	if ifp == nil || ifp.Wg == nil {
		return &ifapi.WgRequest{}
	}
	r := *ifp.Wg
	r.Peers = nil
	for _, p := range ifp.Wg.Peers {
		at := slices.IndexFunc(r.Peers, func(q ifapi.WgPeerRequest) bool { return q.PublicKey == p.PublicKey })
		switch {
		case p.Remove && at >= 0:
			r.Peers = slices.Delete(r.Peers, at, at+1)
		case p.Remove:
		case at >= 0:
			r.Peers[at] = p // what is said last
		default:
			r.Peers = append(r.Peers, p)
		}
	}
	return &r
}

func peerOf(r *ifapi.WgRequest, key ifapi.WgKey) *ifapi.WgPeerRequest {
	for i := range r.Peers {
		if r.Peers[i].PublicKey == key {
			return &r.Peers[i]
		}
	}
	return nil
}

// differences makes the request that brings a tunnel to what is wanted, and
// says what it changes.
func differences(want, before *ifapi.WgRequest, have *ifapi.Wg) (r *ifapi.WgRequest, changes []string) {
	r = &ifapi.WgRequest{}
	if want.PrivateKey != nil && (have.PrivateKey == nil || *have.PrivateKey != *want.PrivateKey) {
		r.PrivateKey, changes = want.PrivateKey, append(changes, "key")
	}
	if want.Port != nil && *want.Port != 0 && *want.Port != have.Port {
		r.Port, changes = want.Port, append(changes, fmt.Sprint("port ", *want.Port))
	}
	if want.Cookie != nil && *want.Cookie != have.Cookie {
		r.Cookie, changes = want.Cookie, append(changes, fmt.Sprint("cookie ", *want.Cookie))
	}
	if want.Table != nil && *want.Table != have.Table {
		r.Table, changes = want.Table, append(changes, fmt.Sprint("table ", *want.Table))
	}
	for _, p := range want.Peers {
		if change, differs := peerDifference(p, peerOf(before, p.PublicKey), have); differs {
			r.Peers, changes = append(r.Peers, change), append(changes, "peer "+p.PublicKey.String())
		}
	}
	for _, p := range before.Peers {
		there := slices.ContainsFunc(have.Peers, func(q ifapi.WgPeer) bool { return q.PublicKey == p.PublicKey })
		if there && peerOf(want, p.PublicKey) == nil {
			r.Peers = append(r.Peers, ifapi.WgPeerRequest{PublicKey: p.PublicKey, Remove: true})
			changes = append(changes, "no peer "+p.PublicKey.String())
		}
	}
	return r, changes
}

// peerDifference makes the request for one peer. What the plan before said and
// this one does not is cleared.
func peerDifference(p ifapi.WgPeerRequest, before *ifapi.WgPeerRequest, have *ifapi.Wg) (change ifapi.WgPeerRequest, differs bool) {
	p.EndpointHost, p.EndpointService = "", "" // still to be looked up
	at := slices.IndexFunc(have.Peers, func(q ifapi.WgPeer) bool { return q.PublicKey == p.PublicKey })
	if at < 0 {
		return p, true
	}
	is := &have.Peers[at]
	if before == nil {
		before = &ifapi.WgPeerRequest{}
	}
	change.PublicKey = p.PublicKey
	if p.PresharedKey == nil && before.PresharedKey != nil {
		p.PresharedKey = &ifapi.WgKey{}
	}
	if shared := p.PresharedKey; shared != nil && *shared != keyOf(is.PresharedKey) {
		change.PresharedKey, differs = shared, true
	}
	if p.Keepalive == nil && before.Keepalive != nil {
		p.Keepalive = new(uint16)
	}
	if p.Keepalive != nil && *p.Keepalive != is.Keepalive {
		change.Keepalive, differs = p.Keepalive, true
	}
	if p.Description == nil && before.Description != nil {
		p.Description = new(string)
	}
	if p.Description != nil && *p.Description != is.Description {
		change.Description, differs = p.Description, true
	}
	if p.Endpoint.IsValid() && (!is.Endpoint.IsValid() || before.Endpoint != p.Endpoint && is.Endpoint != p.Endpoint) {
		change.Endpoint, differs = p.Endpoint, true
	}
	if !samePrefixes(p.AllowedIPs, is.AllowedIPs) {
		change.ReplaceAllowedIPs, change.AllowedIPs, differs = true, p.AllowedIPs, true
	}
	return change, differs
}

func keyOf(key *ifapi.WgKey) ifapi.WgKey {
	if key == nil {
		return ifapi.WgKey{}
	}
	return *key
}

func samePrefixes(a, b []netip.Prefix) bool {
	sorted := func(list []netip.Prefix) []netip.Prefix {
		return slices.Compact(slices.SortedFunc(slices.Values(list), netip.Prefix.Compare))
	}
	return slices.Equal(sorted(a), sorted(b))
}

// lookupInterval is the time between attempts to look up an endpoint.
const lookupInterval = 5 * time.Second

// lookups are those tried for a plan: endpoints that were set, which may move
// since, and why others were not. Keys are interfaces with their peers.
type lookups struct {
	plan   *rc.Plan
	set    map[string]bool
	failed map[string]string
}

// followEndpoints looks up endpoints that a plan gives by name, until ctx ends.
func (n *Netif) followEndpoints(ctx context.Context) {
	ticker := time.NewTicker(lookupInterval)
	defer ticker.Stop()
	tried := lookups{}
	for {
		n.mu.Lock()
		plan := n.state.Plan
		if plan == nil {
			clear(n.lookups)
		}
		var unresolved []*rc.Interface
		for name := range n.lookups {
			if ifp, ok := plan.Interface(name); ok {
				unresolved = append(unresolved, ifp)
			}
		}
		n.mu.Unlock()
		if tried.plan != plan || len(unresolved) == 0 {
			tried = lookups{plan: plan, set: make(map[string]bool), failed: make(map[string]string)}
		}
		for _, ifp := range unresolved {
			n.lookUp(ctx, ifp, &tried)
		}
		wait := ticker.C
		if len(unresolved) == 0 { // another plan may have names
			wait = time.After(time.Second)
		}
		select {
		case <-ctx.Done():
			return
		case <-wait:
		}
	}
}

// lookUp looks up the endpoints of an interface that are not set yet, and sets
// those that have an answer. Each failure is logged once.
func (n *Netif) lookUp(ctx context.Context, ifp *rc.Interface, tried *lookups) {
	whole := true
	for _, p := range wanted(ifp).Peers {
		about := ifp.Name + " " + p.PublicKey.String()
		if p.EndpointHost == "" || tried.set[about] {
			continue
		}
		endpoint, err := resolve(ctx, p.EndpointHost, p.EndpointService)
		if err == nil {
			err = n.setEndpoint(ctx, tried.plan, ifp.Name, ifapi.WgPeerRequest{PublicKey: p.PublicKey, Endpoint: endpoint})
		}
		if tried.set[about] = err == nil; err == nil {
			continue
		}
		whole = false
		if text := err.Error(); tried.failed[about] != text {
			tried.failed[about] = text
			n.config.Log.Warn("rc: endpoint not set, tried again", "interface", ifp.Name, "host", p.EndpointHost, "err", err)
		}
	}
	if !whole {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.state.Plan == tried.plan {
		delete(n.lookups, ifp.Name)
		n.config.Log.Info("rc: endpoints looked up", "interface", ifp.Name)
	}
}

// setEndpoint sets one endpoint, if the plan is still in force.
func (n *Netif) setEndpoint(ctx context.Context, plan *rc.Plan, name string, p ifapi.WgPeerRequest) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.state.Plan != plan {
		return nil
	}
	return n.config.Ifnet.SetWg(ctx, ifapi.WgRequest{Name: name, Peers: []ifapi.WgPeerRequest{p}})
}

func resolve(ctx context.Context, host, service string) (netip.AddrPort, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupInterval)
	defer cancel()
	port, err := net.DefaultResolver.LookupPort(ctx, "udp", service)
	if err != nil {
		return netip.AddrPort{}, err
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil || len(addrs) == 0 {
		return netip.AddrPort{}, fmt.Errorf("look up %s: %w", host, err)
	}
	return netip.AddrPortFrom(addrs[0].Unmap(), uint16(port)), nil
}
