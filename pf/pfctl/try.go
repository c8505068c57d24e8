package pfctl

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/bsdnet/bsdnet/pf/audit"
	"github.com/bsdnet/bsdnet/pf/capture"
	"github.com/bsdnet/bsdnet/pf/conf"
)

// exitDiffers is the status of --try where the rulesets disagree.
const exitDiffers = 2

// Auditor is an engine that tries a ruleset beside the one in force.
type Auditor interface {
	// Audit begins to judge packets by rulesets, too; with none it ends.
	Audit(ctx context.Context, rulesets []*conf.Ruleset) error
}

// auditOff is the word in place of a file that ends an audit.
const auditOff = "off"

// tries reports whether the options ask for something beside -f.
func (o *options) tries() bool {
	return o.try != "" || o.pcap != "" || o.against != "" || o.audit != ""
}

// checkTry finds contradictions of --try and --audit.
func (o *options) checkTry() error {
	switch {
	case o.try == "" && (o.pcap != "" || o.against != ""):
		return usageError{"--pcap and --against go with --try"}
	case o.try != "" && o.pcap == "":
		return usageError{"--try needs a capture: --pcap"}
	case o.try != "" && o.audit != "":
		return usageError{"--try and --audit are different things"}
	case o.hasRules || o.writes() || o.show != "" || o.command != "" || o.confirm != 0:
		return usageError{"--try and --audit change nothing and go with no option that does"}
	}
	return nil
}

// readTried reads a ruleset that is not to be loaded now, all its anchors in
// place, every rule as it is written.
func (c *command) readTried(name string) ([]*conf.Ruleset, error) {
	o := c.options
	c.options.rules, c.options.optimize, c.options.noAction = name, "none", true
	c.options.verbose, c.options.json = 0, false
	defer func() { c.options = o }()
	rulesets, err := c.loadRules()
	if err != nil {
		return nil, err
	}
	return rulesets, c.enforced(rulesets)
}

// try judges a capture by one ruleset, and beside it by another.
func (c *command) try() error {
	o := &c.options
	trial := audit.Try{Interface: o.iface}
	for _, one := range []struct {
		name string
		to   **conf.Ruleset
	}{{o.try, &trial.New}, {o.against, &trial.Old}} {
		if one.name == "" {
			continue
		}
		rulesets, err := c.readTried(one.name)
		if err != nil {
			return err
		}
		for _, part := range rulesets[1:] {
			rulesets[0].Graft(part, conf.SectionAll&^(conf.SectionOptions|conf.SectionQueues))
		}
		*one.to = rulesets[0]
	}
	var err error
	if trial.Interfaces, err = c.interfaces(); err != nil {
		return err
	}
	file, err := c.open(o.pcap)
	if err != nil {
		return failure{fmt.Sprintf("%s: %s", o.pcap, conf.SystemError(err))}
	}
	defer file.Close()
	reader, err := capture.NewReader(file)
	if err != nil {
		return failure{fmt.Sprintf("%s: %s", o.pcap, err)}
	}
	report, err := trial.Run(reader)
	if err != nil {
		c.warn("%s: %s", o.pcap, err)
		c.status = exitError
	} else if report.Differs() {
		c.status = exitDiffers
	}
	if o.json {
		encoder := json.NewEncoder(c.stdout)
		encoder.SetIndent("", "  ")
		return encoder.Encode(report)
	}
	return report.Write(c.stdout, o.verbose > 0)
}

// auditRules begins or ends an audit of the running instance.
func (c *command) auditRules() error {
	auditor, ok := c.engine.(Auditor)
	if !ok {
		return failure{"--audit: there is no daemon that could judge packets"}
	}
	if c.options.audit == auditOff {
		if err := auditor.Audit(c.ctx, nil); err != nil {
			return err
		}
		c.say("audit ended")
		return nil
	}
	rulesets, err := c.readTried(c.options.audit)
	if err != nil {
		return err
	}
	if err := auditor.Audit(c.ctx, rulesets); err != nil {
		return err
	}
	c.say("audit began: pfctl -s audit")
	return nil
}
