package main

import (
	"context"
	"io"
	"os"
	"strings"

	"github.com/bsdnet/bsdnet/control"
	"github.com/bsdnet/bsdnet/ifnet/api"
	"github.com/bsdnet/bsdnet/route/command"
	"github.com/bsdnet/bsdnet/route/rtm"
)

// routingEnv connects a front end of the routing system with the daemon.
func routingEnv(ctx context.Context) (*command.Env, error) {
	client, err := control.Dial()
	if err != nil {
		return nil, err
	}
	env := &command.Env{
		Backend: control.Routing{Client: client},
		Stdout:  os.Stdout, Stderr: os.Stderr,
		Root:     os.Geteuid() == 0,
		Resolver: &command.NetResolver{Context: ctx},
	}
	env.Socket = func(context.Context) (io.ReadCloser, error) { return control.DialRoute(rtm.FreeBSD) }
	env.IndexToName = func(index int) (string, bool) { return interfaceName(ctx, client, index) }
	if name, err := os.Hostname(); err == nil {
		_, env.Domain, _ = strings.Cut(name, ".")
	}
	return env, nil
}

// interfaceName returns the BSD name of the interface with an index.
func interfaceName(ctx context.Context, client *control.Client, index int) (string, bool) {
	list, err := control.Call[[]api.Interface](ctx, client, "ifnet/list", api.Name{})
	if err != nil {
		return "", false
	}
	for _, ifp := range list {
		if ifp.Index == index {
			return ifp.Name, true
		}
	}
	return "", false
}

func routingMain(ctx context.Context, name string, args []string, run func(context.Context, *command.Env, []string) int) int {
	env, err := routingEnv(ctx)
	if err != nil {
		return report(name, err)
	}
	return run(ctx, env, args)
}

func routeMain(ctx context.Context, args []string) int {
	return routingMain(ctx, "route", args, command.Route)
}

func arpMain(ctx context.Context, args []string) int {
	return routingMain(ctx, "arp", args, command.Arp)
}

func ndpMain(ctx context.Context, args []string) int {
	return routingMain(ctx, "ndp", args, command.Ndp)
}

func netstatRoutes(ctx context.Context, args []string) int {
	return routingMain(ctx, "netstat", args, command.NetstatRoutes)
}

// netstatQueues prints netstat -Q.
func netstatQueues(ctx context.Context, client *control.Client, o netstatOptions) error {
	stats, err := control.Call[*control.SlowPathStats](ctx, client, "netisr", control.None{})
	if err != nil {
		return err
	}
	if o.json {
		return printJSON(os.Stdout, stats)
	}
	return stats.Netisr.Format(os.Stdout)
}
