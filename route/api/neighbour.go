package api

import "net/netip"

// NeighbourState is the state of an entry as ndp(8) shows it.
type NeighbourState string

// The states; the letters are ndp's.
const (
	Nostate    NeighbourState = "N"
	Incomplete NeighbourState = "I"
	Reachable  NeighbourState = "R"
	Stale      NeighbourState = "S"
	Delay      NeighbourState = "D"
	Probe      NeighbourState = "P"
	Failed     NeighbourState = "F"
)

// Neighbour is an entry of the ARP or the neighbour discovery table.
type Neighbour struct {
	Addr      netip.Addr     `json:"address"`
	Lladdr    string         `json:"lladdr,omitempty"` // empty: incomplete
	Interface Link           `json:"interface"`
	Iftype    string         `json:"type"` // "ethernet", "vlan", "bridge" or ""
	State     NeighbourState `json:"state"`
	Permanent bool           `json:"permanent,omitempty"`
	Expire    int            `json:"expire,omitempty"` // seconds from now; not positive: expired
	Published bool           `json:"published,omitempty"`
	Router    bool           `json:"router,omitempty"`
	Local     bool           `json:"local,omitempty"` // an address of this host
}

// Nd6Router is a default router learned from router advertisements.
type Nd6Router struct {
	Addr      netip.Addr `json:"address"`
	Interface string     `json:"interface"`
	Expire    int        `json:"expire,omitempty"` // seconds from now, 0: never
}

// Nd6Prefix is an on-link IPv6 prefix.
type Nd6Prefix struct {
	Prefix     netip.Prefix `json:"prefix"`
	Interface  string       `json:"interface"`
	Advertised bool         `json:"advertised,omitempty"` // learned from router advertisements
	Expire     int          `json:"expire,omitempty"`     // seconds from now, 0: never
}
