package conf

import (
	"io"
	"net/netip"
)

// Macro is a macro defined outside the file, as by pfctl -D. It wins over a
// definition of the same name in the file.
type Macro struct {
	Name  string
	Value string
}

// Section is a set of rule kinds, used to load only a part of a file.
type Section uint8

// The sections that pfctl -A, -N, -R, -O and -T load select.
const (
	SectionQueues Section = 1 << iota
	SectionNat
	SectionFilter
	SectionOptions
	SectionTables
	SectionEther
	SectionAll Section = SectionQueues | SectionNat | SectionFilter | SectionOptions | SectionTables | SectionEther
)

// Config is everything besides the text that decides what a ruleset means.
// The zero value is a usable FreeBSD configuration of a host without
// interfaces, which reads included files from the operating system.
type Config struct {
	Dialect Dialect

	// Interfaces is the interface table: what "lo0", "em0:network", "self" and
	// group names stand for.
	Interfaces *InterfaceTable

	// Macros are the -D definitions.
	Macros []Macro

	// Open opens included files and table files. Nil means the operating
	// system's files.
	Open func(name string) (io.ReadCloser, error)

	// Resolve finds the addresses of a host name. Nil resolves "localhost" only.
	Resolve func(name string) ([]netip.Addr, error)

	// LookupUser and LookupGroup are asked for names that the dialect's own
	// password database does not have. Nil knows no others.
	LookupUser  func(name string) (uint32, bool)
	LookupGroup func(name string) (uint32, bool)

	// RoutingTableExists is asked for rtable numbers. Nil accepts all.
	RoutingTableExists func(id int) bool

	// Fingerprints gives numbers to OS names. Nil keeps the names only.
	Fingerprints *Fingerprints

	// Anchor is the path of the anchor that the file is loaded into; empty is
	// the main ruleset.
	Anchor string

	// Sections limits what is loaded; zero is everything.
	Sections Section

	// Limits bounds what a hostile file can cost; zero fields mean defaults.
	Limits Limits
}

// Limits bounds the work that one configuration may cause.
type Limits struct {
	FileBytes    int64 // size of one rule file
	TableBytes   int64 // size of one table file
	IncludeDepth int   // nested include statements
	MacroBytes   int   // length of one macro value
	Rules        int   // rules after expansion
	Combinations int   // combinations tried by one rule
	Errors       int   // messages kept
}

// DefaultLimits are generous for people and small for machines: a ruleset of
// half a million rules needs about 600 MB.
var defaultLimits = Limits{
	FileBytes:    64 << 20,
	TableBytes:   1 << 30,
	IncludeDepth: 16,
	MacroBytes:   1 << 20,
	Rules:        1 << 19,
	Combinations: 1 << 22,
	Errors:       10000,
}

func (l Limits) withDefaults() Limits {
	d := defaultLimits
	if l.FileBytes > 0 {
		d.FileBytes = l.FileBytes
	}
	if l.TableBytes > 0 {
		d.TableBytes = l.TableBytes
	}
	if l.IncludeDepth > 0 {
		d.IncludeDepth = l.IncludeDepth
	}
	if l.MacroBytes > 0 {
		d.MacroBytes = l.MacroBytes
	}
	if l.Rules > 0 {
		d.Rules = l.Rules
	}
	if l.Combinations > 0 {
		d.Combinations = l.Combinations
	}
	if l.Errors > 0 {
		d.Errors = l.Errors
	}
	return d
}

// Sizes of names in the kernel's structures, without the final NUL. pfctl
// refuses longer ones.
const (
	maxInterfaceName  = 15
	maxTableName      = 31
	maxTagName        = 63
	maxLabel          = 63
	maxQueueName      = 63
	maxRouteLabel     = 31
	maxAnchorPath     = 1023
	maxAnchorDepth    = 64
	maxPrio           = 7
	maxRoutingTable   = 255
	maxFreeBSDFibs    = 15
	maxLabels         = 5
	natProxyPortLow   = 50001
	natProxyPortHigh  = 65535
	maxConnRate       = 4294967295 / 1000
	defaultQueueLimit = 50
)
