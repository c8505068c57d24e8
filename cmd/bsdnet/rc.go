package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/bsdnet/bsdnet/control"
	"github.com/bsdnet/bsdnet/dhclient"
	"github.com/bsdnet/bsdnet/loader"
	"github.com/bsdnet/bsdnet/rc"
	"github.com/bsdnet/bsdnet/rc/netif"
	"github.com/bsdnet/bsdnet/rcconf"
)

// rcOptions are where a plan comes from and what overrules it.
type rcOptions struct {
	file     string
	mode     string // "": as the file says
	takeover bool
}

func rcCommand() *cli.Command {
	flags := []cli.Flag{
		&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Usage: "configuration in the form of rc.conf(5); without it, the one of the last start, or " + control.RcConf},
		&cli.StringFlag{Name: "mode", Usage: "build for physical interfaces: auto, xdp or tc (bsdnet_mode in rc.conf)"},
		&cli.BoolFlag{Name: "takeover", Usage: "load also where Linux filters or translates forwarded packets (bsdnet_takeover in rc.conf)"},
	}
	status := []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "print JSON"}}
	command := &cli.Command{
		Name:      "rc",
		Usage:     "bring the network to what rc.conf says, and keep it there",
		UsageText: "bsdnet rc start|stop|restart|reload|status [-f rc.conf] [--mode auto|xdp|tc] [--takeover]",
		Description: "start and reload apply rc.conf, rc.conf.local and sysctl.conf beside it, and change only what differs.\n" +
			"stop closes forwarding and takes back addresses, routes, leases and clones; filters stay on.\n" +
			"Exits 0 when all is applied, else 1.",
		Subcommands: []*cli.Command{
			{Name: "start", Usage: "apply rc.conf; starts the daemon if it does not run", Flags: flags, Action: rcStart},
			{Name: "reload", Usage: "apply a changed rc.conf; what is the same is not touched", Flags: flags, Action: rcStart},
			{Name: "restart", Usage: "stop and start", Flags: flags, Action: rcRestart},
			{Name: "stop", Usage: "take back what rc.conf asked for", Action: rcStop},
			{Name: "status", Usage: "show interfaces, leases and what waits", Flags: status, Action: rcStatus},
		},
	}
	for _, sub := range command.Subcommands {
		sub.OnUsageError, sub.HideHelpCommand = wrongUsage, true
	}
	command.Action = func(c *cli.Context) error {
		return usageError{errors.New("rc: want start, stop, restart, reload or status")}
	}
	return command
}

func rcOptionsOf(c *cli.Context) (rcOptions, error) {
	if c.Args().Len() > 0 {
		return rcOptions{}, usageError{fmt.Errorf("rc %s: unexpected argument: %s", c.Command.Name, c.Args().First())}
	}
	if mode := c.String("mode"); mode != "" {
		if _, err := loader.ParseMode(mode); err != nil {
			return rcOptions{}, usageError{fmt.Errorf("rc: %w", err)}
		}
	}
	if os.Geteuid() != 0 {
		return rcOptions{}, errors.New("rc: must be root")
	}
	o := rcOptions{file: c.String("file"), mode: c.String("mode"), takeover: c.Bool("takeover")}
	if o.file == "" {
		o = o.asBefore(c.Context)
	}
	return o, nil
}

// asBefore fills in what the plan in force was read with: its file, and what
// the command line said beside it.
func (o rcOptions) asBefore(ctx context.Context) rcOptions {
	o.file = control.RcConf
	client, err := control.Dial()
	if err != nil {
		return o
	}
	plan, err := control.Call[*rc.Plan](ctx, client, "rc/plan", control.None{})
	if err != nil || plan == nil || plan.Source == "" {
		return o
	}
	o.file, o.takeover = plan.Source, o.takeover || plan.AskedTakeover
	if o.mode == "" {
		o.mode = plan.AskedMode
	}
	return o
}

func rcStart(c *cli.Context) error {
	options, err := rcOptionsOf(c)
	if err != nil {
		return err
	}
	plan, err := readPlan(options)
	if err != nil {
		return err
	}
	return startPlan(c.Context, plan)
}

