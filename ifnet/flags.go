package ifnet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/errno"
	"github.com/bsdnet/bsdnet/ifnet/api"
)

// keptFlags have no counterpart in Linux.
const keptFlags = api.IffDebug | api.IffLink0 | api.IffLink1 | api.IffLink2 | api.IffStaticarp | api.IffMonitor

// SetFlags implements api.Backend.
func (i *Ioctl) SetFlags(_ context.Context, r api.FlagsRequest) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	ifp, link, err := i.link(r.Name)
	if err != nil {
		return err
	}
	set, clear := r.Set&api.IffChangeable, r.Clear&api.IffChangeable
	if set&api.IffMonitor != 0 && !ifp.Owned {
		return errno.Errorf(errno.EOPNOTSUPP, "%s is not under the data path (bsdnet load -i %s)", ifp.Name, ifp.Device)
	}
	var errs []error
	either := func(flag api.Flags, on, off func(netlink.Link) error) {
		switch {
		case set&flag != 0:
			errs = append(errs, on(link))
		case clear&flag != 0:
			errs = append(errs, off(link))
		}
	}
	either(api.IffNoarp, netlink.LinkSetARPOff, netlink.LinkSetARPOn)
	either(api.IffPpromisc, netlink.SetPromiscOn, netlink.SetPromiscOff)
	either(api.IffStaticarp, staticARP(ifp.Device, true), staticARP(ifp.Device, false))
	either(api.IffUp, netlink.LinkSetUp, func(link netlink.Link) error {
		// The BSDs keep the addresses of an interface that is down.
		return errors.Join(sysctl("ipv6", ifp.Device, "keep_addr_on_down", "1"), netlink.LinkSetDown(link))
	})
	if err := errors.Join(errs...); err != nil {
		return failed(err)
	}
	if (set|clear)&keptFlags != 0 {
		k := i.state.of(ifp)
		k.Flags = (k.Flags | set&keptFlags) &^ (clear & keptFlags)
		i.table.setMonitor(ifp.Index, k.Flags&api.IffMonitor != 0)
		if f, ok := i.clonerOf(ifp).(flagFollower); ok {
			if err := f.FlagsChanged(k.Clone); err != nil {
				return err
			}
		}
		if err := i.state.write(); err != nil {
			return err
		}
	}
	return i.settle(ifp.Index)
}

// staticARP makes Linux never ask for a link address on an interface, or ask as
// it does by default. It answers those who ask for its own all the same.
func staticARP(device string, on bool) func(netlink.Link) error {
	return func(netlink.Link) error {
		count := "3"
		if on {
			count = "0"
		}
		var errs []error
		for _, name := range []string{"mcast_solicit", "ucast_solicit"} {
			err := os.WriteFile(filepath.Join("/proc/sys/net/ipv4/neigh", device, name), []byte(count), 0)
			if !errors.Is(err, os.ErrNotExist) { // an interface without ARP
				errs = append(errs, err)
			}
		}
		return errors.Join(errs...)
	}
}

// flagsOf are the flags of an interface as a BSD would have them.
func flagsOf(ifp *Ifnet, raw uint32, promisc int, k *Kept) api.Flags {
	var flags api.Flags
	for _, f := range []struct {
		set  bool
		flag api.Flags
	}{
		{ifp.Up, api.IffUp},
		{ifp.Broadcast, api.IffBroadcast},
		{ifp.Loopback, api.IffLoopback},
		{ifp.PointToPoint, api.IffPointopoint},
		{ifp.Up && ifp.Running, api.IffRunning},
		{ifp.NoARP && (len(ifp.Lladdr) == 6 && !ifp.Loopback || ifp.Cloner == WgName), api.IffNoarp},
		{ifp.Multicast || ifp.Loopback, api.IffMulticast},
		{promisc > 0, api.IffPromisc},
		{raw&unix.IFF_PROMISC != 0, api.IffPromisc | api.IffPpromisc},
		{raw&unix.IFF_ALLMULTI != 0, api.IffAllmulti},
		{ifp.Broadcast && !ifp.Loopback, api.IffSimplex},
	} {
		if f.set {
			flags |= f.flag
		}
	}
	if k != nil {
		flags |= k.Flags
	}
	return flags
}

// nd6Settings says how Linux has what the flags of nd6 mean.
var nd6Settings = []struct {
	flag    api.Nd6Flags
	setting string
	on, off string
}{
	// 2: also where packets are forwarded, as on the BSDs.
	{api.Nd6AcceptRtadv, "accept_ra", "2", "0"},
	{api.Nd6Ifdisabled, "disable_ipv6", "1", "0"},
	{api.Nd6AutoLinklocal, "addr_gen_mode", "0", "1"},
	{api.Nd6NoRadr, "accept_ra_defrtr", "0", "1"},
	{api.Nd6NoDad, "accept_dad", "0", "1"},
}

// SetNd6 implements api.Backend.
func (i *Ioctl) SetNd6(_ context.Context, r api.Nd6Request) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	ifp, err := i.find(r.Name)
	if err != nil {
		return err
	}
	known := api.Nd6Performnud
	for _, s := range nd6Settings {
		known |= s.flag
	}
	if (r.Set|r.Clear)&^known != 0 {
		return errno.EOPNOTSUPP
	}
	if r.Clear&api.Nd6Performnud != 0 {
		return errno.EOPNOTSUPP // Linux always does
	}
	for _, s := range nd6Settings {
		value := ""
		switch {
		case r.Set&s.flag != 0:
			value = s.on
		case r.Clear&s.flag != 0:
			value = s.off
		default:
			continue
		}
		if err := sysctl("ipv6", ifp.Device, s.setting, value); err != nil {
			return fmt.Errorf("%s: %w", s.setting, failed(err))
		}
	}
	return nil
}

// nd6Of reads the flags of IPv6 of an interface, 0 where it has no IPv6.
func nd6Of(device string) api.Nd6Flags {
	if readSysctl("ipv6", device, "mtu") == "" {
		return 0
	}
	flags := api.Nd6Performnud
	if ra := readSysctl("ipv6", device, "accept_ra"); ra == "2" || ra == "1" && readSysctl("ipv6", device, "forwarding") == "0" {
		flags |= api.Nd6AcceptRtadv
	}
	if readSysctl("ipv6", device, "disable_ipv6") == "1" {
		flags |= api.Nd6Ifdisabled
	}
	if mode := readSysctl("ipv6", device, "addr_gen_mode"); mode != "1" {
		flags |= api.Nd6AutoLinklocal
	}
	if readSysctl("ipv6", device, "accept_ra_defrtr") == "0" {
		flags |= api.Nd6NoRadr
	}
	if readSysctl("ipv6", device, "accept_dad") == "0" {
		flags |= api.Nd6NoDad
	}
	return flags
}

// forcible are the flags that clones need of the interface that carries them.
var forcible = []struct {
	flag    api.Flags
	linux   uint32
	on, off func(netlink.Link) error
}{
	{api.IffAllmulti, unix.IFF_ALLMULTI, netlink.LinkSetAllmulticastOn, netlink.LinkSetAllmulticastOff},
	{api.IffPpromisc, unix.IFF_PROMISC, netlink.SetPromiscOn, netlink.SetPromiscOff},
}
