package ifnet

import (
	"context"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/errno"
	"github.com/bsdnet/bsdnet/ifnet/api"
	"github.com/bsdnet/bsdnet/loader"
)

// Interfaces implements api.Backend.
func (i *Ioctl) Interfaces(_ context.Context, r api.Name) ([]api.Interface, error) {
	var links []netlink.Link
	addrs := make(map[int][]netlink.Addr)
	if r.Name != "" {
		_, link, err := i.link(r.Name)
		if err != nil {
			return nil, err
		}
		links = append(links, link)
	} else {
		all, err := whole(netlink.LinkList)
		if err != nil {
			return nil, failed(err)
		}
		links = all
	}
	list, err := whole(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, failed(err)
	}
	for _, addr := range list {
		addrs[addr.LinkIndex] = append(addrs[addr.LinkIndex], addr)
	}
	out := make([]api.Interface, 0, len(links))
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, link := range links {
		ifp, ok := i.table.ByIndex(link.Attrs().Index)
		if !ok || ifp.Role != RoleNone && r.Name == "" {
			continue // it came a moment ago, or is bsdnet's own
		}
		out = append(out, i.describe(ifp, link, addrs[ifp.Index], r.Keys))
	}
	slices.SortFunc(out, func(a, b api.Interface) int { return a.Index - b.Index })
	if r.Name != "" && len(out) == 0 {
		return nil, errno.ENXIO
	}
	return out, nil
}

func (i *Ioctl) describe(ifp *Ifnet, link netlink.Link, addrs []netlink.Addr, keys bool) api.Interface {
	attrs := link.Attrs()
	k := i.state.kept[ifp.Index]
	out := api.Interface{
		Name: ifp.Name, Device: ifp.Device, Index: ifp.Index, MTU: attrs.MTU, Owned: ifp.Owned,
		Type: ifp.Iftype(), Flags: flagsOf(ifp, attrs.RawFlags, attrs.Promisc, k),
		Description: attrs.Alias, Nd6: nd6Of(ifp.Device), LinkState: api.LinkDown, Groups: groupsOf(ifp),
	}
	out.Capabilities, out.Enabled = capabilitiesOf(ifp.Device)
	if ifp.Running {
		out.LinkState = api.LinkUp
	}
	if ifp.Owned {
		out.Mode = "xdp"
		if ifp.TC {
			out.Mode = "tc"
		}
	}
	if len(attrs.HardwareAddr) == 6 && !ifp.Loopback {
		out.Lladdr = attrs.HardwareAddr.String()
		if permanent := attrs.PermHWAddr; len(permanent) == 6 && permanent.String() != out.Lladdr {
			out.HwAddr = permanent.String()
		}
		out.Media = mediaOf(ifp)
	}
	if k != nil {
		out.Metric = k.Metric
		if k.Description != "" {
			out.Description = k.Description
		}
		if k.Clone != nil {
			out.Cloner = k.Clone.Cloner
			out.Vlan = i.vlanOf(k.Clone)
			out.Wg = i.wgOf(ifp, k.Clone, keys)
			out.Tunnel = k.Clone.Tunnel
		}
	}
	out.Tuntap = (ifp.Type == "tuntap" || ifp.Type == "tun") && out.Wg == nil && !ifp.Tunnel()
	for _, addr := range addrs {
		if a, ok := describeAddr(ifp, addr); ok {
			out.Addresses = append(out.Addresses, a)
		}
	}
	slices.SortStableFunc(out.Addresses, func(a, b api.Address) int {
		return a.Prefix.Addr().BitLen() - b.Prefix.Addr().BitLen()
	})
	i.counters(&out, ifp, attrs.Statistics)
	if out.Wg != nil {
		for _, n := range out.Wg.Dropped {
			out.Data.Ierrors += n
		}
	}
	return out
}

// vlanOf is the tag of a vlan, under its parent's present name.
func (i *Ioctl) vlanOf(clone *Clone) *api.Vlan {
	if clone.Cloner != "vlan" {
		return nil
	}
	if clone.Vlan == nil {
		return &api.Vlan{Proto: api.Vlan8021Q}
	}
	v := *clone.Vlan
	if parent, ok := i.table.ByIndex(clone.Parent); ok {
		v.Parent = parent.Name
	}
	return &v
}

