package engine

import (
	"fmt"
	"net/netip"

	"github.com/bsdnet/bsdnet/pf/conf"
)

// KeptTable is what must outlive the daemon of a table; its addresses are in
// the data path.
type KeptTable struct {
	Key      string `json:"key"`
	Number   uint32 `json:"number"`
	Path     string `json:"path,omitempty"`
	Active   bool   `json:"active,omitempty"`
	Persist  bool   `json:"persist,omitempty"`
	Const    bool   `json:"const,omitempty"`
	Counters bool   `json:"counters,omitempty"`
}

// KeptTables returns the running tables for [Engine.AdoptTables].
func (e *Engine) KeptTables() []KeptTable {
	e.mu.Lock()
	defer e.mu.Unlock()
	kept := make([]KeptTable, 0, len(e.tables))
	for key, t := range e.tables {
		kept = append(kept, KeptTable{Key: key, Number: t.number, Path: t.path, Active: t.active, Persist: t.persist,
			Const: t.constant, Counters: t.counters})
	}
	return kept
}

// AdoptTables takes over the tables of an earlier daemon with the addresses
// that the data path holds, before the first load. Addresses of tables that
// were not kept are removed. Their ages begin anew.
func (e *Engine) AdoptTables(kept []KeptTable) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	stored, err := e.storedEntries()
	if err != nil {
		return fmt.Errorf("read tables: %w", err)
	}
	for _, k := range kept {
		t := &table{number: k.Number, path: k.Path, active: k.Active, persist: k.Persist, constant: k.Const,
			counters: k.Counters, cleared: now(), entries: stored[k.Number]}
		if t.entries == nil {
			t.entries = make(map[netip.Prefix]entry)
		}
		delete(stored, k.Number)
		e.tables[k.Key] = t
		e.nextTable = max(e.nextTable, k.Number)
	}
	for number, entries := range stored {
		var list []conf.TablePrefix
		for prefix := range entries {
			list = append(list, conf.TablePrefix{Prefix: prefix})
		}
		if err := e.deleteEntries(number, list); err != nil {
			return fmt.Errorf("remove lost table %d: %w", number, err)
		}
	}
	return nil
}
