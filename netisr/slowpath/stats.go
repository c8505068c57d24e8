package slowpath

import "sync/atomic"

// Stats are the counters of the slow path, by the names of the BSDs.
type Stats struct {
	IP    IPStats    `json:"ip"`
	IP6   IP6Stats   `json:"ip6"`
	ICMP  ICMPStats  `json:"icmp"`
	ICMP6 ICMP6Stats `json:"icmp6"`
	ARP   ARPStats   `json:"arp"`
}

// IPStats are counters of struct ipstat.
type IPStats struct {
	TooShort     uint64 `json:"tooshort"`     // not a packet
	BadOptions   uint64 `json:"badoptions"`   // error in option processing
	CantForward  uint64 `json:"cantforward"`  // for another host, and forwarding is off
	Forward      uint64 `json:"forward"`      // with options, forwarded
	Delivered    uint64 `json:"delivered"`    // with options, for this host
	RouterAlert  uint64 `json:"routeralert"`  // with a router alert option
	RedirectSent uint64 `json:"redirectsent"` // packets forwarded for which a redirect was sent
	Fragmented   uint64 `json:"fragmented"`   // packets fragmented
	OFragments   uint64 `json:"ofragments"`   // fragments made
	CantFrag     uint64 `json:"cantfrag"`     // not to be fragmented
	ODropped     uint64 `json:"odropped"`     // lost for want of memory
	NoHandler    uint64 `json:"nohandler"`    // of a reason that nobody handles
	Fragments    uint64 `json:"fragments"`    // fragments taken to be reassembled, of both families
	FragDropped  uint64 `json:"fragdropped"`  // of those, refused
	FragTimeout  uint64 `json:"fragtimeout"`  // of those, not whole in time, or flushed
	Reassembled  uint64 `json:"reassembled"`  // packets reassembled
}

// IP6Stats are counters of struct ip6stat.
type IP6Stats struct {
	TooShort     uint64 `json:"tooshort"`
	BadOptions   uint64 `json:"badoptions"`
	CantForward  uint64 `json:"cantforward"`
	Forward      uint64 `json:"forward"`
	Delivered    uint64 `json:"delivered"`
	RouterAlert  uint64 `json:"routeralert"`
	RedirectSent uint64 `json:"redirectsent"`
	CantFrag     uint64 `json:"cantfrag"`
	ODropped     uint64 `json:"odropped"`
	NoHandler    uint64 `json:"nohandler"`
}

// ICMPStats are counters of struct icmpstat.
type ICMPStats struct {
	Error    uint64           `json:"error"`    // calls for an error
	OldShort uint64           `json:"oldshort"` // not sent: the packet was malformed
	OldICMP  uint64           `json:"oldicmp"`  // not sent: the packet was an ICMP error
	CantSend uint64           `json:"cantsend"` // not sent: the packet's addresses or kind forbid it
	TooFreq  uint64           `json:"toofreq"`  // not sent: rate limit
	NoRoute  uint64           `json:"noroute"`  // not sent: no address to send from
	SendFail uint64           `json:"sendfail"` // not sent: the host refused it
	OutHist  map[uint8]uint64 `json:"outhist"`  // sent, by type
}

// ICMP6Stats are counters of struct icmp6stat.
type ICMP6Stats struct {
	Error     uint64           `json:"error"`
	CantError uint64           `json:"canterror"` // not sent: forbidden
	TooFreq   uint64           `json:"toofreq"`   // not sent: rate limit
	NoRoute   uint64           `json:"noroute"`
	SendFail  uint64           `json:"sendfail"`
	OutHist   map[uint8]uint64 `json:"outhist"`
}

// ARPStats are counters of struct arpstat, for neighbours of both families.
type ARPStats struct {
	TxRequests uint64 `json:"txrequests"` // questions to the resolver
	Held       uint64 `json:"held"`       // packets that waited
	Released   uint64 `json:"released"`   // packets sent after the answer
	Dropped    uint64 `json:"dropped"`    // packets dropped from a full queue
	Timeouts   uint64 `json:"timeouts"`   // next hops that did not answer
	Holding    uint64 `json:"holding"`    // packets waiting now
}

