package loader

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Groups of IFLA_GROUP: what bsdnet made, and those of it that are to go at
// once. Deleting a thousand interfaces by their group takes as long as deleting
// ten of them one by one.
const (
	CloneGroup  = 0xb5d0
	doomedGroup = 0xb5d1
)

// CloneVeth is the veth pair of a clone: the user's end, in the host's
// namespace, and the stack's end in the private one.
type CloneVeth struct {
	Name         string
	Index, Stack int
	MTU          int
	Lladdr       net.HardwareAddr // nil: by chance
}

// Create makes the pair, both ends down.
func (v *CloneVeth) Create(private netns.NsHandle) error {
	request := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	header := nl.NewIfInfomsg(unix.AF_UNSPEC)
	header.Index = int32(v.Index)
	request.AddData(header)
	for _, attr := range cloneAttrs(v.Name, v.MTU) {
		request.AddData(attr)
	}
	if len(v.Lladdr) > 0 {
		request.AddData(nl.NewRtAttr(unix.IFLA_ADDRESS, v.Lladdr))
	}
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("veth"))
	peer := info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(nl.VETH_INFO_PEER, nil)
	end := nl.NewIfInfomsgChild(peer, unix.AF_UNSPEC)
	end.Index = int32(v.Stack)
	for _, attr := range cloneAttrs(v.Name, v.MTU) {
		peer.AddChild(attr)
	}
	peer.AddRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(private)))
	request.AddData(info)
	if _, err := request.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		return fmt.Errorf("create %s: %w", v.Name, err)
	}
	return nil
}

func cloneAttrs(name string, mtu int) []*nl.RtAttr {
	return []*nl.RtAttr{
		nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)),
		nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(mtu))),
		nl.NewRtAttr(unix.IFLA_NUM_TX_QUEUES, nl.Uint32Attr(1)),
		nl.NewRtAttr(unix.IFLA_NUM_RX_QUEUES, nl.Uint32Attr(1)),
		nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(CloneGroup)),
	}
}

// QuietPrivate turns IPv6 off for the stack's ends, which nobody talks to.
func QuietPrivate(private netns.NsHandle) error {
	return InNamespace(private, func() error {
		err := os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	})
}

// AttachOutput puts if_output on the egress of a clone, by clsact: it is three
// hundred times as fast as tcx.
func (dp *Datapath) AttachOutput(index int) error {
	device := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: index}}
	if err := attachClsact(device, ebpf.AttachTCXEgress, dp.Programs[TC]["if_output"]); err != nil {
		return fmt.Errorf("attach to interface %d: %w", index, err)
	}
	return nil
}

// DeleteLinks deletes interfaces of the current namespace at once. Those that
// are gone already are no error.
func DeleteLinks(indexes []int) error {
	if len(indexes) == 1 {
		return deleteLink(int32(indexes[0]), 0)
	}
	for _, index := range indexes {
		request := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
		header := nl.NewIfInfomsg(unix.AF_UNSPEC)
		header.Index = int32(index)
		request.AddData(header)
		request.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(doomedGroup)))
		if _, err := request.Execute(unix.NETLINK_ROUTE, 0); err != nil && !errors.Is(err, syscall.ENODEV) {
			return fmt.Errorf("delete interface %d: %w", index, err)
		}
	}
	return deleteLink(0, doomedGroup)
}

// DeleteDoomed ends a [DeleteLinks] that was cut short in the current namespace.
func DeleteDoomed() error { return deleteLink(0, doomedGroup) }

// DeleteClones deletes every interface of the current namespace that bsdnet made.
func DeleteClones() error { return errors.Join(DeleteDoomed(), deleteLink(0, CloneGroup)) }

// deleteLink deletes the interface of an index, or those of a group.
func deleteLink(index int32, group uint32) error {
	request := nl.NewNetlinkRequest(unix.RTM_DELLINK, unix.NLM_F_ACK)
	header := nl.NewIfInfomsg(unix.AF_UNSPEC)
	header.Index = index
	request.AddData(header)
	if group != 0 {
		request.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(group)))
	}
	_, err := request.Execute(unix.NETLINK_ROUTE, 0)
	if err != nil && !errors.Is(err, syscall.ENODEV) {
		return fmt.Errorf("delete interfaces: %w", err)
	}
	return nil
}

// MarkClone puts a device into the group of those that bsdnet made.
func MarkClone(device netlink.Link) error { return netlink.LinkSetGroup(device, CloneGroup) }

// AttachClone puts the data path on both directions of a device that bsdnet
// made, by clsact.
func (dp *Datapath) AttachClone(index int) error {
	device := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: index}}
	if err := attachClsact(device, ebpf.AttachTCXIngress, dp.Programs[TC]["ether_input"]); err != nil {
		return fmt.Errorf("attach to interface %d: %w", index, err)
	}
	return dp.AttachOutput(index)
}
