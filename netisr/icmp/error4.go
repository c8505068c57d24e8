package icmp

import (
	"encoding/binary"

	"github.com/bsdnet/bsdnet/netisr/inet"
)

// Error4 is an ICMP error or redirect to be sent about a packet.
type Error4 struct {
	Type, Code uint8
	Pointer    uint8   // TypeParamProb: offset of the bad byte
	MTU        uint16  // CodeUnreachNeedFragment: of the next hop
	Gateway    [4]byte // TypeRedirect
}

// Refusal says why no error may be sent about a packet.
type Refusal int

const (
	Allowed          Refusal = iota
	RefusedMalformed         // not a packet
	RefusedFragment          // not the first fragment
	RefusedError             // about an ICMP error
	RefusedLink              // link broadcast or multicast
	RefusedTarget            // to a multicast or broadcast address
	RefusedSource            // from an address that is no single host's
)

// Check4 says whether an error or redirect may be sent about a packet. Link
// says that the packet came as link broadcast or multicast.
//
// Addresses that are broadcast by a network's mask only are the caller's to
// know.
func Check4(packet []byte, link bool) Refusal {
	headerLen, err := inet.Header4(packet)
	if err != nil {
		return RefusedMalformed
	}
	if binary.BigEndian.Uint16(packet[6:])&inet.OffsetMask != 0 {
		return RefusedFragment
	}
	if packet[9] == inet.ProtoICMP {
		// One that is cut off may be an error: stay silent.
		total := int(binary.BigEndian.Uint16(packet[2:]))
		if total < headerLen+1 || !informational(packet[headerLen]) {
			return RefusedError
		}
	}
	if link {
		return RefusedLink
	}
	if group4(packet[16:20]) {
		return RefusedTarget
	}
	// RFC 1122, 3.2.2: "an address that does not define a single host".
	if source := packet[12:16]; group4(source) || source[0] == 0 || source[0] == 127 {
		return RefusedSource
	}
	return Allowed
}

// informational reports whether an ICMP type is known not to be an error.
func informational(kind byte) bool {
	switch kind {
	case TypeEchoReply, TypeEcho, TypeRouterAdvert, TypeRouterSolicit, TypeTimestamp, TypeTimestampReply,
		TypeInfoRequest, TypeInfoReply, TypeMaskRequest, TypeMaskReply:
		return true
	}
	return false
}

// group4 reports whether an address is multicast, reserved or the limited
// broadcast: 224.0.0.0 and above.
func group4(addr []byte) bool { return addr[0] >= 224 }

// Options4 are what the sender chooses of an ICMP error.
type Options4 struct {
	Source [4]byte
	TTL    uint8  // of the message
	ID     uint16 // IP identification
	Quote  int    // bytes quoted after the IP header of the packet; 8 at least
}

const (
	minQuote4   = 8
	maxMessage4 = 576 // RFC 1812, 4.3.2.3: as much as fits 576 bytes
	icmpHeader  = 8
)

// AppendError4 appends the IPv4 packet of an error about a packet, which must
// be one that [Check4] does not call malformed. It goes to the packet's
// source.
func AppendError4(dst, packet []byte, e Error4, options Options4) []byte {
	headerLen := int(packet[0]&0xf) * 4
	total := int(binary.BigEndian.Uint16(packet[2:]))
	quote := headerLen + max(options.Quote, minQuote4)
	quote = min(quote, total, maxMessage4-inet.HeaderLen4-icmpHeader)
	length := inet.HeaderLen4 + icmpHeader + quote

	start := len(dst)
	dst = append(dst,
		0x45, 0, byte(length>>8), byte(length), byte(options.ID>>8), byte(options.ID), 0, 0,
		options.TTL, inet.ProtoICMP, 0, 0)
	dst = append(dst, options.Source[:]...)
	dst = append(dst, packet[12:16]...)
	dst = append(dst, e.Type, e.Code, 0, 0)
	switch {
	case e.Type == TypeRedirect:
		dst = append(dst, e.Gateway[:]...)
	case e.Type == TypeParamProb:
		dst = append(dst, e.Pointer, 0, 0, 0)
	case e.Type == TypeUnreach && e.Code == CodeUnreachNeedFragment:
		dst = append(dst, 0, 0, byte(e.MTU>>8), byte(e.MTU)) // RFC 1191, section 4
	default:
		dst = append(dst, 0, 0, 0, 0)
	}
	dst = append(dst, packet[:quote]...)

	message := dst[start:]
	inet.SetChecksum4(message)
	binary.BigEndian.PutUint16(message[inet.HeaderLen4+2:], inet.Checksum(message[inet.HeaderLen4:]))
	return dst
}
