package route

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/ifnet"
	"github.com/bsdnet/bsdnet/route/api"
)

// choice is what a prefix comes down to: the path in use, its hop where it
// leads over an interface, and the next hop for the data path.
type choice struct {
	path *path
	hop  *linuxHop
	ifp  *ifnet.Ifnet // of hop, nil where there is none
	key  nexthopKey
}

// choose returns the best usable path of a prefix. Paths over interfaces that
// are down or not known are passed over, and so are those over links without
// a carrier if there is another of the same path.
func (t *Table) choose(n *node) (choice, bool) {
	for _, p := range n.paths {
		if c, ok := t.usable(n.dst, p); ok {
			return c, true
		}
	}
	return choice{}, false
}

func (t *Table) usable(dst netip.Prefix, p *path) (choice, bool) {
	c := choice{path: p, key: nexthopKey{flags: bpf.NexthopUp}}
	switch p.kind {
	case kindLocal, kindBroadcast, kindMulticast:
		// Addresses answer on every interface, also while theirs is down.
		switch p.kind {
		case kindLocal:
			c.key.flags |= bpf.NexthopLocal
		case kindBroadcast:
			c.key.flags |= bpf.NexthopBroadcast
		case kindMulticast:
			c.key.flags |= bpf.NexthopMulticast
		}
		if len(p.hops) > 0 {
			c.hop = &p.hops[0]
			if ifp, ok := t.interfaces.ByIndex(c.hop.ifindex); ok {
				c.ifp = ifp
				if ifp.HasSlot {
					c.key.ifslot = ifp.Slot
				}
			}
		}
		return c, true
	case kindReject:
		c.key.flags |= bpf.NexthopReject
	case kindBlackhole:
		c.key.flags |= bpf.NexthopBlackhole
	case kindUnicast:
		if len(p.hops) == 0 {
			// A nexthop object that Linux does not spell out: its own business.
			c.key.flags |= bpf.NexthopUnowned
			break
		}
		hop, ifp := t.usableHop(p)
		if hop == nil {
			return choice{}, false
		}
		c.hop, c.ifp = hop, ifp
		c.key = unicastKey(p, hop, ifp)
	}
	if dst.Bits() == 0 {
		c.key.flags |= bpf.NexthopDefault
	}
	if p.flags&(api.Dynamic|api.Modified) != 0 {
		c.key.flags |= bpf.NexthopDynamic
	}
	return c, true
}

// usableHop returns the first hop whose interface is up; one with a carrier
// if there is any.
func (t *Table) usableHop(p *path) (*linuxHop, *ifnet.Ifnet) {
	var hop *linuxHop
	var via *ifnet.Ifnet
	for i := range p.hops {
		h := &p.hops[i]
		ifp, ok := t.interfaces.ByIndex(h.ifindex)
		if !ok || !ifp.Up || h.flags&unix.RTNH_F_DEAD != 0 {
			continue
		}
		if ifp.Running {
			return h, ifp
		}
		if hop == nil {
			hop, via = h, ifp
		}
	}
	return hop, via
}

func unicastKey(p *path, hop *linuxHop, ifp *ifnet.Ifnet) nexthopKey {
	key := nexthopKey{flags: bpf.NexthopUp}
	if ifp.HasSlot {
		key.ifslot = ifp.Slot
	}
	if !ifp.Owned || !ifp.HasSlot || hop.encap {
		// Linux sends it: which gateway and how is its own business.
		key.flags |= bpf.NexthopUnowned
		return key
	}
	if p.metrics.Mtu != 0 && p.metrics.Mtu < uint64(ifp.MTU) {
		key.mtu = uint32(p.metrics.Mtu)
	}
	if !hop.gateway.IsValid() {
		return key
	}
	key.flags |= bpf.NexthopGateway
	if hop.gateway.Is4() {
		b := hop.gateway.As4()
		copy(key.gateway[:], b[:])
	} else {
		key.flags |= bpf.NexthopGateway6
		key.gateway = hop.gateway.As16()
	}
	return key
}

// entry returns a choice as the commands see it.
func (t *Table) entry(dst netip.Prefix, c choice) api.Rtentry {
	p := c.path
	e := api.Rtentry{
		Dst:      dst,
		Flags:    p.flags,
		Metrics:  p.metrics,
		Nexthop:  t.fib.number(dst),
		Origin:   p.origin(),
		Priority: p.priority,
		Mirrored: p.owner != ownerBSD || p.mirrored,
		Ifa:      p.prefsrc,
	}
	ifp := c.ifp
	if a := dst.Addr(); ifp != nil && a.Is6() && a.IsLinkLocalUnicast() {
		e.Zone = ifp.Name
	}
	if p.kind != kindUnicast {
		// Own addresses and discarding routes belong to the loopback interface.
		if lo, ok := t.loopback(); ok {
			ifp = lo
		}
	}
	if c.hop != nil {
		e.Interface.Index = c.hop.ifindex
		e.Gateway = c.hop.gateway
		if p.kind == kindUnicast && len(p.hops) > 1 {
			e.Metrics.Weight = uint64(c.hop.weight)
		}
	}
	if ifp != nil {
		e.Interface = LinkOf(ifp)
		if e.Metrics.Mtu == 0 {
			e.Metrics.Mtu = uint64(ifp.MTU)
		}
		if !e.Ifa.IsValid() {
			e.Ifa = sourceAddr(ifp, dst.Addr(), e.Gateway)
		}
	}
	if p.kind == kindLocal && c.ifp != nil {
		e.Interface.Index = c.ifp.Index // link#N names the interface of the address
		e.Ifa = dst.Addr()
	}
	if p.gateway.IsValid() {
		e.Gateway = p.gateway
	}
	return e
}

// loopback returns the loopback interface, to which a BSD counts own addresses
// and discarding routes. The caller holds mu.
func (t *Table) loopback() (*ifnet.Ifnet, bool) {
	if ifp, ok := t.interfaces.ByIndex(t.loopbackIndex); ok && ifp.Loopback {
		return ifp, true
	}
	for _, ifp := range t.interfaces.All() {
		if ifp.Loopback {
			t.loopbackIndex = ifp.Index
			return ifp, true
		}
	}
	return nil, false
}

// LinkOf returns an interface as routing messages name it.
func LinkOf(ifp *ifnet.Ifnet) api.Link {
	return api.Link{Index: ifp.Index, Name: ifp.Name, Lladdr: lladdrString(ifp.Lladdr), Type: ifp.Iftype()}
}

// sourceAddr returns the address of an interface that packets to a gateway or
// a destination leave with: the one that shares its prefix, else the first of
// its family.
func sourceAddr(ifp *ifnet.Ifnet, dst, gateway netip.Addr) netip.Addr {
	to := gateway
	if !to.IsValid() {
		to = dst
	}
	var first netip.Addr
	for _, a := range ifp.Addrs {
		addr := a.Prefix.Addr()
		if addr.Is4() != dst.Is4() {
			continue
		}
		if a.Prefix.Contains(to) || a.Peer == to && to.IsValid() {
			return addr
		}
		if !first.IsValid() && addr.IsLinkLocalUnicast() == to.IsLinkLocalUnicast() {
			first = addr
		}
	}
	return first
}
