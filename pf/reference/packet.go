package reference

import (
	"net/netip"

	"github.com/bsdnet/bsdnet/pf/conf"
)

// Protocols that pf looks into.
const (
	ICMP   = 1
	IGMP   = 2
	TCP    = 6
	UDP    = 17
	ICMPv6 = 58
)

// TCP flags.
const (
	FIN = 1 << iota
	SYN
	RST
	PUSH
	ACK
	URG
)

// Packet is what pf looks at in a packet. It is comparable but for Quoted.
type Packet struct {
	Src, Dst netip.Addr
	Protocol uint8
	TOS      uint8
	Length   int  // of the whole IP packet
	Fragment bool // any part of a packet that is not whole
	Options  bool // has IP options or extension headers
	TTL      uint8
	DF       bool // IPv4: must not be fragmented
	Broken   bool // its upper header is not there whole
	Headless bool // its upper header is behind more extension headers than are followed
	// SourceRouted is IPv6 with a routing header of type 0, or with two.
	SourceRouted bool

	SrcPort, DstPort uint16 // TCP and UDP

	TCP  TCPHeader
	ICMP ICMPHeader
	// Quoted is the packet that an ICMP error is about; nil if it has none
	// that can be read.
	Quoted *Packet
	// ReceivedOn is the interface where the packet came in, empty for the
	// host's own.
	ReceivedOn string
	// Tag is the name that a rule gave to the packet on its way.
	Tag string
}

// TCPHeader is what is in a TCP header beside the ports.
type TCPHeader struct {
	Flags    uint8
	Seq, Ack uint32
	Window   uint16
	// Scale is the window scale option of a SYN.
	Scale conf.Optional
	// MSS is the option of that name, 0: none.
	MSS uint16
	// Data is the number of bytes behind the header.
	Data int
}

// ICMPHeader is the header of ICMP and ICMPv6.
type ICMPHeader struct {
	Type, Code uint8
	ID         uint16 // of queries and replies
}

// Family returns the family of the packet's addresses.
func (p *Packet) Family() conf.AddressFamily {
	if p.Src.Is4() {
		return conf.Inet
	}
	return conf.Inet6
}

func (p *Packet) icmp() bool { return p.Protocol == ICMP || p.Protocol == ICMPv6 }

// icmpQueries maps the types of ICMP replies to the queries that they answer.
var icmpQueries = map[conf.AddressFamily]map[uint8]uint8{
	conf.Inet:  {0: 8, 14: 13, 16: 15, 18: 17},
	conf.Inet6: {129: 128},
}

// query returns the type of the query that an ICMP packet is or answers;
// known is whether such packets carry a number.
func (p *Packet) query() (kind uint8, reply, known bool) {
	for answer, question := range icmpQueries[p.Family()] {
		switch p.ICMP.Type {
		case answer:
			return question, true, true
		case question:
			return question, false, true
		}
	}
	return p.ICMP.Type, false, false
}

// blockedOptions reports whether a packet has options that a rule must allow.
// Those of group membership, which never leave the link, are forgiven their
// router alert.
func (p *Packet) blockedOptions() bool {
	if !p.Options || p.TTL != 1 {
		return p.Options
	}
	switch p.Protocol {
	case IGMP:
		return !p.Src.Is4()
	case ICMPv6:
		return !(p.ICMP.Type >= 130 && p.ICMP.Type <= 132 || p.ICMP.Type == 143)
	}
	return true
}

// icmpError reports whether an ICMP packet is about another packet.
func (p *Packet) icmpError() bool {
	switch p.Protocol {
	case ICMP:
		switch p.ICMP.Type {
		case 3, 4, 5, 11, 12:
			return true
		}
	case ICMPv6:
		return p.ICMP.Type >= 1 && p.ICMP.Type <= 4
	}
	return false
}

// ends returns the two ends of the conversation that a packet belongs to. For
// ICMP, the one who asks has the number as its port and the other the type.
func (p *Packet) ends() (src, dst netip.AddrPort) {
	if p.icmp() {
		kind, reply, known := p.query()
		id := p.ICMP.ID
		if !known {
			id = 0
		}
		if reply {
			return netip.AddrPortFrom(p.Src, uint16(kind)), netip.AddrPortFrom(p.Dst, id)
		}
		return netip.AddrPortFrom(p.Src, id), netip.AddrPortFrom(p.Dst, uint16(kind))
	}
	return netip.AddrPortFrom(p.Src, p.SrcPort), netip.AddrPortFrom(p.Dst, p.DstPort)
}

// setEnds is the inverse of ends: it writes translated ends into the packet.
func (p *Packet) setEnds(src, dst netip.AddrPort) {
	p.Src, p.Dst = src.Addr(), dst.Addr()
	if p.icmp() {
		_, reply, known := p.query()
		switch {
		case !known:
		case reply:
			p.ICMP.ID = dst.Port()
		default:
			p.ICMP.ID = src.Port()
		}
		return
	}
	p.SrcPort, p.DstPort = src.Port(), dst.Port()
}

// Key names a conversation as seen at an interface: the end beyond it, on the
// wire, and the end behind it. Packets of both directions have the same.
type Key struct {
	Beyond, Behind netip.AddrPort
}

func keyOf(p *Packet, dir conf.Direction) Key {
	src, dst := p.ends()
	if dir == conf.In {
		return Key{Beyond: src, Behind: dst}
	}
	return Key{Beyond: dst, Behind: src}
}

// ends returns source and destination of a packet of the direction.
func (k Key) ends(dir conf.Direction) (src, dst netip.AddrPort) {
	if dir == conf.In {
		return k.Beyond, k.Behind
	}
	return k.Behind, k.Beyond
}

func opposite(dir conf.Direction) conf.Direction {
	if dir == conf.In {
		return conf.Out
	}
	return conf.In
}
