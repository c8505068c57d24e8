// Package slowpath handles the packets that the data path sends to netisr: next
// hops without a link address, packets that call for an ICMP error, packets to
// be fragmented, IP options, and redirects.
//
// A [Stack] registers the handlers of IPv4 and IPv6 with a netisr. What it
// needs to know of interfaces, next hops and neighbours it asks through small
// interfaces; ICMP messages leave through a [Sender]. Counters have the names
// of the BSDs' netstat -s.
package slowpath
