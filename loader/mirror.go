package loader

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/bpf"
)

// IfnetMirror writes interfaces into the maps of the data path; it implements
// ifnet.Mirror. Calls must not overlap.
type IfnetMirror struct {
	entries *bpf.Array[bpf.Ifnet]
	ports   *ebpf.Map
	vlans   *ebpf.Map
	private netns.NsHandle
}

// NewIfnetMirror opens the maps of a data path. private is the namespace in
// which foreign ports are looked up.
func NewIfnetMirror(dp *Datapath, private netns.NsHandle) (*IfnetMirror, error) {
	entries, err := bpf.MapArray[bpf.Ifnet](dp.Maps["ifnet"])
	if err != nil {
		return nil, err
	}
	return &IfnetMirror{entries: entries, ports: dp.Maps["tx_port"], vlans: dp.Maps["vlan"], private: private}, nil
}

// Close ends the mapping.
func (m *IfnetMirror) Close() error { return m.entries.Close() }

// PutIfnet writes an entry word by word. Index and flags are one word: it is
// written last, and first when the entry stops being owned, so that the data
// path never acts on half an entry. What the data path itself or pfil writes
// stays, unless the slot changes hands.
func (m *IfnetMirror) PutIfnet(slot uint32, entry *bpf.Ifnet) error {
	if slot >= bpf.IfnetSlots {
		return fmt.Errorf("slot %d out of range", slot)
	}
	const words = int(unsafe.Sizeof(bpf.Ifnet{})) / 8
	from := (*[words]uint64)(unsafe.Pointer(entry))
	to := (*[words]uint64)(unsafe.Pointer(&m.entries.Values[slot]))
	same := m.entries.Values[slot].IfIndex == entry.IfIndex
	if entry.IfFlags&bpf.IfnetOwned == 0 {
		atomic.StoreUint64(&to[0], from[0])
	}
	for i := 1; i < words; i++ {
		if !same || !keptWords[i] {
			atomic.StoreUint64(&to[i], from[i])
		}
	}
	atomic.StoreUint32(&m.entries.Values[slot].Groups, entry.Groups)
	atomic.StoreUint64(&to[0], from[0])
	return nil
}

// SetPfil writes the lists of Ethernet hooks of the interface in a slot.
func (m *IfnetMirror) SetPfil(slot uint32, in, out uint64) error {
	if slot >= bpf.IfnetSlots {
		return fmt.Errorf("slot %d out of range", slot)
	}
	atomic.StoreUint64(&m.entries.Values[slot].PfilIn, in)
	atomic.StoreUint64(&m.entries.Values[slot].PfilOut, out)
	return nil
}

// keptWords are not the mirror's to write.
var keptWords = map[int]bool{
	int(unsafe.Offsetof(bpf.Ifnet{}.RedirectJiffies)) / 8: true,
	int(unsafe.Offsetof(bpf.Ifnet{}.PfilIn)) / 8:          true,
	int(unsafe.Offsetof(bpf.Ifnet{}.PfilOut)) / 8:         true,
}

// SetPort makes frames redirected to slot go out by a device of the current
// network namespace; 0 clears the slot.
func (m *IfnetMirror) SetPort(slot uint32, ifindex int) error {
	if ifindex == 0 {
		if err := m.ports.Delete(slot); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("clear port %d: %w", slot, err)
		}
		return nil
	}
	if err := m.ports.Put(slot, uint32(ifindex)); err != nil {
		return fmt.Errorf("set port %d to interface %d: %w", slot, ifindex, err)
	}
	return nil
}

// SetForeignPort is SetPort for a device of the private namespace.
func (m *IfnetMirror) SetForeignPort(slot uint32, ifindex int) error {
	return InNamespace(m.private, func() error { return m.SetPort(slot, ifindex) })
}

// PutVlan makes frames with a tag those of the interface in a slot.
func (m *IfnetMirror) PutVlan(key bpf.VlanKey, slot uint32) error {
	if err := m.vlans.Put(key, slot); err != nil {
		return fmt.Errorf("set vlan %d: %w", key.Vid, err)
	}
	return nil
}

// DeleteVlan undoes PutVlan.
func (m *IfnetMirror) DeleteVlan(key bpf.VlanKey) error {
	if err := m.vlans.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("clear vlan %d: %w", key.Vid, err)
	}
	return nil
}

// Vlans returns the tags that have an interface.
func (m *IfnetMirror) Vlans() ([]bpf.VlanKey, error) {
	var keys []bpf.VlanKey
	var key bpf.VlanKey
	var slot uint32
	entries := m.vlans.Iterate()
	for entries.Next(&key, &slot) {
		keys = append(keys, key)
	}
	if err := entries.Err(); err != nil {
		return nil, fmt.Errorf("list vlans: %w", err)
	}
	return keys, nil
}

// XDPXmit reports whether a device takes frames that XDP redirects to it.
// Kernels before 6.3 do not say; then frames go the way that always works.
func (m *IfnetMirror) XDPXmit(ifindex int) bool {
	features, err := xdpFeatures(ifindex)
	return err == nil && features&xdpFeatureNdoXmit != 0
}

// Numbers of linux/netdev.h.
const (
	netdevCmdDevGet      = 1
	netdevADevIfindex    = 1
	netdevADevXdpFeature = 3
	xdpFeatureNdoXmit    = 1 << 2
)

// genlHeader is struct genlmsghdr with its reserved bytes zero, which newer
// families insist on.
type genlHeader [nl.SizeofGenlmsg]byte

func (h genlHeader) Len() int          { return len(h) }
func (h genlHeader) Serialize() []byte { return h[:] }

// xdpFeatures asks the netdev family of generic netlink.
func xdpFeatures(ifindex int) (uint64, error) {
	family, err := netlink.GenlFamilyGet("netdev")
	if err != nil {
		return 0, err
	}
	request := nl.NewNetlinkRequest(int(family.ID), 0)
	request.AddData(genlHeader{netdevCmdDevGet, uint8(family.Version)})
	request.AddData(nl.NewRtAttr(netdevADevIfindex, nl.Uint32Attr(uint32(ifindex))))
	replies, err := request.Execute(unix.NETLINK_GENERIC, 0)
	if err != nil {
		return 0, err
	}
	for _, reply := range replies {
		attrs, err := nl.ParseRouteAttr(reply[nl.SizeofGenlmsg:])
		if err != nil {
			return 0, err
		}
		for _, attr := range attrs {
			if attr.Attr.Type == netdevADevXdpFeature && len(attr.Value) >= 8 {
				return binary.NativeEndian.Uint64(attr.Value), nil
			}
		}
	}
	return 0, errors.New("kernel does not tell XDP features")
}
