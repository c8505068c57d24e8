package reference

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/bsdnet/bsdnet/pf/conf"
)

// rangeLimit is how many addresses of a range a pool gives out at most.
const rangeLimit = 1 << 40

// pool is a pool at work for a packet with a source.
type pool struct {
	f      *Firewall
	anchor *conf.Anchor
	rule   *conf.Rule
	*conf.Pool
	source netip.Addr
}

// poolOf is the pool of a rule; rules that expand from one share it.
type poolOf struct {
	rule *conf.Rule
	pool *conf.Pool
}

// run is a number of addresses that follow each other.
type run struct {
	first netip.Addr
	count uint64
}

// address chooses an address in place of an old one. Where chance decides,
// the one that was chosen counts, if the pool has it.
func (p *pool) address(old, chosen netip.Addr) (netip.Addr, bool) {
	if p.Type == conf.PoolBitmask || p.oneToOne() {
		for _, m := range p.members(old) {
			p.f.use("bitmask")
			return graft(m.Addr(), old, m.Bits()), true
		}
		return netip.Addr{}, false
	}
	runs := p.runs(old)
	total := uint64(0)
	for _, r := range runs {
		total += r.count
	}
	if total == 0 {
		return netip.Addr{}, false
	}
	index := uint64(0)
	if total > 1 {
		switch p.Type {
		case conf.PoolRandom:
			p.f.use("random")
			if slices.ContainsFunc(runs, func(r run) bool { return r.contains(chosen) }) {
				return chosen, true
			}
		case conf.PoolSourceHash:
			p.f.use("source-hash")
			index = p.hash() % total
		default:
			p.f.use("round-robin")
			of := poolOf{p.rule, p.Pool}
			index = p.f.positions[of] % total
			p.f.positions[of]++
		}
	}
	for _, r := range runs {
		if index < r.count {
			return r.at(index), true
		}
		index -= r.count
	}
	return netip.Addr{}, false
}

// oneToOne says that a rule turns a network into one of the same size, as
// binat-to does.
func (p *pool) oneToOne() bool {
	side := &p.rule.Dst
	if p.Pool == p.rule.Nat {
		side = &p.rule.Src
	}
	to := p.Addrs[0].Addr
	one := p.Type == conf.PoolNone && len(p.Addrs) == 1 && p.PortLow == 0 && p.PortHigh == 0 &&
		to.Kind == conf.AddrPrefix && side.Addr.Kind == conf.AddrPrefix && !side.Not && side.Addr.Bits == to.Bits
	if one {
		p.f.use("network to network")
	}
	return one
}

// members returns the prefixes of a pool's addresses and interfaces that have
// the family of an address.
func (p *pool) members(like netip.Addr) (list []netip.Prefix) {
	for _, a := range p.Addrs {
		switch a.Addr.Kind {
		case conf.AddrPrefix:
			list = append(list, netip.PrefixFrom(a.Addr.IP, int(a.Addr.Bits)))
		case conf.AddrInterface:
			p.f.use("pool of (interface)")
			for _, entry := range p.f.env.Addresses(a.Addr.Name, a.Addr.Modifiers) {
				if !entry.Prefix.Addr().IsLinkLocalUnicast() {
					list = append(list, entry.Prefix)
				}
			}
		}
	}
	return slices.DeleteFunc(list, func(m netip.Prefix) bool { return m.Addr().BitLen() != like.BitLen() })
}

// runs returns the addresses of a pool that have the family of an address.
func (p *pool) runs(like netip.Addr) (list []run) {
	if p.Addrs[0].Addr.Kind == conf.AddrTable {
		p.f.use("pool of <table>")
		return tableRuns(p.f.table(p.anchor, p.Addrs[0].Addr.Name), like)
	}
	for _, m := range p.members(like) {
		count := uint64(rangeLimit)
		if host := m.Addr().BitLen() - m.Bits(); host < 40 {
			count = 1 << host
		}
		list = append(list, run{m.Masked().Addr(), count})
	}
	if len(list) > 1 {
		p.f.use("pool of a list")
	}
	return list
}

// tableRuns cuts a table at the edges of its prefixes: in between, one of them
// is the longest for all addresses.
func tableRuns(entries []conf.TablePrefix, like netip.Addr) (list []run) {
	var edges []netip.Addr
	for _, e := range entries {
		if e.Prefix.Addr().BitLen() == like.BitLen() {
			edges = append(edges, e.Prefix.Masked().Addr(), beyond(e.Prefix))
		}
	}
	slices.SortFunc(edges, func(a, b netip.Addr) int {
		switch { // not valid is the end of all addresses
		case a == b:
			return 0
		case !a.IsValid():
			return 1
		case !b.IsValid():
			return -1
		}
		return a.Compare(b)
	})
	edges = slices.Compact(edges)
	for i := 0; i+1 < len(edges); i++ {
		if longest(entries, edges[i]) {
			list = append(list, run{edges[i], count(edges[i], edges[i+1])})
		}
	}
	return list
}

// beyond returns the first address behind a prefix, not valid at the end of all.
func beyond(p netip.Prefix) netip.Addr {
	all := make([]byte, p.Addr().BitLen()/8)
	for i := range all {
		all[i] = 0xff
	}
	last, _ := netip.AddrFromSlice(all)
	return graft(p.Addr(), last, p.Bits()).Next()
}

// count returns how many addresses there are from one up to another, at most
// rangeLimit.
func count(from, to netip.Addr) uint64 {
	if !to.IsValid() {
		return rangeLimit
	}
	a, b := from.As16(), to.As16()
	high := binary.BigEndian.Uint64(b[:8]) - binary.BigEndian.Uint64(a[:8])
	low, lower := binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(a[8:])
	if low < lower {
		high--
	}
	if high > 0 {
		return rangeLimit
	}
	return min(low-lower, rangeLimit)
}

// at returns the address at a place of a run.
func (r run) at(index uint64) netip.Addr {
	b := r.first.AsSlice()
	for i := len(b) - 1; i >= 0 && index > 0; i-- {
		index += uint64(b[i])
		b[i] = byte(index)
		index >>= 8
	}
	ip, _ := netip.AddrFromSlice(b)
	return ip
}

func (r run) contains(ip netip.Addr) bool {
	return ip.BitLen() == r.first.BitLen() && ip.Compare(r.first) >= 0 && ip.Compare(r.at(r.count-1)) <= 0
}

// hash is the hash of a source address in the data path: any would do that
// gives one source one address.
func (p *pool) hash() uint64 {
	mix := func(h, word uint64) uint64 {
		h = (h ^ word) * 0xff51afd7ed558ccd
		return h ^ h>>32
	}
	var b [16]byte
	copy(b[:], p.source.AsSlice())
	low, high := binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(b[8:])
	key := [2]uint64{uint64(p.Key[0])<<32 | uint64(p.Key[1]), uint64(p.Key[2])<<32 | uint64(p.Key[3])}
	return mix(mix(mix(mix(key[0], low), high), key[1]), low)
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
