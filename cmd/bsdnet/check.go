package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/bsdnet/bsdnet/control"
	"github.com/bsdnet/bsdnet/pf/conf"
	"github.com/bsdnet/bsdnet/pf/pfctl"
	"github.com/bsdnet/bsdnet/pf/program"
	"github.com/bsdnet/bsdnet/rc"
)

// rulesChecker is an engine that takes rules and does nothing with them, but
// says what it could not enforce.
type rulesChecker struct {
	pfctl.Engine
	dialect conf.Dialect
	table   *conf.InterfaceTable
}

func (r rulesChecker) Dialect() conf.Dialect { return r.dialect }

func (r rulesChecker) Interfaces(context.Context) (*conf.InterfaceTable, error) { return r.table, nil }

func (r rulesChecker) Enable(context.Context) error { return nil }

func (r rulesChecker) Disable(context.Context) error { return nil }

func (r rulesChecker) Packets(string, *conf.Rule) (uint64, bool) { return 0, false }

func (r rulesChecker) Load(_ context.Context, load pfctl.LoadRequest) error {
	var errs []error
	for _, rs := range load.Rulesets {
		errs = append(errs, program.Unenforced(rs)...)
	}
	return errors.Join(errs...)
}

// checkRules reads pf_rules as pfctl will, with the interfaces and addresses
// that the plan makes, so that a plan with bad rules is not begun.
func checkRules(ctx context.Context, plan *rc.Plan) error {
	table, err := conf.HostInterfaces()
	if err != nil {
		return err
	}
	return checkRulesWith(ctx, plan, table)
}

func checkRulesWith(ctx context.Context, plan *rc.Plan, table *conf.InterfaceTable) error {
	if !plan.PF.Enable {
		return nil
	}
	dialect, err := conf.ParseDialect(plan.PF.Dialect)
	if plan.PF.Dialect == "" {
		dialect, err = conf.FreeBSD, nil
	}
	if err != nil {
		return err
	}
	planned(table, plan)
	var messages strings.Builder
	host := pfctlHost(&messages)
	host.Engine = func(context.Context) (pfctl.Engine, error) {
		return rulesChecker{dialect: dialect, table: table}, nil
	}
	args := append([]string{"-f", plan.PF.Rules}, plan.PF.Flags...)
	if pfctl.Main(ctx, args, strings.NewReader(""), &messages, &messages, host) != 0 {
		return errors.New(strings.TrimSpace(messages.String()) + "\n" + plan.PF.Position.String() + ": pf_rules: nothing is changed")
	}
	return nil
}

// planned adds what a plan makes to the interfaces of a host. An address that
// DHCP will give stands there as one for documentation.
func planned(table *conf.InterfaceTable, plan *rc.Plan) {
	for _, i := range table.Interfaces {
		if name, ok := plan.Names[i.Name]; ok {
			i.Name = name
		}
	}
	for _, c := range plan.Clones {
		table.Add(c.Name)
	}
	for _, ifp := range plan.Interfaces {
		entry := table.Add(ifp.Name)
		entry.Groups = append(entry.Groups, ifp.Groups...)
		for _, a := range ifp.Addresses {
			entry.Addrs = append(entry.Addrs, conf.InterfaceAddr{Prefix: a.Prefix, Broadcast: a.Broadcast, Peer: a.Peer})
		}
		if len(entry.Addrs) == 0 && ifp.DHCP != rc.NoDHCP {
			entry.Addrs = append(entry.Addrs, conf.InterfaceAddr{Prefix: netip.MustParsePrefix("192.0.2.1/24")})
		}
	}
}

func checkCommand() *cli.Command {
	return &cli.Command{
		Name:      "check",
		Usage:     "check rc.conf, sysctl.conf and pf.conf, and change nothing",
		UsageText: "bsdnet check [-f rc.conf]",
		Description: "Also names the interfaces that systemd-networkd, NetworkManager or ifupdown configure, and what to\n" +
			"write to hand them over. Interfaces that rc.conf makes or DHCP configures need not be there.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Value: control.RcConf, Usage: "configuration in the form of rc.conf(5)"},
		},
		Action: func(c *cli.Context) error {
			if c.Args().Len() > 0 {
				return usageError{errors.New("check: unexpected argument: " + c.Args().First())}
			}
			plan, err := readPlan(rcOptions{file: c.String("file")})
			if err != nil {
				return err
			}
			warnManagers(plan)
			return checkRules(c.Context, plan)
		},
	}
}

// warnManagers names the devices of a plan that others configure, too.
func warnManagers(plan *rc.Plan) {
	index := func(device string) int {
		if i, err := net.InterfaceByName(device); err == nil {
			return i.Index
		}
		return 0
	}
	for _, m := range rc.Managers("/", plan.Physical(), index) {
		fmt.Fprintf(os.Stderr, "bsdnet: warning: %s\n", m)
	}
}
