package rtm

import (
	"encoding/binary"
	"net/netip"

	"github.com/bsdnet/bsdnet/errno"
)

// The address families by number, AF_*, where the systems agree.
const (
	AFUnspec    = 0
	AFUnix      = 1
	AFInet      = 2
	AFNS        = 6 // Xerox NS; NetBIOS of FreeBSD
	AFISO       = 7
	AFCCITT     = 10
	AFHylink    = 15
	AFAppleTalk = 16
	AFRoute     = 17
	AFLink      = 18
	AFIPX       = 23
	AFInet6     = 28
	AFMPLS      = 34 // DragonFly's
)

// Sockaddr is one sockaddr of a message.
type Sockaddr interface {
	// Family returns its sa_family.
	Family() uint8
	// append adds its sa_len bytes, without those that round them up.
	append(b []byte) []byte
}

// Raw is a sockaddr byte by byte, as long as its sa_len says: a mask, or one of
// a family that has no type here. The empty one has a sa_len of 0.
type Raw []byte

// Family returns sa_family, 0 if the sockaddr is too short to have one.
func (r Raw) Family() uint8 {
	if len(r) < 2 {
		return AFUnspec
	}
	return r[1]
}

func (r Raw) append(b []byte) []byte { return append(b, r...) }

// Inet is struct sockaddr_in.
type Inet struct {
	Addr netip.Addr // IPv4
	Port uint16
}

// Family returns AF_INET.
func (Inet) Family() uint8 { return AFInet }

const sizeInet = 16

func (s Inet) append(b []byte) []byte {
	b = append(b, sizeInet, AFInet)
	b = binary.BigEndian.AppendUint16(b, s.Port)
	a := s.Addr.As4()
	return append(append(b, a[:]...), make([]byte, 8)...)
}

// Inet6 is struct sockaddr_in6. The address is as on the wire: a link-local one
// has its interface in Scope.
type Inet6 struct {
	Addr     netip.Addr // IPv6, without a zone
	Port     uint16
	Flowinfo uint32 // network order on the wire
	Scope    uint32 // sin6_scope_id
}

// Family returns AF_INET6.
func (Inet6) Family() uint8 { return AFInet6 }

const sizeInet6 = 28

func (s Inet6) append(b []byte) []byte {
	b = append(b, sizeInet6, AFInet6)
	b = binary.BigEndian.AppendUint16(b, s.Port)
	b = binary.BigEndian.AppendUint32(b, s.Flowinfo)
	a := s.Addr.As16()
	b = append(b, a[:]...)
	return le.AppendUint32(b, s.Scope)
}

// Link is struct sockaddr_dl.
type Link struct {
	Index    uint16
	Type     uint8 // IFT_*
	Name     string
	Addr     string // the bytes of the link address
	Selector string
	// Len is sdl_len, 0 for that of an interface's own address. It is never
	// less than the parts need.
	Len uint8
}

// Family returns AF_LINK.
func (Link) Family() uint8 { return AFLink }

const (
	sdlHeader = 8 // up to sdl_data
	// sizeLink is sdl_len of an interface's address: struct sockaddr_dl has 54
	// bytes, which if_attach rounds up.
	sizeLink = 56
	// ShortLink is the sdl_len of a gateway of FreeBSD that is a link:
	// struct sockaddr_dl_short.
	ShortLink = 16
	// NullLink is the sdl_len of a gateway of DragonFly that is a link:
	// struct sockaddr_dl itself.
	NullLink = 54
)

func (s Link) append(b []byte) []byte {
	length := int(s.Len)
	if length == 0 {
		length = sizeLink
	}
	parts := sdlHeader + len(s.Name) + len(s.Addr) + len(s.Selector)
	length = max(length, parts)
	b = append(b, uint8(length), AFLink)
	b = le.AppendUint16(b, s.Index)
	b = append(b, s.Type, uint8(len(s.Name)), uint8(len(s.Addr)), uint8(len(s.Selector)))
	b = append(b, s.Name...)
	b = append(b, s.Addr...)
	b = append(b, s.Selector...)
	return append(b, make([]byte, length-parts)...)
}

// fits reports whether the length of every part and of the whole has room in
// its byte.
func (s Link) fits() bool {
	return sdlHeader+len(s.Name)+len(s.Addr)+len(s.Selector) <= 255
}

