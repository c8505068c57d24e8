// Package answer makes the packets with which pf refuses: TCP resets and ICMP
// unreachables. It works on bytes and may be given any.
package answer

import (
	"encoding/binary"

	"github.com/bsdnet/bsdnet/netisr/icmp"
	"github.com/bsdnet/bsdnet/netisr/inet"
)

const (
	protocolICMP   = 1
	protocolTCP    = 6
	protocolICMPv6 = 58

	flagFIN = 0x01
	flagSYN = 0x02
	flagRST = 0x04
	flagACK = 0x10
)

// Options say how an answer is to look.
type Options struct {
	RST, ICMP bool  // what the rule allows
	Code      uint8 // of an ICMP unreachable
	Code6     uint8 // of an ICMPv6 unreachable
	TTL       uint8
}

// Append appends the answer to a packet, which starts with its IP header, or
// nothing if it gets none: TCP is reset, all else but ICMP told that it cannot
// get there, as far as the options allow. The answer comes from the address
// that the packet was for.
func Append(dst, packet []byte, o Options) []byte {
	if len(packet) < 1 {
		return dst
	}
	if packet[0]>>4 == 4 {
		return append4(dst, packet, o)
	}
	return append6(dst, packet, o)
}

func append4(dst, packet []byte, o Options) []byte {
	if len(packet) < 20 || packet[0]>>4 != 4 {
		return dst
	}
	header := int(packet[0]&15) * 4
	if header < 20 || len(packet) < header || binary.BigEndian.Uint16(packet[6:])&0x1fff != 0 {
		return dst
	}
	switch packet[9] {
	case protocolICMP:
		return dst
	case protocolTCP:
		if o.RST {
			return reset4(dst, packet[:header], packet[header:], o.TTL)
		}
	}
	if !o.ICMP || icmp.Check4(packet, false) != icmp.Allowed {
		return dst
	}
	return icmp.AppendError4(dst, packet, icmp.Error4{Type: icmp.TypeUnreach, Code: o.Code},
		icmp.Options4{Source: [4]byte(packet[16:20]), TTL: o.TTL, Quote: 8})
}

func append6(dst, packet []byte, o Options) []byte {
	if len(packet) < 40 || packet[0]>>4 != 6 {
		return dst
	}
	switch packet[6] {
	case protocolICMPv6:
		return dst
	case protocolTCP:
		if o.RST {
			return reset6(dst, packet[:40], packet[40:], o.TTL)
		}
	}
	unreachable := icmp.Error6{Type: icmp.Type6Unreach, Code: o.Code6}
	if !o.ICMP || icmp.Check6(packet, unreachable, false) != icmp.Allowed {
		return dst
	}
	return icmp.AppendError6(dst, packet, unreachable,
		icmp.Options6{Source: [16]byte(packet[24:40]), HopLimit: o.TTL})
}

// segment makes the reset for a TCP segment (RFC 9293, 3.5.2); nil if it gets
// none: it is one itself, or is cut short.
func segment(tcp []byte) []byte {
	if len(tcp) < 20 || tcp[13]&flagRST != 0 {
		return nil
	}
	out := make([]byte, 20)
	copy(out[0:2], tcp[2:4])
	copy(out[2:4], tcp[0:2])
	out[12] = 5 << 4
	if tcp[13]&flagACK != 0 {
		copy(out[4:8], tcp[8:12])
		out[13] = flagRST
		return out
	}
	length := uint32(len(tcp) - min(int(tcp[12]>>4)*4, len(tcp)))
	if tcp[13]&flagSYN != 0 {
		length++
	}
	if tcp[13]&flagFIN != 0 {
		length++
	}
	binary.BigEndian.PutUint32(out[8:], binary.BigEndian.Uint32(tcp[4:])+length)
	out[13] = flagRST | flagACK
	return out
}

func reset4(dst, ip, tcp []byte, ttl uint8) []byte {
	out := segment(tcp)
	if out == nil {
		return dst
	}
	var header [20]byte
	header[0] = 4<<4 | 5
	binary.BigEndian.PutUint16(header[2:], 40)
	header[8], header[9] = ttl, protocolTCP
	copy(header[12:16], ip[16:20])
	copy(header[16:20], ip[12:16])
	binary.BigEndian.PutUint16(header[10:], inet.Checksum(header[:]))
	pseudo := append(append([]byte(nil), header[12:20]...), 0, protocolTCP, 0, 20)
	binary.BigEndian.PutUint16(out[16:], inet.Checksum(append(pseudo, out...)))
	return append(append(dst, header[:]...), out...)
}

func reset6(dst, ip, tcp []byte, hopLimit uint8) []byte {
	out := segment(tcp)
	if out == nil {
		return dst
	}
	var header [40]byte
	header[0] = 6 << 4
	binary.BigEndian.PutUint16(header[4:], 20)
	header[6], header[7] = protocolTCP, hopLimit
	copy(header[8:24], ip[24:40])
	copy(header[24:40], ip[8:24])
	pseudo := append(append([]byte(nil), header[8:40]...), 0, 0, 0, 20, 0, 0, 0, protocolTCP)
	binary.BigEndian.PutUint16(out[16:], inet.Checksum(append(pseudo, out...)))
	return append(append(dst, header[:]...), out...)
}
