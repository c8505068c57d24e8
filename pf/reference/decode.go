package reference

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/bsdnet/bsdnet/pf/conf"
)

// ErrMalformed is a packet that the stack drops before a filter sees it.
var ErrMalformed = errors.New("malformed IP header")

// Lengths of headers in bytes, and how many extension headers are followed.
const (
	headerLen4   = 20
	headerLen6   = 40
	headerLenTCP = 20
	headerLenUDP = 8 // and what pf reads of ICMP
	extensions   = 6
	tcpOptions   = 20
	scaleMax     = 14  // RFC 7323
	headersMax   = 594 // bytes of IPv6 headers in which the upper one is looked for
)

// Decode reads an IP packet, of which the end may be missing. Checksums are
// not looked at. ErrMalformed: it has no IP header that could be read.
func Decode(b []byte) (Packet, error) {
	switch {
	case len(b) >= headerLen4 && b[0]>>4 == 4:
		return decode4(b)
	case len(b) >= headerLen6 && b[0]>>4 == 6:
		return decode6(b), nil
	}
	return Packet{}, ErrMalformed
}

func decode4(b []byte) (Packet, error) {
	header, fragment := int(b[0]&15)*4, binary.BigEndian.Uint16(b[6:])
	p := Packet{
		Src: netip.AddrFrom4([4]byte(b[12:])), Dst: netip.AddrFrom4([4]byte(b[16:])), Protocol: b[9], TOS: b[1], TTL: b[8],
		Length: int(binary.BigEndian.Uint16(b[2:])), Options: header > headerLen4,
		Fragment: fragment&0x3fff != 0, DF: fragment&0x4000 != 0,
	}
	if header < headerLen4 || p.Length < header || len(b) < header {
		return p, ErrMalformed
	}
	p.upper(b[header:], p.Length-header)
	return p, nil
}

func decode6(b []byte) Packet {
	p := Packet{
		Src: netip.AddrFrom16([16]byte(b[8:])), Dst: netip.AddrFrom16([16]byte(b[24:])), Protocol: b[6], TOS: b[0]<<4 | b[1]>>4, TTL: b[7],
		Length: headerLen6 + int(binary.BigEndian.Uint16(b[4:])),
	}
	at, plain, routing := headerLen6, headerLen6, routingHeaders{}
	for range extensions {
		size, later := 8, false
		switch next := p.Protocol; {
		case at > headersMax:
			return p.headless()
		case next == 0 || next == 43 || next == 60: // hop by hop, routing, destination
			if len(b) < at+2 {
				return p.headless()
			}
			size = (int(b[at+1]) + 1) * 8
			routing.see(next, b[at:])
		case next == 44:
			if len(b) < at+size {
				return p.headless()
			}
			if offset := binary.BigEndian.Uint16(b[at+2:]); offset&0xfff9 != 0 {
				p.Fragment, later = true, offset&0xfff8 != 0
			} else {
				plain = headerLen6 + size // whole all the same: RFC 6946
			}
		default:
			p.Options, p.SourceRouted = at > plain && !p.Fragment, routing.refused
			p.upper(b[min(at, len(b)):], p.Length-at)
			return p
		}
		p.Protocol = b[at]
		if at += size; later {
			return p // what follows is data
		}
	}
	return p.headless()
}

// routingHeaders are those of a packet, as far as extension headers can be read.
type routingHeaders struct{ seen, refused, unreadable bool }

func (r *routingHeaders) see(next uint8, header []byte) {
	if r.unreadable = r.unreadable || len(header) < 4; r.unreadable || next != 43 {
		return
	}
	r.refused = r.refused || r.seen || header[2] == 0
	r.seen = true
}

// headless is a packet whose upper header is not within reach.
func (p Packet) headless() Packet {
	p.Headless, p.Options = true, !p.Fragment
	return p
}