// counter names one counter of a thread.
type counter int

const (
	ipTooShort counter = iota
	ipBadOptions
	ipCantForward
	ipForward
	ipDelivered
	ipRouterAlert
	ipRedirectSent
	ipFragmented
	ipOFragments
	ipCantFrag
	ipODropped
	ipNoHandler
	ipFragments
	ipFragDropped
	ipReassembled

	ip6TooShort
	ip6BadOptions
	ip6CantForward
	ip6Forward
	ip6Delivered
	ip6RouterAlert
	ip6RedirectSent
	ip6CantFrag
	ip6ODropped
	ip6NoHandler

	icmpError
	icmpOldShort
	icmpOldICMP
	icmpCantSend
	icmpTooFreq
	icmpNoRoute
	icmpSendFail

	icmp6Error
	icmp6CantError
	icmp6TooFreq
	icmp6NoRoute
	icmp6SendFail

	arpTxRequests
	arpHeld
	arpReleased
	arpDropped
	arpTimeouts

	counters
)

// threadStats are the counters of one thread.
type threadStats struct {
	counters [counters]atomic.Uint64
	out      [256]atomic.Uint64 // ICMP messages by type
	out6     [256]atomic.Uint64
	_        [64]byte // keeps threads off each other's cache lines
}

// Stats returns the sums over all threads.
func (s *Stack) Stats() Stats {
	sum := func(c counter) (total uint64) {
		for i := range s.threads {
			total += s.threads[i].stats.counters[c].Load()
		}
		return total
	}
	_, expired := s.reass.Held()
	stats := Stats{
		IP: IPStats{
			TooShort: sum(ipTooShort), BadOptions: sum(ipBadOptions), CantForward: sum(ipCantForward),
			Forward: sum(ipForward), Delivered: sum(ipDelivered), RouterAlert: sum(ipRouterAlert),
			RedirectSent: sum(ipRedirectSent), Fragmented: sum(ipFragmented), OFragments: sum(ipOFragments),
			CantFrag: sum(ipCantFrag), ODropped: sum(ipODropped), NoHandler: sum(ipNoHandler),
			Fragments: sum(ipFragments), FragDropped: sum(ipFragDropped), FragTimeout: expired, Reassembled: sum(ipReassembled),
		},
		IP6: IP6Stats{
			TooShort: sum(ip6TooShort), BadOptions: sum(ip6BadOptions), CantForward: sum(ip6CantForward),
			Forward: sum(ip6Forward), Delivered: sum(ip6Delivered), RouterAlert: sum(ip6RouterAlert),
			RedirectSent: sum(ip6RedirectSent), CantFrag: sum(ip6CantFrag), ODropped: sum(ip6ODropped),
			NoHandler: sum(ip6NoHandler),
		},
		ICMP: ICMPStats{
			Error: sum(icmpError), OldShort: sum(icmpOldShort), OldICMP: sum(icmpOldICMP), CantSend: sum(icmpCantSend),
			TooFreq: sum(icmpTooFreq), NoRoute: sum(icmpNoRoute), SendFail: sum(icmpSendFail), OutHist: map[uint8]uint64{},
		},
		ICMP6: ICMP6Stats{
			Error: sum(icmp6Error), CantError: sum(icmp6CantError), TooFreq: sum(icmp6TooFreq),
			NoRoute: sum(icmp6NoRoute), SendFail: sum(icmp6SendFail), OutHist: map[uint8]uint64{},
		},
		ARP: ARPStats{
			TxRequests: sum(arpTxRequests), Held: sum(arpHeld), Released: sum(arpReleased),
			Dropped: sum(arpDropped), Timeouts: sum(arpTimeouts), Holding: uint64(s.hold.holding()),
		},
	}
	for i := range s.threads {
		for kind := range 256 {
			if n := s.threads[i].stats.out[kind].Load(); n > 0 {
				stats.ICMP.OutHist[uint8(kind)] += n
			}
			if n := s.threads[i].stats.out6[kind].Load(); n > 0 {
				stats.ICMP6.OutHist[uint8(kind)] += n
			}
		}
	}
	return stats
}
