// Package encap puts IP packets into packets and takes them out: IP in IP (RFC
// 2003, 4213, 2473) and GRE (RFC 2784, 2890), also in UDP (RFC 8086). It makes
// the bytes that the data path makes. Packets are bytes in network order,
// beginning with the IP header, and may hold anything.
package encap

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/bsdnet/bsdnet/netisr/inet"
)

// Tunnel says how packets are put into packets. Source and Destination are of
// one family.
type Tunnel struct {
	Source, Destination netip.Addr // of the outer packet
	TTL                 uint8
	ECN                 bool // IP in IP: the TOS is carried over (RFC 3168, 9.1), else it is 0
	GRE                 bool
	Checksum            bool
	Key                 uint32 // 0: none
	Sequence            bool
	Port                uint16 // in UDP to a port; 0: not in UDP
}

// Protocols and flags.
const (
	protoIPv4, protoIPv6, protoUDP, protoGRE = 4, 41, 17, 47

	flagChecksum, flagKey, flagSequence = 0x8000, 0x2000, 0x1000

	etherIPv4, etherIPv6, etherWCCP = 0x0800, 0x86dd, 0x883e

	udpHeader = 8
)

// Chosen is what a sender chooses for one packet.
type Chosen struct {
	ID       uint16 // identification of an outer IPv4 packet
	Sequence uint32
	Port     uint16 // source port in UDP
}

// Errors of packets that are not a tunnel's.
var (
	ErrShort    = errors.New("shorter than its headers")
	ErrHeader   = errors.New("bad tunnel header")
	ErrChecksum = errors.New("bad checksum")
	ErrKey      = errors.New("another key")
	ErrEnds     = errors.New("not between the ends of the tunnel")
)

// Append appends the outer packet of an IP packet.
func (t *Tunnel) Append(dst, packet []byte, c Chosen) []byte {
	start := len(dst)
	tos, inner, ether := packet[1], uint8(protoIPv4), uint16(etherIPv4)
	if packet[0]>>4 == 6 {
		tos, inner, ether = packet[0]<<4|packet[1]>>4, protoIPv6, etherIPv6
	}
	proto := inner
	if t.GRE {
		proto = protoGRE
		if t.Port != 0 {
			proto = protoUDP
		}
	} else if !t.ECN {
		tos = 0
	} else if tos&3 == 3 {
		tos = tos&^3 | 2
	}
	dst = t.appendIP(dst, tos, proto, c.ID)
	headers := len(dst)
	if proto == protoUDP {
		dst = binary.BigEndian.AppendUint16(dst, c.Port)
		dst = binary.BigEndian.AppendUint16(dst, t.Port)
		dst = append(dst, 0, 0, 0, 0)
	}
	gre := len(dst)
	if t.GRE {
		dst = t.appendGRE(dst, ether, c.Sequence)
	}
	dst = append(dst, packet...)
	if t.GRE && t.Checksum {
		binary.BigEndian.PutUint16(dst[gre+4:], inet.Checksum(dst[gre:]))
	}
	outer := dst[start:]
	if proto == protoUDP {
		t.finishUDP(dst[headers:])
	}
	if t.Source.Is4() {
		binary.BigEndian.PutUint16(outer[2:], uint16(len(outer)))
		inet.SetChecksum4(outer)
	} else {
		binary.BigEndian.PutUint16(outer[4:], uint16(len(outer)-inet.HeaderLen6))
	}
	return dst
}

func (t *Tunnel) appendIP(dst []byte, tos, proto uint8, id uint16) []byte {
	if t.Source.Is4() {
		dst = append(dst, 0x45, tos, 0, 0, byte(id>>8), byte(id), 0, 0, t.TTL, proto, 0, 0)
	} else {
		dst = append(dst, 0x60|tos>>4, tos<<4, 0, 0, 0, 0, proto, t.TTL)
	}
	dst = append(dst, t.Source.AsSlice()...)
	return append(dst, t.Destination.AsSlice()...)
}

func (t *Tunnel) appendGRE(dst []byte, ether uint16, sequence uint32) []byte {
	var flags uint16
	if t.Checksum {
		flags |= flagChecksum
	}
	if t.Key != 0 {
		flags |= flagKey
	}
	if t.Sequence {
		flags |= flagSequence
	}
	dst = binary.BigEndian.AppendUint16(dst, flags)
	dst = binary.BigEndian.AppendUint16(dst, ether)
	if t.Checksum {
		dst = append(dst, 0, 0, 0, 0)
	}
	if t.Key != 0 {
		dst = binary.BigEndian.AppendUint32(dst, t.Key)
	}
	if t.Sequence {
		dst = binary.BigEndian.AppendUint32(dst, sequence)
	}
	return dst
}

