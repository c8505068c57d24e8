package ifnet

import (
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/errno"
	"github.com/bsdnet/bsdnet/loader"
)

// Take puts a device that a cloner made under the data path, its input by TC,
// and marks it as bsdnet's own.
func Take(t *Table, dp *loader.Datapath, index int) error {
	t.Settle(index)
	if err := t.Own(index, true); err != nil {
		return err
	}
	return dp.AttachClone(index)
}

// DestroyDevices deletes the devices of clones.
func DestroyDevices(t *Table, clones []*Clone) error {
	indexes := make([]int, len(clones))
	for n, clone := range clones {
		indexes[n] = clone.Index
	}
	if len(indexes) == 0 {
		return nil
	}
	if err := loader.DeleteLinks(indexes); err != nil {
		return errno.Of(err)
	}
	for _, clone := range clones {
		t.Forget(clone.Index)
		if clone.Partner != 0 {
			t.Forget(clone.Partner)
		}
	}
	return nil
}

// AdoptDevices takes devices over from an earlier daemon and returns those
// that are gone.
func AdoptDevices(t *Table, dp *loader.Datapath, clones []*Clone) (lost []*Clone, err error) {
	var errs []error
	for _, clone := range clones {
		if _, ok := t.ByIndex(clone.Index); !ok {
			lost = append(lost, clone)
			continue
		}
		errs = append(errs, Take(t, dp, clone.Index))
	}
	return lost, errors.Join(errs...)
}

// AddDevice makes a device in the group of those that bsdnet made and returns
// its index. It is in the group from its first moment on, so that [Sweep] finds
// it if the daemon dies before it is kept.
func AddDevice(link netlink.Link) (int, error) {
	link.Attrs().Group = loader.CloneGroup
	if err := netlink.LinkAdd(link); err != nil {
		return 0, errno.Of(err)
	}
	made, err := netlink.LinkByName(link.Attrs().Name)
	if err != nil {
		return 0, errno.Of(err)
	}
	return made.Attrs().Index, nil
}

// AddTuntap is AddDevice for what is made by /dev/net/tun, which knows of no
// groups: until the device is in its own, it would go with this process.
func AddTuntap(link *netlink.Tuntap) (int, error) {
	link.NonPersist, link.Queues, link.Flags = true, 1, netlink.TUNTAP_DEFAULTS
	if err := netlink.LinkAdd(link); err != nil {
		return 0, errno.Of(err)
	}
	file := link.Fds[0]
	defer file.Close()
	made, err := netlink.LinkByName(link.Attrs().Name)
	if err == nil {
		err = loader.MarkClone(made)
	}
	if err == nil {
		err = persist(file)
	}
	if err != nil {
		return 0, errno.Of(err)
	}
	return made.Attrs().Index, nil
}

// persist makes the device of a descriptor outlive it.
func persist(file *os.File) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var failure error
	err = raw.Control(func(fd uintptr) { failure = unix.IoctlSetInt(int(fd), unix.TUNSETPERSIST, 1) })
	return errors.Join(err, failure)
}

// OpenTun attaches to a tun device, which has a carrier until the file is
// closed. Nothing is to be read from it.
func OpenTun(device string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(device)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("attach to %s: %w", device, err)
	}
	return os.NewFile(uintptr(fd), device), nil
}

// SetCarrier gives the tun device of a file a carrier or takes it away.
func SetCarrier(file *os.File, on bool) error {
	value := 0
	if on {
		value = 1
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var failure error
	err = raw.Control(func(fd uintptr) { failure = unix.IoctlSetPointerInt(int(fd), unix.TUNSETCARRIER, value) })
	return errors.Join(err, failure)
}
