package route

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/route/api"
)

// owner says where a path comes from, which decides who may remove it.
type owner uint8

const (
	ownerBuiltin   owner = iota // always there: loopback, multicast
	ownerInterface              // follows from an address of an interface
	ownerLinux                  // imported
	ownerBSD                    // added with bsdnet
)

// kind says what becomes of a packet. The order is that of preference in one
// prefix: an own address wins over everything else.
type kind uint8

const (
	kindLocal kind = iota
	kindBroadcast
	kindMulticast
	kindUnicast
	kindReject
	kindBlackhole
)

// path is one way to a prefix; a prefix has several when Linux holds routes
// of different metrics. A path in a RIB does not change but for the fields
// after seen.
type path struct {
	owner    owner
	kind     kind
	protocol uint8 // RTPROT_*
	tos      uint8
	linux    uint8  // RTN_* of an imported path
	table    uint32 // of an imported path
	priority uint32 // the lowest is preferred
	flags    api.Flags
	hops     []linuxHop
	prefsrc  netip.Addr
	gateway  netip.Addr // of a path that discards: shown, not used
	metrics  api.Metrics
	order    uint64 // of insertion: the first of equals is preferred

	seen     uint64 // number of the dump that had it last
	mirrored bool   // ownerBSD: Linux has it
	warned   bool   // ownerBSD: that Linux refuses it has been logged
}

// rank orders paths by preference: own addresses and the like first, as
// Linux asks its table local before any other, then by metric.
func rank(a, b *path) int {
	class := func(p *path) int {
		if p.kind < kindUnicast {
			return int(p.kind)
		}
		return int(kindUnicast)
	}
	return cmp.Or(
		cmp.Compare(class(a), class(b)),
		cmp.Compare(a.priority, b.priority),
		cmp.Compare(a.order, b.order),
	)
}

// shown reports whether netstat -r lists the path, as a BSD would.
func (p *path) shown(dst netip.Prefix) bool {
	switch p.kind {
	case kindUnicast, kindReject, kindBlackhole:
		return true
	case kindLocal:
		return p.owner != ownerBuiltin && dst.IsSingleIP()
	}
	return false
}

// sameHops compares where two paths lead, without the state of the links and
// in any order: Linux tells the hops of an IPv6 route in changing order.
func sameHops(a, b []linuxHop) bool { return len(a) == len(b) && subset(a, b) && subset(b, a) }

// subset reports whether every hop of a is one of b.
func subset(a, b []linuxHop) bool {
	for _, h := range a {
		if !slices.ContainsFunc(b, h.same) {
			return false
		}
	}
	return true
}

// same reports whether two hops lead to the same place.
func (h linuxHop) same(o linuxHop) bool {
	return h.ifindex == o.ifindex && h.gateway == o.gateway
}

// inOrder returns fresh with the hops of old first and in their order, so
// that traffic stays where it is.
func inOrder(old, fresh []linuxHop) []linuxHop {
	ordered := make([]linuxHop, 0, len(fresh))
	for _, h := range old {
		if i := slices.IndexFunc(fresh, h.same); i >= 0 {
			ordered = append(ordered, fresh[i])
		}
	}
	for _, h := range fresh {
		if !slices.ContainsFunc(ordered, h.same) {
			ordered = append(ordered, h)
		}
	}
	return ordered
}

// discards reports whether packets end at the path.
func (p *path) discards() bool { return p.kind == kindReject || p.kind == kindBlackhole }

// usesInterface reports whether a path leads over an interface.
func (p *path) usesInterface(index int) bool {
	return slices.ContainsFunc(p.hops, func(h linuxHop) bool { return h.ifindex == index })
}

// importPath makes a path of a route of Linux. It reports false for routes
// that are none of the FIB's business.
func importPath(r linuxRoute) (*path, bool) {
	if r.table != unix.RT_TABLE_MAIN && r.table != unix.RT_TABLE_LOCAL || r.flags&unix.RTM_F_CLONED != 0 {
		return nil, false
	}
	p := &path{
		owner:    ownerLinux,
		protocol: r.protocol,
		tos:      r.tos,
		linux:    r.kind,
		table:    r.table,
		priority: r.priority,
		hops:     r.hops,
		prefsrc:  r.prefsrc,
		flags:    api.Up | originFlags(r.protocol),
		metrics:  api.Metrics{Mtu: uint64(r.mtu), Hopcount: uint64(r.hopcount)},
	}
	switch r.kind {
	case unix.RTN_UNICAST:
		p.kind = kindUnicast
	case unix.RTN_LOCAL, unix.RTN_ANYCAST:
		p.kind = kindLocal
	case unix.RTN_BROADCAST:
		p.kind = kindBroadcast
	case unix.RTN_BLACKHOLE:
		p.kind, p.hops = kindBlackhole, nil // IPv6 names lo
		p.flags |= api.Blackhole
	case unix.RTN_UNREACHABLE, unix.RTN_PROHIBIT, unix.RTN_THROW:
		// Throw means "look into the next table", which is the empty
		// table default: no route, as good as rejected.
		p.kind, p.hops = kindReject, nil
		p.flags |= api.Reject
	default:
		return nil, false
	}
	// A type of service other than 0 needs a look-up that looks at it.
	if r.tos != 0 {
		return nil, false
	}
	p.finishFlags(r.dst)
	if p.protocol == Protocol && r.table == unix.RT_TABLE_MAIN {
		p.owner, p.mirrored = ownerBSD, true
	}
	return p, true
}

