package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/control"
	"github.com/bsdnet/bsdnet/ifnet/api"
	"github.com/bsdnet/bsdnet/ifnet/wg"
	"github.com/bsdnet/bsdnet/ifnet/wg/engine"
)

// wgProcess is the process behind a wg(4), which the daemon starts.
func wgProcess(args []string) int {
	ready := os.NewFile(wg.ReadyFile, "ready")
	err := func() error {
		if _, err := ready.Stat(); len(args) != 2 || err != nil {
			return errors.New("this is started by the daemon; see ifconfig wg0 create")
		}
		slog.SetDefault(slog.New(logHandler()))
		e, err := startWg(args[0], args[1])
		if err != nil {
			return err
		}
		fmt.Fprintln(ready, "ok")
		ready.Close()
		ended := make(chan os.Signal, 1)
		signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
		signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
		go func() {
			<-ended
			e.Close()
		}()
		e.Wait()
		return nil
	}()
	if err != nil {
		fmt.Fprintln(ready, err)
		return report("bsdnet wg", err)
	}
	return 0
}

func startWg(name, dir string) (*engine.Engine, error) {
	if err := unix.SetNonblock(wg.TunFile, true); err != nil {
		return nil, fmt.Errorf("tun: %w", err)
	}
	e, err := engine.Start(name, dir, os.NewFile(wg.TunFile, "tun"))
	if err != nil {
		return nil, err
	}
	if err := control.RestrictWg(dir, engine.PublicDir); err != nil { // it can serve, with more than it needs
		slog.Error("the WireGuard process keeps privileges that it does not need", "err", err)
	}
	return e, nil
}

// wgQuickMain makes an interface for wg-quick(8), which calls what
// WG_QUICK_USERSPACE_IMPLEMENTATION names with the interface's name alone.
func wgQuickMain(ctx context.Context, args []string) int {
	const program = "bsdnet-wg"
	if len(args) != 1 || args[0] == "" || args[0][0] == '-' {
		fmt.Fprintln(os.Stderr, "usage: bsdnet-wg interface")
		return exitUsage
	}
	client, err := control.Dial()
	if err != nil {
		return report(program, err)
	}
	if err := createNamed(ctx, control.Ifnet{Client: client}, args[0]); err != nil {
		return report(program, fmt.Errorf("%s: %w", args[0], err))
	}
	return 0
}

// createNamed makes a wg(4) of any name.
func createNamed(ctx context.Context, b api.Backend, name string) error {
	if isUnit(name) {
		_, err := b.Create(ctx, []api.CreateRequest{{Name: name}})
		return err
	}
	names, err := b.Create(ctx, []api.CreateRequest{{Name: "wg"}})
	if err != nil {
		return err
	}
	if err := b.SetName(ctx, api.TextRequest{Name: names[0], Value: name}); err != nil {
		return errors.Join(err, b.Destroy(ctx, []api.Name{{Name: names[0]}}))
	}
	return nil
}

// isUnit reports whether a name is wg and a number.
func isUnit(name string) bool {
	var unit int
	n, err := fmt.Sscanf(name, "wg%d", &unit)
	return n == 1 && err == nil && name == fmt.Sprintf("wg%d", unit)
}
