package control

import (
	"context"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/bsdnet/bsdnet/ifnet"
	"github.com/bsdnet/bsdnet/loader"
)

// Awaited is an interface that a boot asked for before it was there.
type Awaited struct {
	Name     string `json:"name"`
	Asked    string `json:"asked"`
	Takeover bool   `json:"takeover,omitempty"`
}

// await notes the interfaces of a request that are not there.
func (d *Daemon) await(request LoadRequest) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	mode := request.Mode
	if mode == "" {
		mode = loader.ModeAuto
	}
	for _, name := range request.Interfaces {
		if _, err := netlink.LinkByName(name); err == nil {
			continue
		}
		if !slices.ContainsFunc(d.record.Awaited, func(a Awaited) bool { return a.Name == name }) {
			d.record.Awaited = append(d.record.Awaited, Awaited{name, string(mode), request.Takeover})
		}
	}
	return d.instance.writeRecord(d.record)
}

// followArrivals puts interfaces under the data path as they come: those that
// are awaited, and those of the instance that went and came back.
func (d *Daemon) followArrivals(ctx context.Context) {
	changed := make(chan struct{}, 1)
	cancel := d.ifnet.Subscribe(func(e ifnet.Event) {
		if e.Kind != ifnet.Attach && e.Kind != ifnet.Rename {
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
			d.arm(ctx)
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
		}
	}()
}

func (d *Daemon) arm(ctx context.Context) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	waiting := slices.Clone(d.record.Awaited)
	for _, entry := range d.record.Interfaces {
		if _, there := d.ifnet.ByIndex(entry.Index); !there {
			waiting = append(waiting, Awaited{Name: entry.Name, Asked: entry.Asked})
		}
	}
	for _, one := range waiting {
		device, err := netlink.LinkByName(one.Name)
		if err != nil || d.recordOf(device.Attrs().Index) != nil {
			continue
		}
		if _, known := d.ifnet.ByIndex(device.Attrs().Index); !known {
			continue // its event is still to come
		}
		if err := d.armOne(device, one); err != nil {
			d.log.Error("interface arrived and cannot be loaded: it is not filtered", "interface", one.Name, "err", err)
		}
	}
}

// armOne puts an interface that has come under the data path; d.mu is held.
func (d *Daemon) armOne(device netlink.Link, one Awaited) error {
	entry, warning, err := d.attach(device, loader.Mode(one.Asked), one.Takeover)
	if err != nil {
		return err
	}
	d.log.Info("interface arrived", "interface", entry.Name, "mode", entry.Mode, "why", entry.Why)
	if warning != "" {
		d.log.Warn(warning)
	}
	d.record.Awaited = slices.DeleteFunc(d.record.Awaited, func(a Awaited) bool { return a.Name == one.Name })
	for _, old := range slices.Clone(d.record.Interfaces) {
		if _, there := d.ifnet.ByIndex(old.Index); old.Name == one.Name && !there {
			err = d.detach(old.Index)
		}
	}
	if err != nil {
		return err
	}
	return d.instance.writeRecord(d.record)
}