// startPlan checks a plan and applies it, to an instance that it starts if
// there is none.
func startPlan(ctx context.Context, plan *rc.Plan) error {
	if instance, err := control.Current(); err == nil && instance.Name == "host" {
		warnManagers(plan) // which know nothing of other namespaces
	}
	if err := checkRules(ctx, plan); err != nil {
		return err
	}
	mode, err := loader.ParseMode(plan.Mode)
	if plan.Mode == "" {
		mode, err = loader.ModeAuto, nil
	}
	if err != nil {
		return err
	}
	client, err := ensureLoaded(ctx, control.LoadRequest{None: true, Mode: mode, Takeover: plan.Takeover, States: plan.PF.States})
	if err != nil {
		return err
	}
	return applyPlan(ctx, client, plan, nil)
}

func rcRestart(c *cli.Context) error {
	options, err := rcOptionsOf(c)
	if err != nil {
		return err
	}
	plan, err := readPlan(options)
	if err == nil {
		err = checkRules(c.Context, plan)
	}
	if err != nil { // before anything is taken down
		return err
	}
	if err := rcDown(c.Context); err != nil && !errors.Is(err, control.ErrNoInstance) && !errors.Is(err, control.ErrDaemonDown) {
		return err
	}
	return startPlan(c.Context, plan)
}

func rcStop(c *cli.Context) error {
	if c.Args().Len() > 0 {
		return usageError{fmt.Errorf("rc stop: unexpected argument: %s", c.Args().First())}
	}
	return rcDown(c.Context)
}

func rcDown(ctx context.Context) error {
	client, err := control.Dial()
	if err != nil {
		return err
	}
	report, err := control.Call[*netif.Report](ctx, client, "rc/stop", control.None{})
	if err != nil {
		return fmt.Errorf("rc stop: %w", err)
	}
	return printReport(report)
}

// readPlan reads rc.conf with what is beside it, and prints its warnings.
func readPlan(o rcOptions) (*rc.Plan, error) {
	config, err := rcconf.ParseFiles(o.file, o.file+".local")
	if err != nil {
		return nil, err
	}
	settings, err := rcconf.ParseSysctlFile(filepath.Join(filepath.Dir(o.file), "sysctl.conf"))
	if err != nil {
		return nil, err
	}
	devices, err := control.EthernetDevices()
	if err != nil {
		return nil, err
	}
	plan, err := rc.Build(config, settings, rc.Host{Devices: devices})
	if err != nil {
		return nil, err
	}
	if plan.Source, err = filepath.Abs(o.file); err != nil {
		return nil, err
	}
	if o.mode != "" {
		plan.Mode = o.mode
	}
	plan.AskedMode, plan.AskedTakeover = o.mode, o.takeover
	plan.Takeover = plan.Takeover || o.takeover
	plan.Warnings = append(plan.Warnings, readableKeys(plan)...)
	for _, warning := range plan.Warnings {
		fmt.Fprintf(os.Stderr, "bsdnet: warning: %s\n", warning)
	}
	return plan, nil
}

// readableKeys warns of files with keys that everybody may read.
func readableKeys(plan *rc.Plan) []string {
	var warnings []string
	for _, ifp := range plan.Interfaces {
		if ifp.Wg == nil {
			continue
		}
		if info, err := os.Stat(ifp.Position.File); err == nil && info.Mode().Perm()&0o044 != 0 {
			warnings = append(warnings, fmt.Sprintf("%s: the keys of %s are in a file that others may read: chmod 600 it", ifp.Position, ifp.Name))
		}
	}
	return warnings
}

// leasePatience is how long the loading of rules that do not fit yet waits for
// addresses by DHCP.
const leasePatience = 20

// applyPlan applies a plan in the order of rc(8), but with pf on before
// interfaces come up: interfaces, rules, routes, forwarding. rules loads them,
// nil in the usual way.
func applyPlan(ctx context.Context, client *control.Client, plan *rc.Plan, rules func() error) error {
	before, err := control.Call[*rc.Plan](ctx, client, "rc/plan", control.None{})
	if err != nil {
		return fmt.Errorf("rc: %w", err)
	}
	report, err := control.Call[*netif.Report](ctx, client, "rc/interfaces", plan)
	if err != nil {
		return fmt.Errorf("rc: %w", err)
	}
	failed := printReport(report)
	switch {
	case rules != nil:
		err = rules()
	case plan.PF.Enable:
		err = applyRules(ctx, client, plan)
	case before != nil && before.PF.Enable:
		if pfctlRun(ctx, []string{"-d"}, io.Discard) == 0 {
			fmt.Println("pf: off")
		}
	}
	if err != nil {
		failed = err
	}
	if report, err = control.Call[*netif.Report](ctx, client, "rc/routing", control.None{}); err != nil {
		return fmt.Errorf("rc: %w", err)
	}
	if err := printReport(report); err != nil {
		failed = err
	}
	return failed
}

