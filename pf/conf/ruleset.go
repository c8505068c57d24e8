package conf

import (
	"net/netip"
	"sort"
)

// Ruleset is a whole expanded configuration.
type Ruleset struct {
	Dialect Dialect `json:"dialect"`
	Options Options `json:"options"`

	// Directives are the macros, options, tables and queues in the order of
	// the file, as pfctl -v prints them.
	Directives []Directive `json:"directives"`

	Queues []*Queue `json:"queues,omitempty"` // OpenBSD
	ALTQ   []*ALTQ  `json:"altq,omitempty"`   // FreeBSD, DragonFly

	Main *Anchor `json:"main"`

	// Messages are the warnings; a Ruleset exists only without errors.
	Messages ErrorList `json:"messages,omitempty"`

	loads []AnchorFile
}

// Anchor is one ruleset: the main one, or an anchor's.
//
// OpenBSD has one list of rules, Filter. FreeBSD and DragonFly have one for
// each kind, evaluated in the order Ether, Scrub, then Binat, Rdr (in) or
// Binat, Nat (out), then Filter.
type Anchor struct {
	// Path is the full path, empty for the main ruleset.
	Path string `json:"path"`

	Ether  []*EtherRule `json:"ether,omitempty"`
	Scrub  []*Rule      `json:"scrub,omitempty"`
	Nat    []*Rule      `json:"nat,omitempty"`
	Rdr    []*Rule      `json:"rdr,omitempty"`
	Binat  []*Rule      `json:"binat,omitempty"`
	Filter []*Rule      `json:"filter,omitempty"`

	// Tables are those defined within the anchor.
	Tables []*Table `json:"tables,omitempty"`

	// Children are the anchors below that have rules or tables, by path.
	Children []*Anchor `json:"children,omitempty"`

	optimized []*Table // made by the optimizer

	name    string  // last element of Path
	counter int     // next rule number
	moved   *Anchor // of the holder of an inline anchor: its final place

	etherCounter int // next number of an ether rule
}

// lists gives the rule lists in the order pfctl prints them.
func (a *Anchor) lists() [][]*Rule {
	return [][]*Rule{a.Scrub, a.Nat, a.Rdr, a.Binat, a.Filter}
}

// list is where a rule of an action belongs.
func (a *Anchor) list(action Action) *[]*Rule {
	switch action {
	case Scrub, NoScrub:
		return &a.Scrub
	case Nat, NoNat:
		return &a.Nat
	case Rdr, NoRdr:
		return &a.Rdr
	case Binat, NoBinat:
		return &a.Binat
	}
	return &a.Filter
}

// Lookup finds a descendant by its full path; nil if it has none.
func (a *Anchor) Lookup(path string) *Anchor {
	if a.Path == path {
		return a
	}
	for _, c := range a.Children {
		if c.Path == path || len(path) > len(c.Path) && path[:len(c.Path)] == c.Path && path[len(c.Path)] == '/' {
			return c.Lookup(path)
		}
	}
	return nil
}

// Walk calls f for the anchor and all below, parents first.
func (a *Anchor) Walk(f func(*Anchor)) {
	f(a)
	for _, c := range a.Children {
		c.Walk(f)
	}
}

// child finds or makes the direct child of a name.
func (a *Anchor) child(name string) *Anchor {
	path := name
	if a.Path != "" {
		path = a.Path + "/" + name
	}
	i := sort.Search(len(a.Children), func(i int) bool { return a.Children[i].name >= name })
	if i < len(a.Children) && a.Children[i].name == name {
		return a.Children[i]
	}
	c := &Anchor{Path: path, name: name}
	a.Children = append(a.Children, nil)
	copy(a.Children[i+1:], a.Children[i:])
	a.Children[i] = c
	return c
}

// DirectiveKind tells what a directive is.
type DirectiveKind uint8

// The kinds.
const (
	DirectiveMacro DirectiveKind = iota
	DirectiveOption
	DirectiveTable
	DirectiveALTQ
	DirectiveQueue
)

// Directive is a line that is not a rule.
type Directive struct {
	Pos  Position      `json:"position"`
	Kind DirectiveKind `json:"kind"`
	// Anchor is the path of the inline anchor around it.
	Anchor string `json:"anchor,omitempty"`
	// Text is the line as printed.
	Text string `json:"text"`
	// Table is set for tables, and Text is empty.
	Table *Table `json:"-"`

	holder *Anchor // where it was read
}

// TableEntry is an address of a table.
type TableEntry struct {
	Addr Addr `json:"addr"`
	Not  bool `json:"not,omitempty"`
	// Interface and Weight are of pools that became tables (OpenBSD).
	Interface string `json:"interface,omitempty"`
	Weight    uint16 `json:"weight,omitempty"`

	family  AddressFamily // of 0/0
	tooLong bool          // prefix length of an IPv4 address above 32
}

// Table is a table definition.
type Table struct {
	Name     string   `json:"name"`
	Pos      Position `json:"position"`
	Const    bool     `json:"const,omitempty"`
	Persist  bool     `json:"persist,omitempty"`
	Counters bool     `json:"counters,omitempty"`
	// Automatic tables were made from pools or by the optimizer.
	Automatic bool `json:"automatic,omitempty"`
	// Initialized tables replace their addresses when loaded.
	Initialized bool `json:"initialized,omitempty"`

	// Sources are the address lists and files in the order given.
	Sources []TableSource `json:"sources,omitempty"`
	// Prefixes are the addresses of all sources, resolved, in order.
	Prefixes []TablePrefix `json:"-"`
}

// TableSource is one list in braces or one file.
type TableSource struct {
	File  string       `json:"file,omitempty"`
	Addrs []TableEntry `json:"addrs,omitempty"`
}

// TablePrefix is one resolved address of a table.
type TablePrefix struct {
	Prefix netip.Prefix `json:"prefix"`
	Not    bool         `json:"not,omitempty"`
	Weight uint16       `json:"weight,omitempty"`
}
