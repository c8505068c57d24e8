package main

import (
	"context"
	"net"
	"net/netip"
	"os"

	"github.com/bsdnet/bsdnet/control"
	"github.com/bsdnet/bsdnet/ifnet/command"
)

func ifconfigMain(ctx context.Context, args []string) int {
	client, err := control.Dial()
	if err != nil {
		return report("ifconfig", err)
	}
	return command.Ifconfig(ctx, &command.Env{
		Backend: control.Ifnet{Client: client},
		Stdout:  os.Stdout, Stderr: os.Stderr,
		Format: os.Getenv("IFCONFIG_FORMAT"),
		Host: func(name string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
		},
	}, args)
}
