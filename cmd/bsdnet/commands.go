package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/bsdnet/bsdnet/control"
	"github.com/bsdnet/bsdnet/route"
)

func unloadCommand() *cli.Command {
	return &cli.Command{
		Name:  "unload",
		Usage: "take the data path off every interface and remove everything of bsdnet's, whether or not the daemon runs",
		Action: func(c *cli.Context) error {
			if c.Args().Len() > 0 {
				return usageError{fmt.Errorf("unload: unexpected argument: %s", c.Args().First())}
			}
			if os.Geteuid() != 0 {
				return errors.New("unload: must be root")
			}
			return unload(c.Context)
		},
	}
}

// unload asks the daemon, and does it itself where there is none, or where
// that ends before it has answered.
func unload(ctx context.Context) error {
	client, err := control.Dial()
	asked := err == nil
	if asked {
		_, err = control.Call[control.None](ctx, client, "unload", control.None{})
	}
	done := err == nil
	if !done && !errors.Is(err, control.ErrDaemonDown) && !errors.Is(err, control.ErrNoInstance) {
		return fmt.Errorf("unload: %w", err)
	}
	instance, err := control.Current()
	if err != nil {
		return err
	}
	if done {
		return control.FinishUnload(instance)
	}
	err = control.Unload(instance)
	if asked && errors.Is(err, control.ErrNoInstance) {
		return nil // it was done, and the answer lost
	}
	return err
}

func mountCommand() *cli.Command {
	return &cli.Command{
		Name:  "mount",
		Usage: "mount the bpffs that pins live in, so that instances in network namespaces outlive their daemon",
		Action: func(c *cli.Context) error {
			if os.Geteuid() != 0 {
				return errors.New("mount: must be root")
			}
			mounted, err := control.Mount()
			if err == nil && mounted == control.MountPrivate {
				fmt.Fprintln(os.Stderr, "bsdnet: warning: mounted in this mount namespace only; run `bsdnet mount` on the host")
			}
			return err
		},
	}
}

func statusCommand() *cli.Command {
	return &cli.Command{
		Name:  "status",
		Usage: "say how the instance of this network namespace is; exits 3 if degraded, 4 if there is none",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "print JSON"}},
		Action: func(c *cli.Context) error {
			client, err := control.Dial()
			if errors.Is(err, control.ErrDaemonDown) {
				return daemonDown(c, err)
			}
			if err != nil {
				return err
			}
			status, err := control.Call[*control.Status](c.Context, client, "status", control.None{})
			if errors.Is(err, control.ErrDaemonDown) {
				return daemonDown(c, err)
			}
			if err != nil {
				return err
			}
			if c.Bool("json") {
				err = printJSON(os.Stdout, status)
			} else {
				printStatus(os.Stdout, status)
			}
			if err == nil && !status.Healthy {
				err = statusError(exitDegraded)
			}
			return err
		},
	}
}

// printLookup prints how the routes of a family are looked up.
func printLookup(w io.Writer, family string, algo route.Algo) {
	set, memory := "", ""
	if algo.Forced {
		set = ", set by hand"
	}
	if algo.Bytes > 0 {
		memory = fmt.Sprintf(", %.1f MiB", float64(algo.Bytes)/(1<<20))
	}
	fmt.Fprintf(w, "  %s by %s: %d routes%s%s\n", family, algo.Name, algo.Routes, memory, set)
}

// daemonDown reports an instance that goes on without its daemon.
func daemonDown(c *cli.Context, err error) error {
	instance, currentErr := control.Current()
	if currentErr != nil {
		return currentErr
	}
	if c.Bool("json") {
		if err := printJSON(os.Stdout, control.Status{Schema: 1, Instance: instance.Name, Problems: []string{err.Error()}}); err != nil {
			return err
		}
		return statusError(exitDegraded)
	}
	fmt.Printf("instance %s: degraded\n  %v\n", instance.Name, control.ErrDaemonDown)
	fmt.Println("  the fast path goes on; packets for the daemon are dropped and counted (netisr_down)")
	fmt.Println("  `bsdnet load` starts it again, `bsdnet unload` takes everything away")
	return statusError(exitDegraded)
}

