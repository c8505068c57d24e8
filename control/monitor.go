package control

import (
	"context"

	"github.com/vishvananda/netlink"

	"github.com/bsdnet/bsdnet/ifnet"
	"github.com/bsdnet/bsdnet/loader"
)

// monitoredWhy is why an interface runs in TC that runs in XDP else: listeners
// of Linux see a frame before TC drops it, and none that XDP drops.
const monitoredWhy = "monitored"

// followMonitor keeps monitored interfaces in TC until ctx ends.
func (d *Daemon) followMonitor(ctx context.Context) {
	changed := make(chan struct{}, 1)
	cancel := d.ifnet.Subscribe(func(e ifnet.Event) {
		if e.Kind != ifnet.Link {
			return
		}
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	go func() {
		defer cancel()
		for {
			d.monitorModes()
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
		}
	}()
}

// monitorModes gives interfaces that began or ceased to be monitored their
// build.
func (d *Daemon) monitorModes() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, entry := range d.record.Interfaces {
		ifp, ok := d.ifnet.ByIndex(entry.Index)
		if !ok {
			continue
		}
		var mode loader.Mode
		switch {
		case ifp.Monitor && entry.Mode == string(loader.ModeXDP):
			mode = loader.ModeTC
		case !ifp.Monitor && entry.Why == monitoredWhy:
			mode = loader.Mode(entry.Asked)
		default:
			continue
		}
		if err := d.changeMode(entry, mode); err != nil {
			d.log.Error("monitor: change the build", "interface", entry.Name, "err", err)
		}
	}
}

// changeMode changes the build of an interface but not what was asked for;
// d.mu is held.
func (d *Daemon) changeMode(entry *InterfaceRecord, mode loader.Mode) error {
	device, err := netlink.LinkByIndex(entry.Index)
	if err != nil {
		return err
	}
	asked := entry.Asked
	_, _, err = d.attach(device, mode, false)
	entry.Asked = asked
	if err == nil && mode == loader.ModeTC && asked != string(loader.ModeTC) {
		entry.Why = monitoredWhy
	}
	if err != nil {
		return err
	}
	return d.instance.writeRecord(d.record)
}
