package pfctl

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/bsdnet/bsdnet/pf/conf"
)

// online does everything that was asked for, with --confirm so that it is
// taken back unless somebody confirms.
func (c *command) online() error {
	o := &c.options
	if o.confirm == 0 {
		return c.steps()
	}
	confirmer, ok := c.engine.(Confirmer)
	if !ok {
		return failure{"--confirm: there is no daemon that could take the change back"}
	}
	if err := confirmer.Begin(c.ctx, o.confirm, "pfctl "+strings.Join(c.args, " ")); err != nil {
		return err
	}
	if err := c.steps(); err != nil {
		return errors.Join(err, confirmer.Rollback(c.ctx))
	}
	c.say("taken back in %d seconds unless confirmed: bsdnet confirm", o.confirm)
	return nil
}

// steps are in the order of pfctl.
func (c *command) steps() error {
	o := &c.options
	steps := []struct {
		wanted bool
		do     func() error
	}{
		{o.disable, c.disable},
		{o.audit != "", c.auditRules},
		{o.show != "", c.show},
		{o.zero && o.show == "", func() error { return c.engine.ZeroRules(c.ctx, o.anchor, o.recurse) }},
		{o.flush != "", c.flush},
		{len(o.kill) > 0, c.killStates},
		{len(o.killNodes) > 0, c.killSources},
		{o.command != "", c.tableCommand},
		{o.hasRules && o.command == "", c.replaceRules},
		{o.enable, c.enable},
		{o.debugTo != "", c.setDebug},
		{o.saveTo != "", c.saveStates},
		{o.loadFrom != "", c.loadStates},
	}
	for _, s := range steps {
		if !s.wanted {
			continue
		}
		if err := s.do(); err != nil {
			return err
		}
	}
	return nil
}

func (c *command) enable() error {
	switch err := c.engine.Enable(c.ctx); {
	case errors.Is(err, ErrAlready):
		return failure{"pf already enabled"}
	case err != nil:
		return err
	}
	c.say("pf enabled")
	return nil
}

func (c *command) disable() error {
	switch err := c.engine.Disable(c.ctx); {
	case errors.Is(err, ErrAlready):
		return failure{"pf not enabled"}
	case err != nil:
		return err
	}
	c.say("pf disabled")
	return nil
}

// errNotRunning is how an engine answers -s Running.
var errNotRunning = errors.New("not running")

// NotRunning is the error of Show for the modifier Running when pf is disabled.
func NotRunning() error { return errNotRunning }

func (c *command) show() error {
	o := &c.options
	err := c.engine.Show(c.ctx, c.stdout, ShowRequest{
		Modifier: o.show, Anchor: o.anchor, Recurse: o.recurse, Interface: o.iface, Verbose: o.verbose,
		Debug: o.debug, UseDNS: o.useDNS, SwapPorts: o.swapPorts, RuleID: o.ruleID, Zero: o.zero, JSON: o.json,
	})
	if errors.Is(err, errNotRunning) {
		c.status = exitError
		return nil
	}
	return err
}

func (c *command) flush() error {
	o := &c.options
	if o.flush == "all" && o.iface != "" {
		return usageError{"don't specify an interface with -Fall"}
	}
	for _, modifier := range c.flushList() {
		n, err := c.engine.Flush(c.ctx, FlushRequest{
			Modifier: modifier, Anchor: o.anchor, Recurse: o.recurse, Interface: o.iface,
		})
		if err != nil {
			return err
		}
		c.flushed(modifier, n)
	}
	return nil
}

// flushList is what a -F modifier stands for.
func (c *command) flushList() []string {
	o := &c.options
	if o.flush != "all" {
		return []string{o.flush}
	}
	var list []string
	if o.dialect == conf.FreeBSD {
		list = append(list, "ethernet")
	}
	if o.dialect == conf.OpenBSD {
		list = append(list, "Tables", "rules")
	} else {
		list = append(list, "rules", "nat", "Tables")
	}
	if o.anchor != "" {
		return list
	}
	if o.dialect != conf.OpenBSD {
		list = append(list, "queue")
	}
	list = append(list, "states", "Sources", "info", "osfp")
	if o.dialect != conf.DragonFly {
		list = append(list, "Reset")
	}
	return list
}

