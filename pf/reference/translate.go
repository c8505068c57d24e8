package reference

import (
	"net/netip"

	"github.com/bsdnet/bsdnet/pf/conf"
)

// translation returns the rule by which a packet is translated; nil: by none.
func (f *Firewall) translation(packet *Packet, dir conf.Direction, iface string) *conf.Rule {
	list := func(a *conf.Anchor) []*conf.Rule { return a.Rdr }
	if dir == conf.Out {
		list = func(a *conf.Anchor) []*conf.Rule { return a.Nat }
	}
	e := &evaluation{f: f, packet: packet, dir: dir, iface: iface, first: true}
	e.walk(f.rules.Main, list)
	if e.rule == nil || e.rule.Action == conf.NoNat || e.rule.Action == conf.NoRdr {
		return nil
	}
	return e.rule
}

// newEnds gives the packet its new source (nat) or destination (rdr). It
// returns false when the rule has no address or no port that is free.
func (f *Firewall) newEnds(r *conf.Rule, packet *Packet, dir conf.Direction, iface string) bool {
	src, dst := packet.ends()
	if r.Action == conf.Rdr {
		ip, ok := f.poolAddress(r.Rdr, packet.Dst)
		if !ok {
			return false
		}
		port := dst.Port()
		if packet.Protocol == TCP || packet.Protocol == UDP {
			port = redirectPort(r, port)
		}
		packet.setEnds(src, netip.AddrPortFrom(ip, port))
		return true
	}
	ip, ok := f.poolAddress(r.Nat, packet.Src)
	if !ok {
		return false
	}
	low, high := r.Nat.PortLow, r.Nat.PortHigh
	searched := packet.Protocol == TCP || packet.Protocol == UDP
	if packet.icmp() {
		if _, reply, known := packet.query(); known && !reply {
			low, high, searched = 1, 65535, true
		}
		if packet.icmpError() {
			packet.setEnds(netip.AddrPortFrom(ip, src.Port()), dst)
			return true
		}
	}
	free := func(port uint16) bool {
		key := Key{Beyond: dst, Behind: netip.AddrPortFrom(ip, port)}
		return f.findState(key, packet.Protocol, conf.In, iface, false) == nil
	}
	port := src.Port()
	if !searched || low == 0 && high == 0 {
		f.use("static-port")
		ok = free(port)
	} else {
		port, ok = f.env.ChoosePort(low, max(low, high), free)
	}
	if ok {
		packet.setEnds(netip.AddrPortFrom(ip, port), dst)
	}
	return ok
}

// poolAddress returns the address of a pool for an address to be replaced.
func (f *Firewall) poolAddress(pool *conf.Pool, old netip.Addr) (netip.Addr, bool) {
	a := pool.Addrs[0].Addr
	switch a.Kind {
	case conf.AddrInterface:
		for _, p := range f.env.Addresses(a.Name, a.Modifiers) {
			ip := p.Prefix.Addr()
			if ip.BitLen() == old.BitLen() && !ip.IsLinkLocalUnicast() {
				return ip, true
			}
		}
		return netip.Addr{}, false
	case conf.AddrPrefix:
		if a.IP.BitLen() != old.BitLen() {
			return netip.Addr{}, false
		}
		if int(a.Bits) == a.IP.BitLen() {
			return a.IP, true
		}
		f.use("bitmask")
		return graft(a.IP, old, int(a.Bits)), true
	}
	return netip.Addr{}, false
}

// graft returns the first bits of one address and the rest of the other.
func graft(network, host netip.Addr, bits int) netip.Addr {
	n, h := network.AsSlice(), host.AsSlice()
	for i := range h {
		for bit := range 8 {
			if mask := byte(0x80 >> bit); i*8+bit < bits {
				h[i] = h[i]&^mask | n[i]&mask
			}
		}
	}
	ip, _ := netip.AddrFromSlice(h)
	return ip
}

// redirectPort maps a range of ports onto another, beginning again when the
// other is shorter.
func redirectPort(r *conf.Rule, port uint16) uint16 {
	low, high := uint32(r.Rdr.PortLow), uint32(r.Rdr.PortHigh)
	switch {
	case high != 0:
		p := (uint32(port)-uint32(r.Dst.Port.Low))%(high-low+1) + low
		if p > 65535 {
			p -= 65535
		}
		return uint16(p)
	case low != 0:
		return uint16(low)
	}
	return port
}