// applyRules loads pf_rules.
func applyRules(ctx context.Context, client *control.Client, plan *rc.Plan) error {
	if !plan.PF.Enable {
		return nil
	}
	args := append([]string{"-f", plan.PF.Rules}, plan.PF.Flags...)
	var messages strings.Builder
	status := pfctlRun(ctx, args, &messages)
	if status != 0 && usesDHCP(plan) {
		if _, err := control.Call[control.None](ctx, client, "rc/await", leasePatience); err != nil {
			return fmt.Errorf("rc: %w", err)
		}
		messages.Reset()
		status = pfctlRun(ctx, args, &messages)
	}
	fmt.Fprint(os.Stderr, messages.String())
	if status != 0 {
		return fmt.Errorf("%s: pf rules not loaded: what was in force stays", plan.PF.Position)
	}
	pfctlRun(ctx, []string{"-e"}, io.Discard) // it may be on
	return nil
}

func usesDHCP(plan *rc.Plan) bool {
	for _, ifp := range plan.Interfaces {
		if ifp.DHCP != rc.NoDHCP {
			return true
		}
	}
	return false
}

// printReport prints what came of a plan; its errors end in exit status 1.
func printReport(report *netif.Report) error {
	for _, line := range report.Changes {
		fmt.Println(line)
	}
	for _, line := range report.Warnings {
		fmt.Fprintf(os.Stderr, "bsdnet: warning: %s\n", line)
	}
	for _, line := range report.Errors {
		fmt.Fprintf(os.Stderr, "bsdnet: %s\n", line)
	}
	if len(report.Errors) > 0 {
		return statusError(exitError)
	}
	return nil
}

func rcStatus(c *cli.Context) error {
	client, err := control.Dial()
	if err != nil {
		return err
	}
	status, err := control.Call[*netif.Status](c.Context, client, "rc/status", control.None{})
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(os.Stdout, status)
	}
	printRC(os.Stdout, status)
	return nil
}

func printRC(w io.Writer, status *netif.Status) {
	if !status.Started {
		fmt.Fprintln(w, "not started")
		return
	}
	if status.Source != "" {
		fmt.Fprintf(w, "as %s says\n", status.Source)
	}
	for _, i := range status.Interfaces {
		state := "up"
		switch {
		case i.NoAuto:
			state = "noauto"
		case !i.Present:
			state = "waits for the device"
		case !i.Up:
			state = "down"
		}
		name := i.Name
		if i.Device != "" {
			name += " (" + i.Device + ")"
		}
		fmt.Fprintf(w, "%s: %s\n", name, strings.Join(append([]string{state}, i.Addresses...), " "))
		if i.DHCP != nil {
			printLease(w, i.DHCP)
		}
		if i.Note != "" {
			fmt.Fprintf(w, "  %s\n", i.Note)
		}
	}
	for _, line := range status.Pending {
		fmt.Fprintf(w, "waits: %s\n", line)
	}
	if status.Resolvconf != "" {
		fmt.Fprintf(w, "resolv.conf: not written: %s\n", status.Resolvconf)
	}
}

func printLease(w io.Writer, status *dhclient.Status) {
	fmt.Fprintf(w, "  DHCP: %s", status.State)
	if l := status.Lease; l != nil {
		at := func(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }
		fmt.Fprintf(w, ", %s from %s, renew %s, rebind %s, expire %s", l.Address, l.Server, at(l.Renew()), at(l.Rebind()), at(l.Expire()))
	}
	fmt.Fprintln(w)
	if status.Error != "" {
		fmt.Fprintf(w, "  DHCP: %s\n", status.Error)
	}
}
