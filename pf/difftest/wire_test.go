package difftest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/bsdnet/bsdnet/pf/conf"
	"github.com/bsdnet/bsdnet/pf/reference"
)

// wire is a packet with what matters on the wire and not to pf.
type wire struct {
	reference.Packet
	ID      uint16 // of a fragment
	Offset  uint16 // of a fragment, in units of 8 bytes
	Payload []byte
	// QuotedBytes is how many bytes an ICMP error quotes of the upper layer;
	// 0 is all.
	QuotedBytes int
	// NoSum leaves the checksum of UDP out.
	NoSum bool
	// About is the packet that an ICMP error quotes.
	About *wire
}

// ip returns the packet without link header, with every checksum right.
func (w *wire) ip() []byte {
	upper := w.upper()
	if w.Src.Is4() {
		return w.ipv4(upper)
	}
	return w.ipv6(upper)
}

func (w *wire) ipv4(upper []byte) []byte {
	length := 20
	if w.Options {
		length = 24
	}
	h := make([]byte, length, length+len(upper))
	h[0] = 0x40 | byte(length/4)
	h[1] = w.TOS
	binary.BigEndian.PutUint16(h[2:], uint16(length+len(upper)))
	binary.BigEndian.PutUint16(h[4:], w.ID)
	if w.Fragment {
		binary.BigEndian.PutUint16(h[6:], 0x2000|w.Offset)
	}
	if w.DF {
		h[6] |= 0x40
	}
	h[8], h[9] = w.TTL, w.Protocol
	copy(h[12:], w.Src.AsSlice())
	copy(h[16:], w.Dst.AsSlice())
	if w.Options {
		h[20], h[21] = 148, 4 // router alert
	}
	binary.BigEndian.PutUint16(h[10:], ^sum(0, h))
	return append(h, upper...)
}

func (w *wire) ipv6(upper []byte) []byte {
	next := w.Protocol
	if w.Fragment {
		h := make([]byte, 8)
		h[0], next = w.Protocol, 44
		binary.BigEndian.PutUint16(h[2:], w.Offset<<3|1)
		binary.BigEndian.PutUint32(h[4:], uint32(w.ID))
		upper = append(h, upper...)
	}
	if w.Options {
		upper = append([]byte{next, 0, 1, 4, 0, 0, 0, 0}, upper...)
		next = 60 // destination options
	}
	h := make([]byte, 40, 40+len(upper))
	h[0], h[1] = 0x60|w.TOS>>4, w.TOS<<4
	binary.BigEndian.PutUint16(h[4:], uint16(len(upper)))
	h[6], h[7] = next, w.TTL
	copy(h[8:], w.Src.AsSlice())
	copy(h[24:], w.Dst.AsSlice())
	return append(h, upper...)
}

// upper returns the header of the upper protocol and what is behind it.
func (w *wire) upper() []byte {
	if w.Fragment && w.Offset > 0 {
		return w.Payload
	}
	var b []byte
	sumAt := 0
	switch w.Protocol {
	case reference.TCP:
		b, sumAt = w.tcp(), 16
	case reference.UDP:
		b = make([]byte, 8)
		binary.BigEndian.PutUint16(b[0:], w.SrcPort)
		binary.BigEndian.PutUint16(b[2:], w.DstPort)
		binary.BigEndian.PutUint16(b[4:], uint16(8+len(w.Payload)))
		b, sumAt = append(b, w.Payload...), 6
	case reference.ICMP, reference.ICMPv6:
		b = make([]byte, 8)
		b[0], b[1] = w.ICMP.Type, w.ICMP.Code
		binary.BigEndian.PutUint16(b[4:], w.ICMP.ID)
		b, sumAt = append(b, w.Payload...), 2
	default:
		return w.Payload
	}
	if !(w.NoSum && w.Protocol == reference.UDP) {
		s := ^w.upperSum(b)
		if s == 0 && w.Protocol == reference.UDP {
			s = 0xffff
		}
		binary.BigEndian.PutUint16(b[sumAt:], s)
	}
	return b
}

func (w *wire) tcp() []byte {
	b := make([]byte, 20)
	binary.BigEndian.PutUint16(b[0:], w.SrcPort)
	binary.BigEndian.PutUint16(b[2:], w.DstPort)
	binary.BigEndian.PutUint32(b[4:], w.TCP.Seq)
	binary.BigEndian.PutUint32(b[8:], w.TCP.Ack)
	if w.TCP.MSS != 0 {
		if w.TCP.MSS&1 == 1 {
			b = append(b, 1) // so that it lies across two words of the checksum
		}
		b = append(b, 2, 4, byte(w.TCP.MSS>>8), byte(w.TCP.MSS))
	}
	if scale, ok := w.TCP.Scale.Get(); ok {
		b = append(b, 3, 3, scale)
	}
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	b[12], b[13] = byte(len(b)/4)<<4, w.TCP.Flags
	binary.BigEndian.PutUint16(b[14:], w.TCP.Window)
	return append(b, w.Payload...)
}

// upperSum sums an upper header and its data, with the pseudo header where the
// protocol has one.
func (w *wire) upperSum(b []byte) uint16 {
	var pseudo uint32
	if w.Protocol != reference.ICMP {
		pseudo = uint32(sum(0, append(w.Src.AsSlice(), w.Dst.AsSlice()...))) + uint32(w.Protocol) + uint32(len(b))
	}
	return sum(pseudo, b)
}

