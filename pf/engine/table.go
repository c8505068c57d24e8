package engine

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/cilium/ebpf"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/pf/conf"
	"github.com/bsdnet/bsdnet/pf/program"
)

// table is a table in the data path.
type table struct {
	number   uint32
	name     string
	def      *program.Table
	prefixes map[conf.TablePrefix]bool
}

// sortedTables are the tables that have a name, by name.
func (e *Engine) sortedTables() []*table {
	var named []*table
	for _, t := range e.tables {
		if t.name != "" {
			named = append(named, t)
		}
	}
	slices.SortFunc(named, func(a, b *table) int { return strings.Compare(a.name, b.name) })
	return named
}

// tableKey tells tables of different rulesets that are the same.
func tableKey(t *program.Table) string {
	switch {
	case t.Name != "":
		return "<" + t.Name + ">"
	case t.Interface != "":
		return "(" + t.Interface + t.Modifiers.String() + ")"
	}
	return fmt.Sprint(t.Prefixes)
}

// fillTables puts the tables of a program into the data path. A table that was
// there keeps its number, and its contents unless the program has some. It
// returns the number of each of the program's, and the tables that it lacks.
func (e *Engine) fillTables(p *program.Program) (map[uint32]uint32, []*table, error) {
	numbers := make(map[uint32]uint32)
	used := make(map[string]bool)
	for _, t := range p.Tables {
		key := tableKey(t)
		used[key] = true
		running, ok := e.tables[key]
		if !ok {
			e.nextTable++
			running = &table{number: e.nextTable, name: t.Name, prefixes: make(map[conf.TablePrefix]bool)}
			e.tables[key] = running
		}
		numbers[t.Number] = running.number
		wanted := t.Prefixes
		if t.Interface != "" {
			wanted = e.interfaces.Addresses(t.Interface, t.Modifiers)
		}
		running.def = t
		if ok && t.Interface == "" && t.Def != nil && !t.Def.Initialized {
			continue
		}
		if err := e.replace(running, wanted); err != nil {
			return nil, nil, err
		}
	}
	var stale []*table
	for key, t := range e.tables {
		if !used[key] && !(t.def != nil && t.def.Def != nil && t.def.Def.Persist) {
			stale = append(stale, t)
		}
	}
	return numbers, stale, nil
}

// dropTables removes tables that no rule names any more.
func (e *Engine) dropTables(stale []*table) {
	for _, t := range stale {
		_ = e.replace(t, nil) // what stays is never asked for again: its number is not reused
		for key, other := range e.tables {
			if other == t {
				delete(e.tables, key)
			}
		}
	}
}

// replace changes the contents of a table by the fewest writes: new entries
// first, so that what is in both is never missing.
func (e *Engine) replace(t *table, wanted []conf.TablePrefix) error {
	next := make(map[conf.TablePrefix]bool, len(wanted))
	for _, p := range wanted {
		p.Weight = 0
		if next[conf.TablePrefix{Prefix: p.Prefix, Not: !p.Not}] {
			continue // the first of two that contradict each other counts
		}
		next[p] = true
		if t.prefixes[p] {
			continue
		}
		if err := e.put(t.number, p); err != nil {
			return fmt.Errorf("table <%s>: %d addresses, add %v: %w", t.name, len(wanted), p.Prefix, err)
		}
		t.prefixes[p] = true
	}
	for p := range t.prefixes {
		if next[p] {
			continue
		}
		flipped := conf.TablePrefix{Prefix: p.Prefix, Not: !p.Not}
		if !next[flipped] {
			if err := e.remove(t.number, p); err != nil {
				return fmt.Errorf("table <%s>: remove %v: %w", t.name, p.Prefix, err)
			}
		}
		delete(t.prefixes, p)
	}
	return nil
}

func (e *Engine) put(number uint32, p conf.TablePrefix) error {
	not := uint32(0)
	if p.Not {
		not = 1
	}
	prefix := p.Prefix.Masked()
	if prefix.Addr().Is4() {
		return e.maps.Table.Put(bpf.PFTableKey{Prefixlen: uint32(32 + prefix.Bits()), Table: bigEndian(number), Addr: prefix.Addr().As4()}, not)
	}
	return e.maps.Table6.Put(bpf.PFTableKey6{Prefixlen: uint32(32 + prefix.Bits()), Table: bigEndian(number), Addr: prefix.Addr().As16()}, not)
}

func (e *Engine) remove(number uint32, p conf.TablePrefix) error {
	prefix := p.Prefix.Masked()
	var err error
	if prefix.Addr().Is4() {
		err = e.maps.Table.Delete(bpf.PFTableKey{Prefixlen: uint32(32 + prefix.Bits()), Table: bigEndian(number), Addr: prefix.Addr().As4()})
	} else {
		err = e.maps.Table6.Delete(bpf.PFTableKey6{Prefixlen: uint32(32 + prefix.Bits()), Table: bigEndian(number), Addr: prefix.Addr().As16()})
	}
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil
	}
	return err
}

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
			errs = append(errs, e.replace(t, e.interfaces.Addresses(t.def.Interface, t.def.Modifiers)))
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
