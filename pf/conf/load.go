package conf

import (
	"fmt"
	"io"
	"slices"
)

// Parse reads the configuration in src, whose name is shown in messages. The
// error, if any, is an [ErrorList] of everything that is wrong; the File then
// still holds what could be read.
func Parse(name string, src io.Reader, cfg Config) (*File, error) {
	f := &File{Name: name, cfg: cfg}
	limits := cfg.Limits.withDefaults()
	data, err := readLimited(src, limits.FileBytes)
	if err != nil {
		list := ErrorList{{Pos: Position{File: name, Line: 1}, Text: err.Error()}}
		f.Messages = list
		f.ruleset = newRuleset(&cfg)
		return f, list
	}
	p := newParser(name, data, &f.cfg, limits)
	f.Statements = p.parse()
	p.finish()
	f.Messages, f.ruleset = p.messages, p.out
	f.ruleset.Messages = p.messages
	f.complete = p.complete
	if p.messages.failed() {
		return f, p.messages.errors()
	}
	return f, nil
}

// Load parses a configuration and gives its ruleset, not optimized.
func Load(name string, src io.Reader, cfg Config) (*Ruleset, error) {
	f, err := Parse(name, src, cfg)
	if err != nil {
		return nil, err
	}
	return f.ruleset, nil
}

// Ruleset is the expanded configuration; the error is that of [Parse].
func (f *File) Ruleset() (*Ruleset, error) {
	if f.Messages.failed() {
		return nil, f.Messages.errors()
	}
	return f.ruleset, nil
}

// Partial is what could be read despite errors, to show it as pfctl -v does;
// complete tells whether the rules are all there.
func (f *File) Partial() (rs *Ruleset, complete bool) { return f.ruleset, f.complete }

// LoadAnchors gives the "load anchor" statements in order.
func (f *File) LoadAnchors() []AnchorFile { return f.ruleset.loads }

// AnchorFile is an anchor that a "load anchor" statement fills from a file.
type AnchorFile struct {
	Pos    Position
	Anchor string // full path
	File   string
}

// errors leaves out the remarks.
func (l ErrorList) errors() ErrorList {
	return slices.DeleteFunc(slices.Clone(l), func(e *Error) bool { return e.Severity != SeverityError })
}

func newRuleset(cfg *Config) *Ruleset {
	o := Options{
		Timeouts:     defaultTimeouts,
		Optimization: OptimizeBasic,
		RequireOrder: cfg.Dialect != OpenBSD,
		Debug:        "urgent",
		Limits: HardLimits{
			LimitStates: 100000, LimitSrcNodes: 10000, LimitFrags: 5000,
			LimitTables: 1000, LimitTableEntries: 200000, LimitPacketDelay: 10000, LimitAnchors: 512,
		},
	}
	if cfg.Dialect == DragonFly {
		o.Limits[LimitStates] = 50000
	}
	if cfg.Dialect == OpenBSD {
		o.Debug = "err"
		o.Reassemble = true
		o.Timeouts[TimeoutFragment] = 60
	}
	return &Ruleset{Dialect: cfg.Dialect, Options: o, Main: &Anchor{Path: joinAnchor("", cfg.Anchor)}}
}

func newParser(name string, data []byte, cfg *Config, limits Limits) *parser {
	if name == "-" {
		name = "stdin"
	}
	p := &parser{cfg: cfg, dialect: cfg.Dialect, out: newRuleset(cfg)}
	p.lexer = lexer{
		cfg: cfg, limits: limits, macros: make(map[string]*macro), report: p.message,
		files: []*source{{name: name, data: data, line: 1}}, line: 1,
	}
	p.resolver = resolver{cfg: cfg, complain: func(text string) { p.warn(SeverityError, "%s", text) }}
	p.root = p.out.Main
	p.target = p.root
	p.defined = make(map[definedAnchor]bool)
	for _, m := range cfg.Macros {
		p.define(m.Name, m.Value, true)
	}
	return p
}

// finish does what pfctl does after it has read the file.
func (p *parser) finish() {
	for _, m := range p.order {
		if !m.used {
			p.warn(SeverityVerbose, "warning: macro '%s' not used", m.name)
		}
	}
	for i := range p.out.Directives {
		d := &p.out.Directives[i]
		for a := d.holder; a != nil; a = a.moved {
			d.Anchor = a.Path
		}
		d.holder = nil
	}
	o := &p.out.Options
	if p.limitSet[LimitStates] && !p.timeoutSet[TimeoutAdaptiveStart] && !p.timeoutSet[TimeoutAdaptiveEnd] {
		o.Timeouts[TimeoutAdaptiveStart] = o.Limits[LimitStates] / 10 * 6
		o.Timeouts[TimeoutAdaptiveEnd] = o.Limits[LimitStates] / 10 * 12
	}
	for _, l := range p.loads {
		p.out.loads = append(p.out.loads, AnchorFile{Pos: l.pos, Anchor: l.anchor, File: l.file})
	}
	if p.messages.failed() || !p.queueTree() {
		return
	}
	p.complete = true
	p.altqComplete()
	p.selectSections()
}

// selectSections leaves out the sections that were not asked for.
func (p *parser) selectSections() {
	want := p.cfg.Sections
	if want == 0 {
		return
	}
	drop := func(k DirectiveKind) {
		p.out.Directives = slices.DeleteFunc(p.out.Directives, func(d Directive) bool { return d.Kind == k })
	}
	if want&SectionOptions == 0 {
		drop(DirectiveOption)
	}
	if want&SectionTables == 0 {
		drop(DirectiveTable)
	}
	if want&SectionQueues == 0 {
		drop(DirectiveALTQ)
		p.out.Queues, p.out.ALTQ = nil, nil
	}
	p.out.Main.Walk(func(a *Anchor) {
		if want&SectionTables == 0 {
			a.Tables = nil
		}
		if want&SectionNat == 0 {
			a.Nat, a.Rdr, a.Binat = nil, nil, nil
		}
		if want&SectionFilter == 0 {
			a.Filter, a.Scrub = nil, nil
		}
		if want&SectionEther == 0 {
			a.Ether = nil
		}
	})
}

// Finish fills $nr into labels and tags: the number of the rule, which in OpenBSD
// and DragonFly is its index. As both change with [Optimize], this comes after.
func (rs *Ruleset) Finish() {
	rs.Main.Walk(func(a *Anchor) {
		for _, rules := range a.lists() {
			for i, r := range rules {
				n := i
				if rs.Dialect == FreeBSD {
					n = r.Number
				}
				r.forLabels(func(s *string, _ int) {
					replaceMacro(s, "$nr", func() string { return fmt.Sprint(n) })
				})
			}
		}
	})
}
