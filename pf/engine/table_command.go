package engine

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/bsdnet/bsdnet/pf/conf"
)

// Errors in the words of pfctl.
var (
	// ErrNoTable says that no table of a name is active.
	ErrNoTable = errors.New("Table does not exist")
	// ErrConst says that a table is const.
	ErrConst = errors.New("Operation not permitted")
	// ErrNoAnchor says that there is no anchor of a path.
	ErrNoAnchor = errors.New("Anchor does not exist")
)

// TableName names a table of an anchor, "" of the main ruleset.
type TableName struct{ Anchor, Name string }

func (n TableName) path() string {
	if n.Anchor == "" {
		return n.Name
	}
	return n.Anchor + "/" + n.Name
}

// Feedback is what became of an address, the letter that pfctl -v shows.
type Feedback byte

// The letters.
const (
	FeedbackNone      Feedback = ' '
	FeedbackMatch     Feedback = 'M'
	FeedbackAdded     Feedback = 'A'
	FeedbackDeleted   Feedback = 'D'
	FeedbackChanged   Feedback = 'C'
	FeedbackCleared   Feedback = 'Z'
	FeedbackDuplicate Feedback = 'X'
	FeedbackConflict  Feedback = 'Y'
	// FeedbackNotMatch is an address that a negated one matches.
	FeedbackNotMatch Feedback = 0
)

// TableAddress is an address of a request or of a table.
type TableAddress struct {
	conf.TablePrefix
	Feedback Feedback
	// Match is the address of the table that a tested one meets.
	Match   conf.TablePrefix
	Cleared time.Time
	// Counters are those of an address of a table that has them.
	Counters *AddressCounters
}

// TableChange counts what a command did to a table.
type TableChange struct {
	Created, Added, Deleted, Changed, Matched, Cleared int
	Addresses                                          []TableAddress
}

// activeTable finds a table; writable ones must not be const.
func (e *Engine) activeTable(name TableName, writable bool) (*table, error) {
	t, ok := e.tables[namedKey(name.path())]
	if !ok || !t.active {
		return nil, ErrNoTable
	}
	if writable && t.constant {
		return nil, ErrConst
	}
	return t, nil
}

// CreateTable makes a table that persists, if there is none, and reports
// whether it did.
func (e *Engine) CreateTable(name TableName) (bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.makeTable(namedKey(name.path()), name.path())
	if t.active {
		return false, nil
	}
	t.active, t.persist = true, true
	return true, e.recompileFor(name)
}

// recompileFor compiles the rules of an anchor anew if one of its tables came
// or went: its rules ask their own table before that of the main ruleset.
func (e *Engine) recompileFor(name TableName) error {
	if name.Anchor == "" || e.ruleset == nil {
		return nil
	}
	_, err := e.load(e.ruleset, keepTables)
	return err
}

// KillTable removes a table and reports whether there was one. If rules name
// it, it stays empty.
func (e *Engine) KillTable(name TableName) (bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.killTable(name)
}

func (e *Engine) killTable(name TableName) (bool, error) {
	t, err := e.activeTable(name, false)
	if err != nil {
		return false, nil
	}
	if err := e.replace(t, nil); err != nil {
		return false, err
	}
	if err := e.setCounters(t, false); err != nil {
		return false, err
	}
	t.active, t.persist, t.constant = false, false, false
	if t.def == nil || t.def.References == 0 {
		delete(e.tables, namedKey(name.path()))
	}
	return true, e.recompileFor(name)
}

// KillTables removes all tables of an anchor and counts them.
func (e *Engine) KillTables(anchor string) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	killed := 0
	for _, t := range e.sortedTables() {
		name := splitPath(t.path)
		if name.Anchor != anchor {
			continue
		}
		ok, err := e.killTable(name)
		if err != nil {
			return killed, err
		}
		if ok {
			killed++
		}
	}
	return killed, nil
}

// AddAddresses adds addresses. Those that are there stay as they are. With
// detail, it says what became of each.
func (e *Engine) AddAddresses(name TableName, list []conf.TablePrefix, detail bool) (*TableChange, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t, err := e.activeTable(name, true)
	if err != nil {
		return nil, err
	}
	var added []conf.TablePrefix
	for prefix, not := range contents(list) {
		if _, there := t.entries[prefix]; !there {
			added = append(added, conf.TablePrefix{Prefix: prefix, Not: not})
		}
	}
	if err := e.checkRoom(t, len(t.entries)+len(added)); err != nil {
		return nil, err
	}
	change := &TableChange{Added: len(added)}
	if detail {
		change.Addresses = t.addFeedback(list)
	}
	return change, e.addEntries(t, added)
}

