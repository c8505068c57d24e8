package netif

import (
	"context"
	"errors"
	"net/netip"

	"github.com/bsdnet/bsdnet/errno"
	"github.com/bsdnet/bsdnet/rc"
	rtapi "github.com/bsdnet/bsdnet/route/api"
)

// forwardings are the two switches of forwarding.
func forwardings(plan *rc.Plan) map[string]bool {
	return map[string]bool{"net.inet.ip.forwarding": plan.Forwarding, "net.inet6.ip6.forwarding": plan.Forwarding6}
}

// Routing adds the static routes of the plan and opens forwarding, if it says so.
func (n *Netif) Routing(ctx context.Context) *Report {
	n.mu.Lock()
	defer n.mu.Unlock()
	report := &Report{}
	plan := n.state.Plan
	if plan == nil {
		return report
	}
	clear(n.pending)
	for _, r := range plan.Routes {
		n.addRoute(ctx, r, report)
	}
	for r, why := range n.pending {
		report.warn("%s: route %s waits: %s", r.Position, r.Text, why)
	}
	for name, on := range forwardings(plan) {
		if err := n.config.Sysctl(name, yesNo(on)); err != nil {
			report.failed(rc.Position{}, err, "%s", name)
		}
	}
	n.state.Routing = true
	if err := n.save(); err != nil {
		report.failed(rc.Position{}, err, "write state")
	}
	return report
}

func yesNo(on bool) string {
	if on {
		return "1"
	}
	return "0"
}

// addRoute adds a route that is not there, and changes one of another way. A
// route whose gateway cannot be reached yet waits; n.mu is held.
func (n *Netif) addRoute(ctx context.Context, r *rc.Route, report *Report) {
	have, ok := n.route(ctx, r.Request.Dst)
	if ok && leadsTo(have, r.Request) {
		delete(n.pending, r)
		return
	}
	var err error
	if ok && have.Flags&rtapi.Static != 0 {
		_, err = n.config.Route.RouteChange(ctx, r.Request)
	} else {
		_, err = n.config.Route.RouteAdd(ctx, r.Request)
	}
	switch {
	case errors.Is(err, errno.ENETUNREACH) || errors.Is(err, errno.ENXIO):
		n.pending[r] = err.Error()
		return
	case err != nil:
		report.failed(r.Position, err, "route %s", r.Text)
	default:
		report.changed("route %s", r.Text)
	}
	delete(n.pending, r)
}

// route returns the route of a prefix as the tables have it.
func (n *Netif) route(ctx context.Context, dst netip.Prefix) (rtapi.Rtentry, bool) {
	entries, err := n.config.Route.Routes(ctx, rtapi.RouteFilter{})
	if err != nil {
		return rtapi.Rtentry{}, false
	}
	for _, e := range entries {
		if e.Dst == dst {
			return e, true
		}
	}
	return rtapi.Rtentry{}, false
}

// leadsTo reports whether a route is the one that a request asks for.
func leadsTo(have rtapi.Rtentry, want rtapi.RouteRequest) bool {
	const kinds = rtapi.Reject | rtapi.Blackhole
	if have.Flags&kinds != want.Flags&kinds {
		return false
	}
	if want.Interface != "" {
		return !have.Gateway.IsValid() && have.Interface.Name == want.Interface
	}
	if have.Gateway.WithZone("") != want.Gateway.WithZone("") {
		return false
	}
	zone := want.Ifp
	if zone == "" {
		zone = want.Gateway.Zone()
	}
	return zone == "" || have.Interface.Name == zone
}

// withdrawRoutes deletes the routes of a plan that the next does not have;
// n.mu is held.
func (n *Netif) withdrawRoutes(ctx context.Context, old, next *rc.Plan, report *Report) {
	for _, r := range old.Routes {
		kept := false
		if next != nil {
			for _, other := range next.Routes {
				kept = kept || other.Request.Dst == r.Request.Dst
			}
		}
		if kept {
			continue
		}
		have, ok := n.route(ctx, r.Request.Dst)
		if !ok || !leadsTo(have, r.Request) {
			continue // somebody has changed it since
		}
		if _, err := n.config.Route.RouteDelete(ctx, r.Request); err != nil && !errors.Is(err, errno.ESRCH) {
			report.failed(r.Position, err, "delete route %s", r.Text)
			continue
		}
		report.changed("no route %s", r.Text)
	}
}
