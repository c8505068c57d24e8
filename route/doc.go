// Package route is the routing system: the routing information base (RIB),
// its image in the maps of the data path (FIB), the mirror of the kernel's
// neighbour tables, and the two-way mirror of routes over rtnetlink.
//
// The RIB is the truth for routes added with bsdnet. They are mirrored into
// Linux under the protocol number [Protocol], so that local sockets agree.
// What Linux gets from elsewhere (ip route, routing daemons, DHCP, its own
// connected and local routes) is imported from the tables main and local.
// Among routes to the same prefix the lowest metric is used.
//
// The FIB holds everything the data path needs in one look-up: own addresses,
// broadcast addresses, connected prefixes, gateway routes, rejecting and
// discarding routes, and routes that leave by an interface that bsdnet does
// not own. A [Table] changes it so that no packet ever meets a half-made
// entry: a next hop is written whole before a route points at it, a route is
// changed by one map update, and a next hop number is not used again before
// every packet that may still hold it is gone.
package route

import "errors"

// Protocol is the rtm_protocol of routes that bsdnet mirrors into Linux. It is
// assigned neither in rtnetlink.h nor by iproute2's rt_protos, and FRR, which
// takes 186 to 198 for its daemons, leaves it free.
const Protocol = 181

// mirrorPriority6 is the metric of mirrored IPv6 routes: the lowest that
// Linux knows, since 0 means "the default of 1024" to it. IPv4 routes have 0.
const mirrorPriority6 = 1

var errClosed = errors.New("route table closed")