// finishFlags sets the flags that follow from the rest of the path.
func (p *path) finishFlags(dst netip.Prefix) {
	p.flags &^= api.Gateway | api.Host | api.Local | api.Broadcast | api.Multicast | api.Pinned
	p.flags |= api.Up
	if dst.IsSingleIP() {
		p.flags |= api.Host
	}
	switch p.kind {
	case kindLocal:
		p.flags |= api.Pinned
		if !dst.Addr().IsLoopback() {
			p.flags |= api.Static
		}
	case kindBroadcast:
		p.flags |= api.Broadcast | api.Pinned
	case kindMulticast:
		p.flags |= api.Multicast
	case kindReject, kindBlackhole:
		if p.gateway.IsValid() {
			p.flags |= api.Gateway
		}
	case kindUnicast:
		if len(p.hops) > 0 && p.hops[0].gateway.IsValid() {
			p.flags |= api.Gateway
		} else if p.protocol == unix.RTPROT_KERNEL {
			p.flags |= api.Pinned
		}
	}
}

// originFlags returns the flags that a BSD shows for who made a route.
func originFlags(protocol uint8) api.Flags {
	switch protocol {
	case unix.RTPROT_BOOT, unix.RTPROT_STATIC, unix.RTPROT_DHCP, Protocol:
		return api.Static
	case unix.RTPROT_REDIRECT:
		return api.Dynamic
	case unix.RTPROT_UNSPEC, unix.RTPROT_KERNEL, unix.RTPROT_RA:
		return 0
	}
	// Routing daemons mark their routes with PROTO1 on a BSD.
	return api.Proto1
}

var protocolNames = map[uint8]string{
	unix.RTPROT_REDIRECT: "redirect",
	unix.RTPROT_KERNEL:   "kernel",
	unix.RTPROT_BOOT:     "boot",
	unix.RTPROT_STATIC:   "static",
	unix.RTPROT_RA:       "ra",
	unix.RTPROT_ZEBRA:    "zebra",
	unix.RTPROT_BIRD:     "bird",
	unix.RTPROT_DHCP:     "dhcp",
	unix.RTPROT_BABEL:    "babel",
	unix.RTPROT_BGP:      "bgp",
	unix.RTPROT_ISIS:     "isis",
	unix.RTPROT_OSPF:     "ospf",
	unix.RTPROT_RIP:      "rip",
	unix.RTPROT_EIGRP:    "eigrp",
}

// origin names who made the path.
func (p *path) origin() string {
	switch p.owner {
	case ownerBSD:
		return "bsdnet"
	case ownerInterface, ownerBuiltin:
		return "interface"
	}
	if name, ok := protocolNames[p.protocol]; ok {
		return name
	}
	return "protocol " + strconv.Itoa(int(p.protocol))
}

// export makes a route of Linux of a path in the main table, to set or to
// delete it.
func (p *path) export(dst netip.Prefix) linuxRoute {
	r := linuxRoute{
		dst:      dst,
		table:    unix.RT_TABLE_MAIN,
		protocol: p.protocol,
		scope:    unix.RT_SCOPE_UNIVERSE,
		kind:     unix.RTN_UNICAST,
		priority: p.priority,
		prefsrc:  p.prefsrc,
		mtu:      uint32(p.metrics.Mtu),
		hops:     p.hops,
	}
	switch p.kind {
	case kindBlackhole:
		r.kind = unix.RTN_BLACKHOLE
	case kindReject:
		r.kind = unix.RTN_UNREACHABLE
		if p.linux != unix.RTN_UNSPEC {
			r.kind = p.linux // or prohibit, or throw
		}
	case kindUnicast:
		if dst.Addr().Is4() && len(p.hops) > 0 && !p.hops[0].gateway.IsValid() {
			r.scope = unix.RT_SCOPE_LINK
		}
	}
	return r
}

// expired reports whether the path's time is over.
func (p *path) expired(now time.Time) bool {
	return p.metrics.Expire != 0 && now.Unix() >= p.metrics.Expire
}
