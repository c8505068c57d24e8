// Package rtm is the wire format of routing sockets, route(4): the messages of
// FreeBSD, version 5, on amd64, and of DragonFly, version 7, on x86_64. It
// knows neither the routing table nor the sockets.
//
// Numbers are in the byte order of those machines, little endian; ports and
// addresses within sockaddrs are in network order.
//
// The offsets are those of struct rt_msghdr and rt_metrics of net/route.h, of
// struct if_data, if_msghdr, ifa_msghdr, ifma_msghdr and if_announcemsghdr of
// net/if.h, and of struct sockaddr_dl of net/if_dl.h, of FreeBSD 14 and
// DragonFly 6. They are written down in layout.go, field by field.
package rtm

import "github.com/bsdnet/bsdnet/route/api"

// Version is the rtm_version of a message, which names the system.
type Version uint8

// The versions.
const (
	FreeBSD   Version = 5
	DragonFly Version = 7
)

// Known reports whether the version is one of those above.
func (v Version) Known() bool { return v == FreeBSD || v == DragonFly }

func (v Version) String() string {
	switch v {
	case FreeBSD:
		return "freebsd"
	case DragonFly:
		return "dragonfly"
	}
	return "unknown"
}

// MaxLen is the length in bytes that no message exceeds: rtm_msglen has 16
// bits.
const MaxLen = 1<<16 - 1

// Addrs selects sockaddrs of a message: RTA_*.
type Addrs uint32

// The sockaddrs in the order in which they follow the header: RTAX_*.
const (
	Dst = iota
	Gateway
	Netmask
	Genmask
	Ifp
	Ifa
	Author
	Brd
	Mpls1 // of DragonFly
	Mpls2
	Mpls3
	addrMax
)

// max returns RTAX_MAX.
func (v Version) max() int {
	if v == DragonFly {
		return addrMax
	}
	return Brd + 1
}

// Bit returns the RTA_* of a RTAX_*.
func Bit(index int) Addrs { return 1 << index }

// Message is one message. Which fields it has depends on its type; see
// route(4).
type Message struct {
	Version Version
	Type    api.MessageType
	Index   uint16 // of the interface
	Flags   uint32 // RTF_*; of RTM_IFINFO IFF_*; of RTM_NEWADDR ifa_flags

	// Of routes.
	Pid, Seq int32
	Errno    int32   // by the BSD's number
	Use      int32   // rtm_use of DragonFly, rtm_fmask of FreeBSD
	Inits    uint64  // RTV_*
	Metrics  Metrics // rtm_rmx

	Data      IfData // of RTM_IFINFO
	Metric    int32  // of RTM_NEWADDR and RTM_DELADDR
	AddrFlags int32  // likewise, DragonFly's alone: IN6_IFF_*

	Name  string // of RTM_IFANNOUNCE and RTM_IEEE80211, at most 15 bytes
	What  uint16 // likewise: IFAN_*, or the event
	Event []byte // of RTM_IEEE80211: what follows the header

	Addrs [addrMax]Sockaddr // nil: absent
}

// Metrics is struct rt_metrics. Times are in microseconds, sizes in bytes.
type Metrics struct {
	Locks    uint64 // RTV_*
	Mtu      uint64
	Hopcount uint64
	Expire   uint64 // seconds since 1970, 0: never
	Recvpipe uint64
	Sendpipe uint64
	Ssthresh uint64
	Rtt      uint64
	Rttvar   uint64
	Pksent   uint64 // packets

	Weight uint64 // FreeBSD's
	Nhidx  uint64 // FreeBSD's: number of the next hop

	Mssopt    uint16 // DragonFly's
	Msl       uint64 // DragonFly's, milliseconds
	Iwmaxsegs uint64 // DragonFly's
	Iwcapsegs uint64 // DragonFly's
}

// IfData is struct if_data.
type IfData struct {
	Type, Physical, Addrlen, Hdrlen uint8
	LinkState                       uint8
	Vhid                            uint8 // FreeBSD's
	Recvquota, Xmitquota            uint8 // DragonFly's
	Mtu, Metric                     uint32
	Baudrate                        uint64 // bits a second

	Ipackets, Ierrors, Opackets, Oerrors, Collisions uint64
	Ibytes, Obytes, Imcasts, Omcasts                 uint64
	Iqdrops, Oqdrops, Noproto, Hwassist              uint64

	Epoch                         uint64 // FreeBSD's: seconds
	LastchangeSec, LastchangeUsec int64
}

// The values of What of RTM_IFANNOUNCE.
const (
	Arrival   = 0
	Departure = 1
)
