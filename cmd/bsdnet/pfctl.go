package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/user"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/bsdnet/bsdnet/control"
	"github.com/bsdnet/bsdnet/pf/conf"
	"github.com/bsdnet/bsdnet/pf/pfctl"
)

// pfctlMain is pfctl(8).
func pfctlMain(ctx context.Context, args []string) int {
	// It ends in a moment: collecting garbage is waste unless rules are very many.
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(512 << 20)
	return pfctl.Main(ctx, args, os.Stdin, os.Stdout, os.Stderr, pfctlHost(os.Stderr))
}

// pfctlRun is pfctl for the program itself: both streams go to output.
func pfctlRun(ctx context.Context, args []string, output io.Writer) int {
	return pfctl.Main(ctx, args, strings.NewReader(""), output, output, pfctlHost(output))
}

// pfctlHost is this host as pfctl sees it; warnings of the daemon go to stderr.
func pfctlHost(stderr io.Writer) pfctl.Host {
	return pfctl.Host{
		Getenv: os.Getenv,
		Engine: func(ctx context.Context) (pfctl.Engine, error) {
			client, err := control.Dial()
			if errors.Is(err, control.ErrNoInstance) {
				return nil, pfctl.ErrNoInstance
			}
			if errors.Is(err, control.ErrDaemonDown) {
				instance, err := control.Current()
				return &control.PFDown{Instance: instance}, err
			}
			if err != nil {
				return nil, err
			}
			return control.NewPF(ctx, client, stderr)
		},
		Interfaces: conf.HostInterfaces,
		Resolve: func(ctx context.Context, name string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
		},
		LookupUser:  func(name string) (uint32, bool) { return number(user.Lookup(name)) },
		LookupGroup: func(name string) (uint32, bool) { return groupNumber(user.LookupGroup(name)) },
	}
}

func number(u *user.User, err error) (uint32, bool) {
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(u.Uid, 10, 32)
	return uint32(n), err == nil
}

func groupNumber(g *user.Group, err error) (uint32, bool) {
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(g.Gid, 10, 32)
	return uint32(n), err == nil
}
