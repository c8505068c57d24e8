package ifnet

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/errno"
	"github.com/bsdnet/bsdnet/ifnet/api"
)

// AddAddress implements api.Backend.
func (i *Ioctl) AddAddress(_ context.Context, r api.AddressRequest) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	ifp, link, err := i.link(r.Name)
	if err != nil {
		return err
	}
	addr, err := linuxAddr(ifp, r)
	if err != nil {
		return err
	}
	have, err := netlink.AddrList(link, linuxFamily(r.Prefix.Addr()))
	if err != nil {
		return failed(err)
	}
	// Linux keeps an address once for each prefix length, the BSDs once.
	for _, old := range have {
		if !old.IP.Equal(addr.IP) {
			continue
		}
		if old.Mask.String() != addr.Mask.String() || !samePeer(&old, addr) || !old.Broadcast.Equal(addr.Broadcast) {
			if err := i.removeAddress(ifp, link, &old); err != nil {
				return err
			}
		}
	}
	if err := netlink.AddrReplace(link, addr); err != nil {
		return failed(err)
	}
	if !ifp.Up {
		if err := netlink.LinkSetUp(link); err != nil {
			return failed(err)
		}
	}
	return errors.Join(i.settle(ifp.Index), i.settleAddresses(ifp.Index, link))
}

// limitedBroadcast is INADDR_BROADCAST.
var limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// linuxAddr makes what the kernel is told of an address.
func linuxAddr(ifp *Ifnet, r api.AddressRequest) (*netlink.Addr, error) {
	if !r.Prefix.IsValid() {
		return nil, errno.EINVAL
	}
	ip := r.Prefix.Addr()
	if ip.Is4In6() {
		return nil, errno.EINVAL
	}
	for _, other := range []netip.Addr{r.Broadcast, r.Destination} {
		if other.IsValid() && other.Unmap().Is4() != ip.Is4() {
			return nil, errno.EAFNOSUPPORT
		}
	}
	switch {
	case ip.IsMulticast() || ip.IsUnspecified() || ip == limitedBroadcast:
		return nil, errno.EINVAL
	case ip.Is4() && ip.As4()[0] == 127 && !ifp.Loopback:
		return nil, errno.EINVAL
	case ifp.PointToPoint && ip.Is4() && r.Destination.IsValid() && r.Destination.IsUnspecified():
		return nil, errno.EDESTADDRREQ
	case r.Destination.IsValid() && !ifp.PointToPoint:
		return nil, errno.EINVAL
	}
	ip = ip.WithZone("")
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(r.Prefix.Bits(), ip.BitLen())}}
	if r.Destination.IsValid() {
		to := r.Destination.Unmap().WithZone("")
		addr.Peer = &net.IPNet{IP: to.AsSlice(), Mask: addr.Mask}
	}
	if r.Vltime != nil || r.Pltime != nil || r.Flags&api.In6Deprecated != 0 {
		addr.ValidLft, addr.PreferedLft = lifetime(r.Vltime), lifetime(r.Pltime)
		if r.Flags&api.In6Deprecated != 0 {
			addr.PreferedLft = 0
		}
		if addr.PreferedLft > addr.ValidLft || addr.ValidLft == 0 {
			return nil, errno.EINVAL
		}
	}
	if ip.Is4() {
		switch {
		case r.Broadcast.IsValid():
			if !ifp.Broadcast {
				return nil, errno.EINVAL
			}
			addr.Broadcast = r.Broadcast.AsSlice()
		case ifp.Broadcast && r.Prefix.Bits() <= 30:
			addr.Broadcast = broadcastOf(ip, r.Prefix.Bits())
		}
		return addr, nil
	}
	if r.Flags&api.In6Anycast != 0 {
		// Linux joins anycast groups for programs alone (IPV6_JOIN_ANYCAST).
		return nil, errno.EOPNOTSUPP
	}
	if r.Flags&api.In6Nodad != 0 {
		addr.Flags |= unix.IFA_F_NODAD
	}
	return addr, nil
}

// forever is INFINITY_LIFE_TIME of the kernel in the form of package netlink.
const forever = 1<<32 - 1

func lifetime(seconds *uint32) int {
	if seconds == nil {
		return forever
	}
	return int(*seconds)
}

func broadcastOf(ip netip.Addr, bits int) net.IP {
	out := net.IP(ip.AsSlice())
	for n, m := range net.CIDRMask(bits, 32) {
		out[n] |= ^m
	}
	return out
}

func samePeer(a, b *netlink.Addr) bool {
	peer := func(addr *netlink.Addr) string {
		if addr.Peer == nil || addr.Peer.IP.Equal(addr.IP) {
			return ""
		}
		return addr.Peer.IP.String()
	}
	return peer(a) == peer(b)
}

func linuxFamily(ip netip.Addr) int {
	if ip.Unmap().Is4() {
		return netlink.FAMILY_V4
	}
	return netlink.FAMILY_V6
}

// DeleteAddress implements api.Backend.
func (i *Ioctl) DeleteAddress(_ context.Context, r api.AddressRequest) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	ifp, link, err := i.link(r.Name)
	if err != nil {
		return err
	}
	family := netlink.FAMILY_V4
	if r.Family == api.Inet6 {
		family = netlink.FAMILY_V6
	}
	ip := r.Prefix.Addr().Unmap().WithZone("")
	if r.Prefix.IsValid() {
		family = linuxFamily(ip)
	}
	have, err := netlink.AddrList(link, family)
	if err != nil {
		return failed(err)
	}
	for _, addr := range have {
		if r.Prefix.IsValid() && !addr.IP.Equal(ip.AsSlice()) {
			continue
		}
		// The first address of a family is one that a user set.
		if !r.Prefix.IsValid() && family == netlink.FAMILY_V6 && addr.IP.IsLinkLocalUnicast() {
			continue
		}
		if err := i.removeAddress(ifp, link, &addr); err != nil {
			return err
		}
		return i.settleAddresses(ifp.Index, link)
	}
	return errno.EADDRNOTAVAIL
}

// removeAddress takes an address away and leaves the others of its network,
// which Linux would remove with the first of them.
func (i *Ioctl) removeAddress(ifp *Ifnet, link netlink.Link, addr *netlink.Addr) error {
	if err := sysctl("ipv4", ifp.Device, "promote_secondaries", "1"); err != nil {
		return failed(err)
	}
	return failed(netlink.AddrDel(link, addr))
}

// settleAddresses takes the kernel's addresses of an interface into the table.
func (i *Ioctl) settleAddresses(index int, link netlink.Link) error {
	addrs, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return failed(err)
	}
	var all []Addr
	for _, addr := range addrs {
		if a, ok := fromNetlink(addr); ok {
			all = append(all, a)
		}
	}
	i.table.setAddrs(index, all)
	return nil
}
