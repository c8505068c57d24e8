package engine

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/pf/conf"
	"github.com/bsdnet/bsdnet/pf/program"
)

// Limits of a pool.
const (
	poolRangeBits = 40 // of a range of IPv6 addresses that are given out
	poolRanges    = 1 << 16
)

// fillPools writes the translations of a program behind those in force, so
// that both are there while the rulesets change; it returns where they begin.
func (e *Engine) fillPools(p *program.Program) (uint16, error) {
	half := int(bpf.PFPools) / 2
	if len(p.Pools) >= half {
		return 0, fmt.Errorf("load ruleset: %d translations, at most %d", len(p.Pools), half-1)
	}
	base := 0
	if e.config.Active().PfRuleset == 0 {
		base = half
	}
	for i := range half - 1 {
		// Nobody reads this half until the ruleset changes.
		slot := &e.pools.Values[base+i+1]
		e.ranges.give(slot)
		if i >= len(p.Pools) {
			*slot = bpf.PFPool{}
			continue
		}
		entry := p.Pools[i].PFPool
		if entry.Next != 0 {
			entry.Next += uint16(base)
		}
		*slot = entry
		if err := e.fillPool(slot, p.Pools[i]); err != nil {
			return 0, fmt.Errorf("load ruleset: %w", err)
		}
	}
	return uint16(base), nil
}

// fillPool gives a pool the addresses that its members have now; those that it
// had stay valid for who is just looking.
func (e *Engine) fillPool(slot *bpf.PFPool, pool *program.Pool) error {
	wanted := e.poolRanges(pool)
	for family, list := range wanted {
		old := atomic.LoadUint64(&slot.Ranges[family])
		if slices.Equal(e.ranges.at(old), list) {
			continue
		}
		place, err := e.ranges.take(list)
		if err != nil {
			return err
		}
		atomic.StoreUint64(&slot.Ranges[family], place)
		e.ranges.release(old)
	}
	return nil
}

// updatePools follows changes into the pools in force that have members of
// which changed says so.
func (e *Engine) updatePools(changed func(*program.PoolMember) bool) error {
	if e.program == nil {
		return nil
	}
	base := e.poolBase()
	var errs []error
	for i, pool := range e.program.Pools {
		for j := range pool.Members {
			if changed(&pool.Members[j]) {
				slot := &e.pools.Values[base+i+1]
				errs = append(errs, e.fillPool(slot, pool))
				e.checkSticky(slot)
				break
			}
		}
	}
	return errors.Join(errs...)
}

// poolBase is where the pools in force begin.
func (e *Engine) poolBase() int {
	if e.config.Active().PfRuleset == 1 {
		return int(bpf.PFPools) / 2
	}
	return 0
}

// checkPools looks at the source nodes of all pools in force.
func (e *Engine) checkPools() {
	base := e.poolBase()
	for i := range e.program.Pools {
		e.checkSticky(&e.pools.Values[base+i+1])
	}
}

// poolRanges returns the addresses of a pool as the data path counts them, by
// family.
func (e *Engine) poolRanges(pool *program.Pool) (ranges [2][]bpf.PFRange) {
	var end [2]uint64
	add := func(first, last netip.Addr, bits int, weight uint16) {
		family := 0
		if first.Is6() {
			family = 1
		}
		if pool.Family == conf.Inet && family == 1 || pool.Family == conf.Inet6 && family == 0 {
			return
		}
		for range max(weight, 1) {
			end[family] += distance(first, last)
			r := bpf.PFRange{End: end[family], Bits: uint32(bits)}
			copy(r.Addr[:], first.AsSlice())
			ranges[family] = append(ranges[family], r)
		}
	}
	for i := range pool.Members {
		m := &pool.Members[i]
		switch {
		case m.Interface != "":
			for _, p := range e.interfaces.Addresses(m.Interface, m.Modifiers) {
				if first := p.Prefix.Masked().Addr(); !first.IsLinkLocalUnicast() {
					add(first, lastAddr(p.Prefix), p.Prefix.Bits(), m.Weight)
				}
			}
		case m.Table != nil:
			if t := e.tables[tableKey(m.Table)]; t != nil {
				for _, s := range spans(t.entries) {
					add(s.first, s.last, s.first.BitLen(), m.Weight)
				}
			}
		default:
			add(m.Prefix.Masked().Addr(), lastAddr(m.Prefix), m.Prefix.Bits(), m.Weight)
		}
	}
	return ranges
}

// distance is how many addresses there are from a first to a last, as far as
// a pool gives them out.
func distance(first, last netip.Addr) uint64 {
	a, b := first.As16(), last.As16()
	n := uint64(0)
	for i := range a {
		if n >= 1<<poolRangeBits>>8 {
			return 1 << poolRangeBits
		}
		n = n<<8 + uint64(b[i]) - uint64(a[i])
	}
	return n + 1
}

func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	return last
}

// span is a run of addresses.
type span struct{ first, last netip.Addr }

// spans returns the addresses of which the longest prefix of a table that
// holds them does not say no, in order.
func spans(entries map[netip.Prefix]entry) (list []span) {
	prefixes := make([]netip.Prefix, 0, len(entries))
	for p := range entries {
		prefixes = append(prefixes, p)
	}
	slices.SortFunc(prefixes, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	var open []netip.Prefix // each holds the next
	var at netip.Addr       // up to here all is said
	say := func(to netip.Addr) {
		if top := open[len(open)-1]; !entries[top].not && at.IsValid() && to.IsValid() && at.Compare(to) <= 0 {
			list = append(list, span{at, to})
		}
	}
	closeTo := func(next netip.Addr) {
		for len(open) > 0 {
			last := lastAddr(open[len(open)-1])
			if next.IsValid() && next.BitLen() == last.BitLen() && next.Compare(last) <= 0 {
				return
			}
			say(last)
			if !at.IsValid() || at.Compare(last) <= 0 {
				at = last.Next()
			}
			open = open[:len(open)-1]
		}
	}
	for _, p := range prefixes {
		closeTo(p.Addr())
		if len(open) > 0 {
			say(p.Addr().Prev())
		}
		at = p.Addr()
		open = append(open, p)
	}
	closeTo(netip.Addr{})
	return list
}

// AddressesChanged follows the addresses of interfaces into the tables and
// translations that name them.
func (e *Engine) AddressesChanged() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.program == nil {
		return nil
	}
	var errs []error
	for _, t := range e.tables {
		if t.def != nil && t.def.Interface != "" {
			errs = append(errs, e.replace(t, contents(e.interfaces.Addresses(t.def.Interface, t.def.Modifiers))))
		}
	}
	errs = append(errs, e.updatePools(func(m *program.PoolMember) bool { return m.Interface != "" }))
	return errors.Join(errs...)
}

// tableChanged follows a table into the translations that take from it.
func (e *Engine) tableChanged(t *table) error {
	return e.updatePools(func(m *program.PoolMember) bool { return m.Table != nil && e.tables[tableKey(m.Table)] == t })
}
