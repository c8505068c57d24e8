package engine

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/bsdnet/bsdnet/pf/conf"
)

// TableInfo is what -s Tables shows of a table.
type TableInfo struct {
	Name      string `json:"name"`
	Anchor    string `json:"anchor,omitempty"`
	Const     bool   `json:"const,omitempty"`
	Persist   bool   `json:"persist,omitempty"`
	Active    bool   `json:"active"`
	Counters  bool   `json:"counters,omitempty"`
	Addresses int    `json:"addresses"`
	// Rules is the number of addresses of rules that name it.
	Rules   int       `json:"rules"`
	Cleared time.Time `json:"cleared"`
	// Counts are those of a table with counters, from [Engine.CountedTables].
	Counts *TableCounters `json:"counts,omitempty"`
}

func splitPath(path string) TableName {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return TableName{Name: path}
	}
	return TableName{Anchor: path[:i], Name: path[i+1:]}
}

// Tables returns the tables of an anchor, or with recurse also of those below,
// sorted by name. Tables that rules name and nobody defines are inactive.
func (e *Engine) Tables(anchor string, recurse bool) []TableInfo {
	list, _ := e.tableInfos(anchor, recurse, false) // without counts nothing fails
	return list
}

// CountedTables is Tables with what is counted for each.
func (e *Engine) CountedTables(anchor string, recurse bool) ([]TableInfo, error) {
	return e.tableInfos(anchor, recurse, true)
}

func (e *Engine) tableInfos(anchor string, recurse, counts bool) ([]TableInfo, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var list []TableInfo
	for _, t := range e.sortedTables() {
		name := splitPath(t.path)
		below := anchor == "" || strings.HasPrefix(name.Anchor, anchor+"/")
		if name.Anchor != anchor && !(recurse && below) {
			continue
		}
		info := TableInfo{Name: name.Name, Anchor: name.Anchor, Const: t.constant, Persist: t.persist, Active: t.active,
			Counters: t.counters, Addresses: len(t.entries), Cleared: time.Unix(int64(t.cleared), 0)}
		if t.def != nil {
			info.Rules = t.def.References
		}
		if counts && t.counters {
			var err error
			if info.Counts, err = e.tableCounters(t); err != nil {
				return nil, fmt.Errorf("counters of table <%s>: %w", t.path, err)
			}
		}
		list = append(list, info)
	}
	return list, nil
}

// ShowTables writes tables as pfctl -s Tables does.
func (e *Engine) ShowTables(w io.Writer, o ShowOptions) error {
	list, err := e.tableInfos(o.Anchor, o.Recurse, o.Verbose > 1)
	for _, t := range list {
		if !t.Active && !o.Debug {
			continue
		}
		if o.Verbose > 0 {
			fmt.Fprintf(w, "%s\t", t.flags())
		}
		fmt.Fprint(w, t.Name)
		if t.Anchor != "" {
			fmt.Fprint(w, "\t", t.Anchor)
		}
		fmt.Fprintln(w)
		if o.Verbose > 1 {
			fmt.Fprintf(w, "\tAddresses:   %d\n", t.Addresses)
			fmt.Fprintf(w, "\tCleared:     %s\n", t.Cleared.Format(time.ANSIC))
			fmt.Fprintf(w, "\tReferences:  [ Anchors: %-18d Rules: %-18d ]\n", 0, t.Rules)
			if t.Counts != nil {
				t.Counts.show(w)
			}
		}
	}
	return err
}

// flags are the letters of a table.
func (t *TableInfo) flags() string {
	letters := []byte("cpairhC")
	for i, set := range []bool{t.Const, t.Persist, t.Active, false, t.Rules > 0, false, t.Counters} {
		if !set {
			letters[i] = '-'
		}
	}
	return string(letters)
}

// Line is an address as pfctl shows it. With tested, it has the address of
// the table that it meets behind it.
func (a *TableAddress) Line(tested bool) string {
	letter := a.Feedback
	if letter == FeedbackNotMatch {
		letter = ' '
	}
	text := string(rune(letter)) + " " + prefixText(a.TablePrefix)
	switch {
	case tested && a.Match.Prefix.IsValid():
		text += "\t" + prefixText(a.Match)
	case tested:
		text += "\t nomatch"
	}
	return text
}

// prefixText is an address with the sign of its negation, or a blank, before it.
func prefixText(p conf.TablePrefix) string {
	text := " "
	if p.Not {
		text = "!"
	}
	if p.Prefix.IsSingleIP() {
		return text + p.Prefix.Addr().String()
	}
	return text + p.Prefix.String()
}
