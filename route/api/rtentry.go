// Package api holds the vocabulary of routing that the daemon and the
// commands share: routes, neighbours, routing messages, requests and their
// errors, with the names and the values of the BSDs. All of it travels as
// JSON over the control socket.
package api

import "net/netip"

// Family selects an address family; its values are FreeBSD's AF_*.
type Family uint8

// The families that have routes here.
const (
	Unspec Family = 0
	Inet   Family = 2
	Inet6  Family = 28
)

// FamilyOf returns the family of an address.
func FamilyOf(a netip.Addr) Family {
	switch {
	case !a.IsValid():
		return Unspec
	case a.Is4():
		return Inet
	}
	return Inet6
}

// Has reports whether an address belongs to the family; Unspec has all.
func (f Family) Has(a netip.Addr) bool { return f == Unspec || f == FamilyOf(a) }

// Link is one end of a link-layer address: an interface and its address, as
// sockaddr_dl carries them.
type Link struct {
	Index  int    `json:"index"`
	Name   string `json:"name,omitempty"`
	Lladdr string `json:"lladdr,omitempty"` // colon-separated hexadecimal
	Type   uint8  `json:"type,omitempty"`   // IFT_*, 0: not known
}

// Rtentry is a route as it stands in the table.
type Rtentry struct {
	Dst       netip.Prefix `json:"destination"`
	Zone      string       `json:"zone,omitempty"`   // interface of a link-local destination
	Gateway   netip.Addr   `json:"gateway,omitzero"` // zero: reached on the link
	Flags     Flags        `json:"flags"`
	Interface Link         `json:"interface"`
	Ifa       netip.Addr   `json:"ifa,omitzero"` // address of this host on the way
	Fib       int          `json:"fib"`
	Metrics   Metrics      `json:"metrics"`
	Nexthop   uint32       `json:"nexthop,omitempty"`  // number in the nexthop map, 0: not in use
	Origin    string       `json:"origin"`             // who made it: "bsdnet", "kernel", "static", "bgp" ...
	Priority  uint32       `json:"priority,omitempty"` // Linux metric; the lowest of equals is used
	Mirrored  bool         `json:"mirrored"`           // Linux holds it too
}
