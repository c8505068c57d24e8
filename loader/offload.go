package loader

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Offload is a feature of a device that ethtool can switch. Some have commands
// of their own, others are bits in a word of flags.
type Offload struct {
	Name     string
	get, set uint32
	flag     uint32
	feature  string // name in the string set of features, which has no command of its own
}

// The offloads that matter to the data path; the numbers are ETHTOOL_G*,
// ETHTOOL_S* and ETH_FLAG_* of linux/ethtool.h.
var (
	OffloadRxChecksum = Offload{Name: "rx-checksum", get: 0x14, set: 0x15}
	OffloadTxChecksum = Offload{Name: "tx-checksum", get: 0x16, set: 0x17}
	OffloadTSO        = Offload{Name: "tso", get: 0x1e, set: 0x1f}
	OffloadGRO        = Offload{Name: "gro", get: 0x2b, set: 0x2c}
	OffloadRxVlan     = Offload{Name: "rx-vlan", get: 0x25, set: 0x26, flag: 1 << 8}
	OffloadTxVlan     = Offload{Name: "tx-vlan", get: 0x25, set: 0x26, flag: 1 << 7}
	OffloadLRO        = Offload{Name: "lro", get: 0x25, set: 0x26, flag: 1 << 15}
)

// Tags of 802.1ad that a device puts in or takes off.
var (
	OffloadTxStag = Offload{Name: "tx-vlan-stag", feature: "tx-vlan-stag-hw-insert"}
	OffloadRxStag = Offload{Name: "rx-vlan-stag", feature: "rx-vlan-stag-hw-parse"}
)

// Filters of a device for tags that it was not told of.
var (
	OffloadVlanFilter = Offload{Name: "rx-vlan-filter", feature: "rx-vlan-filter"}
	OffloadStagFilter = Offload{Name: "rx-vlan-stag-filter", feature: "rx-vlan-stag-filter"}
)

// OffloadByName finds an offload by its name.
func OffloadByName(name string) (Offload, bool) {
	for _, offload := range []Offload{OffloadTxChecksum, OffloadGRO, OffloadRxVlan, OffloadTxVlan, OffloadTxStag, OffloadRxStag} {
		if offload.Name == name {
			return offload, true
		}
	}
	return Offload{}, false
}

type ethtoolValue struct{ command, data uint32 }

type ifreqData struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [16]byte
}

// GetOffload reports whether an offload of a device of the current network
// namespace is on.
func GetOffload(device string, offload Offload) (bool, error) {
	if offload.feature != "" {
		return getFeature(device, offload.feature)
	}
	value := ethtoolValue{command: offload.get}
	if err := ethtool(device, &value); err != nil {
		return false, fmt.Errorf("get %s of %s: %w", offload.Name, device, err)
	}
	if offload.flag != 0 {
		return value.data&offload.flag != 0, nil
	}
	return value.data != 0, nil
}

// SetOffload switches an offload.
func SetOffload(device string, offload Offload, on bool) error {
	if offload.feature != "" {
		return setFeature(device, offload.feature, on)
	}
	value := ethtoolValue{command: offload.set}
	if offload.flag != 0 {
		flags := ethtoolValue{command: offload.get}
		if err := ethtool(device, &flags); err != nil {
			return fmt.Errorf("get %s of %s: %w", offload.Name, device, err)
		}
		value.data = flags.data &^ offload.flag
		if on {
			value.data |= offload.flag
		}
	} else if on {
		value.data = 1
	}
	if err := ethtool(device, &value); err != nil {
		return fmt.Errorf("set %s of %s: %w", offload.Name, device, err)
	}
	return nil
}

func ethtool(device string, value *ethtoolValue) error {
	return ethtoolAt(device, unsafe.Pointer(value))
}

func ethtoolAt(device string, value unsafe.Pointer) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var request ifreqData
	if len(device) >= len(request.name) {
		return unix.ENAMETOOLONG
	}
	copy(request.name[:], device)
	request.data = value
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return errno
	}
	return nil
}
