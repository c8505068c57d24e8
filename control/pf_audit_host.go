package control

import (
	"context"
	"net/netip"
	"time"

	"github.com/bsdnet/bsdnet/pf/conf"
	"github.com/bsdnet/bsdnet/pf/reference"
	route "github.com/bsdnet/bsdnet/route/api"
)

// auditHost is the host as the reference evaluator asks for it.
type auditHost struct {
	filter *filter
	began  time.Time
}

var _ reference.Environment = auditHost{}

func (h auditHost) Exists(name string) bool {
	_, ok := h.filter.daemon.ifnet.ByName(name)
	return ok
}

func (h auditHost) Loopback(name string) bool {
	ifp, ok := h.filter.daemon.ifnet.ByName(name)
	return ok && ifp.Loopback
}

func (h auditHost) InGroup(name, group string) bool {
	ifp, ok := h.filter.daemon.ifnet.ByName(name)
	return ok && ifp.InGroup(group)
}

func (h auditHost) Addresses(name string, modifiers conf.Modifier) []conf.TablePrefix {
	return h.filter.Addresses(name, modifiers)
}

func (h auditHost) Chosen() (netip.AddrPort, bool) { return netip.AddrPort{}, false }
func (h auditHost) Now() time.Duration             { return time.Since(h.began) }

func (h auditHost) Route(ip netip.Addr) (iface string, local, ok bool) {
	for _, ifp := range h.filter.daemon.ifnet.All() {
		for _, addr := range ifp.Addrs {
			if addr.Prefix.Addr() == ip {
				return ifp.Name, true, true
			}
		}
	}
	entry, err := h.filter.daemon.route.RouteGet(context.Background(), route.RouteRequest{Dst: netip.PrefixFrom(ip, ip.BitLen())})
	return entry.Interface.Name, false, err == nil
}

// leads is the interface that a state which is bound to none most likely came
// by: the one that leads to its far end.
func (h auditHost) leads(p reference.Packet, dir conf.Direction) string {
	far := p.Src
	if dir == conf.Out {
		far = p.Dst
	}
	iface, _, _ := h.Route(far)
	return iface
}
