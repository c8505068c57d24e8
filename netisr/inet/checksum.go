package inet

import (
	"encoding/binary"
	"math/bits"
)

// Sum is an unfolded Internet checksum (RFC 1071): the one's complement sum
// of 16-bit words.
type Sum uint64

// Add adds bytes. Every part but the last must have an even length; an odd
// byte at the end counts as the upper half of a word.
func (s Sum) Add(data []byte) Sum {
	// Sixty-four bits at a time, with the carry put back at the end.
	sum, carry := uint64(s), uint64(0)
	for len(data) >= 8 {
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(data), carry)
		data = data[8:]
	}
	rest := uint64(0)
	switch {
	case len(data) >= 4:
		rest = uint64(binary.BigEndian.Uint32(data))
		data = data[4:]
	}
	if len(data) >= 2 {
		rest += uint64(binary.BigEndian.Uint16(data))
		data = data[2:]
	}
	if len(data) == 1 {
		rest += uint64(data[0]) << 8
	}
	sum, carry = bits.Add64(sum, rest, carry)
	sum, carry = bits.Add64(sum, carry, 0)
	return Sum(sum + carry)
}

// AddWord adds one 32-bit word in host order.
func (s Sum) AddWord(word uint32) Sum {
	sum, carry := bits.Add64(uint64(s), uint64(word), 0)
	return Sum(sum + carry)
}

// Fold returns the checksum as it stands in a header, in host order.
func (s Sum) Fold() uint16 {
	sum := uint64(s)
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	return ^uint16(sum)
}

// Checksum returns the Internet checksum of data, which is 0 when data holds
// its own correct checksum.
func Checksum(data []byte) uint16 { return Sum(0).Add(data).Fold() }

// PseudoHeader6 returns the sum of the pseudo header of an upper-layer packet
// of length bytes (RFC 8200, section 8.1). The addresses have 16 bytes.
func PseudoHeader6(source, destination []byte, proto uint8, length int) Sum {
	return Sum(0).Add(source).Add(destination).AddWord(uint32(length)).AddWord(uint32(proto))
}