// upper reads the header of the upper protocol; length is that of all behind
// the IP headers.
func (p *Packet) upper(b []byte, length int) {
	if p.Fragment {
		return
	}
	need := map[uint8]int{TCP: headerLenTCP, UDP: headerLenUDP, ICMP: headerLenUDP, ICMPv6: headerLenUDP}[p.Protocol]
	if p.Broken = need > 0 && (len(b) < need || length < need); p.Broken || need == 0 {
		return
	}
	switch p.Protocol {
	case TCP:
		p.tcp(b, length)
	case UDP:
		p.SrcPort, p.DstPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		own := int(binary.BigEndian.Uint16(b[4:]))
		p.Broken = own > length || own < headerLenUDP
	default:
		p.ICMP = ICMPHeader{Type: b[0], Code: b[1], ID: binary.BigEndian.Uint16(b[4:])}
		if p.icmpError() {
			p.Quoted = quoted(b[8:], p.Src.Is4())
		}
	}
}

func (p *Packet) tcp(b []byte, length int) {
	p.SrcPort, p.DstPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	header := int(b[12]>>4) * 4
	p.TCP = TCPHeader{
		Seq: binary.BigEndian.Uint32(b[4:]), Ack: binary.BigEndian.Uint32(b[8:]), Flags: b[13],
		Window: binary.BigEndian.Uint16(b[14:]), Data: length - header,
	}
	if p.Broken = header < headerLenTCP || header > length; p.Broken {
		return
	}
	options := b[headerLenTCP:min(header, len(b))]
	for range tcpOptions {
		if len(options) > 0 && options[0] == 1 {
			options = options[1:]
			continue
		}
		if len(options) < 2 || options[0] == 0 || options[1] < 2 || int(options[1]) > len(options) {
			return
		}
		switch {
		case options[0] == 2 && options[1] == 4 && p.TCP.MSS == 0:
			p.TCP.MSS = binary.BigEndian.Uint16(options[2:])
		case options[0] == 3 && options[1] == 3 && p.TCP.Flags&SYN != 0 && p.TCP.Scale == 0:
			p.TCP.Scale = conf.Some(min(options[2], scaleMax))
		}
		options = options[options[1]:]
	}
}

// quoted reads the packet that an ICMP error quotes, as far as its ports; nil
// if they are not there.
func quoted(b []byte, is4 bool) *Packet {
	q := &Packet{}
	switch {
	case is4 && len(b) >= headerLen4 && b[0]&15 >= 5:
		q.Src, q.Dst, q.Protocol = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:])), b[9]
		q.Fragment = binary.BigEndian.Uint16(b[6:])&0x3fff != 0
		b = b[min(int(b[0]&15)*4, len(b)):]
	case !is4 && len(b) >= headerLen6:
		q.Src, q.Dst, q.Protocol = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:])), b[6]
		if b = q.extensions(b[headerLen6:]); b == nil {
			return nil
		}
	default:
		return nil
	}
	switch q.Protocol {
	case TCP, UDP, ICMP, ICMPv6:
	default:
		return q
	}
	if len(b) < 8 {
		return nil
	}
	if q.icmp() {
		q.ICMP = ICMPHeader{Type: b[0], Code: b[1], ID: binary.BigEndian.Uint16(b[4:])}
		return q
	}
	q.SrcPort, q.DstPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	if q.Protocol == TCP {
		q.TCP.Seq = binary.BigEndian.Uint32(b[4:])
	}
	return q
}

// extensions goes on to the upper header behind the extension headers of a
// quoted packet; nil: it is out of reach, or of a later fragment.
func (p *Packet) extensions(b []byte) []byte {
	for range extensions {
		size := 8
		switch p.Protocol {
		case 0, 43, 60:
			if len(b) < size {
				return nil
			}
			size = (int(b[1]) + 1) * 8
		case 44:
			if len(b) < size || binary.BigEndian.Uint16(b[2:])&0xfff8 != 0 {
				return nil
			}
		default:
			return b
		}
		p.Protocol = b[0]
		b = b[min(size, len(b)):]
	}
	return nil
}
