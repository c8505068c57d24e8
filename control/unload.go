package control

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"

	"github.com/bsdnet/bsdnet/loader"
	"github.com/bsdnet/bsdnet/route"
)

// Unload takes an instance away, with or without its daemon: the data path
// leaves the interfaces first, then what was changed is put back, then pins
// and folders go. It goes as far as it can and reports all that failed.
func Unload(instance Instance) error {
	release, err := lock()
	if err != nil {
		return err
	}
	defer release()
	record, err := instance.ReadRecord()
	if errors.Is(err, ErrNoInstance) && exists(instance.PinDir()) {
		record, err = &Record{}, nil
	}
	if err != nil {
		return err
	}
	return errors.Join(restore(instance, record), instance.releaseGateways(), instance.Remove(), removeLog(instance))
}

// releaseGateways lets the kernel forget the gateways that routing asked it to
// keep confirmed. It needs the pinned maps, and no daemon.
func (i Instance) releaseGateways() error {
	var maps route.Maps
	for name, m := range map[string]**ebpf.Map{
		"rt_inet": &maps.Inet, "rt_inet6": &maps.Inet6, "fibs": &maps.Fibs, "fib_tables": &maps.Tables, "nexthop": &maps.Nexthop, "arp": &maps.Arp, "nd6": &maps.Nd6,
	} {
		pinned, err := ebpf.LoadPinnedMap(filepath.Join(i.PinDir(), "maps", name), nil)
		if errors.Is(err, os.ErrNotExist) {
			return nil // a load that did not get so far asked for nothing
		}
		if err != nil {
			return fmt.Errorf("release gateways: %w", err)
		}
		defer pinned.Close()
		*m = pinned
	}
	return route.Release(maps, nil)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func removeLog(instance Instance) error {
	if err := os.Remove(instance.Log()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// restore detaches every interface and undoes what was changed on it.
func restore(instance Instance, record *Record) error {
	errs := []error{instance.removeClones()}
	for _, entry := range record.Interfaces {
		errs = append(errs, loader.DetachPinned(instance.PinDir(), entry.Index), entry.restore())
	}
	return errors.Join(errs...)
}

// restore puts an interface's offloads back to what they were, and the length
// of its queue, which the kernel sets when a clsact comes to a device that has
// none (qdisc_create).
func (entry *InterfaceRecord) restore() error {
	device, err := netlink.LinkByIndex(entry.Index)
	if err != nil {
		return nil // it is gone
	}
	var errs []error
	if entry.TxQLen != nil && *entry.TxQLen != device.Attrs().TxQLen {
		errs = append(errs, netlink.LinkSetTxQLen(device, *entry.TxQLen))
	}
	for name, on := range entry.Offloads {
		if offload, ok := loader.OffloadByName(name); ok {
			errs = append(errs, loader.SetOffload(device.Attrs().Name, offload, on))
		}
	}
	return errors.Join(errs...)
}

// Remove removes everything of an instance that the kernel or the file system
// holds: the netisr veth, pins, the private namespace, the folder.
func (i Instance) Remove() error { return i.remove(i.removeDir) }

// remove is Remove with another way to remove the folder.
func (i Instance) remove(removeDir func() error) error {
	var errs []error
	// Only the veth of an instance in this namespace is within reach; one of a
	// namespace that is gone went with it.
	if end, err := netlink.LinkByName(loader.NetisrName); err == nil && end.Type() == "veth" {
		if _, err := os.Stat(i.PrivateNamespace()); err == nil {
			errs = append(errs, netlink.LinkDel(end))
		}
	}
	errs = append(errs, i.removePins(), removeDir())
	errs = append(errs, i.removeLeases())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove instance %s: %w", i.Name, err)
	}
	return nil
}

// FinishUnload removes what a daemon had to leave that may let go of no mount:
// the private namespace and the folder that holds it.
func FinishUnload(instance Instance) error {
	release, err := lock()
	if err != nil {
		return err
	}
	defer release()
	if exists(instance.record()) {
		return nil // it has been loaded again
	}
	return instance.removeDir()
}

// removeLeases removes the leases of a namespace, which does not outlive a
// reboot.
func (i Instance) removeLeases() error {
	if i.Name == "host" {
		return nil
	}
	leases, err := filepath.Glob(filepath.Join(i.State(), leasePrefix+"*"))
	errs := []error{err}
	for _, lease := range leases {
		errs = append(errs, os.Remove(lease))
	}
	_ = os.Remove(i.State()) // unless there is more in it
	return errors.Join(errs...)
}
