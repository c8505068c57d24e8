package rtm

import (
	"net"

	"github.com/bsdnet/bsdnet/route/api"
)

// FromEntry makes a message of a route: destination, gateway, mask, flags and
// metrics.
func FromEntry(v Version, typ api.MessageType, e api.Rtentry) *Message {
	m := &Message{Version: v, Type: typ, Index: uint16(e.Interface.Index), Flags: flagsTo(v, e.Flags), Metrics: metricsTo(v, e)}
	if !e.Dst.IsValid() {
		return m
	}
	m.Addrs[Dst] = IP(e.Dst.Addr(), e.Interface.Index)
	if e.Gateway.IsValid() {
		m.Addrs[Gateway] = IP(e.Gateway, e.Interface.Index)
	} else {
		m.Addrs[Gateway] = gatewayLink(v, e.Interface)
	}
	if e.Flags&api.Host == 0 && !e.Dst.IsSingleIP() {
		m.Addrs[Netmask] = RouteMask(v, e.Dst)
	}
	return m
}

// gatewayLink is the gateway of an interface route: FreeBSD tells its number
// alone, DragonFly its type too.
func gatewayLink(v Version, l api.Link) Link {
	if v == DragonFly {
		return Link{Index: uint16(l.Index), Type: l.Type, Len: NullLink}
	}
	return Link{Index: uint16(l.Index), Len: ShortLink}
}

// LinkOf is the link address of an interface.
func LinkOf(l api.Link) Link {
	return Link{Index: uint16(l.Index), Type: l.Type, Name: l.Name, Addr: Lladdr(l)}
}

// Lladdr returns the bytes of a link address, none if there is none.
func Lladdr(l api.Link) string {
	mac, err := net.ParseMAC(l.Lladdr)
	if err != nil {
		return ""
	}
	return string(mac)
}

// flagsTo gives flags the meaning that they have on a system: what FreeBSD made
// free, DragonFly has other flags for.
func flagsTo(v Version, f api.Flags) uint32 {
	if v == DragonFly {
		f &^= api.Fixedmtu | api.Sticky
	} else {
		f &^= api.Cloning | api.Prcloning | api.Wascloned
	}
	return uint32(f)
}

// SettableMetrics are the RTV_* of a system that a route has here.
func SettableMetrics(v Version) api.MetricBits {
	all := api.RTVMtu | api.RTVHopcount | api.RTVExpire | api.RTVRpipe | api.RTVSpipe | api.RTVSsthresh | api.RTVRtt | api.RTVRttvar
	if v == FreeBSD {
		all |= api.RTVWeight // the bit is RTV_MSL of DragonFly
	}
	return all
}

// FromMetrics gives metrics of a message the form of the API.
func FromMetrics(m Metrics) api.Metrics {
	return api.Metrics{
		Locks: api.MetricBits(m.Locks), Mtu: m.Mtu, Hopcount: m.Hopcount, Expire: int64(m.Expire),
		Recvpipe: m.Recvpipe, Sendpipe: m.Sendpipe, Ssthresh: m.Ssthresh, Rtt: m.Rtt, Rttvar: m.Rttvar, Weight: m.Weight,
	}
}

func metricsTo(v Version, e api.Rtentry) Metrics {
	m := e.Metrics
	out := Metrics{
		Locks: uint64(m.Locks & SettableMetrics(v)), Mtu: m.Mtu, Hopcount: m.Hopcount, Expire: uint64(m.Expire),
		Recvpipe: m.Recvpipe, Sendpipe: m.Sendpipe, Ssthresh: m.Ssthresh, Rtt: m.Rtt, Rttvar: m.Rttvar, Pksent: m.Pksent,
	}
	if v == FreeBSD {
		out.Weight, out.Nhidx = max(m.Weight, 1), uint64(e.Nexthop)
	}
	return out
}

// Present returns which sockaddrs the message has.
func (m *Message) Present() (bits Addrs) {
	for i, sa := range m.Addrs {
		if sa != nil {
			bits |= Bit(i)
		}
	}
	return bits
}
