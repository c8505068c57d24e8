package engine

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/pf/conf"
	"github.com/bsdnet/bsdnet/pf/program"
)

// table is a table in the data path. Engine.mu guards it.
type table struct {
	number uint32
	path   string // name behind the path of its anchor; "" if only the compiler knows it
	def    *program.Table
	// active tables were defined by a ruleset or made by pfctl; the others are
	// only named by rules, and empty.
	active, persist, constant, counters bool

	cleared uint32 // when its counters were, seconds of Unix time
	entries map[netip.Prefix]entry
}

// entry is an address of a table.
type entry struct {
	not      bool
	cleared  uint32 // when it was added or cleared, seconds of Unix time
	counters uint32 // their number in the data path, 0: none
}

func now() uint32 { return uint32(time.Now().Unix()) }

// sortedTables are the tables that have a name, by name.
func (e *Engine) sortedTables() []*table {
	var named []*table
	for _, t := range e.tables {
		if t.path != "" {
			named = append(named, t)
		}
	}
	slices.SortFunc(named, func(a, b *table) int { return strings.Compare(a.path, b.path) })
	return named
}

// tableKey tells tables of different rulesets that are the same.
func tableKey(t *program.Table) string {
	switch {
	case t.Name != "":
		return namedKey(t.Name)
	case t.Interface != "":
		return "(" + t.Interface + t.Modifiers.String() + ")"
	}
	return fmt.Sprint(t.Prefixes)
}

func namedKey(path string) string { return "<" + path + ">" }

// fillTables puts the tables of a program into the data path. A table that was
// there keeps its number, and its contents unless the program has some and
// renew wants them. It returns the number of each of the program's.
func (e *Engine) fillTables(p *program.Program, limits conf.HardLimits, renew func(*conf.Table) bool) (map[uint32]uint32, error) {
	plans, err := e.planTables(p, limits, renew)
	if err != nil {
		return nil, err
	}
	numbers := make(map[uint32]uint32)
	for _, plan := range plans {
		t := e.makeTable(tableKey(plan.def), plan.def.Name)
		numbers[plan.def.Number] = t.number
		t.define(plan.def)
		if d := plan.def.Def; d != nil {
			if err := e.setCounters(t, d.Counters); err != nil {
				return nil, err
			}
		}
		if plan.keep {
			continue
		}
		if err := e.replace(t, plan.wanted); err != nil {
			return nil, err
		}
	}
	return numbers, nil
}

// tablePlan is what becomes of one table of a program.
type tablePlan struct {
	def    *program.Table
	wanted map[netip.Prefix]bool // and whether negated
	keep   bool                  // the contents as they are
}

// planTables decides what becomes of each table, and that it all fits, before
// anything is changed.
func (e *Engine) planTables(p *program.Program, limits conf.HardLimits, renew func(*conf.Table) bool) ([]tablePlan, error) {
	var plans []tablePlan
	total, named := 0, uint32(0)
	planned := make(map[string]bool)
	for _, def := range p.Tables {
		if def.Def != nil && !def.Def.Persist && def.References == 0 {
			continue // nobody asks it: as if it were not there
		}
		plan := tablePlan{def: def}
		running, known := e.tables[tableKey(def)]
		planned[tableKey(def)] = true
		switch {
		case def.Interface != "":
			plan.wanted = contents(e.interfaces.Addresses(def.Interface, def.Modifiers))
		case def.Name != "" && (def.Def == nil || known && (!def.Def.Initialized || !renew(def.Def))):
			plan.keep = true
		default:
			plan.wanted = contents(def.Prefixes)
		}
		size := len(plan.wanted)
		if plan.keep && known {
			size = len(running.entries)
		}
		if def.Name != "" {
			named++
		}
		total += size
		if limit := entryLimit(limits); total > limit {
			return nil, &TableLimitError{Table: def.Name, Size: size, Others: total - size, Limit: limit}
		}
		plans = append(plans, plan)
	}
	for key, t := range e.tables {
		if planned[key] || !t.active || !t.persist {
			continue
		}
		named++
		total += len(t.entries)
		if limit := entryLimit(limits); total > limit {
			return nil, &TableLimitError{Table: t.path, Size: len(t.entries), Others: total - len(t.entries), Limit: limit}
		}
	}
	if limit := limits[conf.LimitTables]; limit != 0 && named > limit {
		return nil, fmt.Errorf("load ruleset: %d tables are more than the limit of %d (set limit tables)", named, limit)
	}
	return plans, nil
}

// entryLimit is the limit of addresses in all tables.
func entryLimit(limits conf.HardLimits) int {
	limit := limits[conf.LimitTableEntries]
	if limit == 0 || limit > bpf.PFTableEntries {
		limit = bpf.PFTableEntries
	}
	return int(limit)
}

