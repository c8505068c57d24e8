package api

import (
	"context"
	"net/netip"
)

// RouteRequest asks to add, change, delete or look up one route.
type RouteRequest struct {
	Dst       netip.Prefix `json:"destination"`
	Exact     bool         `json:"exact,omitempty"`     // get: the prefix itself, not the longest match
	Gateway   netip.Addr   `json:"gateway,omitzero"`    // with a zone where the address is link-local
	Interface string       `json:"interface,omitempty"` // of an interface route: name, or own address
	Ifp       string       `json:"ifp,omitempty"`       // interface to use
	Ifa       netip.Addr   `json:"ifa,omitzero"`        // own address to use
	Flags     Flags        `json:"flags,omitempty"`
	Fmask     Flags        `json:"fmask,omitempty"` // change: flags that the request sets or clears; 0: it only sets
	Fib       int          `json:"fib,omitempty"`
	Metrics   Metrics      `json:"metrics,omitzero"`
	Inits     MetricBits   `json:"inits,omitempty"`      // metrics that the request sets
	LocksOnly bool         `json:"locks_only,omitempty"` // change: of the metrics the locks alone
	Pid       int          `json:"pid,omitempty"`        // of the one who asks, for the message
	Seq       int          `json:"seq,omitempty"`
	// Sender is who asks if it is a routing socket. What it asks for is
	// answered by a message even where nothing changes.
	Sender Sender `json:"-"`
}

// RouteFilter selects routes.
type RouteFilter struct {
	Family Family `json:"family,omitempty"`
	Fib    int    `json:"fib,omitempty"`
}

// NeighbourFilter selects neighbours; zero fields select all.
type NeighbourFilter struct {
	Family    Family     `json:"family,omitempty"`
	Addr      netip.Addr `json:"address,omitzero"`
	Interface string     `json:"interface,omitempty"`
}

// NeighbourRequest asks to set one neighbour.
type NeighbourRequest struct {
	Addr      netip.Addr `json:"address"`
	Lladdr    string     `json:"lladdr"` // or "auto" for a published entry
	Interface string     `json:"interface,omitempty"`
	Temporary bool       `json:"temporary,omitempty"`
	Published bool       `json:"published,omitempty"`
}

// Backend is the routing system as the commands see it. Errors are *Error,
// so that they keep their errno on the way through the control socket; other
// errors mean that the routing system could not be asked.
type Backend interface {
	// RouteAdd adds a route: EEXIST when the destination is in the table,
	// ENETUNREACH when the gateway cannot be reached on a link, EADDRINUSE
	// when it would be its own way, ENXIO when there is no such interface.
	RouteAdd(ctx context.Context, req RouteRequest) (Rtentry, error)

	// RouteChange changes gateway, interface, flags or metrics: ESRCH when
	// the destination is not in the table.
	RouteChange(ctx context.Context, req RouteRequest) (Rtentry, error)

	// RouteDelete removes a route and returns it: ESRCH when it is not in
	// the table or has another gateway, EADDRINUSE for an own address.
	RouteDelete(ctx context.Context, req RouteRequest) (Rtentry, error)

	// RouteGet returns the route that packets to a destination take: ESRCH
	// when there is none.
	RouteGet(ctx context.Context, req RouteRequest) (Rtentry, error)

	// RouteFlush deletes the routes through gateways and returns them.
	RouteFlush(ctx context.Context, filter RouteFilter) ([]Rtentry, error)

	// Routes returns the table, ordered by family, destination and length.
	Routes(ctx context.Context, filter RouteFilter) ([]Rtentry, error)

	// Monitor passes every message to notify until ctx ends or notify
	// returns an error. A slow listener loses messages and is told so by an
	// ENOBUFS error.
	Monitor(ctx context.Context, notify func(Message) error) error

	// Neighbours returns the ARP and neighbour discovery entries, with the
	// host's own addresses as permanent ones.
	Neighbours(ctx context.Context, filter NeighbourFilter) ([]Neighbour, error)

	// NeighbourSet makes or replaces an entry: ENETUNREACH when no link
	// holds the address.
	NeighbourSet(ctx context.Context, req NeighbourRequest) error

	// NeighbourDelete removes an entry: ENOENT when there is none.
	NeighbourDelete(ctx context.Context, filter NeighbourFilter) error

	// Nd6Routers returns the IPv6 default routers, Nd6Prefixes the prefixes
	// that are on a link.
	Nd6Routers(ctx context.Context) ([]Nd6Router, error)
	Nd6Prefixes(ctx context.Context) ([]Nd6Prefix, error)
}
