package inet

import (
	"encoding/binary"
	"errors"
)

// Lengths of headers in bytes.
const (
	HeaderLen4    = 20
	MaxHeaderLen4 = 60
	HeaderLen6    = 40
)

// IP protocol numbers, and IPv6 next headers.
const (
	ProtoHopByHop = 0
	ProtoICMP     = 1
	ProtoIGMP     = 2
	ProtoTCP      = 6
	ProtoUDP      = 17
	ProtoRouting  = 43
	ProtoFragment = 44
	ProtoESP      = 50
	ProtoAH       = 51
	ProtoICMPv6   = 58
	ProtoNone     = 59
	ProtoDstOpts  = 60
)

// Bits of the IPv4 fragment field, in host order.
const (
	DontFragment  = 0x4000
	MoreFragments = 0x2000
	OffsetMask    = 0x1fff // in units of 8 bytes
)

// Errors of header checks.
var (
	ErrTooShort     = errors.New("shorter than its header")
	ErrVersion      = errors.New("wrong version")
	ErrHeaderLength = errors.New("bad header length")
	ErrLength       = errors.New("bad total length")
)

// Header4 checks that packet begins with a complete IPv4 header, options
// included, whose lengths are consistent and within packet, and returns the
// length of the header. It does not look at the checksum.
func Header4(packet []byte) (headerLen int, err error) {
	if len(packet) < HeaderLen4 {
		return 0, ErrTooShort
	}
	if packet[0]>>4 != 4 {
		return 0, ErrVersion
	}
	headerLen = int(packet[0]&0xf) * 4
	if headerLen < HeaderLen4 || headerLen > len(packet) {
		return 0, ErrHeaderLength
	}
	if total := int(binary.BigEndian.Uint16(packet[2:])); total < headerLen || total > len(packet) {
		return 0, ErrLength
	}
	return headerLen, nil
}

// Header6 checks that packet begins with a complete IPv6 header whose length
// is within packet.
func Header6(packet []byte) error {
	if len(packet) < HeaderLen6 {
		return ErrTooShort
	}
	if packet[0]>>4 != 6 {
		return ErrVersion
	}
	if HeaderLen6+int(binary.BigEndian.Uint16(packet[4:])) > len(packet) {
		return ErrLength
	}
	return nil
}

// SetChecksum4 writes the header checksum of a packet that [Header4] accepts.
func SetChecksum4(packet []byte) {
	header := packet[:int(packet[0]&0xf)*4]
	header[10], header[11] = 0, 0
	binary.BigEndian.PutUint16(header[10:], Checksum(header))
}
