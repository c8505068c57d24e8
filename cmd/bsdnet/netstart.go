package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/bsdnet/bsdnet/control"
	"github.com/bsdnet/bsdnet/loader"
	"github.com/bsdnet/bsdnet/rc"
	"github.com/bsdnet/bsdnet/rcconf"
)

func netstartCommand() *cli.Command {
	return &cli.Command{
		Name:      "netstart",
		Usage:     "bring the network to what OpenBSD's hostname.if and mygate files say",
		UsageText: "bsdnet netstart [-n] [-d DIR] [--mode auto|xdp|tc] [--takeover] [IF ...]",
		Description: "Reads DIR/hostname.* and DIR/mygate, and /etc/bsdnet/sysctl.conf for forwarding. Lines with ! are refused.\n" +
			"What is right already is not touched. Rules of pf are not: use pfctl.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "check", Aliases: []string{"n"}, Usage: "check the files, change nothing"},
			&cli.StringFlag{Name: "directory", Aliases: []string{"d"}, Value: "/etc", Usage: "where the files are"},
			&cli.StringFlag{Name: "mode", Value: "auto", Usage: "build for physical interfaces: auto, xdp or tc"},
			&cli.BoolFlag{Name: "takeover", Usage: "load also where Linux filters or translates forwarded packets"},
		},
		Action: netstart,
	}
}

func netstart(c *cli.Context) error {
	mode, err := loader.ParseMode(c.String("mode"))
	if err != nil {
		return usageError{fmt.Errorf("netstart: %w", err)}
	}
	dir := c.String("directory")
	for _, name := range c.Args().Slice() {
		if _, err := os.Stat(filepath.Join(dir, "hostname."+name)); err != nil {
			return fmt.Errorf("netstart: %w", err)
		}
	}
	settings, err := rcconf.ParseSysctlFile(filepath.Join(filepath.Dir(control.RcConf), "sysctl.conf"))
	if err != nil {
		return err
	}
	devices, err := control.EthernetDevices()
	if err != nil {
		return err
	}
	plan, err := rc.BuildHostname(dir, settings, rc.Host{Devices: devices})
	if err != nil {
		return err
	}
	plan.Mode, plan.Takeover = string(mode), c.Bool("takeover")
	for _, warning := range plan.Warnings {
		fmt.Fprintf(os.Stderr, "bsdnet: warning: %s\n", warning)
	}
	if c.Bool("check") {
		return nil
	}
	if os.Geteuid() != 0 {
		return errors.New("netstart: must be root")
	}
	client, err := ensureLoaded(c.Context, control.LoadRequest{None: true, Mode: mode, Takeover: plan.Takeover})
	if err != nil {
		return err
	}
	return applyPlan(c.Context, client, plan, func() error { return nil })
}
