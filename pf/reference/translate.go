package reference

import (
	"net/netip"

	"github.com/bsdnet/bsdnet/pf/conf"
)

// addressTries is how many addresses of a pool are tried for a port that is
// free.
const addressTries = 8

// translation returns the translation rule that matches a packet and the
// anchor that it is in; nil: none. binat rules come first.
func (f *Firewall) translation(packet *Packet, dir conf.Direction, iface string) (*conf.Rule, *conf.Anchor) {
	lists := []func(*conf.Anchor) []*conf.Rule{
		func(a *conf.Anchor) []*conf.Rule { return a.Binat },
		func(a *conf.Anchor) []*conf.Rule { return a.Rdr },
	}
	if dir == conf.Out {
		lists[1] = func(a *conf.Anchor) []*conf.Rule { return a.Nat }
	}
	e := &evaluation{f: f, packet: packet, dir: dir, iface: iface, first: true}
	for _, list := range lists {
		if e.walk(f.rules.Main, list) {
			break
		}
	}
	if e.rule == nil || e.rule.Action == conf.NoNat || e.rule.Action == conf.NoRdr || e.rule.Action == conf.NoBinat {
		return nil, nil
	}
	return e.rule, e.anchor
}

// translate gives the packet its new source (nat-to) and then its new
// destination (rdr-to). It returns false when the rule has no address or no
// port that is free.
func (f *Firewall) translate(a *conf.Anchor, r *conf.Rule, packet *Packet, dir conf.Direction, iface string) bool {
	source := packet.Src
	if r.Action == conf.Binat {
		return f.binat(a, r, packet, dir, iface)
	}
	if r.Nat != nil && !f.natTo(&pool{f, a, r, r.Nat, source}, packet, dir, iface) {
		return false
	}
	return r.Rdr == nil || f.rdrTo(&pool{f, a, r, r.Rdr, source}, packet)
}

// binat gives each host its counterpart: to sources in one direction, to
// destinations in the other.
func (f *Firewall) binat(a *conf.Anchor, r *conf.Rule, packet *Packet, dir conf.Direction, iface string) bool {
	if dir == conf.Out {
		p := &conf.Pool{Addrs: r.Nat.Addrs, Type: conf.PoolBitmask}
		return f.natTo(&pool{f, a, r, p, packet.Src}, packet, dir, iface)
	}
	src, dst := packet.ends()
	_, _ = f.env.Chosen()
	packet.setEnds(src, netip.AddrPortFrom(graft(r.Src.Addr.IP, dst.Addr(), int(r.Src.Addr.Bits)), dst.Port()))
	return true
}

// rdrTo gives the packet another destination.
func (f *Firewall) rdrTo(p *pool, packet *Packet) bool {
	f.use("rdr-to of " + p.rule.Action.String())
	src, dst := packet.ends()
	chosen, _ := f.env.Chosen()
	ip, kept := p.sticky()
	if !kept {
		var ok bool
		if ip, ok = p.address(packet.Dst, chosen.Addr()); !ok {
			return false
		}
	}
	p.stick(ip)
	port := dst.Port()
	if packet.Protocol == TCP || packet.Protocol == UDP {
		port = redirectPort(p.rule, port)
	}
	packet.setEnds(src, netip.AddrPortFrom(ip, port))
	return true
}

// natTo gives the packet another source, which no other conversation has.
func (f *Firewall) natTo(p *pool, packet *Packet, dir conf.Direction, iface string) bool {
	f.use("nat-to of " + p.rule.Action.String())
	src, dst := packet.ends()
	chosen, _ := f.env.Chosen()
	low, high := p.PortLow, p.PortHigh
	searched := packet.Protocol == TCP || packet.Protocol == UDP
	if packet.icmp() && !packet.icmpError() {
		if _, reply, known := packet.query(); known && !reply {
			low, high, searched = 1, 65535, true
		}
	}
	if !searched || low == 0 && high == 0 {
		f.use("static-port")
		low, high = src.Port(), src.Port()
	}
	ip, kept := p.sticky()
	for try := range addressTries {
		if !kept {
			var ok bool
			if ip, ok = p.address(packet.Src, chosen.Addr()); !ok {
				return false
			}
		}
		p.stick(ip)
		if packet.icmpError() {
			packet.setEnds(netip.AddrPortFrom(ip, src.Port()), dst)
			return true
		}
		free := func(port uint16) bool {
			key := Key{Beyond: dst, Behind: netip.AddrPortFrom(ip, port)}
			if dir == conf.In {
				key = Key{Beyond: netip.AddrPortFrom(ip, port), Behind: dst}
			}
			return f.findState(key, packet.Protocol, opposite(dir), iface, false) == nil
		}
		if try > 0 {
			f.use("next address for a free port")
		}
		if port, ok := freePort(low, max(low, high), chosen.Port(), free); ok {
			packet.setEnds(netip.AddrPortFrom(ip, port), dst)
			return true
		}
		if kept || p.Type == conf.PoolBitmask || p.Type == conf.PoolSourceHash || p.oneToOne() {
			return false
		}
	}
	return false
}

// freePort returns the port that the data path chose, if it was free to, else
// the first that is.
func freePort(low, high, chosen uint16, free func(uint16) bool) (uint16, bool) {
	if chosen >= low && chosen <= high && free(chosen) {
		return chosen, true
	}
	for port := int(low); port <= int(high); port++ {
		if free(uint16(port)) {
			return uint16(port), true
		}
	}
	return 0, false
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