func printStatus(w io.Writer, status *control.Status) {
	health := "healthy"
	if !status.Healthy {
		health = "degraded"
	}
	fmt.Fprintf(w, "instance %s: %s, daemon %d up %s\n", status.Instance, health, status.PID, status.Uptime)
	if p := status.Pending; p != nil {
		fmt.Fprintf(w, "  %q is taken back in %.0f seconds unless confirmed (bsdnet confirm)\n", p.What, p.Seconds)
	}
	for _, problem := range status.Problems {
		fmt.Fprintf(w, "  problem: %s\n", problem)
	}
	fmt.Fprintf(w, "forwarding: inet %s, inet6 %s\n", onOff(status.Forwarding["inet"]), onOff(status.Forwarding["inet6"]))
	if status.Landlock == 0 {
		fmt.Fprintln(w, "daemon: not confined to its files: the kernel has no Landlock")
	} else {
		fmt.Fprintf(w, "daemon: confined to its files (Landlock %d)\n", status.Landlock)
	}
	if !status.Persistent {
		fmt.Fprintln(w, "pins: private mount namespace; everything ends with the daemon")
	}
	if len(status.Clones) > 0 {
		words := make([]string, 0, len(status.Clones))
		for _, name := range slices.Sorted(maps.Keys(status.Clones)) {
			words = append(words, fmt.Sprintf("%d %s", status.Clones[name], name))
		}
		outlive := "they outlive the daemon"
		if !status.Persistent {
			outlive = "vlans end with the daemon"
		}
		fmt.Fprintf(w, "clones: %s (%s)\n", strings.Join(words, ", "), outlive)
	}
	for _, e := range status.WireGuard {
		process := ""
		if e.PID != 0 {
			process = fmt.Sprintf(", process %d", e.PID)
		}
		fmt.Fprintf(w, "%s: WireGuard: %s%s\n", e.Name, e.Engine, process)
	}
	fmt.Fprintf(w, "routes: %d (%d in the data path, %d next hops, %d neighbours)\n",
		status.Routes.Routes, status.Routes.Forwarding, status.Routes.Nexthops, status.Routes.Neighbours)
	printLookup(w, "inet", status.Routes.Inet)
	printLookup(w, "inet6", status.Routes.Inet6)
	if n := status.Routes.Unmirrored; n > 0 {
		since := ""
		if status.Routes.MirrorLag != "" {
			since = ", " + status.Routes.MirrorLag + " behind"
		}
		fmt.Fprintf(w, "  Linux lacks %d of them%s\n", n, since)
	}
	for _, i := range status.Interfaces {
		state := "up"
		switch {
		case !i.Present:
			state = "gone"
		case !i.Up:
			state = "down"
		}
		how := "by "
		if i.Output != "redirect" {
			how = "through "
		}
		fmt.Fprintf(w, "%s: %s, mtu %d, input %s (%s), output %s%s\n", i.Name, state, i.MTU, strings.ToUpper(i.Mode), i.Why, how, i.Output)
		fmt.Fprintf(w, "  in %d packets %d bytes %d dropped %d to the host unhandled, out %d packets %d bytes\n",
			i.Data.Ipackets, i.Data.Ibytes, i.Data.Iqdrops, i.Data.Noproto, i.Data.Opackets, i.Data.Obytes)
	}
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

// systemPath are folders where links would hide the system's own commands.
var systemPath = []string{"/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"}

func installLinksCommand() *cli.Command {
	return &cli.Command{
		Name:      "install-links",
		Usage:     "make links in DIR by which the BSD commands are called by their own names",
		ArgsUsage: "DIR",
		Action: func(c *cli.Context) error {
			if c.Args().Len() != 1 {
				return usageError{errors.New("install-links: want one directory")}
			}
			return installLinks(c.Args().First())
		},
	}
}

// linkNames are the commands that get a link. sysctl never does: scripts of
// the system depend on its own.
var linkNames = []string{"arp", "bsdnet-wg", "ifconfig", "ndp", "netstat", "pfctl", "pfilctl", "pflogd", "route"}

func installLinks(dir string) error {
	resolved, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return fmt.Errorf("install links: %w", err)
	}
	if resolved, err = filepath.Abs(resolved); err != nil {
		return err
	}
	onPath := append(slices.Clone(systemPath), filepath.SplitList(os.Getenv("PATH"))...)
	for _, forbidden := range onPath {
		if real, err := filepath.EvalSymlinks(forbidden); err == nil && real == resolved && slices.Contains(systemPath, forbidden) {
			return fmt.Errorf("install links: %s is a directory of the system: its own commands would be hidden", dir)
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, name := range linkNames {
		path := filepath.Join(resolved, name)
		if target, err := os.Readlink(path); err == nil && target == self {
			continue
		}
		if err := os.Symlink(self, path); err != nil {
			return fmt.Errorf("install links: %w", err)
		}
	}
	return nil
}