// Unix is struct sockaddr_un, with as many bytes as its path has.
type Unix struct{ Path string }

// Family returns AF_UNIX.
func (Unix) Family() uint8 { return AFUnix }

func (s Unix) append(b []byte) []byte {
	return append(append(b, uint8(2+len(s.Path)), AFUnix), s.Path...)
}

// IPX is struct sockaddr_ipx, and struct sockaddr_ns, which is the same.
type IPX struct {
	NS   bool // AF_NS, else AF_IPX
	Net  uint32
	Host [6]byte
	Port uint16
}

// Family returns AF_IPX or AF_NS.
func (s IPX) Family() uint8 {
	if s.NS {
		return AFNS
	}
	return AFIPX
}

const sizeIPX = 16

func (s IPX) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(append(b, sizeIPX, s.Family()), s.Net)
	b = append(b, s.Host[:]...)
	return append(binary.BigEndian.AppendUint16(b, s.Port), 0, 0)
}

// AppleTalk is struct sockaddr_at.
type AppleTalk struct {
	Port  uint8
	Net   uint16
	Node  uint8
	Range [8]byte // sat_range
}

// Family returns AF_APPLETALK.
func (AppleTalk) Family() uint8 { return AFAppleTalk }

const sizeAppleTalk = 16

func (s AppleTalk) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(append(b, sizeAppleTalk, AFAppleTalk, s.Port, 0), s.Net)
	return append(append(b, s.Node, 0), s.Range[:]...)
}

// MPLS is struct sockaddr_mpls of DragonFly.
type MPLS struct {
	Op    uint16
	Label uint32
}

// Family returns AF_MPLS.
func (MPLS) Family() uint8 { return AFMPLS }

const sizeMPLS = 16

func (s MPLS) append(b []byte) []byte {
	b = le.AppendUint16(append(b, sizeMPLS, AFMPLS), s.Op)
	return append(binary.BigEndian.AppendUint32(b, s.Label), make([]byte, 8)...)
}

// IP returns the sockaddr of an address. scope is the index of its interface
// where it is link-local.
func IP(a netip.Addr, scope int) Sockaddr {
	if a.Is4() {
		return Inet{Addr: a}
	}
	s := Inet6{Addr: a.WithZone("")}
	if a.IsLinkLocalUnicast() || a.IsLinkLocalMulticast() || a.IsInterfaceLocalMulticast() {
		s.Scope = uint32(scope)
	}
	return s
}

// AddrOf returns the address of an Inet or Inet6, and the index in its scope.
func AddrOf(s Sockaddr) (a netip.Addr, scope int, ok bool) {
	switch s := s.(type) {
	case Inet:
		return s.Addr, 0, true
	case Inet6:
		return s.Addr, int(s.Scope), true
	}
	return netip.Addr{}, 0, false
}

// parseSockaddr reads a sockaddr of sa_len bytes; slot holds them and the bytes
// that round them up. Those that are shorter than their type are taken as
// FreeBSD takes them: what is missing of a sockaddr_in is read from the slot,
// any other one that is short remains raw.
func parseSockaddr(v Version, sa, slot []byte) Sockaddr {
	if len(sa) < 2 {
		return rawOf(sa)
	}
	switch sa[1] {
	case AFInet:
		if len(slot) >= 8 {
			return Inet{Addr: netip.AddrFrom4([4]byte(slot[4:8])), Port: binary.BigEndian.Uint16(slot[2:])}
		}
	case AFInet6:
		if len(sa) >= sizeInet6 {
			return Inet6{
				Addr: netip.AddrFrom16([16]byte(sa[8:24])), Port: binary.BigEndian.Uint16(sa[2:]),
				Flowinfo: binary.BigEndian.Uint32(sa[4:]), Scope: le.Uint32(sa[24:]),
			}
		}
	case AFLink:
		return parseLink(sa)
	case AFUnix:
		return Unix{Path: string(sa[2:])}
	case AFNS, AFIPX:
		if len(sa) >= sizeIPX {
			return IPX{NS: sa[1] == AFNS, Net: binary.BigEndian.Uint32(sa[2:]), Host: [6]byte(sa[6:12]), Port: binary.BigEndian.Uint16(sa[12:])}
		}
	case AFAppleTalk:
		if len(sa) >= sizeAppleTalk {
			return AppleTalk{Port: sa[2], Net: binary.BigEndian.Uint16(sa[4:]), Node: sa[6], Range: [8]byte(sa[8:16])}
		}
	case AFMPLS:
		if len(sa) >= sizeMPLS && v == DragonFly {
			return MPLS{Op: le.Uint16(sa[2:]), Label: binary.BigEndian.Uint32(sa[4:])}
		}
	}
	return rawOf(sa)
}

