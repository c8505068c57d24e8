package control

import (
	"context"
	"errors"
	"fmt"

	"github.com/bsdnet/bsdnet/ifnet"
	"github.com/bsdnet/bsdnet/ifnet/epair"
	"github.com/bsdnet/bsdnet/ifnet/loop"
	"github.com/bsdnet/bsdnet/ifnet/tun"
	"github.com/bsdnet/bsdnet/ifnet/tunnel"
	"github.com/bsdnet/bsdnet/ifnet/vlan"
	"github.com/bsdnet/bsdnet/ifnet/wg"
	"github.com/bsdnet/bsdnet/loader"
)

// startCloners makes the requests about interfaces and the cloners behind them.
func (d *Daemon) startCloners(ctx context.Context) error {
	report := func(err error) { d.log.Error("interfaces", "err", err) }
	var err error
	if d.ioctl, err = ifnet.NewIoctl(d.ifnet, d.instance.kept(), d.ifData); err != nil {
		return err
	}
	vlans, err := vlan.New(d.ioctl, d.ifnet, d.dp, d.private, report)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, vlans.Close)
	wgs, err := wg.New(d.ifnet, d.dp, d.instance.wgDir(), report)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, wgs.Close)
	d.wg = wgs
	tunnels, err := tunnel.New(d.ioctl, d.ifnet, d.dp, d.config, report)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, tunnels.Close)
	for _, c := range []ifnet.Cloner{
		vlans, tun.NewTun(d.ifnet, d.dp, report), tun.NewTap(d.ifnet, d.dp, report), epair.New(d.ifnet, d.dp, report),
		loop.New(d.ifnet, d.dp, d.private, report), wgs, tunnels.Gif(), tunnels.Gre(),
	} {
		if err := d.ioctl.Register(c); err != nil {
			return err
		}
	}
	d.ioctl.Follow(ctx, report)
	return nil
}

// removeClones takes away every interface that the instance made, and what it
// did to others for their sake.
func (i Instance) removeClones() error {
	if err := errors.Join(ifnet.Restore(i.kept()), loader.DeleteClones()); err != nil {
		return fmt.Errorf("remove clones: %w", err)
	}
	return nil
}
