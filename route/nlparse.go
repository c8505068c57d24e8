package route

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// linuxHop is one next hop of a route in Linux.
type linuxHop struct {
	ifindex int
	gateway netip.Addr // zero: none
	flags   uint8      // RTNH_F_*
	weight  int        // from 1
	encap   bool       // a lightweight tunnel: only Linux can encapsulate
}

// linuxRoute is a route as rtnetlink tells it.
type linuxRoute struct {
	dst      netip.Prefix
	table    uint32
	protocol uint8 // RTPROT_*
	scope    uint8 // RT_SCOPE_*
	kind     uint8 // RTN_*
	tos      uint8
	flags    uint32 // RTM_F_*, RTNH_F_*
	priority uint32 // metric
	prefsrc  netip.Addr
	mtu      uint32 // bytes, 0: none given
	hopcount uint32
	hops     []linuxHop
}

// linuxNeighbour is a neighbour as rtnetlink tells it.
type linuxNeighbour struct {
	ifindex  int
	addr     netip.Addr
	lladdr   []byte // empty: not known
	state    uint16 // NUD_*
	flags    uint8  // NTF_*
	flagsExt uint32 // NTF_EXT_*
}

var (
	errTruncated = errors.New("truncated")
	errFamily    = errors.New("family without routes here")
)

// attrs passes the attributes of a message to yield, without the flag bits
// of their types, until yield fails.
func attrs(b []byte, yield func(kind uint16, value []byte) error) error {
	for len(b) >= unix.SizeofRtAttr {
		length := int(binary.NativeEndian.Uint16(b))
		kind := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
		if length < unix.SizeofRtAttr || length > len(b) {
			return errTruncated
		}
		if err := yield(kind, b[unix.SizeofRtAttr:length]); err != nil {
			return err
		}
		b = b[min((length+unix.RTA_ALIGNTO-1)&^(unix.RTA_ALIGNTO-1), len(b)):]
	}
	return nil
}

func attrUint32(value []byte) (uint32, error) {
	if len(value) < 4 {
		return 0, errTruncated
	}
	return binary.NativeEndian.Uint32(value), nil
}

// attrAddr reads an address, whose family its length tells.
func attrAddr(value []byte) (netip.Addr, error) {
	addr, ok := netip.AddrFromSlice(value)
	if !ok {
		return netip.Addr{}, fmt.Errorf("address of %d bytes", len(value))
	}
	return addr, nil
}

// attrVia reads a gateway of another family: its family, then the address.
func attrVia(value []byte) (netip.Addr, error) {
	if len(value) < 2 {
		return netip.Addr{}, errTruncated
	}
	return attrAddr(value[2:])
}

// parseRoute reads the payload of RTM_NEWROUTE or RTM_DELROUTE. It takes IPv4
// and IPv6 routes only.
func parseRoute(b []byte) (linuxRoute, error) {
	if len(b) < unix.SizeofRtMsg {
		return linuxRoute{}, fmt.Errorf("parse route: %w", errTruncated)
	}
	family, bitlen := b[0], int(b[1])
	r := linuxRoute{
		tos:      b[3],
		table:    uint32(b[4]),
		protocol: b[5],
		scope:    b[6],
		kind:     b[7],
		flags:    binary.NativeEndian.Uint32(b[8:]),
	}
	var dst netip.Addr
	switch family {
	case unix.AF_INET:
		dst = netip.IPv4Unspecified()
	case unix.AF_INET6:
		dst = netip.IPv6Unspecified()
	default:
		return linuxRoute{}, fmt.Errorf("parse route: %w: %d", errFamily, family)
	}
	only := linuxHop{weight: 1, flags: uint8(r.flags)}
	err := attrs(b[unix.SizeofRtMsg:], func(kind uint16, value []byte) (err error) {
		switch kind {
		case unix.RTA_DST:
			dst, err = attrAddr(value)
		case unix.RTA_TABLE:
			r.table, err = attrUint32(value)
		case unix.RTA_PRIORITY:
			r.priority, err = attrUint32(value)
		case unix.RTA_PREFSRC:
			r.prefsrc, err = attrAddr(value)
		case unix.RTA_OIF:
			var index uint32
			index, err = attrUint32(value)
			only.ifindex = int(index)
		case unix.RTA_GATEWAY:
			only.gateway, err = attrAddr(value)
		case unix.RTA_VIA:
			only.gateway, err = attrVia(value)
		case unix.RTA_ENCAP:
			only.encap = true
		case unix.RTA_METRICS:
			err = r.parseMetrics(value)
		case unix.RTA_MULTIPATH:
			r.hops, err = parseHops(value)
		}
		return err
	})
	if err != nil {
		return linuxRoute{}, fmt.Errorf("parse route: %w", err)
	}
	if dst.Is4() != (family == unix.AF_INET) {
		return linuxRoute{}, fmt.Errorf("parse route: destination %s in family %d", dst, family)
	}
	if r.dst, err = dst.Prefix(bitlen); err != nil {
		return linuxRoute{}, fmt.Errorf("parse route: %w", err)
	}
	if r.hops == nil && (only.ifindex != 0 || only.gateway.IsValid()) {
		r.hops = []linuxHop{only}
	}
	return r, nil
}

