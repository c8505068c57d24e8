package netif

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/bsdnet/bsdnet/errno"
	ifapi "github.com/bsdnet/bsdnet/ifnet/api"
	"github.com/bsdnet/bsdnet/rc"
)

// Resume brings everything to what it was before a restart.
func (n *Netif) Resume(ctx context.Context) *Report {
	n.mu.Lock()
	defer n.mu.Unlock()
	report := &Report{}
	if n.state.Plan != nil {
		n.arrive(ctx, report)
	}
	return report
}

// follow configures interfaces as they come, until ctx ends.
func (n *Netif) follow(ctx context.Context, changed <-chan struct{}) {
	defer close(n.done)
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
		select { // events come in bursts
		case <-ctx.Done():
			return
		case <-time.After(100 * time.Millisecond):
		}
		report := &Report{}
		n.mu.Lock()
		if n.state.Plan != nil {
			n.arrive(ctx, report)
			n.linkUp()
		}
		n.mu.Unlock()
		for _, line := range report.Changes {
			n.config.Log.Info("rc: " + line)
		}
		for _, line := range slices.Concat(report.Warnings, report.Errors) {
			n.config.Log.Warn("rc: " + line)
		}
	}
}

// arrive configures the interfaces that have come since, and tries the routes
// again that wait; n.mu is held.
func (n *Netif) arrive(ctx context.Context, report *Report) {
	plan := n.state.Plan
	if !n.missing(plan) && len(n.pending) == 0 {
		return
	}
	n.names(ctx, plan, report)
	n.attach(plan, report)
	n.clones(ctx, plan, &Report{}) // what waits goes on waiting
	for _, ifp := range plan.Interfaces {
		have, ok := n.config.Devices.ByName(ifp.Name)
		switch {
		case ifp.NoAuto || !ok:
			delete(n.configured, ifp.Name)
		case n.configured[ifp.Name] != have.Index:
			n.configure(ctx, ifp, nil, report)
		}
	}
	if !n.state.Routing {
		return
	}
	for _, r := range plan.Routes {
		n.addRoute(ctx, r, report)
	}
}

// missing reports whether an interface of the plan is not configured as the
// one that it is now.
func (n *Netif) missing(plan *rc.Plan) bool {
	for _, ifp := range plan.Interfaces {
		if ifp.NoAuto {
			continue
		}
		have, ok := n.config.Devices.ByName(plan.Device(ifp.Name))
		if !ok && n.configured[ifp.Name] != 0 || ok && n.configured[ifp.Name] != have.Index {
			return true
		}
	}
	for _, c := range plan.Clones {
		if _, ok := n.config.Devices.ByName(c.Name); !ok {
			return true
		}
	}
	return false
}

// linkUp tells the clients whose link was down and is up; n.mu is held.
func (n *Netif) linkUp() {
	for name, c := range n.clients {
		losses, running := n.link(name)
		if running && losses != c.losses {
			c.losses = losses
			c.LinkUp()
		}
	}
}

// link tells how often an interface or what is below it lost its link, and
// whether all of them have one now.
func (n *Netif) link(name string) (losses int, running bool) {
	ifp, ok := n.config.Devices.ByName(name)
	running = ok
	for ok {
		losses += ifp.LinkLosses
		running = running && ifp.Running
		if ifp.Vlan == nil {
			break
		}
		ifp, ok = n.config.Devices.ByIndex(ifp.Vlan.Parent)
	}
	return losses, running
}

// withdraw takes back what a plan had and the next has not; n.mu is held.
func (n *Netif) withdraw(ctx context.Context, old, next *rc.Plan, report *Report) {
	n.withdrawRoutes(ctx, old, next, report)
	for _, was := range old.Interfaces {
		if next != nil {
			if ifp, ok := next.Interface(was.Name); ok && !ifp.NoAuto {
				continue
			}
		}
		n.unconfigure(ctx, was, report)
	}
	var kept []string
	for _, name := range slices.Backward(n.state.Clones) { // children before their parents
		if next != nil && next.IsClone(name) {
			kept = append([]string{name}, kept...)
			continue
		}
		err := n.config.Ifnet.Destroy(ctx, []ifapi.Name{{Name: name}})
		if err != nil && !errors.Is(err, errno.ENXIO) {
			report.failed(rc.Position{}, err, "%s: destroy", name)
			continue
		}
		report.changed("%s: destroyed", name)
	}
	n.state.Clones = kept
	for device, name := range old.Names {
		if next != nil && next.Names[device] == name {
			continue
		}
		if ifp, ok := n.config.Devices.ByName(name); ok && ifp.Device == device {
			if err := n.config.Ifnet.SetName(ctx, ifapi.TextRequest{Name: name, Value: device}); err != nil {
				report.failed(rc.Position{}, err, "%s: name %s", name, device)
			}
		}
	}
}

// unconfigure takes back what a plan put on an interface; n.mu is held.
func (n *Netif) unconfigure(ctx context.Context, was *rc.Interface, report *Report) {
	n.release(was.Name, report)
	delete(n.configured, was.Name)
	all, err := n.config.Ifnet.Interfaces(ctx, ifapi.Name{Name: was.Name})
	if err != nil || len(all) != 1 {
		return // it is not there
	}
	for _, a := range was.Addresses {
		if was.Name == "lo0" && (a.Prefix.Addr().IsLoopback()) {
			continue // the host's own
		}
		n.deleteAddress(ctx, was.Name, a, all[0].Lladdr, report)
	}
	others := *was
	others.MTU = 0
	n.settings(ctx, &rc.Interface{Name: was.Name, Position: was.Position}, &all[0], &others, report)
	b, ok := n.state.Before[was.Name]
	if !ok || was.Name == "lo0" {
		return
	}
	delete(n.state.Before, was.Name)
	if (was.MTU != 0 || was.DHCP != rc.NoDHCP) && b.MTU != all[0].MTU {
		if err := n.config.Ifnet.SetMTU(ctx, ifapi.NumberRequest{Name: was.Name, Value: b.MTU}); err != nil {
			report.failed(was.Position, err, "%s: mtu", was.Name)
		}
	}
	if b.AcceptRTAdv != (all[0].Nd6&ifapi.Nd6AcceptRtadv != 0) {
		request := ifapi.Nd6Request{Name: was.Name, Clear: ifapi.Nd6AcceptRtadv}
		if b.AcceptRTAdv {
			request = ifapi.Nd6Request{Name: was.Name, Set: ifapi.Nd6AcceptRtadv}
		}
		if err := n.config.Ifnet.SetNd6(ctx, request); err != nil {
			report.failed(was.Position, err, "%s: accept_rtadv", was.Name)
		}
	}
}

// Stop takes back what the plan did: forwarding first, then routes, addresses
// and clones. The data path and its filters stay.
func (n *Netif) Stop(ctx context.Context) *Report {
	n.mu.Lock()
	defer n.mu.Unlock()
	report := &Report{}
	plan := n.state.Plan
	if plan == nil {
		return report
	}
	for name, on := range forwardings(plan) {
		if on && n.state.Routing {
			if err := n.config.Sysctl(name, "0"); err != nil {
				report.failed(rc.Position{}, err, "%s", name)
			}
		}
	}
	clear(n.pending)
	n.withdraw(ctx, plan, nil, report)
	n.state.Plan, n.state.Routing = nil, false
	if err := n.save(); err != nil {
		report.failed(rc.Position{}, err, "write state")
	}
	return report
}
