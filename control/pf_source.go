package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bsdnet/bsdnet/pf/conf"
	"github.com/bsdnet/bsdnet/pf/engine"
	"github.com/bsdnet/bsdnet/pf/pfctl"
)

// PFSource is a ruleset of the main ruleset or of an anchor as text: what
// pfctl read, with the files that its tables name, so that it means the same
// here.
type PFSource struct {
	Dialect conf.Dialect `json:"dialect"`
	// Anchor is where it was loaded, "" for the main ruleset.
	Anchor string `json:"anchor,omitempty"`
	// Sections are those that it still has: later loads took the others.
	Sections conf.Section `json:"sections"`
	// Options are the set lines, Text is all the rest.
	Options string            `json:"options,omitempty"`
	Text    string            `json:"text"`
	Files   map[string]string `json:"files,omitempty"`
	// Places are file and line of each rule of a list, by placeKey. The text has
	// other lines.
	Places map[string][]string `json:"places,omitempty"`
	// Killed are its tables that pfctl removed since.
	Killed []engine.TableName `json:"killed,omitempty"`
}

// PFLoad asks for sources to be put in the place of those that run, all or none.
type PFLoad struct {
	Sources []*PFSource `json:"sources"`
	// Merge keeps options that the sources do not set.
	Merge bool `json:"merge,omitempty"`
}

// pfKept is what the daemon keeps of pf over a restart.
type pfKept struct {
	Sources []*PFSource        `json:"sources"`
	Tables  []engine.KeptTable `json:"tables"`
	Boot    bootState          `json:"boot,omitzero"`
}

func (f *filter) loadCall(_ context.Context, r PFLoad) (*PFReply, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	warnings, err := f.load(r.Sources, r.Merge)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(r.Sources, func(s *PFSource) bool { return s.Anchor == "" && s.Sections&conf.SectionFilter != 0 }) {
		f.boot = bootState{}
	}
	if f.daemon.confirm.waits.Load() { // not good before it is confirmed
		return &PFReply{Warnings: warnings}, f.save()
	}
	return &PFReply{Warnings: warnings}, errors.Join(f.save(), f.saveGood())
}

// load puts sources in force.
func (f *filter) load(sources []*PFSource, merge bool) ([]string, error) {
	next := f.sources
	for _, s := range sources {
		if merge && s.Anchor == "" && s.Sections&conf.SectionOptions != 0 {
			s.Options = mainOptions(next) + s.Options
		}
		next = withSource(next, s)
	}
	isNew := func(s *PFSource) bool { return slices.Contains(sources, s) }
	return f.put(next, isNew)
}

// put puts a list of sources in force. Tables that run keep their addresses
// but for those of new sources.
func (f *filter) put(sources []*PFSource, isNew func(*PFSource) bool) ([]string, error) {
	dialect := f.dialect
	if len(sources) > 0 {
		dialect = sources[len(sources)-1].Dialect
	}
	rs, renewed, err := f.join(dialect, sources, isNew)
	if err != nil {
		return nil, err
	}
	f.updateEgress()
	warnings, err := f.engine.LoadPart(rs, func(t *conf.Table) bool { return renewed[t] })
	if err != nil {
		return nil, err
	}
	f.sources, f.dialect = sources, dialect
	f.audit.rulesChanged()
	texts := make([]string, len(warnings))
	for i, w := range warnings {
		texts[i] = fmt.Sprintf("%d: %s", w.Pos.Line, w.Text)
	}
	return texts, nil
}

// join makes one ruleset of sources; renewed are the tables of new ones.
func (f *filter) join(dialect conf.Dialect, sources []*PFSource, isNew func(*PFSource) bool) (rs *conf.Ruleset, renewed map[*conf.Table]bool, err error) {
	rs, renewed = conf.NewRuleset(dialect), make(map[*conf.Table]bool)
	for _, s := range sources {
		part, err := f.read(s)
		if err != nil {
			return nil, nil, err
		}
		if isNew(s) {
			part.Main.Walk(func(a *conf.Anchor) {
				for _, t := range a.Tables {
					renewed[t] = true
				}
			})
		}
		rs.Graft(part, s.Sections)
	}
	return rs, renewed, nil
}