// addFeedback says what becomes of addresses that are added.
func (t *table) addFeedback(list []conf.TablePrefix) []TableAddress {
	seen := make(map[netip.Prefix]bool)
	feedback := make([]TableAddress, len(list))
	for i, p := range list {
		p = plain(p)
		letter := FeedbackAdded
		old, there := t.entries[p.Prefix]
		switch {
		case seen[p.Prefix]:
			letter = FeedbackDuplicate
		case there && old.not != p.Not:
			letter = FeedbackConflict
		case there:
			letter = FeedbackNone
		}
		seen[p.Prefix] = seen[p.Prefix] || !there
		feedback[i] = TableAddress{TablePrefix: p, Feedback: letter}
	}
	return feedback
}

// plain is an address as tables hold it.
func plain(p conf.TablePrefix) conf.TablePrefix {
	return conf.TablePrefix{Prefix: p.Prefix.Masked(), Not: p.Not}
}

// checkRoom refuses a size of a table that goes over the limit of all.
func (e *Engine) checkRoom(t *table, size int) error {
	limits := e.currentOptions().Limits
	others := e.entryCount() - len(t.entries)
	if limit := entryLimit(limits); others+size > limit {
		return &TableLimitError{Table: t.path, Size: size, Others: others, Limit: limit}
	}
	return nil
}

// DeleteAddresses removes addresses that are there with the same negation.
// With detail, it says what became of each.
func (e *Engine) DeleteAddresses(name TableName, list []conf.TablePrefix, detail bool) (*TableChange, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t, err := e.activeTable(name, true)
	if err != nil {
		return nil, err
	}
	change := &TableChange{}
	var deleted []conf.TablePrefix
	seen := make(map[netip.Prefix]bool)
	for _, p := range list {
		p = plain(p)
		feedback := FeedbackNone
		old, there := t.entries[p.Prefix]
		switch {
		case !there:
		case old.not != p.Not:
			feedback = FeedbackConflict
		case seen[p.Prefix]:
			feedback = FeedbackDuplicate
		default:
			feedback = FeedbackDeleted
			seen[p.Prefix] = true
			deleted = append(deleted, p)
		}
		if detail {
			change.Addresses = append(change.Addresses, TableAddress{TablePrefix: p, Feedback: feedback})
		}
	}
	change.Deleted = len(deleted)
	return change, e.removeEntries(t, deleted)
}

// ReplaceAddresses makes a list the contents of a table. With detail, it says
// what became of each address.
func (e *Engine) ReplaceAddresses(name TableName, list []conf.TablePrefix, detail bool) (*TableChange, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t, err := e.activeTable(name, true)
	if err != nil {
		return nil, err
	}
	wanted := contents(list)
	if err := e.checkRoom(t, len(wanted)); err != nil {
		return nil, err
	}
	d := t.difference(wanted)
	change := &TableChange{Added: len(d.added) - d.changed, Changed: d.changed, Deleted: len(d.removed)}
	if detail {
		change.Addresses = t.replaceFeedback(list)
	}
	return change, e.change(t, d)
}

// replaceFeedback says what becomes of addresses that replace those of a
// table, and of those.
func (t *table) replaceFeedback(list []conf.TablePrefix) []TableAddress {
	seen := make(map[netip.Prefix]bool)
	var feedback []TableAddress
	for _, p := range list {
		p = plain(p)
		letter := FeedbackNone
		old, there := t.entries[p.Prefix]
		switch {
		case seen[p.Prefix]:
			letter = FeedbackDuplicate
		case !there:
			letter = FeedbackAdded
		case old.not != p.Not:
			letter = FeedbackChanged
		}
		seen[p.Prefix] = true
		feedback = append(feedback, TableAddress{TablePrefix: p, Feedback: letter})
	}
	for _, a := range t.list() {
		if !seen[a.Prefix] {
			a.Feedback = FeedbackDeleted
			feedback = append(feedback, a)
		}
	}
	return feedback
}

