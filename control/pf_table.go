package control

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/bsdnet/bsdnet/pf/engine"
	"github.com/bsdnet/bsdnet/pf/pfctl"
)

// table does a pfctl -T on a running table.
func (f *filter) table(ctx context.Context, r pfctl.TableRequest) (*pfctl.TableResult, error) {
	if r.Command != "show" && r.Command != "test" && !isOwner(ctx) {
		return nil, errNotPermitted
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	name := engine.TableName{Anchor: r.Anchor, Name: r.Table}
	created := false
	if r.Command == "add" || r.Command == "replace" {
		var err error
		if created, err = f.engine.CreateTable(name); err != nil {
			return nil, err
		}
	}
	change, err := f.changeTable(name, &r)
	if err != nil {
		return nil, err
	}
	if created {
		change.Created = 1
	}
	if created || r.Command == "kill" {
		if err := f.save(); err != nil {
			return nil, err
		}
	}
	result := &pfctl.TableResult{
		Created: change.Created, Added: change.Added, Deleted: change.Deleted, Changed: change.Changed,
		Matched: change.Matched, Cleared: change.Cleared,
	}
	result.Lines, err = tableLines(&r, change)
	return result, err
}

func (f *filter) changeTable(name engine.TableName, r *pfctl.TableRequest) (*engine.TableChange, error) {
	switch r.Command {
	case "add":
		return f.engine.AddAddresses(name, r.Addresses, r.Verbose > 0)
	case "delete":
		return f.engine.DeleteAddresses(name, r.Addresses, r.Verbose > 0)
	case "replace":
		return f.engine.ReplaceAddresses(name, r.Addresses, r.Verbose > 0)
	case "flush":
		return f.engine.FlushAddresses(name)
	case "show":
		list, err := f.engine.Addresses(name, r.Verbose > 0 || r.JSON)
		return &engine.TableChange{Addresses: list}, err
	case "test":
		return f.engine.TestAddresses(name, r.Addresses)
	case "expire":
		return f.engine.ExpireAddresses(name, time.Duration(r.Seconds)*time.Second)
	case "zero":
		return f.engine.ZeroAddresses(name, r.Addresses)
	case "kill":
		killed, err := f.engine.KillTable(name)
		change := &engine.TableChange{}
		if killed {
			f.forgetTables(name)
			change.Deleted = 1
		}
		return change, err
	}
	return nil, fmt.Errorf("-T %s is %w", r.Command, errNotYet)
}

// forgetTables takes tables out of the sources, so that they do not come back.
func (f *filter) forgetTables(names ...engine.TableName) {
	sources := slices.Clone(f.sources)
	for i, s := range sources {
		left := *s
		left.Killed = append(slices.Clone(s.Killed), names...)
		sources[i] = &left
	}
	f.sources = sources
}

// flushTables removes the tables of an anchor, with recursion of all below it.
func (f *filter) flushTables(r pfctl.FlushRequest) (int, error) {
	var names []engine.TableName
	for _, t := range f.engine.Tables(r.Anchor, r.Recurse) {
		if t.Active {
			names = append(names, engine.TableName{Anchor: t.Anchor, Name: t.Name})
		}
	}
	f.forgetTables(names...)
	for _, name := range names {
		if _, err := f.engine.KillTable(name); err != nil {
			return 0, err
		}
	}
	return len(names), f.save()
}

// tableLines are the addresses that a command shows.
func tableLines(r *pfctl.TableRequest, change *engine.TableChange) ([]string, error) {
	if r.JSON && (r.Command == "show" || r.Command == "test") {
		return tableJSON(r, change)
	}
	var lines []string
	for i := range change.Addresses {
		a := &change.Addresses[i]
		switch {
		case r.Command == "show":
			lines = append(lines, a.Line(false))
			if r.Verbose > 0 {
				lines = append(lines, a.Details()...)
			}
		case r.Command == "test" && r.Verbose > 1:
			lines = append(lines, a.Line(true))
		case r.Command == "test" && r.Verbose > 0:
			if a.Feedback == engine.FeedbackMatch {
				lines = append(lines, a.Line(false))
			}
		case r.Command == "expire" && r.Verbose > 0,
			r.Verbose > 1, r.Verbose > 0 && a.Feedback != engine.FeedbackNone:
			if r.Command == "zero" && len(r.Addresses) == 0 {
				continue // of the whole table
			}
			lines = append(lines, a.Line(false))
		}
	}
	return lines, nil
}

// tableJSON is tableLines for programs.
func tableJSON(r *pfctl.TableRequest, change *engine.TableChange) ([]string, error) {
	type address struct {
		Address string    `json:"address"`
		Not     bool      `json:"not,omitempty"`
		Cleared time.Time `json:"cleared,omitzero"`
		Match   string    `json:"match,omitempty"`
		Matches *bool     `json:"matches,omitempty"`

		Counters *engine.AddressCounters `json:"counters,omitempty"`
	}
	out := struct {
		Schema    int       `json:"schema"`
		Table     string    `json:"table"`
		Anchor    string    `json:"anchor,omitempty"`
		Addresses []address `json:"addresses"`
	}{Schema: pfSchema, Table: r.Table, Anchor: r.Anchor, Addresses: []address{}}
	for _, a := range change.Addresses {
		shown := address{Address: a.Prefix.String(), Not: a.Not, Cleared: a.Cleared, Counters: a.Counters}
		if r.Command == "test" {
			matches := a.Feedback == engine.FeedbackMatch
			shown.Matches = &matches
			if a.Match.Prefix.IsValid() {
				shown.Match = a.Match.Prefix.String()
			}
		}
		out.Addresses = append(out.Addresses, shown)
	}
	text, err := json.MarshalIndent(out, "", "  ")
	return []string{string(text)}, err
}

// pfSchema is the number of the layout of pfctl's JSON.
const pfSchema = 1