// withSource is a list of sources with one more, which takes the place of what
// earlier ones had of its anchor. The list is not changed.
func withSource(list []*PFSource, added *PFSource) []*PFSource {
	var next []*PFSource
	for _, s := range list {
		if s.Anchor == added.Anchor && s.Sections&added.Sections != 0 {
			left := *s
			if left.Sections &^= added.Sections; left.Sections == 0 {
				continue
			}
			s = &left
		}
		next = append(next, s)
	}
	return append(next, added)
}

// mainOptions are the set lines in force.
func mainOptions(sources []*PFSource) string {
	for _, s := range sources {
		if s.Anchor == "" && s.Sections&conf.SectionOptions != 0 {
			return s.Options
		}
	}
	return ""
}

// read parses a source.
func (f *filter) read(s *PFSource) (*conf.Ruleset, error) {
	part, err := conf.Load("ruleset", strings.NewReader(s.Options+s.Text), conf.Config{
		Dialect: s.Dialect, Interfaces: f.interfaceTable(), Anchor: s.Anchor,
		Open: func(name string) (io.ReadCloser, error) {
			text, ok := s.Files[name]
			if !ok {
				return nil, os.ErrNotExist
			}
			return io.NopCloser(strings.NewReader(text)), nil
		},
	})
	if err != nil {
		return nil, err
	}
	part.Main.Walk(func(a *conf.Anchor) {
		a.Tables = slices.DeleteFunc(a.Tables, func(t *conf.Table) bool {
			return slices.Contains(s.Killed, engine.TableName{Anchor: a.Path, Name: t.Name})
		})
	})
	return part, nil
}

// flushSections empties sections of an anchor, with recursion of all below it.
func (f *filter) flushSections(r pfctl.FlushRequest, sections conf.Section) error {
	paths, err := f.anchors(r.Anchor, r.Recurse)
	if err != nil {
		return err
	}
	next := f.sources
	for _, path := range paths {
		next = withSource(next, &PFSource{Dialect: f.dialect, Anchor: path, Sections: sections})
	}
	if _, err := f.put(next, func(*PFSource) bool { return false }); err != nil {
		return err
	}
	return f.save()
}

// anchors returns an anchor's path and, with recurse, those of all below it.
func (f *filter) anchors(path string, recurse bool) ([]string, error) {
	rs, _ := f.engine.Rules()
	if rs == nil {
		if path == "" {
			return []string{""}, nil
		}
		return nil, engine.ErrNoAnchor
	}
	anchor := rs.Main.Lookup(path)
	if anchor == nil {
		return nil, engine.ErrNoAnchor
	}
	if !recurse {
		return []string{path}, nil
	}
	var paths []string
	anchor.Walk(func(a *conf.Anchor) { paths = append(paths, a.Path) })
	return paths, nil
}

// sourceFile keeps pf over a restart of the daemon.
func (f *filter) sourceFile() string { return filepath.Join(f.daemon.instance.Dir(), "pf.json") }

func (f *filter) save() error {
	data, err := json.Marshal(pfKept{Sources: f.sources, Tables: f.engine.KeptTables(), Boot: f.boot})
	if err != nil {
		return err
	}
	temporary := f.sourceFile() + ".new"
	if err := os.WriteFile(temporary, data, 0o600); err != nil {
		return fmt.Errorf("keep ruleset: %w", err)
	}
	return os.Rename(temporary, f.sourceFile())
}

// restore takes up the rulesets and tables of an earlier daemon.
func (f *filter) restore() error {
	data, err := os.ReadFile(f.sourceFile())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var kept pfKept
	if err := json.Unmarshal(data, &kept); err != nil {
		return fmt.Errorf("read %s: %w", f.sourceFile(), err)
	}
	f.boot = kept.Boot
	if err := f.engine.AdoptTables(kept.Tables); err != nil {
		return err
	}
	_, err = f.put(kept.Sources, func(*PFSource) bool { return false })
	return err
}
