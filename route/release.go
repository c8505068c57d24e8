package route

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/bpf"
)

// Release gives the gateways of the maps' next hops back to the ordinary care
// of the kernel, which a Table asked to keep them confirmed. It is for
// unloading and needs no Table; ns is the network namespace, nil that of the
// calling thread. Routes in Linux stay.
func Release(maps Maps, ns *netns.NsHandle) error {
	path, err := newMapPath(maps)
	if err != nil {
		return fmt.Errorf("release gateways: %w", err)
	}
	gateways := make(map[netip.Addr]struct{})
	for number := range path.nexthops() {
		nh := path.nexthop(number)
		key := nexthopKey{flags: nh.Flags, ifslot: nh.Ifslot, gateway: nh.Gateway}
		if neighbour, ok := key.neighbour(); ok && nh.Flags&bpf.NexthopUp != 0 {
			gateways[neighbour.addr] = struct{}{}
		}
	}
	if err := path.close(); err != nil {
		return fmt.Errorf("release gateways: %w", err)
	}
	in := netns.None()
	if ns != nil {
		in = *ns
	}
	k, err := openRtnetlink(in, new(atomic.Uint64))
	if err != nil {
		return fmt.Errorf("release gateways: %w", err)
	}
	defer k.close()
	var managed []linuxNeighbour
	err = k.dumpNeighbours(func(n linuxNeighbour) {
		if _, ok := gateways[n.addr]; ok && n.flagsExt&ntfExtManaged != 0 && n.state&nudStatic == 0 {
			managed = append(managed, n)
		}
	})
	errs := []error{err}
	for _, n := range managed {
		errs = append(errs, k.neighbourSet(linuxNeighbour{ifindex: n.ifindex, addr: n.addr, flags: unix.NTF_USE}, false))
	}
	return errors.Join(errs...)
}
