package program

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/bsdnet/bsdnet/pf/conf"
)

// Unenforced returns all constructs of a ruleset that the data path does not
// enforce, with their places in the file. It needs no host.
func Unenforced(rs *conf.Ruleset) []error {
	_, errs := compile(rs, noHost{}, true)
	return errs
}

// noHost is a host on which everything is there.
type noHost struct{}

func (noHost) Slot(string) (uint32, bool)        { return 0, true }
func (noHost) Group(string) (uint32, bool)       { return 0, false }
func (noHost) Counters(Identity) (uint32, error) { return 0, nil }
func (noHost) HasTable(string) bool              { return false }

// Settings implements Environment.
func (noHost) Settings(conf.Timeouts) (uint16, error) { return 0, nil }

// refuse reports everything of a rule that the data path does not enforce:
// nothing is silently ignored.
func (c *compiler) refuse(r *conf.Rule) {
	for _, check := range []struct {
		present bool
		what    string
	}{
		{r.Log != 0 && (r.Anchor != nil || r.Action != conf.Pass && r.Action != conf.Block && r.Action != conf.Match), "log on a rule of this kind"},
		{r.RoutingDomain != 0, "on rdomain"},
		{r.OS != "", "os"},
		{r.User.Op != conf.OpNone, "user"},
		{r.Group.Op != conf.OpNone, "group"},
		{r.Prio != 0, "prio"},
		{r.PacketRate != (conf.PacketRate{}), "max-pkt-rate"},
		{r.PacketSize != 0, "max-pkt-size"},
		{r.Once, "once"},
		{r.State == conf.StateModulate, "modulate state"},
		{r.State == conf.StateSynproxy, "synproxy state"},
		{r.StateOptions.SourceTrack != conf.SourceTrackNone, "source-track"},
		{r.StateOptions.Overload.Table != "", "overload"},
		{r.StateOptions.Pflow, "pflow"},
		{r.StateOptions.Pickup != conf.PickupUnspecified, "pickups"},
		{r.AllowRelated, "allow-related"},
		{r.Scrub.ReassembleTCP, "reassemble tcp"},
		{r.HasSetDelay, "set delay"},
		{r.Dummynet != (conf.DummynetPipes{}), "dnpipe"},
		{r.RoutingTable != 0, "rtable"},
		{r.Divert.Kind != conf.DivertNone || r.DivertPacket != 0, "divert"},
		{r.RouteKind != conf.RouteNone, r.RouteKind.String()},
		{r.NewFamily != conf.Unspecified, "af-to"},
	} {
		if check.present {
			c.unsupported(r.Pos, check.what)
		}
	}
}

// options reports settings and lists that are not enforced.
func (c *compiler) options() {
	rs := c.rs
	for _, check := range []struct {
		present bool
		what    string
	}{
		{rs.Options.Syncookies != conf.SyncookiesNever, "set syncookies"},
	} {
		if check.present {
			c.unsupported(c.directive(check.what), check.what)
		}
	}
	rs.Main.Walk(func(a *conf.Anchor) {
		for _, r := range a.Ether {
			c.unsupported(r.Pos, "ether")
		}
	})
}

// directive is where an option was set the last time.
func (c *compiler) directive(what string) conf.Position {
	for _, d := range slices.Backward(c.rs.Directives) {
		if d.Kind == conf.DirectiveOption && strings.HasPrefix(d.Text, what+" ") {
			return d.Pos
		}
	}
	return conf.Position{File: "ruleset"}
}

// Identity is what makes a rule the same rule after a reload: its label or
// ridentifier, or a hash of its text; and which of several alike it is.
type Identity string

func (c *compiler) identify(anchor *conf.Anchor, r *conf.Rule) Identity {
	if origin, ok := c.origin[r]; ok {
		if id, known := c.binats[origin]; known {
			return id
		}
		id := c.identify(anchor, origin)
		c.binats[origin] = id
		return id
	}
	var id Identity
	switch {
	case c.trial:
		return ""
	case r.RIdentifier != 0:
		id = Identity(fmt.Sprintf("ridentifier %d", r.RIdentifier))
	case r.Labels[0] != "":
		id = Identity("label " + r.Labels[0])
	default:
		sum := sha256.Sum256([]byte(anchor.Path + "\x00" + r.Text(c.rs.Dialect, conf.FormatOptions{})))
		id = Identity("rule " + hex.EncodeToString(sum[:8]))
	}
	c.seen[id]++
	if n := c.seen[id]; n > 1 {
		id += Identity(fmt.Sprintf(" #%d", n))
	}
	return id
}
