package rtm

import (
	"net/netip"

	"github.com/bsdnet/bsdnet/route/api"
)

type sample struct {
	name string
	m    *Message
	dump bool // as a sysctl gives it
	long bool // as NET_RT_IFLISTL gives it
}

var (
	em0    = Link{Index: 2, Type: 6, Name: "em0", Addr: "\x02\x00\x5e\x00\x53\x01"}
	prefix = netip.MustParsePrefix
	addr   = netip.MustParseAddr
)

func with(m Message, addrs map[int]Sockaddr) *Message {
	for i, sa := range addrs {
		m.Addrs[i] = sa
	}
	return &m
}

// data is an if_data whose every field differs from every other.
func data(v Version) IfData {
	d := IfData{
		Type: 6, Physical: 1, Addrlen: 6, Hdrlen: 14, LinkState: 2, Mtu: 1500, Metric: 3, Baudrate: 1e9,
		Ipackets: 101, Ierrors: 102, Opackets: 103, Oerrors: 104, Collisions: 105, Ibytes: 106, Obytes: 107,
		Imcasts: 108, Omcasts: 109, Iqdrops: 110, Oqdrops: 111, Noproto: 112, Hwassist: 113,
		LastchangeSec: 1700000001, LastchangeUsec: 500000,
	}
	if v == FreeBSD {
		d.Vhid, d.Epoch = 7, 1700000000
	} else {
		d.Recvquota, d.Xmitquota = 8, 9
	}
	return d
}

// metrics are rt_metrics whose every field differs from every other.
func metrics(v Version) Metrics {
	m := Metrics{
		Locks: 0x41, Mtu: 1400, Hopcount: 201, Expire: 1800000000, Recvpipe: 202, Sendpipe: 203, Ssthresh: 204,
		Rtt: 205, Rttvar: 206, Pksent: 207,
	}
	if v == FreeBSD {
		m.Weight, m.Nhidx = 208, 209
	} else {
		m.Mssopt, m.Msl, m.Iwmaxsegs, m.Iwcapsegs = 210, 211, 212, 213
	}
	return m
}