// finishUDP writes length and, over IPv6, where none is not allowed, checksum.
func (t *Tunnel) finishUDP(datagram []byte) {
	binary.BigEndian.PutUint16(datagram[4:], uint16(len(datagram)))
	if t.Source.Is4() {
		return
	}
	sum := inet.PseudoHeader6(t.Source.AsSlice(), t.Destination.AsSlice(), protoUDP, len(datagram)).Add(datagram).Fold()
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(datagram[6:], sum)
}

// Outer is what an outer packet says of itself.
type Outer struct {
	Source, Destination netip.Addr
	GRE                 bool
	Flags               uint16 // of GRE
	Key                 uint32
	Sequence            uint32
	UDP                 bool
	Inner               []byte // what is left of the packet inside
}

// Parse takes the outer headers off, whatever tunnel they are of. What an ICMP
// error quotes may end anywhere: only the headers must be there.
func Parse(packet []byte) (o Outer, err error) {
	if len(packet) < inet.HeaderLen4 {
		return o, ErrShort
	}
	proto, off := packet[9], int(packet[0]&15)*4
	if packet[0]>>4 == 6 {
		proto, off = packet[6], inet.HeaderLen6
	}
	if len(packet) < off || off < inet.HeaderLen4 {
		return o, ErrShort
	}
	if packet[0]>>4 == 6 {
		o.Source, o.Destination = netip.AddrFrom16([16]byte(packet[8:])), netip.AddrFrom16([16]byte(packet[24:]))
	} else {
		o.Source, o.Destination = netip.AddrFrom4([4]byte(packet[12:])), netip.AddrFrom4([4]byte(packet[16:]))
	}
	switch proto {
	case protoIPv4, protoIPv6:
		o.Inner = packet[off:]
		return o, nil
	case protoUDP:
		o.UDP = true
		off += udpHeader
	case protoGRE:
	default:
		return o, ErrHeader
	}
	o.GRE = true
	return o, o.parseGRE(packet, off)
}

func (o *Outer) parseGRE(packet []byte, off int) error {
	word := func() (uint32, bool) {
		if len(packet) < off+4 {
			return 0, false
		}
		off += 4
		return binary.BigEndian.Uint32(packet[off-4:]), true
	}
	first, ok := word()
	o.Flags = uint16(first >> 16)
	if o.Flags&^(flagChecksum|flagKey|flagSequence) != 0 {
		return ErrHeader
	}
	if o.Flags&flagChecksum != 0 && ok {
		_, ok = word()
	}
	if o.Flags&flagKey != 0 && ok {
		o.Key, ok = word()
	}
	if o.Flags&flagSequence != 0 && ok {
		o.Sequence, ok = word()
	}
	if !ok {
		return ErrShort
	}
	switch uint16(first) {
	case etherIPv4, etherIPv6:
	case etherWCCP:
		if o.Flags == 0 && len(packet) > off && packet[off]>>4 != 4 {
			off += 4
		}
	default:
		return ErrHeader
	}
	if len(packet) < off {
		return ErrShort
	}
	o.Inner = packet[off:]
	return nil
}

// Open takes the packet out of a whole outer packet that the tunnel's far end
// sent, with the checks of the data path.
func (t *Tunnel) Open(packet []byte) (inner []byte, err error) {
	o, err := Parse(packet)
	switch {
	case err != nil:
		return nil, err
	case o.Source != t.Destination || o.Destination != t.Source || o.GRE != t.GRE || o.UDP != (t.Port != 0):
		return nil, ErrEnds
	case o.Key != t.Key || (o.Flags&flagKey != 0) != (t.Key != 0):
		return nil, ErrKey
	case o.Flags&flagChecksum != 0:
		headers := inet.HeaderLen6
		if t.Source.Is4() {
			headers = int(packet[0]&15) * 4
		}
		if o.UDP {
			headers += udpHeader
		}
		if packet[headers+6]|packet[headers+7] != 0 || inet.Checksum(packet[headers:]) != 0 {
			return nil, ErrChecksum
		}
	}
	return o.Inner, nil
}
