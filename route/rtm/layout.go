package rtm

import (
	"encoding/binary"

	"github.com/bsdnet/bsdnet/route/api"
)

var le = binary.LittleEndian

// All messages begin alike: u_short msglen, u_char version, u_char type.
const (
	offMsglen  = 0
	offVersion = 2
	offType    = 3
)

// struct rt_msghdr. The systems differ in what they call the int at 28.
const (
	offRtmIndex  = 4 // u_short, and two bytes of padding
	offRtmFlags  = 8
	offRtmAddrs  = 12
	offRtmPid    = 16
	offRtmSeq    = 20
	offRtmErrno  = 24
	offRtmUse    = 28 // rtm_fmask of FreeBSD
	offRtmInits  = 32 // u_long
	offRtmRmx    = 40 // struct rt_metrics
	sizeRtMsghdr = 152
)

// metricOffsets are the offsets of u_longs within struct rt_metrics, -1 where
// a system lacks one.
var metricOffsets = []struct {
	field              func(*Metrics) *uint64
	freebsd, dragonfly int
}{
	{func(m *Metrics) *uint64 { return &m.Locks }, 0, 0},
	{func(m *Metrics) *uint64 { return &m.Mtu }, 8, 8},
	{func(m *Metrics) *uint64 { return &m.Hopcount }, 16, 72},
	{func(m *Metrics) *uint64 { return &m.Expire }, 24, 24},
	{func(m *Metrics) *uint64 { return &m.Recvpipe }, 32, 64},
	{func(m *Metrics) *uint64 { return &m.Sendpipe }, 40, 32},
	{func(m *Metrics) *uint64 { return &m.Ssthresh }, 48, 40},
	{func(m *Metrics) *uint64 { return &m.Rtt }, 56, 48},
	{func(m *Metrics) *uint64 { return &m.Rttvar }, 64, 56},
	{func(m *Metrics) *uint64 { return &m.Pksent }, 72, 16},
	{func(m *Metrics) *uint64 { return &m.Weight }, 80, -1},
	{func(m *Metrics) *uint64 { return &m.Nhidx }, 88, -1}, // and rmx_filler[2]
	{func(m *Metrics) *uint64 { return &m.Msl }, -1, 88},
	{func(m *Metrics) *uint64 { return &m.Iwmaxsegs }, -1, 96},
	{func(m *Metrics) *uint64 { return &m.Iwcapsegs }, -1, 104},
}

// offMssopt is the u_short rmx_mssopt of DragonFly, which padding follows.
const offMssopt = 80

// layout holds what the systems have at different places in the other
// messages.
type layout struct {
	// u_short index, int flags, int addrs of if_msghdr, ifa_msghdr, ifma_msghdr
	index, flags, addrs int

	ifData        int // struct if_data in if_msghdr
	sizeIfMsghdr  int
	ifaAddrflags  int // int ifam_addrflags, 0: none
	ifaMetric     int // int ifam_metric
	sizeIfaMsghdr int
	sizeIfma      int
	sizeIfData    int
}

var layouts = map[Version]*layout{
	FreeBSD: {
		addrs: 4, flags: 8, index: 12,
		ifData: 16, sizeIfMsghdr: 168, sizeIfData: 152,
		ifaMetric: 16, sizeIfaMsghdr: 20,
		sizeIfma: 16,
	},
	DragonFly: {
		index: 4, flags: 8, addrs: 12,
		ifData: 16, sizeIfMsghdr: 176, sizeIfData: 160,
		ifaAddrflags: 16, ifaMetric: 20, sizeIfaMsghdr: 24,
		sizeIfma: 16,
	},
}

// struct if_announcemsghdr, the same on both systems.
const (
	offIfanIndex = 4 // u_short
	offIfanName  = 6 // char[IFNAMSIZ]
	offIfanWhat  = 22
	ifnamsiz     = 16
	sizeIfan     = 24
)

// The l messages of FreeBSD, if_msghdrl and ifa_msghdrl, which say how long
// their header is: NET_RT_IFLISTL alone has them.
const (
	offLen        = 16 // u_short
	offDataOff    = 18 // u_short
	offIfamMetric = 20 // int; ifm_spare2 of if_msghdrl
	offLData      = 24 // struct if_data
	sizeMsghdrl   = 176
)

// dataOffsets are the offsets of 64-bit counters within struct if_data.
var dataOffsets = []struct {
	field              func(*IfData) *uint64
	freebsd, dragonfly int
}{
	{func(d *IfData) *uint64 { return &d.Baudrate }, 16, 32},
	{func(d *IfData) *uint64 { return &d.Ipackets }, 24, 40},
	{func(d *IfData) *uint64 { return &d.Ierrors }, 32, 48},
	{func(d *IfData) *uint64 { return &d.Opackets }, 40, 56},
	{func(d *IfData) *uint64 { return &d.Oerrors }, 48, 64},
	{func(d *IfData) *uint64 { return &d.Collisions }, 56, 72},
	{func(d *IfData) *uint64 { return &d.Ibytes }, 64, 80},
	{func(d *IfData) *uint64 { return &d.Obytes }, 72, 88},
	{func(d *IfData) *uint64 { return &d.Imcasts }, 80, 96},
	{func(d *IfData) *uint64 { return &d.Omcasts }, 88, 104},
	{func(d *IfData) *uint64 { return &d.Iqdrops }, 96, 112},
	{func(d *IfData) *uint64 { return &d.Oqdrops }, 104, 136},
	{func(d *IfData) *uint64 { return &d.Noproto }, 112, 120},
	{func(d *IfData) *uint64 { return &d.Hwassist }, 120, 128},
	{func(d *IfData) *uint64 { return &d.Epoch }, 128, -1},
}

// headerLen returns the length of a message's header.
func headerLen(v Version, t api.MessageType) int {
	l := layouts[v]
	switch t {
	case api.RTMIfinfo:
		return l.sizeIfMsghdr
	case api.RTMNewaddr, api.RTMDeladdr:
		return l.sizeIfaMsghdr
	case api.RTMNewmaddr, api.RTMDelmaddr:
		return l.sizeIfma
	case api.RTMIfannounce, api.RTMIeee80211:
		return sizeIfan
	}
	return sizeRtMsghdr
}

// roundup is SA_SIZE of net/route.h: the bytes that a sockaddr takes in a
// message.
func roundup(length int) int {
	if length == 0 {
		return 8
	}
	return (length + 7) &^ 7
}
