package control

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/loader"
	"github.com/bsdnet/bsdnet/rc"
	"github.com/bsdnet/bsdnet/rc/netif"
)

// leasePrefix begins the names of lease files.
const leasePrefix = "dhclient.leases."

// State is the instance's folder for what outlives a reboot.
func (i Instance) State() string { return filepath.Join(VarDir, i.Name) }

// startNetif makes what applies plans, and goes on with the plan of before.
func (d *Daemon) startNetif() error {
	config := netif.Config{
		Devices: d.ifnet, Ifnet: d.ioctl, Route: d.route,
		Sysctl: func(name, value string) error {
			_, err := d.Sysctl(SysctlRequest{Set: map[string]string{name: value}})
			return err
		},
		Attach:    d.attachPlan,
		StateFile: filepath.Join(d.instance.Dir(), "rc.json"), LeasePrefix: filepath.Join(d.instance.State(), leasePrefix),
		Resolvconf: d.instance.resolvconf(), Log: d.log,
	}
	if d.instance.Name == "host" {
		config.Hostname = func(name string) error { return unix.Sethostname([]byte(name)) }
	}
	var err error
	if d.netif, err = netif.New(config); err != nil {
		return fmt.Errorf("start rc: %w", err)
	}
	return nil
}

// resolvconf is the resolv.conf of the network namespace, as ip-netns(8) has
// it, "" if there is none.
func (i Instance) resolvconf() string {
	if i.Name == "host" {
		return "/etc/resolv.conf"
	}
	dir := filepath.Join("/etc/netns", i.Name)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return ""
	}
	return filepath.Join(dir, "resolv.conf")
}

// resume goes on with the plan of an earlier daemon.
func (d *Daemon) resume(ctx context.Context) {
	report := d.netif.Resume(ctx)
	for _, line := range append(report.Warnings, report.Errors...) {
		d.log.Warn("rc: " + line)
	}
	d.pflog(d.netif.Plan())
}

func (d *Daemon) attachPlan(devices []string, plan *rc.Plan) ([]string, error) {
	mode, err := loader.ParseMode(plan.Mode)
	if plan.Mode == "" {
		mode, err = loader.ModeAuto, nil
	}
	if err != nil {
		return nil, err
	}
	d.forgetGone(devices)
	reply, err := d.Load(LoadRequest{Interfaces: devices, Mode: mode, Takeover: plan.Takeover})
	if err != nil {
		return nil, err
	}
	return reply.Warnings, nil
}

// forgetGone drops what is recorded of devices that went away and have come
// again by the same names.
func (d *Daemon) forgetGone(names []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, entry := range slices.Clone(d.record.Interfaces) {
		if _, there := d.ifnet.ByIndex(entry.Index); !there && slices.Contains(names, entry.Name) {
			if err := d.detach(entry.Index); err != nil {
				d.log.Warn("rc: forget a device that is gone", "interface", entry.Name, "err", err)
			}
		}
	}
}

func (d *Daemon) rcCalls() map[string]call {
	return map[string]call{
		"rc/interfaces": typed(owner, d.rcInterfaces),
		"rc/routing":    typed(owner, d.rcRouting),
		"rc/stop":       typed(owner, func(ctx context.Context, _ None) (*netif.Report, error) { return d.netif.Stop(ctx), nil }),
		"rc/status":     typed(reader, func(context.Context, None) (*netif.Status, error) { return d.netif.Status(), nil }),
		"rc/plan":       typed(reader, func(context.Context, None) (*rc.Plan, error) { return d.netif.Plan().Public(), nil }),
		"rc/await": typed(owner, func(ctx context.Context, seconds int) (None, error) {
			ctx, cancel := context.WithTimeout(ctx, time.Duration(seconds)*time.Second)
			defer cancel()
			d.netif.AwaitLeases(ctx)
			return None{}, nil
		}),
	}
}

// rcInterfaces applies the first half of a plan. If pf is to be on and is not,
// it is switched on with the built-in policy before anything comes up.
func (d *Daemon) rcInterfaces(ctx context.Context, plan rc.Plan) (*netif.Report, error) {
	if err := d.pf.setDialect(plan.PF.Dialect); err != nil {
		return nil, err
	}
	early := ""
	if plan.PF.Enable && !d.pf.enabled() {
		if err := d.pf.startBoot(); err != nil {
			return nil, fmt.Errorf("pf: %w", err)
		}
		if _, err := d.pf.switchCall(true); err != nil { // rules that were there
			return nil, fmt.Errorf("pf: %w", err)
		}
		early = "pf: on; the built-in policy rules until the rules are loaded"
	}
	report := d.netif.Interfaces(ctx, &plan)
	if early != "" {
		report.Changes = append([]string{early}, report.Changes...)
	}
	return report, nil
}

// rcRouting applies the second half.
func (d *Daemon) rcRouting(ctx context.Context, _ None) (*netif.Report, error) {
	d.pflog(d.netif.Plan())
	return d.netif.Routing(ctx), nil
}
