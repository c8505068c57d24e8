package inet

import "encoding/binary"

// Fragments cuts an IPv4 packet into fragments that fit an MTU. The zero
// value is not usable; see [NewFragments].
type Fragments struct {
	packet    []byte
	options   [MaxHeaderLen4 - HeaderLen4]byte
	optionLen int // of what the later fragments carry
	headerLen int // of the packet
	first     int // bytes of payload in the first fragment
	later     int // bytes of payload in the others, at most
	offset    int // of the next fragment in the payload
}

// minFragmentMTU holds any header and 8 bytes (RFC 791: every module must
// forward 68 bytes without fragmentation).
const minFragmentMTU = 68

// NewFragments prepares to cut a packet that [Header4] accepts. It reports
// false when the packet cannot be cut: it must not be, or the MTU is too
// small. Options must have been checked, see [Options.Process]; of malformed
// ones nothing is copied.
func NewFragments(packet []byte, mtu int) (f Fragments, ok bool) {
	field := binary.BigEndian.Uint16(packet[6:])
	if field&DontFragment != 0 || mtu < minFragmentMTU {
		return f, false
	}
	f.packet = packet[:binary.BigEndian.Uint16(packet[2:])]
	f.headerLen = int(packet[0]&0xf) * 4
	f.optionLen = copyOptions(f.options[:], packet[HeaderLen4:f.headerLen])
	f.first = (mtu - f.headerLen) &^ 7
	f.later = (mtu - HeaderLen4 - f.optionLen) &^ 7
	return f, true
}

// Count returns the number of fragments.
func (f *Fragments) Count() int {
	rest := len(f.packet) - f.headerLen - f.first
	if rest <= 0 {
		return 1
	}
	return 1 + (rest+f.later-1)/f.later
}

// FirstLen returns the length of the first fragment, which is the front of
// the packet itself; see [Fragments.Finish].
func (f *Fragments) FirstLen() int { return min(f.headerLen+f.first, len(f.packet)) }

// Next writes the next fragment after the first to dst, which must have room
// for the MTU, and returns its length, or 0 when there is none.
func (f *Fragments) Next(dst []byte) int {
	if f.offset == 0 {
		f.offset = f.first
	}
	payload := f.packet[f.headerLen:]
	if f.offset >= len(payload) {
		return 0
	}
	headerLen := HeaderLen4 + f.optionLen
	copy(dst, f.packet[:HeaderLen4])
	copy(dst[HeaderLen4:], f.options[:f.optionLen])
	n := copy(dst[headerLen:headerLen+f.later], payload[f.offset:])
	last := f.offset+n == len(payload)
	dst[0] = 0x40 | byte(headerLen/4)
	f.set(dst, headerLen+n, f.offset, last)
	f.offset += n
	return headerLen + n
}

// Finish makes the first fragment of the packet in place, when all others
// have been written, and returns its length.
func (f *Fragments) Finish() int {
	length := f.FirstLen()
	f.set(f.packet, length, 0, length == len(f.packet))
	return length
}

// set writes length, fragment field and checksum of the fragment at an offset
// in the payload. The last fragment of a fragment keeps its more bit.
func (f *Fragments) set(header []byte, length, offset int, last bool) {
	field := binary.BigEndian.Uint16(f.packet[6:])
	if !last {
		field |= MoreFragments
	}
	binary.BigEndian.PutUint16(header[2:], uint16(length))
	binary.BigEndian.PutUint16(header[6:], field&^uint16(OffsetMask)|(field&OffsetMask+uint16(offset/8))&OffsetMask)
	SetChecksum4(header)
}

// copyOptions copies the options that have the copy bit (RFC 791, 3.1) and
// no-operations, which align them, and pads to a word. It returns the length.
func copyOptions(dst, options []byte) (length int) {
	for len(options) > 0 {
		kind := options[0]
		if kind == optionEnd {
			break
		}
		if kind == optionNop {
			dst[length] = optionNop
			length++
			options = options[1:]
			continue
		}
		if len(options) < 2 || int(options[1]) < 2 || int(options[1]) > len(options) {
			return 0
		}
		n := int(options[1])
		if kind&optionCopied != 0 {
			length += copy(dst[length:], options[:n])
		}
		options = options[n:]
	}
	for length%4 != 0 {
		dst[length] = optionEnd
		length++
	}
	return length
}
