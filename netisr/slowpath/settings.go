package slowpath

import (
	"net/netip"
	"time"
)

// Settings are what sysctl changes. Values are replaced whole.
type Settings struct {
	Forwarding        bool // net.inet.ip.forwarding
	Forwarding6       bool // net.inet6.ip6.forwarding
	Redirect          bool // net.inet.ip.redirect
	Redirect6         bool // net.inet6.ip6.redirect
	SourceRoute       bool // net.inet.ip.sourceroute
	AcceptSourceRoute bool // net.inet.ip.accept_sourceroute
	Stealth           bool // net.inet.ip.stealth
	ProcessOptions    int  // net.inet.ip.process_options: 0 ignore, 1 process, 2 reject
	TTL               int  // net.inet.ip.ttl of ICMP messages
	HopLimit          int  // net.inet6.ip6.hlim of ICMPv6 messages

	ICMPLimit       int        // net.inet.icmp.icmplim: messages per second and type; 0 or -1: no limit
	ICMPQuote       int        // net.inet.icmp.quotelen: bytes quoted after the IP header, 8 at least
	ICMPReplySource netip.Addr // net.inet.icmp.reply_src, as an address; the zero value chooses
	ICMP6Rate       int        // net.inet6.icmp6.errppslimit: errors per second; 0 or -1: no limit
	ICMP6Burst      int        // errors at once

	HoldPerHop   int           // net.link.ether.inet.maxhold: packets held for a next hop
	HoldTotal    int           // packets held in all
	HoldHops     int           // next hops waited for or remembered as down
	MaxTries     int           // net.link.ether.inet.maxtries: seconds that a next hop has to answer
	HostDownTime time.Duration // net.link.ether.inet.host_down_time: how long a next hop that did not answer is remembered
}

// DefaultSettings returns what the BSDs start with. Nothing is forwarded.
func DefaultSettings() Settings {
	return Settings{
		Redirect: true, Redirect6: true,
		ProcessOptions: 1,
		TTL:            64,
		HopLimit:       64,
		ICMPLimit:      200,
		ICMPQuote:      8,
		ICMP6Rate:      100,
		ICMP6Burst:     100,
		HoldPerHop:     16,
		HoldTotal:      512,
		HoldHops:       1024,
		MaxTries:       5,
		HostDownTime:   20 * time.Second,
	}
}
