package pfctl

import (
	"context"
	"errors"
	"io"
	"net/netip"

	"github.com/bsdnet/bsdnet/pf/conf"
)

// Errors that an [Engine] gives, which pfctl has its own words for.
var (
	// ErrNoInstance means that nothing runs here.
	ErrNoInstance = errors.New("no bsdnet instance here")
	// ErrAlready means that pf is enabled, or disabled, as asked.
	ErrAlready = errors.New("already so")
	// ErrNoTable and ErrNoAnchor mean that a name is not known.
	ErrNoTable  = errors.New("Table does not exist")
	ErrNoAnchor = errors.New("Anchor does not exist")
)

// Engine is a running pf. Methods print nothing on their own but what Show is
// asked for.
type Engine interface {
	// Dialect is pf_dialect of the instance.
	Dialect() conf.Dialect
	// Interfaces is the interface table of the instance.
	Interfaces(context.Context) (*conf.InterfaceTable, error)

	Enable(context.Context) error
	Disable(context.Context) error
	// Load puts rulesets in place of the running ones, all or none.
	Load(context.Context, LoadRequest) error
	// Packets counts the packets of a running rule that means the same, for
	// pfctl -o profile.
	Packets(anchor string, r *conf.Rule) (packets uint64, known bool)

	Show(context.Context, io.Writer, ShowRequest) error
	// Flush removes what Modifier names and counts it.
	Flush(context.Context, FlushRequest) (count int, err error)
	KillStates(context.Context, KillRequest) (KillResult, error)
	KillSources(context.Context, KillRequest) (KillResult, error)
	Table(context.Context, TableRequest) (TableResult, error)
	// ZeroRules clears the counters of an anchor's rules, and with recurse of
	// those below it.
	ZeroRules(ctx context.Context, anchor string, recurse bool) error
	SetDebug(ctx context.Context, level string) error
	SaveStates(context.Context, io.Writer) error
	LoadStates(context.Context, io.Reader) error
}

// Confirmer is an engine that can take changes back.
type Confirmer interface {
	// Begin makes it take back what is changed from now on unless that is
	// confirmed within so many seconds.
	Begin(ctx context.Context, seconds int, what string) error
	// Rollback takes it back at once.
	Rollback(ctx context.Context) error
}

// LoadRequest is a load of -f.
type LoadRequest struct {
	// Rulesets are the main one, or that of -a, and those of load anchor.
	Rulesets []*conf.Ruleset
	// Merge keeps options that are not set (-m).
	Merge bool
	// Sections is what is replaced; zero is everything.
	Sections conf.Section
}

// ShowRequest is a -s.
type ShowRequest struct {
	Modifier  string // as in the dialect's list, not shortened
	Anchor    string
	Recurse   bool
	Interface string
	Verbose   int
	Debug     bool // -g
	UseDNS    bool
	SwapPorts bool // -P
	RuleID    int64
	Zero      bool // -z clears the counters shown
	JSON      bool
}

// FlushRequest is a -F.
type FlushRequest struct {
	Modifier  string
	Anchor    string
	Recurse   bool
	Interface string
}

// KillRequest is a -k or -K: one or two hosts, with nat before them or not, or
// a word and a value.
type KillRequest struct {
	Keys []string
	// Sources and Destinations are the addresses of the hosts.
	Sources, Destinations []netip.Prefix

	Interface string
	RDomain   int
	Matching  bool // -M
	NoDNS     bool
}

// KillResult counts what was killed.
type KillResult struct {
	Killed, Sources, Destinations int
}

// TableRequest is a -T.
type TableRequest struct {
	Command   string
	Table     string
	Anchor    string
	Addresses []conf.TablePrefix
	// Seconds is the age of expire.
	Seconds int64
	Verbose int
	NoDNS   bool
	JSON    bool
}

// TableResult counts what a table command did. Lines are shown as they are.
type TableResult struct {
	Created, Added, Deleted, Changed, Matched, Cleared int
	Lines                                              []string
}