// counters joins those of the device with those of the data path, which takes
// frames before the device's own protocols count them.
func (i *Ioctl) counters(out *api.Interface, ifp *Ifnet, s *netlink.LinkStatistics) {
	if s != nil {
		out.Data = api.Data{
			Ipackets: s.RxPackets, Ierrors: s.RxErrors, Ibytes: s.RxBytes, Imcasts: s.Multicast, Iqdrops: s.RxDropped,
			Opackets: s.TxPackets, Oerrors: s.TxErrors, Obytes: s.TxBytes, Oqdrops: s.TxDropped, Colls: s.Collisions,
		}
	}
	if ifp.Owned && ifp.HasSlot && i.data != nil {
		if d, err := i.data(ifp.Slot); err == nil {
			out.Data.Ipackets, out.Data.Ibytes, out.Data.Opackets, out.Data.Obytes = d.Ipackets, d.Ibytes, d.Opackets, d.Obytes
			out.Data.Imcasts, out.Data.Omcasts = d.Imcasts, d.Omcasts
			out.Data.Iqdrops, out.Data.Noproto = d.Iqdrops, d.Noproto
		}
	}
	if media, err := loader.GetMedia(ifp.Device); err == nil {
		out.Data.Baudrate = uint64(media.Speed) * 1e6
	}
}

// Iftype returns the type of an interface: IFT_*.
func (ifp *Ifnet) Iftype() uint8 {
	switch {
	case ifp.Loopback:
		return api.IftLoop
	case ifp.Vlan != nil:
		return api.IftL2vlan
	case ifp.Cloner == WgName:
		return api.IftWg
	case ifp.Tunnel():
		return tunnelTypes[ifp.Cloner]
	case ifp.Type == "bridge":
		return api.IftBridge
	case len(ifp.Lladdr) == 6:
		return api.IftEther
	case ifp.PointToPoint:
		return api.IftPPP
	}
	return api.IftPropvir
}

func describeAddr(ifp *Ifnet, addr netlink.Addr) (api.Address, bool) {
	ip, ok := netip.AddrFromSlice(addr.IP)
	if !ok {
		return api.Address{}, false
	}
	ip = ip.Unmap()
	ones, _ := addr.Mask.Size()
	a := api.Address{Prefix: netip.PrefixFrom(ip, ones), Pltime: api.Infinite, Vltime: api.Infinite}
	if b, ok := netip.AddrFromSlice(addr.Broadcast); ok && ifp.Broadcast {
		a.Broadcast = b.Unmap()
	}
	if addr.Peer != nil && !addr.Peer.IP.Equal(addr.IP) {
		if p, ok := netip.AddrFromSlice(addr.Peer.IP); ok {
			a.Destination = p.Unmap()
		}
	}
	if ip.Is4() {
		return a, true
	}
	for _, f := range []struct {
		linux int
		flag  api.In6Flags
	}{
		{unix.IFA_F_TENTATIVE, api.In6Tentative},
		{unix.IFA_F_DADFAILED, api.In6Duplicated},
		{unix.IFA_F_DEPRECATED, api.In6Deprecated},
		{unix.IFA_F_TEMPORARY, api.In6Temporary},
	} {
		if addr.Flags&f.linux != 0 {
			a.Flags |= f.flag
		}
	}
	if addr.Flags&unix.IFA_F_PERMANENT == 0 {
		if addr.ValidLft < forever {
			a.Vltime = uint32(addr.ValidLft)
		}
		if addr.PreferedLft < forever {
			a.Pltime = uint32(addr.PreferedLft)
		}
		if addr.Flags&(unix.IFA_F_MANAGETEMPADDR|unix.IFA_F_NOPREFIXROUTE) != 0 {
			a.Flags |= api.In6Autoconf
		}
	}
	return a, true
}

// groupsOf are the groups in the order of the BSDs: the driver's first.
func groupsOf(ifp *Ifnet) []string {
	var groups []string
	for _, driver := range clonedDrivers {
		if ifp.InGroup(driver) && !slices.Contains(ifp.Groups, driver) {
			groups = append(groups, driver)
		}
	}
	return append(groups, ifp.Groups...)
}