// samples has every message of a version.
func samples(v Version) []sample {
	gatewayLink := Link{Index: 2, Len: ShortLink}
	if v == DragonFly {
		gatewayLink = Link{Index: 2, Type: 6, Len: NullLink}
	}
	net4, net6 := prefix("10.1.0.0/16"), prefix("2001:db8:1::/64")
	route := func(t api.MessageType, flags api.Flags) Message {
		return Message{Version: v, Type: t, Index: 2, Flags: uint32(flags), Pid: 4711, Seq: 7}
	}
	path := map[int]Sockaddr{Dst: IP(net4.Addr(), 0), Gateway: IP(addr("192.0.2.2"), 0), Netmask: RouteMask(v, net4)}
	add := route(api.RTMAdd, api.Up|api.Gateway|api.Done|api.Static)
	add.Inits, add.Metrics, add.Use = 0x1, metrics(v), 5
	failed := route(api.RTMDelete, api.Up|api.Gateway|api.Pinned)
	failed.Errno = 3
	get := route(api.RTMGet, api.Up|api.Gateway|api.Done|api.Static)
	get.Metrics = metrics(v)
	all := map[int]Sockaddr{
		Dst: IP(net6.Addr(), 0), Gateway: IP(addr("fe80::1"), 2), Netmask: RouteMask(v, net6), Genmask: Raw{},
		Ifp: em0, Ifa: IP(addr("fe80::2"), 2), Brd: IP(addr("2001:db8:1::ff"), 0),
	}
	if v == DragonFly {
		all[Mpls1] = MPLS{Op: 1, Label: 100}
	}
	host := map[int]Sockaddr{Dst: IP(addr("203.0.113.1"), 0)}
	redirect := route(api.RTMRedirect, api.Up|api.Gateway|api.Host|api.Dynamic|api.Done)
	ifinfo := Message{Version: v, Type: api.RTMIfinfo, Index: 2, Flags: 0x8843, Data: data(v)}
	newaddr := Message{Version: v, Type: api.RTMNewaddr, Index: 2, Flags: 0x1, Metric: 3}
	if v == DragonFly {
		newaddr.AddrFlags = 0x40
	}
	deladdr := newaddr
	deladdr.Type = api.RTMDeladdr
	inet := map[int]Sockaddr{
		Netmask: AddressMask(v, prefix("192.0.2.1/24")), Ifp: em0, Ifa: IP(addr("192.0.2.1"), 0), Brd: IP(addr("192.0.2.255"), 0),
	}
	inet6 := map[int]Sockaddr{Netmask: AddressMask(v, net6), Ifp: em0, Ifa: IP(addr("2001:db8:1::1"), 0)}
	group := map[int]Sockaddr{
		Gateway: Link{Index: 2, Type: 6, Addr: "\x01\x00\x5e\x00\x00\x01"}, Ifp: em0, Ifa: IP(addr("224.0.0.1"), 0),
	}
	announce := Message{Version: v, Type: api.RTMIfannounce, Index: 5, Name: "vlan5", What: Arrival}
	departure := announce
	departure.What = Departure
	list := []sample{
		{name: "RTM_ADD", m: with(add, path)},
		{name: "RTM_DELETE failed", m: with(failed, path)},
		{name: "RTM_CHANGE link", m: with(route(api.RTMChange, api.Up|api.Done), map[int]Sockaddr{
			Dst: IP(net6.Addr(), 0), Gateway: gatewayLink, Netmask: RouteMask(v, net6)})},
		{name: "RTM_GET every address", m: with(get, all)},
		{name: "RTM_GET default, dumped", dump: true, m: with(get, map[int]Sockaddr{
			Dst: IP(addr("0.0.0.0"), 0), Gateway: IP(addr("192.0.2.2"), 0), Netmask: RouteMask(v, prefix("0.0.0.0/0")),
			Ifp: em0, Ifa: IP(addr("192.0.2.1"), 0)})},
		{name: "RTM_LOSING", m: with(route(api.RTMLosing, api.Up|api.Gateway|api.Host|api.Dynamic|api.Done), path)},
		{name: "RTM_REDIRECT", m: with(redirect, map[int]Sockaddr{
			Dst: IP(addr("203.0.113.1"), 0), Gateway: IP(addr("192.0.2.3"), 0), Author: IP(addr("192.0.2.2"), 0)})},
		{name: "RTM_MISS", m: with(route(api.RTMMiss, api.Done), host)},
		{name: "RTM_LOCK", m: with(route(api.RTMLock, api.Up|api.Done), path)},
		{name: "RTM_RESOLVE", m: with(route(api.RTMResolve, api.Up|api.Host|api.Done), host)},
		{name: "RTM_NEWADDR inet", m: with(newaddr, inet)},
		{name: "RTM_NEWADDR inet6, dumped", dump: true, m: with(newaddr, inet6)},
		{name: "RTM_DELADDR", m: with(deladdr, inet6)},
		{name: "RTM_IFINFO", m: &ifinfo},
		{name: "RTM_IFINFO dumped", dump: true, m: with(ifinfo, map[int]Sockaddr{Ifp: em0})},
		{name: "RTM_NEWMADDR", m: with(Message{Version: v, Type: api.RTMNewmaddr, Index: 2}, group)},
		{name: "RTM_DELMADDR", m: with(Message{Version: v, Type: api.RTMDelmaddr, Index: 2}, group)},
		{name: "RTM_IFANNOUNCE arrival", m: &announce},
		{name: "RTM_IFANNOUNCE departure", m: &departure},
		{name: "RTM_IEEE80211", m: &Message{Version: v, Type: api.RTMIeee80211, Index: 3, Name: "wlan0", What: 101, Event: []byte{1, 2, 3, 4, 5, 6}}},
		{name: "every family", m: with(route(api.RTMAdd, 0), map[int]Sockaddr{
			Dst: Unix{Path: "/tmp/s"}, Gateway: IPX{Net: 0x01020304, Host: [6]byte{1, 2, 3, 4, 5, 6}, Port: 0x0451},
			Genmask: Raw{4, 0xff, 0xff, 0xff}, Ifp: AppleTalk{Port: 1, Net: 0x0203, Node: 4},
			Ifa: IPX{NS: true, Net: 5}, Author: Raw{6, AFCCITT, 1, 2, 3, 4}, Brd: Raw{10, AFISO, 0, 0, 0, 3, 0x47, 0, 5, 0}})},
	}
	if v == FreeBSD {
		long := newaddr
		long.Data = IfData{Ipackets: 1, Opackets: 2, Ibytes: 3, Obytes: 4}
		list = append(list,
			sample{name: "RTM_IFINFO l", long: true, m: with(ifinfo, map[int]Sockaddr{Ifp: em0})},
			sample{name: "RTM_NEWADDR l", long: true, m: with(long, inet)})
	}
	return list
}

func (s sample) encode() ([]byte, error) {
	switch {
	case s.long:
		return s.m.AppendL(nil)
	case s.dump:
		return s.m.AppendDump(nil)
	}
	return s.m.Append(nil)
}
