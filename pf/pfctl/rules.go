package pfctl

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"

	"github.com/bsdnet/bsdnet/pf/conf"
	"github.com/bsdnet/bsdnet/pf/program"
)

// config is how rulesets are read.
func (c *command) config(anchor string) (conf.Config, error) {
	o := &c.options
	cfg := conf.Config{
		Dialect:     o.dialect,
		Macros:      o.macros,
		Open:        c.host.Open,
		LookupUser:  c.host.LookupUser,
		LookupGroup: c.host.LookupGroup,
		Anchor:      anchor,
		Sections:    o.sections,
	}
	if r := c.host.Resolve; r != nil && !o.noDNS {
		cfg.Resolve = func(name string) ([]netip.Addr, error) { return r(c.ctx, name) }
	}
	var err error
	cfg.Interfaces, err = c.interfaces()
	return cfg, err
}

func (c *command) open(name string) (io.ReadCloser, error) {
	if c.host.Open != nil {
		return c.host.Open(name)
	}
	return os.Open(name)
}

// interfaces is the table of --ifaddrs, of the instance, or of the host.
func (c *command) interfaces() (*conf.InterfaceTable, error) {
	switch name := c.options.ifaddrs; {
	case name != "":
		f, err := c.open(name)
		if err != nil {
			return nil, failure{err.Error()}
		}
		defer f.Close()
		t, err := conf.ReadInterfaces(f, name)
		if err != nil {
			return nil, failure{err.Error()}
		}
		return t, nil
	case c.engine != nil:
		return c.engine.Interfaces(c.ctx)
	case c.host.Interfaces != nil:
		return c.host.Interfaces()
	}
	return nil, nil
}

// source opens the file of -f.
func (c *command) source(name string) (io.ReadCloser, string, error) {
	if name == "-" {
		return io.NopCloser(c.stdin), "stdin", nil
	}
	f, err := c.open(name)
	if err != nil {
		prefix := ""
		if c.options.dialect == conf.OpenBSD {
			prefix = "pushfile: "
		}
		c.warn("%s%s: %s", prefix, name, conf.SystemError(err))
		c.warn("cannot open the main config file!: %s", conf.SystemError(err))
		c.notLoaded()
		return nil, "", errReported
	}
	return f, name, nil
}

// notLoaded is the last word about a bad file; pfctl -n does without.
func (c *command) notLoaded() {
	if !c.options.noAction {
		c.warn("Syntax error in config file: pf rules not loaded")
	}
}

// loadRules reads the file of -f and the anchors that it loads, and shows them
// with -v.
func (c *command) loadRules() ([]*conf.Ruleset, error) {
	rs, loads, err := c.loadFile(c.options.rules, c.options.anchor)
	if err != nil {
		return nil, err
	}
	all := []*conf.Ruleset{rs}
	for _, l := range loads {
		if c.options.verbose > 0 {
			fmt.Fprintf(c.stderr, "\nLoading anchor %s from %s\n", l.Anchor, l.File)
		}
		rs, _, err := c.loadFile(l.File, l.Anchor)
		if err != nil {
			c.warn("load anchors")
			return nil, err
		}
		all = append(all, rs)
	}
	return all, nil
}

// enforced refuses what the data path does not enforce, with and without -n.
func (c *command) enforced(rulesets []*conf.Ruleset) error {
	var err error
	for _, rs := range rulesets {
		for _, e := range program.Unenforced(rs) {
			c.warn("%s", e)
			err = errReported
		}
	}
	return err
}

// loadFile reads one file.
func (c *command) loadFile(name, anchor string) (*conf.Ruleset, []conf.AnchorFile, error) {
	cfg, err := c.config(anchor)
	if err != nil {
		return nil, nil, err
	}
	src, shown, err := c.source(name)
	if err != nil {
		return nil, nil, err
	}
	defer src.Close()
	file, err := conf.Parse(shown, src, cfg)
	for _, m := range file.Messages {
		if m.Severity != conf.SeverityVerbose || c.options.verbose > 1 {
			fmt.Fprintln(c.stderr, m)
		}
	}
	rs, complete := file.Partial()
	if complete {
		c.optimize(rs, anchor)
		rs.Finish()
	}
	if showErr := c.showRuleset(rs, complete, file); showErr != nil {
		return nil, nil, showErr
	}
	if err != nil {
		c.notLoaded()
		return nil, nil, errReported
	}
	return rs, file.LoadAnchors(), nil
}

// optimize does what -o or the file asks for.
func (c *command) optimize(rs *conf.Ruleset, anchor string) {
	o := conf.OptimizeOptions{Level: rs.Options.Optimization}
	switch c.options.optimize {
	case "none":
		o.Level = conf.OptimizeNone
	case "basic":
		o.Level = conf.OptimizeBasic
	case "profile":
		o.Level = conf.OptimizeProfile
	}
	if e := c.engine; e != nil {
		o.Packets = func(r *conf.Rule) (uint64, bool) { return e.Packets(anchor, r) }
	}
	conf.Optimize(rs, o)
}

// showRuleset prints what -v or --json asks for.
func (c *command) showRuleset(rs *conf.Ruleset, complete bool, file *conf.File) error {
	o := &c.options
	if o.json {
		out := struct {
			File     string         `json:"file"`
			Ruleset  *conf.Ruleset  `json:"ruleset,omitempty"`
			Messages conf.ErrorList `json:"messages,omitempty"`
			Rules    []jsonRule     `json:"rules,omitempty"`
			Complete bool           `json:"complete"`
		}{File: file.Name, Messages: file.Messages, Complete: complete}
		if complete {
			out.Ruleset = rs
			out.Rules = jsonRules(rs)
		}
		e := json.NewEncoder(c.stdout)
		e.SetIndent("", "  ")
		return e.Encode(out)
	}
	if o.verbose == 0 {
		return nil
	}
	return conf.Format(c.stdout, rs, conf.FormatOptions{
		Numbers: o.verbose > 1, SwapPorts: o.swapPorts, DirectivesOnly: !complete,
	})
}

// jsonRule is a rule as text, with where it came from.
type jsonRule struct {
	Anchor   string        `json:"anchor,omitempty"`
	Number   int           `json:"number"`
	Text     string        `json:"text"`
	Position conf.Position `json:"position"`
}

func jsonRules(rs *conf.Ruleset) []jsonRule {
	var list []jsonRule
	rs.Main.Walk(func(a *conf.Anchor) {
		for _, rules := range [][]*conf.Rule{a.Scrub, a.Nat, a.Rdr, a.Binat, a.Filter} {
			for _, r := range rules {
				list = append(list, jsonRule{
					Anchor: a.Path, Number: r.Number, Position: r.Pos,
					Text: r.Text(rs.Dialect, conf.FormatOptions{}),
				})
			}
		}
	})
	return list
}
