package icmp

import (
	"encoding/binary"

	"github.com/bsdnet/bsdnet/netisr/inet"
)

// Error6 is an ICMPv6 error to be sent about a packet.
type Error6 struct {
	Type, Code uint8
	Parameter  uint32 // Type6TooBig: the MTU; Type6ParamProb: offset of the bad byte
	// AnswerMulticast lets the error answer a multicast packet, which else
	// only Type6TooBig may (RFC 4443, 2.4 e.3).
	AnswerMulticast bool
}

// Check6 says whether an error may be sent about a packet. Link says that the
// packet came as link broadcast or multicast.
func Check6(packet []byte, e Error6, link bool) Refusal {
	if inet.Header6(packet) != nil {
		return RefusedMalformed
	}
	upper := inet.UpperLayer(packet)
	if upper.NotFirst {
		return RefusedFragment
	}
	if upper.Proto == inet.ProtoICMPv6 {
		// Errors have types below 128. One that is cut off may be an error.
		if !upper.Complete || len(packet) <= upper.Offset || packet[upper.Offset] < 128 || packet[upper.Offset] == Type6Redirect {
			return RefusedError
		}
	}
	answer := e.Type == Type6TooBig || e.AnswerMulticast
	if link && !answer {
		return RefusedLink
	}
	if packet[24] == 0xff && !answer {
		return RefusedTarget
	}
	if !single6(packet[8:24]) {
		return RefusedSource
	}
	return Allowed
}

// single6 reports whether a source address can be answered: it is neither
// multicast, nor unspecified or loopback, nor IPv4-mapped.
func single6(addr []byte) bool {
	if addr[0] == 0xff {
		return false
	}
	high, low := binary.BigEndian.Uint64(addr), binary.BigEndian.Uint64(addr[8:])
	return high != 0 || low > 1 && low>>32 != 0xffff
}

// Options6 are what the sender chooses of an ICMPv6 message.
type Options6 struct {
	Source   [16]byte
	HopLimit uint8
}

// MinMTU6 is what every IPv6 link carries. No error is longer.
const MinMTU6 = 1280

// AppendError6 appends the IPv6 packet of an error about a packet, which must
// be one that [Check6] does not call malformed. It goes to the packet's
// source, with as much of the packet as fits 1280 bytes (RFC 4443, 2.4 c).
func AppendError6(dst, packet []byte, e Error6, options Options6) []byte {
	total := inet.HeaderLen6 + int(binary.BigEndian.Uint16(packet[4:]))
	quote := min(total, MinMTU6-inet.HeaderLen6-icmpHeader)

	start := len(dst)
	dst = appendHeader6(dst, icmpHeader+quote, options, packet[8:24])
	dst = append(dst, e.Type, e.Code, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, e.Parameter)
	dst = append(dst, packet[:quote]...)
	setChecksum6(dst[start:])
	return dst
}

// appendHeader6 appends the IPv6 header of an ICMPv6 message.
func appendHeader6(dst []byte, length int, options Options6, destination []byte) []byte {
	dst = append(dst, 0x60, 0, 0, 0, byte(length>>8), byte(length), inet.ProtoICMPv6, options.HopLimit)
	dst = append(dst, options.Source[:]...)
	return append(dst, destination...)
}

// setChecksum6 writes the checksum of an ICMPv6 packet without extension
// headers.
func setChecksum6(packet []byte) {
	message := packet[inet.HeaderLen6:]
	sum := inet.PseudoHeader6(packet[8:24], packet[24:40], inet.ProtoICMPv6, len(message)).Add(message)
	binary.BigEndian.PutUint16(message[2:], sum.Fold())
}
