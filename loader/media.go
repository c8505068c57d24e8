package loader

import (
	"fmt"
	"unsafe"
)

// Media is how an Ethernet device talks to its link.
type Media struct {
	Supported uint32 // modes, bits of SUPPORTED_* of linux/ethtool.h; 0: the device does not tell
	Advertise uint32 // those that it offers when it negotiates
	Speed     int    // Mbit/s, 0: not known
	Full      bool   // duplex
	Autoneg   bool
}

// MediaAutoneg is the bit of devices that negotiate.
const MediaAutoneg = 1 << 6

// ethtoolCmd is struct ethtool_cmd.
type ethtoolCmd struct {
	command, supported, advertising      uint32
	speed                                uint16
	duplex, port, phy, transceiver, auto uint8
	mdio                                 uint8
	maxtxpkt, maxrxpkt                   uint32
	speedHigh                            uint16
	mdix, mdixControl                    uint8
	partner, reserved0, reserved1        uint32
}

const (
	ethtoolGet = 0x1
	ethtoolSet = 0x2
	speedNone  = 1<<32 - 1
)

// GetMedia reads the medium of a device of the current network namespace.
func GetMedia(device string) (*Media, error) {
	cmd, err := getMedia(device)
	if err != nil {
		return nil, err
	}
	m := &Media{Supported: cmd.supported, Advertise: cmd.advertising, Full: cmd.duplex == 1, Autoneg: cmd.auto == 1}
	if speed := uint32(cmd.speedHigh)<<16 | uint32(cmd.speed); speed != speedNone && speed != 0xffff {
		m.Speed = int(speed)
	}
	return m, nil
}

func getMedia(device string) (*ethtoolCmd, error) {
	cmd := &ethtoolCmd{command: ethtoolGet}
	if err := ethtoolAt(device, unsafe.Pointer(cmd)); err != nil {
		return nil, fmt.Errorf("get medium of %s: %w", device, err)
	}
	return cmd, nil
}

// SetMedia sets Advertise, Speed, Full and Autoneg.
func SetMedia(device string, m *Media) error {
	cmd, err := getMedia(device)
	if err != nil {
		return err
	}
	cmd.command, cmd.advertising = ethtoolSet, m.Advertise
	cmd.speed, cmd.speedHigh, cmd.duplex, cmd.auto = uint16(m.Speed), uint16(m.Speed>>16), 0, 0
	if m.Full {
		cmd.duplex = 1
	}
	if m.Autoneg {
		cmd.auto = 1
	}
	if err := ethtoolAt(device, unsafe.Pointer(cmd)); err != nil {
		return fmt.Errorf("set medium of %s: %w", device, err)
	}
	return nil
}
