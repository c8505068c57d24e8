package conf

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"
)

// AddrKind tells what an address of a rule is.
type AddrKind uint8

// The kinds of address.
const (
	AddrAny        AddrKind = iota // every address
	AddrPrefix                     // IP/Bits
	AddrRange                      // IP - Last, both included
	AddrInterface                  // (Name:modifiers), looked up while running
	AddrTable                      // <Name>
	AddrNoRoute                    // no-route
	AddrURPFFailed                 // urpf-failed
	AddrRouteLabel                 // route "Name"
)

var addrKindNames = [...]string{"any", "prefix", "range", "interface", "table", "no-route",
	"urpf-failed", "route"}

func (k AddrKind) String() string { return addrKindNames[k] }

// MarshalText writes the name of the kind.
func (k AddrKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Modifier selects addresses of an interface.
type Modifier uint8

// The modifiers :network, :broadcast, :peer and :0.
const (
	ModNetwork Modifier = 1 << iota
	ModBroadcast
	ModPeer
	ModNoAlias

	modExclusive = ModNetwork | ModBroadcast | ModPeer
)

func (m Modifier) String() string {
	var b strings.Builder
	if m&ModNetwork != 0 {
		b.WriteString(":network")
	}
	if m&ModBroadcast != 0 {
		b.WriteString(":broadcast")
	}
	if m&ModPeer != 0 {
		b.WriteString(":peer")
	}
	if m&ModNoAlias != 0 {
		b.WriteString(":0")
	}
	return b.String()
}

// Addr is one address of a rule or a pool. It is comparable.
type Addr struct {
	Kind AddrKind `json:"kind"`

	// IP is the network address of a prefix or the first address of a range.
	IP netip.Addr `json:"ip,omitzero"`
	// Last is the last address of a range.
	Last netip.Addr `json:"last,omitzero"`
	// Bits is the prefix length of a prefix, or of the addresses of a dynamic
	// interface, where 128 (32 for inet rules) is a host.
	Bits uint8 `json:"bits,omitempty"`

	// Name is the interface, table or route label.
	Name string `json:"name,omitempty"`
	// Modifiers select addresses of a dynamic interface.
	Modifiers Modifier `json:"modifiers,omitempty"`
}

// prefixAddr is the address of a prefix; 0/0 is [AddrAny].
func prefixAddr(ip netip.Addr, bits int) Addr {
	p, err := ip.WithZone("").Prefix(bits)
	if err != nil {
		return Addr{}
	}
	if bits == 0 {
		return Addr{}
	}
	return Addr{Kind: AddrPrefix, IP: p.Addr(), Bits: uint8(bits)}
}

// multiple reports whether a dynamic interface may have several addresses.
func (a Addr) multiple() bool {
	if a.Kind != AddrInterface {
		return false
	}
	last := a.Name[len(a.Name)-1]
	return a.Modifiers&ModNoAlias == 0 || last < '0' || last > '9'
}

// text is the address as pfctl prints it in a rule of family f. With counts,
// tables and interfaces show their size as pfctl -vv does; offline it is not
// known.
func (a Addr) text(f AddressFamily, counts bool) string {
	switch a.Kind {
	case AddrAny:
		return "any"
	case AddrPrefix:
		s := ipText(a.IP)
		if int(a.Bits) < a.IP.BitLen() {
			s += "/" + strconv.Itoa(int(a.Bits))
		}
		return s
	case AddrRange:
		return ipText(a.IP) + " - " + ipText(a.Last)
	case AddrInterface:
		s := "(" + nameText(a.Name+a.Modifiers.String())
		if counts {
			s += ":*"
		}
		s += ")"
		if int(a.Bits) < f.bits() {
			s += "/" + strconv.Itoa(int(a.Bits))
		}
		return s
	case AddrTable:
		if counts {
			return "<" + numberNameText(a.Name) + ":0>"
		}
		return "<" + numberNameText(a.Name) + ">"
	case AddrNoRoute:
		return "no-route"
	case AddrURPFFailed:
		return "urpf-failed"
	case AddrRouteLabel:
		return "route " + quote(a.Name)
	}
	return "?"
}

// ipText writes an address as inet_ntop(3) does, which differs from
// [netip.Addr.String] for the IPv4-compatible form ::1.2.3.4.
func ipText(ip netip.Addr) string {
	ip = ip.WithZone("")
	if !ip.Is6() || ip.Is4In6() {
		return ip.String()
	}
	b := ip.As16()
	for _, c := range b[:12] {
		if c != 0 {
			return ip.String()
		}
	}
	if binary.BigEndian.Uint32(b[12:])>>16 == 0 {
		return ip.String()
	}
	return "::" + netip.AddrFrom4([4]byte(b[12:])).String()
}

// family is the address family of an IP address.
func family(ip netip.Addr) AddressFamily {
	if ip.Is4() {
		return Inet
	}
	return Inet6
}