func sum(start uint32, b []byte) uint16 {
	for i := 0; i < len(b); i += 2 {
		word := uint32(b[i]) << 8
		if i+1 < len(b) {
			word |= uint32(b[i+1])
		}
		start += word
	}
	for start > 0xffff {
		start = start>>16 + start&0xffff
	}
	return uint16(start)
}

// finish fills in what follows from the rest: lengths and what pf reads.
func (w *wire) finish() {
	w.TCP.Data = 0
	if w.Protocol == reference.TCP {
		w.TCP.Data = len(w.Payload)
	}
	if w.Protocol != reference.TCP {
		w.TCP = reference.TCPHeader{}
		if w.Protocol != reference.UDP {
			w.SrcPort, w.DstPort = 0, 0
		}
	}
	if w.Fragment && w.Offset > 0 {
		// It has no header that could say more.
		w.SrcPort, w.DstPort, w.TCP, w.ICMP = 0, 0, reference.TCPHeader{}, reference.ICMPHeader{}
	}
	w.Length = len(w.ip())
}

// quote makes an ICMP error about a packet.
func quote(from netip.Addr, kind, code uint8, about *wire) wire {
	e := wire{}
	e.TTL = 60
	e.Src, e.Dst, e.Protocol = from, about.Src, reference.ICMP
	e.ICMP.Type, e.ICMP.Code = kind, code
	if from.Is6() {
		e.Protocol = reference.ICMPv6
	}
	quoted := about.Packet
	quoted.Tag = ""
	e.Quoted, e.About = &quoted, about
	e.Payload = about.ip()
	header := len(e.Payload) - len(about.upper())
	if n := header + about.QuotedBytes; about.QuotedBytes > 0 && n < len(e.Payload) {
		e.Payload = e.Payload[:n]
	}
	e.finish()
	return e
}

var errChecksum = errors.New("checksum is wrong")

// parse reads a packet back and checks every checksum in it.
func parse(b []byte) (*wire, error) {
	w := &wire{}
	var upper []byte
	switch {
	case len(b) < 20:
		return nil, errors.New("short")
	case b[0]>>4 == 4:
		header := int(b[0]&15) * 4
		if sum(0, b[:header]) != 0xffff {
			return nil, fmt.Errorf("IPv4 header: %w", errChecksum)
		}
		w.Length, w.TOS, w.TTL, w.Protocol = int(binary.BigEndian.Uint16(b[2:])), b[1], b[8], b[9]
		fragment := binary.BigEndian.Uint16(b[6:])
		w.DF = fragment&0x4000 != 0
		w.ID, w.Fragment, w.Offset = binary.BigEndian.Uint16(b[4:]), fragment&0x3fff != 0, fragment&0x1fff
		w.Options = header > 20
		w.Src, w.Dst = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
		upper = b[header:min(w.Length, len(b))]
	default:
		w.Length, w.TOS, w.TTL, w.Protocol = 40+int(binary.BigEndian.Uint16(b[4:])), b[0]<<4|b[1]>>4, b[7], b[6]
		w.Src, w.Dst = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
		upper = b[40:min(w.Length, len(b))]
		if w.Protocol == 60 {
			w.Options, w.Protocol, upper = true, upper[0], upper[8:]
		}
		if w.Protocol == 44 {
			w.Fragment, w.Protocol, w.Offset = true, upper[0], binary.BigEndian.Uint16(upper[2:])>>3
			w.ID = uint16(binary.BigEndian.Uint32(upper[4:]))
			upper = upper[8:]
		}
	}
	return w, w.parseUpper(upper)
}

func (w *wire) parseUpper(b []byte) error {
	if w.Fragment && w.Offset > 0 {
		w.Payload = b
		return nil
	}
	switch w.Protocol {
	case reference.TCP:
		w.SrcPort, w.DstPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		w.TCP = reference.TCPHeader{Seq: binary.BigEndian.Uint32(b[4:]), Ack: binary.BigEndian.Uint32(b[8:]),
			Flags: b[13], Window: binary.BigEndian.Uint16(b[14:])}
		header := int(b[12]>>4) * 4
		for options := b[20:header]; len(options) > 1 && options[0] != 0; {
			switch options[0] {
			case 1:
				options = options[1:]
				continue
			case 2:
				w.TCP.MSS = binary.BigEndian.Uint16(options[2:])
			case 3:
				w.TCP.Scale = conf.Some(options[2])
			}
			options = options[options[1]:]
		}
		w.TCP.Data, w.Payload = len(b)-header, b[header:]
	case reference.UDP:
		w.SrcPort, w.DstPort, w.Payload = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:]), b[8:]
		if b[6] == 0 && b[7] == 0 {
			w.NoSum = true
			return nil
		}
	case reference.ICMP, reference.ICMPv6:
		w.ICMP = reference.ICMPHeader{Type: b[0], Code: b[1], ID: binary.BigEndian.Uint16(b[4:])}
		w.Payload = b[8:]
	default:
		w.Payload = b
		return nil
	}
	if !w.Fragment && w.upperSum(b) != 0xffff {
		return fmt.Errorf("protocol %d: %w", w.Protocol, errChecksum)
	}
	return nil
}