// list returns the addresses of a table in their order.
func (t *table) list() []TableAddress {
	list := make([]TableAddress, 0, len(t.entries))
	for prefix, entry := range t.entries {
		list = append(list, TableAddress{TablePrefix: conf.TablePrefix{Prefix: prefix, Not: entry.not}, Feedback: FeedbackNone,
			Cleared: time.Unix(int64(entry.cleared), 0)})
	}
	slices.SortFunc(list, func(a, b TableAddress) int { return a.Prefix.Compare(b.Prefix) })
	return list
}

// Addresses returns the contents of a table, and what is counted for them if
// that is asked for.
func (e *Engine) Addresses(name TableName, counters bool) ([]TableAddress, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t, err := e.activeTable(name, false)
	if err != nil {
		return nil, err
	}
	list := t.list()
	if !counters || !t.counters {
		return list, nil
	}
	for i := range list {
		if list[i].Counters, err = e.entryCounters(t.entries[list[i].Prefix].counters); err != nil {
			return nil, fmt.Errorf("counters of table <%s>: %w", t.path, err)
		}
	}
	return list, nil
}

// TestAddresses looks single addresses up as the data path does: the longest
// prefix decides.
func (e *Engine) TestAddresses(name TableName, list []conf.TablePrefix) (*TableChange, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t, err := e.activeTable(name, false)
	if err != nil {
		return nil, err
	}
	change := &TableChange{}
	for _, p := range list {
		a := TableAddress{TablePrefix: p, Feedback: FeedbackNone}
		for bits := p.Prefix.Bits(); bits >= 0; bits-- {
			prefix, _ := p.Prefix.Addr().Prefix(bits)
			entry, ok := t.entries[prefix]
			if !ok {
				continue
			}
			a.Match = conf.TablePrefix{Prefix: prefix, Not: entry.not}
			a.Feedback = FeedbackNotMatch
			if !entry.not {
				a.Feedback = FeedbackMatch
				change.Matched++
			}
			break
		}
		change.Addresses = append(change.Addresses, a)
	}
	return change, nil
}

// FlushAddresses empties a table.
func (e *Engine) FlushAddresses(name TableName) (*TableChange, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t, err := e.activeTable(name, true)
	if err != nil {
		return nil, err
	}
	change := &TableChange{Deleted: len(t.entries)}
	return change, e.replace(t, nil)
}

// ExpireAddresses removes the addresses that were not cleared for longer than
// an age.
func (e *Engine) ExpireAddresses(name TableName, age time.Duration) (*TableChange, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t, err := e.activeTable(name, true)
	if err != nil {
		return nil, err
	}
	change := &TableChange{}
	var deleted []conf.TablePrefix
	at := time.Now().Truncate(time.Second) // as ages are kept
	for _, a := range t.list() {
		if at.Sub(a.Cleared) > age {
			a.Feedback = FeedbackDeleted
			change.Addresses = append(change.Addresses, a)
			deleted = append(deleted, a.TablePrefix)
		}
	}
	change.Deleted, change.Matched = len(deleted), len(deleted)
	return change, e.removeEntries(t, deleted)
}

// ZeroAddresses clears addresses, or the table with all of them if there is no
// list: ages and counters begin now.
func (e *Engine) ZeroAddresses(name TableName, list []conf.TablePrefix) (*TableChange, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t, err := e.activeTable(name, false)
	if err != nil {
		return nil, err
	}
	change := &TableChange{}
	if len(list) == 0 {
		for _, a := range t.list() {
			list = append(list, a.TablePrefix)
		}
		t.cleared = now()
		if t.counters {
			if err := e.clearTable(t); err != nil {
				return nil, err
			}
		}
	}
	for _, p := range list {
		p = plain(p)
		a := TableAddress{TablePrefix: p, Feedback: FeedbackNone}
		if old, ok := t.entries[p.Prefix]; ok && old.not == p.Not {
			if err := e.clearEntry(old); err != nil {
				return nil, err
			}
			old.cleared = now()
			t.entries[p.Prefix] = old
			a.Feedback = FeedbackCleared
			change.Cleared++
		} else if ok {
			a.Feedback = FeedbackConflict
		}
		change.Addresses = append(change.Addresses, a)
	}
	return change, nil
}
