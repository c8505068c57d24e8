package command

import (
	"net/netip"

	"github.com/bsdnet/bsdnet/route/api"
)

// printGet prints a route as route get does.
func (r *routeRun) printGet(e api.Rtentry) {
	r.printf("   route to: %s\n", r.routename(r.request.Dst.Addr()))
	r.printf("destination: %s\n", r.routename(e.Dst.Addr()))
	if !e.Dst.IsSingleIP() {
		r.printf("       mask: %s\n", r.routename(mask(e.Dst)))
	}
	if e.Gateway.IsValid() && e.Flags&api.Gateway != 0 {
		r.printf("    gateway: %s\n", r.routename(scoped(e.Gateway, e.Interface.Name)))
	}
	r.printf("        fib: %d\n", e.Fib)
	if e.Interface.Name != "" {
		r.printf("  interface: %s\n", e.Interface.Name)
	}
	r.printf("      flags: %s\n", e.Flags|api.Done)
	r.printf("%9s %9s %9s %9s %9s %10s %9s\n", "recvpipe", "sendpipe", "ssthresh", "rtt,msec", "mtu   ", "weight", "expire")
	m := e.Metrics
	lock := func(bit api.MetricBits) string {
		if m.Locks&bit != 0 {
			return "L"
		}
		return " "
	}
	weight := max(m.Weight, 1)
	expire := m.Expire
	if expire > 0 {
		expire -= r.now().Unix()
	}
	r.printf("%8d%s ", m.Recvpipe, lock(api.RTVRpipe))
	r.printf("%8d%s ", m.Sendpipe, lock(api.RTVSpipe))
	r.printf("%8d%s ", m.Ssthresh, lock(api.RTVSsthresh))
	r.printf("%8d%s ", (m.Rtt+500)/1000, lock(api.RTVRtt))
	r.printf("%8d%s ", m.Mtu, lock(api.RTVMtu))
	r.printf("%8d%s ", weight, lock(api.RTVWeight))
	r.printf("%8d%s\n", expire, lock(api.RTVExpire))
	if r.verbose {
		answer := api.Message{
			Type: api.RTMGet, Flags: e.Flags | api.Done,
			Dst: e.Dst, Gateway: e.Gateway, Link: e.Interface, Metrics: m,
		}
		r.printCommon(answer)
	}
}

// printRequest prints a request as -v does: its addresses, then the message
// that carries it.
func (r *routeRun) printRequest() {
	m := api.Message{
		Flags:   r.request.Flags | api.Up,
		Dst:     r.request.Dst,
		Gateway: r.request.Gateway,
		Metrics: r.request.Metrics,
		Inits:   r.request.Inits,
		Seq:     1,
	}
	switch r.command {
	case "add":
		m.Type = api.RTMAdd
	case "change":
		m.Type = api.RTMChange
	case "get", "show":
		m.Type = api.RTMGet
	default:
		m.Type = api.RTMDelete
		m.Flags |= api.Pinned
	}
	if r.isHost {
		m.Flags |= api.Host
	}
	if r.request.Interface == "" {
		m.Flags |= api.Gateway
	} else {
		m.Link.Name = r.request.Interface
	}
	dump := func(which string, a netip.Addr) {
		family := "inet"
		if a.Is6() {
			family = "inet6"
		}
		r.printf("%s: %s %s; ", which, family, a)
	}
	dump("RTA_DST", m.Dst.Addr())
	switch {
	case m.Link.Name != "":
		r.printf("RTA_GATEWAY: link %s; ", m.Link.Name)
	case m.Gateway.IsValid():
		dump("RTA_GATEWAY", m.Gateway)
	}
	if !m.Dst.IsSingleIP() {
		dump("RTA_NETMASK", mask(m.Dst))
	}
	r.printMessage(m)
}
