// Package rtsock is the routing sockets of route(4): unix sockets of type
// SOCK_SEQPACKET, one for each system whose messages it speaks. Every
// connection is a routing socket; every message is one packet.
//
// What the kernels do with a message that is written, and in which order they
// check it, is that of route_output of the BSDs. A write cannot fail on a unix
// socket: the error that it would have returned comes back in rtm_errno. What
// setsockopt(2) and sysctl(3) do on a BSD is asked for by messages of types
// that no kernel has; see docs/route.md.
package rtsock

import (
	"context"

	ifapi "github.com/bsdnet/bsdnet/ifnet/api"
	"github.com/bsdnet/bsdnet/route"
	"github.com/bsdnet/bsdnet/route/api"
)

// Table is the routing table behind the sockets.
type Table interface {
	api.Backend
	Subscribe(buffer int) *route.Subscription
}

// Interfaces tells of interfaces what messages carry and the routing table
// does not know.
type Interfaces interface {
	// Interfaces returns the interface of a name, or all of them by index.
	Interfaces(ctx context.Context, name ifapi.Name) ([]ifapi.Interface, error)
	// IndexToName returns the name of the interface with an index.
	IndexToName(index int) (string, bool)
}

// Stats count what a Server has done.
type Stats struct {
	Sockets   int    `json:"sockets"`   // open now
	Opened    uint64 `json:"opened"`    // connections so far
	Refused   uint64 `json:"refused"`   // connections beyond the limit
	Written   uint64 `json:"written"`   // messages from programs
	Errors    uint64 `json:"errors"`    // of those, answered with an error
	Delivered uint64 `json:"delivered"` // messages put into sockets' buffers
	Filtered  uint64 `json:"filtered"`  // kept from a socket by its filters
	Lost      uint64 `json:"lost"`      // lost to sockets whose buffer was full
	Dumps     uint64 `json:"dumps"`     // sysctls answered
}

// Socket is one open routing socket.
type Socket struct {
	ID        uint64 `json:"id"`
	System    string `json:"system"`
	Pid       int    `json:"pid"`
	Uid       uint32 `json:"uid"`
	Queued    int    `json:"queued"` // bytes in its buffer
	Delivered uint64 `json:"delivered"`
	Lost      uint64 `json:"lost"`
}
