package engine

import (
	"errors"
	"fmt"
	"math"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/pf/conf"
	"github.com/bsdnet/bsdnet/pf/program"
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
	for i, pool := range p.Pools {
		entry := pool.PFPool
		e.poolAddress(pool, &entry)
		e.pools.Values[base+i+1] = entry
	}
	if base > math.MaxUint16 {
		return 0, errors.New("load ruleset: too many translations")
	}
	return uint16(base), nil
}

// poolAddress fills in the address of an interface, as it is now.
func (e *Engine) poolAddress(pool *program.Pool, entry *bpf.PFPool) {
	if pool.Interface == "" {
		return
	}
	entry.Af, entry.Addr = 0, [16]uint8{}
	for _, p := range e.interfaces.Addresses(pool.Interface, pool.Modifiers) {
		addr := p.Prefix.Addr()
		want4 := pool.Family != conf.Inet6
		if addr.Is4() != want4 || addr.IsLinkLocalUnicast() {
			continue
		}
		copy(entry.Addr[:], addr.AsSlice())
		entry.Af = 6
		if addr.Is4() {
			entry.Af = 4
		}
		return
	}
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
	base := 0
	if e.config.Active().PfRuleset == 1 {
		base = int(bpf.PFPools) / 2
	}
	for i, pool := range e.program.Pools {
		if pool.Interface == "" {
			continue
		}
		entry := pool.PFPool
		e.poolAddress(pool, &entry)
		e.pools.Values[base+i+1] = entry
	}
	return errors.Join(errs...)
}