func rawOf(sa []byte) Raw { return append(Raw{}, sa...) }

// parseLink reads a sockaddr_dl. One whose parts do not fit remains raw.
func parseLink(sa []byte) Sockaddr {
	if len(sa) < sdlHeader {
		return rawOf(sa)
	}
	nlen, alen, slen := int(sa[5]), int(sa[6]), int(sa[7])
	data := sa[sdlHeader:]
	if nlen+alen+slen > len(data) {
		return rawOf(sa)
	}
	return Link{
		Index: le.Uint16(sa[2:]), Type: sa[4], Len: uint8(len(sa)),
		Name: string(data[:nlen]), Addr: string(data[nlen : nlen+alen]), Selector: string(data[nlen+alen : nlen+alen+slen]),
	}
}

// Addresses within a sockaddr_in and a sockaddr_in6 begin here.
const (
	offInetAddr  = 4
	offInet6Addr = 8
)

// MaskBits returns the length of the prefix that a mask for addresses of a
// family stands for. Masks may be short: those of old programs and of radix
// trees end with their last byte that is not 0. EINVAL: the mask has holes, or
// is too short to be one; an empty one is /0. EAFNOSUPPORT: no such family.
func MaskBits(family uint8, mask Sockaddr) (int, error) {
	offset, size := offInetAddr, 4
	switch family {
	case AFInet:
	case AFInet6:
		offset, size = offInet6Addr, 16
	default:
		return 0, errno.EAFNOSUPPORT
	}
	var octets []byte
	switch m := mask.(type) {
	case Raw:
		switch {
		case len(m) == 0:
			return 0, nil
		case len(m) < offset:
			return 0, errno.EINVAL
		}
		octets = m[offset:min(len(m), offset+size)]
	default:
		a, _, ok := AddrOf(mask)
		switch {
		case ok && a.IsUnspecified():
			return 0, nil // of any family: a sockaddr of length 0 became one of IPv4
		case !ok || a.BitLen() != size*8:
			return 0, errno.EINVAL
		}
		octets = a.AsSlice()
	}
	bits, ended := 0, false
	for _, octet := range octets {
		for bit := 7; bit >= 0; bit-- {
			switch set := octet>>bit&1 == 1; {
			case set && ended:
				return 0, errno.EINVAL
			case set:
				bits++
			default:
				ended = true
			}
		}
	}
	return bits, nil
}

// RouteMask returns the mask of a route as a system's kernel tells it: FreeBSD
// a whole sockaddr, DragonFly that of its radix tree, which begins with its
// length and ones up to the address, and ends with the last byte that is not 0.
func RouteMask(v Version, p netip.Prefix) Sockaddr {
	full := maskAddr(p)
	if v != DragonFly {
		return IP(full, 0)
	}
	offset := offInetAddr
	if full.Is6() {
		offset = offInet6Addr
	}
	octets := (p.Bits() + 7) / 8
	if octets == 0 {
		return Raw{}
	}
	mask := make(Raw, offset+octets)
	for i := range offset {
		mask[i] = 0xff
	}
	mask[0] = uint8(len(mask))
	copy(mask[offset:], full.AsSlice())
	return mask
}

// AddressMask returns the mask of an address of an interface: a whole sockaddr,
// but of IPv4 on DragonFly, which cuts zeros off.
func AddressMask(v Version, p netip.Prefix) Sockaddr {
	full := maskAddr(p)
	if v != DragonFly || full.Is6() {
		return IP(full, 0)
	}
	octets := (p.Bits() + 7) / 8
	if octets == 0 {
		return Raw{}
	}
	a := full.As4()
	return append(Raw{uint8(offInetAddr + octets), AFInet, 0, 0}, a[:octets]...)
}

func maskAddr(p netip.Prefix) netip.Addr {
	octets := make([]byte, p.Addr().BitLen()/8)
	for i := range p.Bits() {
		octets[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(octets)
	return a
}