// TableLimitError is a table that does not fit.
type TableLimitError struct {
	Table        string
	Size, Others int // addresses in it and in the other tables
	Limit        int
}

func (e *TableLimitError) Error() string {
	return fmt.Sprintf("table <%s>: %d addresses and %d in other tables are more than the limit of %d (set limit table-entries)",
		e.Table, e.Size, e.Others, e.Limit)
}

// makeTable finds or makes a running table.
func (e *Engine) makeTable(key, path string) *table {
	t, ok := e.tables[key]
	if !ok {
		e.nextTable++
		t = &table{number: e.nextTable, path: path, cleared: now(), entries: make(map[netip.Prefix]entry)}
		e.tables[key] = t
	}
	return t
}

// define takes over what a program says of a table.
func (t *table) define(def *program.Table) {
	t.def = def
	if d := def.Def; d != nil {
		t.active, t.persist, t.constant = true, d.Persist, d.Const
	}
}

// dropTables removes tables that no rule names any more, but for those that
// persist.
func (e *Engine) dropTables(p *program.Program) error {
	defs := make(map[string]*program.Table)
	for _, def := range p.Tables {
		defs[tableKey(def)] = def
	}
	for key, t := range e.tables {
		def := defs[key]
		switch {
		case def != nil && (def.Def == nil || def.Def.Persist || def.References > 0):
			continue
		case t.active && t.persist:
			t.def = nil
			continue
		}
		if err := errors.Join(e.replace(t, nil), e.setCounters(t, false)); err != nil {
			return err
		}
		delete(e.tables, key)
	}
	return nil
}

// contents makes a list a set. Of two that contradict each other the first
// counts.
func contents(prefixes []conf.TablePrefix) map[netip.Prefix]bool {
	set := make(map[netip.Prefix]bool, len(prefixes))
	for _, p := range prefixes {
		prefix := p.Prefix.Masked()
		if _, ok := set[prefix]; !ok {
			set[prefix] = p.Not
		}
	}
	return set
}

// difference is what makes the contents of a table others.
type difference struct {
	added   []conf.TablePrefix // and those whose negation changes
	changed int                // how many of added are there
	removed []conf.TablePrefix
}

func (t *table) difference(wanted map[netip.Prefix]bool) (d difference) {
	for prefix, not := range wanted {
		old, there := t.entries[prefix]
		if there && old.not == not {
			continue
		}
		if there {
			d.changed++
		}
		d.added = append(d.added, conf.TablePrefix{Prefix: prefix, Not: not})
	}
	for prefix := range t.entries {
		if _, ok := wanted[prefix]; !ok {
			d.removed = append(d.removed, conf.TablePrefix{Prefix: prefix})
		}
	}
	return d
}

// replace changes the contents of a table by the fewest writes.
func (e *Engine) replace(t *table, wanted map[netip.Prefix]bool) error {
	return e.change(t, t.difference(wanted))
}

// change changes the contents of a table: new addresses first, so that what is
// in both is never missing, unless only one of both contents fits.
func (e *Engine) change(t *table, d difference) error {
	if e.entryCount()+len(d.added)-d.changed > int(bpf.PFTableEntries) {
		if err := e.removeEntries(t, d.removed); err != nil {
			return err
		}
		d.removed = nil
	}
	if err := e.addEntries(t, d.added); err != nil {
		return err
	}
	return e.removeEntries(t, d.removed)
}

// entryCount is the number of addresses in all tables.
func (e *Engine) entryCount() (n int) {
	for _, t := range e.tables {
		n += len(t.entries)
	}
	return n
}

// addEntries writes addresses, new ones and those whose negation changes.
func (e *Engine) addEntries(t *table, list []conf.TablePrefix) error {
	numbers := e.newCounters(t.counters, len(list))
	if err := e.putEntries(t.number, list, numbers); err != nil {
		return fmt.Errorf("table <%s>: add %d addresses to %d: %w", t.path, len(list), len(t.entries), err)
	}
	if len(t.entries) == 0 {
		t.entries = make(map[netip.Prefix]entry, len(list))
	}
	at := now()
	for i, p := range list {
		if err := e.clearEntry(t.entries[p.Prefix]); err != nil {
			return err
		}
		t.entries[p.Prefix] = entry{not: p.Not, cleared: at, counters: numbers.at(i)}
	}
	return e.tableChanged(t)
}

func (e *Engine) removeEntries(t *table, list []conf.TablePrefix) error {
	if err := e.deleteEntries(t.number, list); err != nil {
		return fmt.Errorf("table <%s>: remove %d addresses: %w", t.path, len(list), err)
	}
	for _, p := range list {
		if err := e.clearEntry(t.entries[p.Prefix]); err != nil {
			return err
		}
		delete(t.entries, p.Prefix)
	}
	if len(t.entries) == 0 {
		t.entries = make(map[netip.Prefix]entry) // the memory, too
	}
	return e.tableChanged(t)
}
