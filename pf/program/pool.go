package program

import (
	"fmt"
	"net/netip"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/pf/conf"
)

// pools compiles what a rule translates to: its nat-to, then its rdr-to.
func (c *compiler) pools(anchor *conf.Anchor, r *conf.Rule, line *bpf.PFRule) {
	if r.NewFamily != conf.Unspecified || r.Action == conf.NoNat || r.Action == conf.NoRdr || r.Action == conf.NoBinat {
		return
	}
	var last *Pool
	for _, from := range []struct {
		pool   *conf.Pool
		source bool
	}{{r.Nat, true}, {r.Rdr, false}} {
		if from.pool == nil {
			continue
		}
		p := c.pool(anchor, r, from.pool, from.source)
		if p == nil {
			continue
		}
		if len(c.program.Pools) >= int(bpf.PFPools)-1 {
			c.errs = append(c.errs, fmt.Errorf("%s:%d: more than %d translations", r.Pos.File, r.Pos.Line, bpf.PFPools-1))
			return
		}
		c.program.Pools = append(c.program.Pools, p)
		number := uint16(len(c.program.Pools)) // 0 is none
		if last != nil {
			last.Next = number
		} else {
			line.Pool = number
		}
		last = p
	}
	if last != nil && r.Action != conf.Match {
		line.Flags |= bpf.PfrKeepState
	}
}

// pool compiles one pool; nil if it is not enforced.
func (c *compiler) pool(anchor *conf.Anchor, r *conf.Rule, from *conf.Pool, source bool) *Pool {
	p := &Pool{Family: r.Family}
	p.Port, p.Dport = [2]uint16{from.PortLow, from.PortHigh}, r.Dst.Port.Low
	if source {
		p.Flags |= uint8(bpf.PFPoolSource)
	}
	if from.StickyAddress {
		p.Flags |= uint8(bpf.PFPoolSticky)
	}
	switch from.Type {
	case conf.PoolNone, conf.PoolRoundRobin:
		if oneToOne(r, from, source) {
			p.Type = uint8(bpf.PFPoolBitmask)
			break
		}
		p.Type = uint8(bpf.PFPoolRoundrobin)
	case conf.PoolBitmask:
		p.Type = uint8(bpf.PFPoolBitmask)
	case conf.PoolRandom:
		p.Type = uint8(bpf.PFPoolRandom)
	case conf.PoolSourceHash:
		p.Type = uint8(bpf.PFPoolSrchash)
		p.Key = [2]uint64{uint64(from.Key[0])<<32 | uint64(from.Key[1]), uint64(from.Key[2])<<32 | uint64(from.Key[3])}
	default:
		c.unsupported(r.Pos, from.Type.String())
		return nil
	}
	for _, option := range []struct {
		present bool
		what    string
	}{
		{from.EndpointIndependent, "endpoint-independent"},
		{from.MAPE != (conf.MAPE{}), "map-e-portset"},
		{from.PreferIPv6NextHop, "prefer-ipv6-nexthop"},
	} {
		if option.present {
			c.unsupported(r.Pos, option.what)
		}
	}
	for _, a := range from.Addrs {
		members, ok := c.poolMembers(anchor, r, a)
		if !ok {
			return nil
		}
		p.Members = append(p.Members, members...)
	}
	return p
}

// oneToOne reports whether a rule turns a network into another of the same
// size without saying how, as the two rules of binat-to do: each host has its
// counterpart.
func oneToOne(r *conf.Rule, pool *conf.Pool, source bool) bool {
	from := r.Dst
	if source {
		from = r.Src
	}
	to := pool.Addrs[0].Addr
	return pool.Type == conf.PoolNone && len(pool.Addrs) == 1 && to.Kind == conf.AddrPrefix && !from.Not &&
		from.Addr.Kind == conf.AddrPrefix && from.Addr.Bits == to.Bits && int(to.Bits) < to.IP.BitLen() &&
		pool.PortLow == 0 && pool.PortHigh == 0
}

func (c *compiler) poolMembers(anchor *conf.Anchor, r *conf.Rule, a conf.PoolAddr) ([]PoolMember, bool) {
	switch a.Addr.Kind {
	case conf.AddrPrefix:
		return []PoolMember{{Prefix: netip.PrefixFrom(a.Addr.IP, int(a.Addr.Bits)), Weight: a.Weight}}, true
	case conf.AddrInterface:
		if a.Addr.Bits < 128 && !(r.Family == conf.Inet && a.Addr.Bits == 32) {
			c.unsupported(r.Pos, "a mask on the addresses of an interface")
			return nil, false
		}
		return []PoolMember{{Interface: a.Addr.Name, Modifiers: a.Addr.Modifiers, Weight: a.Weight}}, true
	case conf.AddrTable:
		t := c.findTable(anchor.Path, a.Addr.Name)
		if t.Def == nil || !t.Def.Automatic {
			return []PoolMember{{Table: t, Weight: a.Weight}}, true
		}
		// A list in the file: it does not change, and keeps its order.
		var members []PoolMember
		for _, p := range t.Prefixes {
			members = append(members, PoolMember{Prefix: p.Prefix, Weight: p.Weight})
		}
		return members, true
	}
	c.unsupported(r.Pos, "a pool of kind "+a.Addr.Kind.String())
	return nil, false
}