func (r *linuxRoute) parseMetrics(b []byte) error {
	return attrs(b, func(kind uint16, value []byte) (err error) {
		switch kind {
		case unix.RTAX_MTU:
			r.mtu, err = attrUint32(value)
		case unix.RTAX_HOPLIMIT:
			r.hopcount, err = attrUint32(value)
		}
		return err
	})
}

// parseHops reads the struct rtnexthop of a multipath route.
func parseHops(b []byte) ([]linuxHop, error) {
	var hops []linuxHop
	for len(b) >= unix.SizeofRtNexthop {
		length := int(binary.NativeEndian.Uint16(b))
		if length < unix.SizeofRtNexthop || length > len(b) {
			return nil, errTruncated
		}
		hop := linuxHop{
			flags:   b[2],
			weight:  int(b[3]) + 1,
			ifindex: int(int32(binary.NativeEndian.Uint32(b[4:]))),
		}
		err := attrs(b[unix.SizeofRtNexthop:length], func(kind uint16, value []byte) (err error) {
			switch kind {
			case unix.RTA_GATEWAY:
				hop.gateway, err = attrAddr(value)
			case unix.RTA_VIA:
				hop.gateway, err = attrVia(value)
			case unix.RTA_ENCAP:
				hop.encap = true
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		hops = append(hops, hop)
		b = b[min((length+unix.RTNH_ALIGNTO-1)&^(unix.RTNH_ALIGNTO-1), len(b)):]
	}
	return hops, nil
}

// parseNeighbour reads the payload of RTM_NEWNEIGH or RTM_DELNEIGH.
func parseNeighbour(b []byte) (linuxNeighbour, error) {
	if len(b) < unix.SizeofNdMsg {
		return linuxNeighbour{}, fmt.Errorf("parse neighbour: %w", errTruncated)
	}
	family := b[0]
	if family != unix.AF_INET && family != unix.AF_INET6 {
		// The forwarding entries of bridges come in the same group.
		return linuxNeighbour{}, fmt.Errorf("parse neighbour: %w: %d", errFamily, family)
	}
	n := linuxNeighbour{
		ifindex: int(int32(binary.NativeEndian.Uint32(b[4:]))),
		state:   binary.NativeEndian.Uint16(b[8:]),
		flags:   b[10],
	}
	err := attrs(b[unix.SizeofNdMsg:], func(kind uint16, value []byte) (err error) {
		switch kind {
		case unix.NDA_DST:
			n.addr, err = attrAddr(value)
		case unix.NDA_LLADDR:
			n.lladdr = append([]byte(nil), value...)
		case ndaFlagsExt:
			n.flagsExt, err = attrUint32(value)
		}
		return err
	})
	if err != nil {
		return linuxNeighbour{}, fmt.Errorf("parse neighbour: %w", err)
	}
	if !n.addr.IsValid() || n.addr.Is4() != (family == unix.AF_INET) {
		return linuxNeighbour{}, fmt.Errorf("parse neighbour: address %s in family %d", n.addr, family)
	}
	return n, nil
}
