package api

import (
	"net/netip"
	"time"
)

// MessageType is the rtm_type of a routing message.
type MessageType uint8

// The types; values as in FreeBSD's net/route.h.
const (
	RTMAdd        MessageType = 0x1
	RTMDelete     MessageType = 0x2
	RTMChange     MessageType = 0x3
	RTMGet        MessageType = 0x4
	RTMLosing     MessageType = 0x5
	RTMRedirect   MessageType = 0x6
	RTMMiss       MessageType = 0x7
	RTMLock       MessageType = 0x8
	RTMResolve    MessageType = 0xb
	RTMNewaddr    MessageType = 0xc
	RTMDeladdr    MessageType = 0xd
	RTMIfinfo     MessageType = 0xe
	RTMNewmaddr   MessageType = 0xf
	RTMDelmaddr   MessageType = 0x10
	RTMIfannounce MessageType = 0x11
	RTMIeee80211  MessageType = 0x12
)

var messageTexts = map[MessageType]string{
	RTMAdd:        "RTM_ADD: Add Route",
	RTMDelete:     "RTM_DELETE: Delete Route",
	RTMChange:     "RTM_CHANGE: Change Metrics or flags",
	RTMGet:        "RTM_GET: Report Metrics",
	RTMLosing:     "RTM_LOSING: Kernel Suspects Partitioning",
	RTMRedirect:   "RTM_REDIRECT: Told to use different route",
	RTMMiss:       "RTM_MISS: Lookup failed on this address",
	RTMLock:       "RTM_LOCK: fix specified metrics",
	RTMResolve:    "RTM_RESOLVE: Route created by cloning",
	RTMNewaddr:    "RTM_NEWADDR: address being added to iface",
	RTMDeladdr:    "RTM_DELADDR: address being removed from iface",
	RTMIfinfo:     "RTM_IFINFO: iface status change",
	RTMNewmaddr:   "RTM_NEWMADDR: new multicast group membership on iface",
	RTMDelmaddr:   "RTM_DELMADDR: multicast group membership removed from iface",
	RTMIfannounce: "RTM_IFANNOUNCE: interface arrival/departure",
	RTMIeee80211:  "RTM_IEEE80211: IEEE 802.11 wireless event",
}

// Text returns what route monitor calls a message, or "".
func (t MessageType) Text() string { return messageTexts[t] }

// Ifflags are the IFF_* bits of an interface that RTM_IFINFO tells, with
// FreeBSD's values.
type Ifflags uint32

// The flags; see netintro(4).
const (
	IffUp          Ifflags = 0x1
	IffBroadcast   Ifflags = 0x2
	IffLoopback    Ifflags = 0x8
	IffPointopoint Ifflags = 0x10
	IffRunning     Ifflags = 0x40
	IffNoarp       Ifflags = 0x80
	IffPromisc     Ifflags = 0x100
	IffSimplex     Ifflags = 0x800
	IffMulticast   Ifflags = 0x8000
)

// String returns the flags as route monitor prints them.
func (f Ifflags) String() string {
	return bits(uint32(f), []bitName{
		{uint32(IffUp), "UP"},
		{uint32(IffBroadcast), "BROADCAST"},
		{0x4, "DEBUG"},
		{uint32(IffLoopback), "LOOPBACK"},
		{uint32(IffPointopoint), "PTP"},
		{0x20, "b6"},
		{uint32(IffRunning), "RUNNING"},
		{uint32(IffNoarp), "NOARP"},
		{uint32(IffPromisc), "PPROMISC"},
		{0x200, "ALLMULTI"},
		{0x400, "OACTIVE"},
		{uint32(IffSimplex), "SIMPLEX"},
		{0x1000, "LINK0"},
		{0x2000, "LINK1"},
		{0x4000, "LINK2"},
		{uint32(IffMulticast), "MULTICAST"},
	})
}

// LinkState is the ifi_link_state of RTM_IFINFO.
type LinkState uint8

// The states; see net/if.h.
const (
	LinkUnknown LinkState = 0
	LinkDown    LinkState = 1
	LinkUp      LinkState = 2
)

func (s LinkState) String() string {
	switch s {
	case LinkDown:
		return "down"
	case LinkUp:
		return "up"
	}
	return "unknown"
}

// Sender is a routing socket that made a request.
type Sender struct {
	Socket uint64 // its number, 0: none
	Addrs  uint32 // RTA_* of the sockaddrs that it asked for
}

// Message is one routing message: what a routing socket will carry in the
// wire format and route monitor prints. Which fields mean something depends
// on the type.
type Message struct {
	Type  MessageType `json:"type"`
	Time  time.Time   `json:"time"`
	Pid   int         `json:"pid,omitempty"`
	Seq   int         `json:"seq,omitempty"`
	Errno Errno       `json:"errno,omitempty"`
	Flags Flags       `json:"flags,omitempty"`
	Fib   int         `json:"fib,omitempty"`

	// Routes: RTM_ADD, RTM_DELETE, RTM_CHANGE, RTM_GET, RTM_MISS, RTM_REDIRECT ...
	Dst     netip.Prefix `json:"destination,omitzero"`
	Gateway netip.Addr   `json:"gateway,omitzero"`
	Link    Link         `json:"link,omitzero"` // the gateway where it is a link, or RTA_IFP
	Author  netip.Addr   `json:"author,omitzero"`
	Metrics Metrics      `json:"metrics,omitzero"`
	Inits   MetricBits   `json:"inits,omitempty"`
	Ifa     netip.Addr   `json:"ifa,omitzero"`
	Sender  Sender       `json:"-"` // whose request this answers

	// Interfaces: RTM_IFINFO, RTM_NEWADDR, RTM_DELADDR, RTM_IFANNOUNCE,
	// RTM_NEWMADDR, RTM_DELMADDR.
	Ifflags   Ifflags      `json:"ifflags,omitempty"`
	LinkState LinkState    `json:"link_state,omitempty"`
	Mtu       int          `json:"mtu,omitempty"`
	Addr      netip.Prefix `json:"address,omitzero"` // not masked
	Brd       netip.Addr   `json:"broadcast,omitzero"`
	Departure bool         `json:"departure,omitempty"`
}
