package pfctl

import (
	"bytes"
	"fmt"
	"math"

	"github.com/bsdnet/bsdnet/pf/conf"
)

// tableCommand does -t and -T. Without an instance it checks the addresses.
func (c *command) tableCommand() error {
	o := &c.options
	r := TableRequest{
		Command: o.command, Table: o.table, Anchor: o.anchor, Verbose: o.verbose, NoDNS: o.useDNS, JSON: o.json,
	}
	if len(o.table) > 31 {
		return usageError{}
	}
	args := o.args
	switch o.command {
	case "kill", "flush", "zero", "reset":
		if len(args) > 0 && o.command != "zero" && o.command != "reset" || o.hasRules && o.command != "zero" {
			return usageError{}
		}
	case "show":
		if len(args) > 0 || o.hasRules {
			return usageError{}
		}
	case "expire":
		if len(args) != 1 || o.hasRules {
			return usageError{}
		}
		n, reason := number(args[0], 0, math.MaxUint32)
		if reason != "" {
			return failure{fmt.Sprintf("expiry number is %s: %s", reason, args[0])}
		}
		r.Seconds, args = n, nil
	}
	var err error
	if r.Addresses, err = c.addresses(args); err != nil {
		return err
	}
	if o.command == "test" {
		if err := singleHosts(r.Addresses); err != nil {
			return err
		}
	}
	var result TableResult
	if c.engine != nil {
		if result, err = c.engine.Table(c.ctx, r); err != nil {
			return failure{err.Error() + "."}
		}
	}
	c.reportTable(&r, &result)
	for _, l := range result.Lines {
		fmt.Fprintln(c.stdout, l)
	}
	return nil
}

// singleHosts refuses networks and negated addresses, which cannot be tested.
func singleHosts(list []conf.TablePrefix) error {
	for _, p := range list {
		if p.Not || !p.Prefix.IsSingleIP() {
			return failure{fmt.Sprintf("cannot decode %s: Invalid argument", p.Prefix)}
		}
	}
	return nil
}

// addresses reads those of the command line and of -f.
func (c *command) addresses(args []string) ([]conf.TablePrefix, error) {
	cfg, err := c.config("")
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	for _, a := range args {
		fmt.Fprintln(&text, a)
	}
	list, err := conf.ReadTable(&text, cfg)
	if err != nil || !c.options.hasRules {
		return list, c.tableError(err)
	}
	src, _, err := c.source(c.options.rules)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	more, err := conf.ReadTable(src, cfg)
	return append(list, more...), c.tableError(err)
}

// tableError writes the reasons for a bad address.
func (c *command) tableError(err error) error {
	if err == nil {
		return nil
	}
	fmt.Fprintln(c.stderr, err)
	return failure{"cannot decode address"}
}

// reportTable writes what pfctl says about a table command.
func (c *command) reportTable(r *TableRequest, t *TableResult) {
	say := func(format string, args ...any) {
		end := "."
		if c.engine == nil {
			end = " (syntax only)."
		}
		c.say(format+end, args...)
	}
	total := len(r.Addresses)
	plural := func(n int) string {
		if n == 1 {
			return ""
		}
		return "s"
	}
	if t.Created > 0 {
		say("%d table created", t.Created)
	}
	switch r.Command {
	case "kill":
		say("%d table%s deleted", t.Deleted, plural(t.Deleted))
	case "flush":
		say("%d addresses deleted", t.Deleted)
	case "add":
		say("%d/%d addresses added", t.Added, total)
	case "delete":
		say("%d/%d addresses deleted", t.Deleted, total)
	case "expire":
		say("%d/%d addresses expired", t.Deleted, t.Matched)
	case "replace":
		if t.Added > 0 {
			say("%d addresses added", t.Added)
		}
		if t.Deleted > 0 {
			say("%d addresses deleted", t.Deleted)
		}
		if t.Changed > 0 {
			say("%d addresses changed", t.Changed)
		}
		if t.Added == 0 && t.Deleted == 0 && t.Changed == 0 {
			say("no changes")
		}
	case "test":
		say("%d/%d addresses match", t.Matched, total)
		if t.Matched < total {
			c.status = exitNoMatch
		}
	case "zero", "reset":
		if total > 0 {
			say("%d/%d addresses cleared", t.Cleared, total)
		} else {
			say("%d table/stats cleared", 1)
		}
	}
}