func (c *command) flushed(modifier string, n int) {
	switch modifier {
	case "rules":
		c.say("rules cleared")
	case "nat":
		c.say("nat cleared")
	case "queue":
		c.say("altq cleared")
	case "ethernet":
		c.say("Ethernet rules cleared")
	case "states":
		c.say("%d states cleared", n)
	case "Sources":
		c.say("source tracking entries cleared")
	case "info":
		if i := c.options.iface; i != "" && c.options.dialect == conf.OpenBSD {
			c.say("pf: statistics cleared for interface %s", i)
		} else {
			c.say("pf: statistics cleared")
		}
	case "Tables":
		c.say("%d tables deleted.", n)
	case "Reset":
		c.say("pf: interface flags reset")
	}
}

// killWords are the first words of -k that take a value.
var killWords = map[string]bool{"label": true, "id": true, "key": true, "gateway": true}

func (c *command) killRequest(keys []string) KillRequest {
	o := &c.options
	return KillRequest{Keys: keys, Interface: o.iface, RDomain: o.rdomain, Matching: o.killMatching, NoDNS: o.noDNS}
}

func (c *command) killStates() error {
	o := &c.options
	word := o.kill[0]
	special := killWords[word] && (word != "gateway" || o.dialect == conf.FreeBSD)
	if special && (len(o.kill) != 2 || o.kill[1] == "") {
		return usageError{fmt.Sprintf("no %s specified", word)}
	}
	request := c.killRequest(o.kill)
	if !special {
		hosts := o.kill
		if word == "nat" {
			hosts = hosts[1:]
		}
		if err := c.killBetween(&request, hosts); err != nil {
			return err
		}
	}
	r, err := c.engine.KillStates(c.ctx, request)
	if err != nil {
		return err
	}
	if special {
		c.say("killed %d states", r.Killed)
	} else {
		c.say("killed %d states from %d sources and %d destinations", r.Killed, r.Sources, r.Destinations)
	}
	return nil
}

// killBetween resolves the one or two hosts of a request.
func (c *command) killBetween(r *KillRequest, hosts []string) error {
	if len(hosts) == 0 || len(hosts) > 2 {
		return usageError{"want one or two hosts"}
	}
	for i, to := range []*[]netip.Prefix{&r.Sources, &r.Destinations}[:len(hosts)] {
		var err error
		if *to, err = c.killHosts(hosts[i]); err != nil {
			return err
		}
	}
	return nil
}

// killHosts are the addresses of an argument of -k. 0/0 is every address of
// both families.
func (c *command) killHosts(text string) ([]netip.Prefix, error) {
	if text == "0/0" || text == "any" {
		return []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}, nil
	}
	cfg, err := c.config("")
	if err != nil {
		return nil, err
	}
	list, err := conf.ReadTable(strings.NewReader(text), cfg)
	if err != nil {
		return nil, c.tableError(err)
	}
	var hosts []netip.Prefix
	for _, p := range list {
		hosts = append(hosts, p.Prefix.Masked())
	}
	return hosts, nil
}

func (c *command) killSources() error {
	request := c.killRequest(c.options.killNodes)
	if err := c.killBetween(&request, c.options.killNodes); err != nil {
		return err
	}
	r, err := c.engine.KillSources(c.ctx, request)
	if err != nil {
		return err
	}
	c.say("killed %d src nodes from %d sources and %d destinations", r.Killed, r.Sources, r.Destinations)
	return nil
}

func (c *command) replaceRules() error {
	rulesets, err := c.loadRules()
	if err == nil {
		err = c.enforced(rulesets)
	}
	if err != nil {
		return err
	}
	o := &c.options
	return c.engine.Load(c.ctx, LoadRequest{Rulesets: rulesets, Merge: o.merge, Sections: o.sections})
}

func (c *command) setDebug() error {
	if err := c.engine.SetDebug(c.ctx, c.options.debugTo); err != nil {
		return err
	}
	c.say("debug level set to '%s'", c.options.debugTo)
	return nil
}

func (c *command) saveStates() error {
	f, err := os.Create(c.options.saveTo)
	if err != nil {
		return failure{fmt.Sprintf("open: %s: %s", c.options.saveTo, conf.SystemError(err))}
	}
	if err := c.engine.SaveStates(c.ctx, f); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

func (c *command) loadStates() error {
	f, err := c.open(c.options.loadFrom)
	if err != nil {
		return failure{fmt.Sprintf("open: %s: %s", c.options.loadFrom, conf.SystemError(err))}
	}
	defer f.Close()
	return c.engine.LoadStates(c.ctx, f)
}
