package loader

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Offload is a feature of a device that ethtool can switch.
type Offload struct {
	Name     string
	get, set uint32
}

// The offloads that matter to the data path; the numbers are ETHTOOL_G* and
// ETHTOOL_S* of linux/ethtool.h.
var (
	OffloadTxChecksum = Offload{"tx-checksum", 0x16, 0x17}
	OffloadGRO        = Offload{"gro", 0x2b, 0x2c}
)

type ethtoolValue struct{ command, data uint32 }

type ifreqData struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [16]byte
}

// GetOffload reports whether an offload of a device of the current network
// namespace is on.
func GetOffload(device string, offload Offload) (bool, error) {
	value := ethtoolValue{command: offload.get}
	if err := ethtool(device, &value); err != nil {
		return false, fmt.Errorf("get %s of %s: %w", offload.Name, device, err)
	}
	return value.data != 0, nil
}

// SetOffload switches an offload.
func SetOffload(device string, offload Offload, on bool) error {
	value := ethtoolValue{command: offload.set}
	if on {
		value.data = 1
	}
	if err := ethtool(device, &value); err != nil {
		return fmt.Errorf("set %s of %s: %w", offload.Name, device, err)
	}
	return nil
}

func ethtool(device string, value *ethtoolValue) error {
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
	request.data = unsafe.Pointer(value)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return errno
	}
	return nil
}
