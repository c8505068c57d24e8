package conf

import "fmt"

// AddressFamily is inet, inet6, or unspecified.
type AddressFamily uint8

// The address families.
const (
	Unspecified AddressFamily = iota
	Inet
	Inet6
)

func (f AddressFamily) String() string {
	switch f {
	case Inet:
		return "inet"
	case Inet6:
		return "inet6"
	}
	return ""
}

// MarshalText writes inet, inet6 or nothing.
func (f AddressFamily) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// bits is the width of an address of the family; unspecified counts as inet6.
func (f AddressFamily) bits() int {
	if f == Inet {
		return 32
	}
	return 128
}

// Action is what a rule does.
type Action uint8

// The actions, in the order of the kernel's PF_PASS, PF_DROP and so on.
const (
	Pass Action = iota
	Block
	Scrub
	NoScrub
	Nat
	NoNat
	Binat
	NoBinat
	Rdr
	NoRdr
	Match
)

var actionNames = [...]string{"pass", "block", "scrub", "no scrub", "nat", "no nat",
	"binat", "no binat", "rdr", "no rdr", "match"}

func (a Action) String() string {
	if int(a) < len(actionNames) {
		return actionNames[a]
	}
	return fmt.Sprintf("action(%d)", uint8(a))
}

// MarshalText writes the action's keyword.
func (a Action) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// anchorKeyword is the keyword of a rule of this action that calls an anchor.
func (a Action) anchorKeyword() string {
	switch a {
	case Nat, NoNat:
		return "nat-anchor"
	case Binat, NoBinat:
		return "binat-anchor"
	case Rdr, NoRdr:
		return "rdr-anchor"
	}
	return "anchor"
}

// Direction is in, out, or both.
type Direction uint8

// The directions.
const (
	InOut Direction = iota
	In
	Out
)

func (d Direction) String() string {
	switch d {
	case In:
		return "in"
	case Out:
		return "out"
	}
	return ""
}

// MarshalText writes in, out or nothing.
func (d Direction) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// ReturnKind is the answer that a blocked packet gets. On a pass rule of
// FreeBSD it is the answer when no state can be made (set fail-policy).
type ReturnKind uint8

// The answers.
const (
	ReturnNone ReturnKind = iota // silently dropped
	ReturnRST                    // TCP reset
	ReturnICMP                   // ICMP unreachable
	ReturnAuto                   // "return": reset for TCP, ICMP for UDP, nothing else
)

// Op is a comparison of a port, user or group.
type Op uint8

// The comparisons. Inside and Outside exclude their bounds, Range includes them.
const (
	OpNone    Op = iota
	OpInside     // a >< b
	OpEqual      // = a
	OpNot        // != a
	OpLess       // < a
	OpLessEq     // <= a
	OpMore       // > a
	OpMoreEq     // >= a
	OpOutside    // a <> b
	OpRange      // a:b
)

var opNames = [...]string{"", "><", "=", "!=", "<", "<=", ">", ">=", "<>", ":"}

func (o Op) String() string {
	if int(o) < len(opNames) {
		return opNames[o]
	}
	return "?"
}

// MarshalText writes the operator.
func (o Op) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// Matches reports whether v satisfies the comparison with low and high.
// OpNone matches everything.
func (o Op) Matches(v, low, high uint32) bool {
	switch o {
	case OpInside:
		return v > low && v < high
	case OpEqual:
		return v == low
	case OpNot:
		return v != low
	case OpLess:
		return v < low
	case OpLessEq:
		return v <= low
	case OpMore:
		return v > low
	case OpMoreEq:
		return v >= low
	case OpOutside:
		return v < low || v > high
	case OpRange:
		return v >= low && v <= high
	}
	return true
}

// PortRange is a comparison of a port. The zero value matches every port.
type PortRange struct {
	Op   Op     `json:"op,omitempty"`
	Low  uint16 `json:"low,omitempty"`
	High uint16 `json:"high,omitempty"`
}

// IDRange is a comparison of a user or group number. Number 4294967295 is
// "unknown". The zero value matches everybody.
type IDRange struct {
	Op   Op     `json:"op,omitempty"`
	Low  uint32 `json:"low,omitempty"`
	High uint32 `json:"high,omitempty"`
}

// UnknownID is the number of the user or group "unknown".
const UnknownID = 1<<32 - 1

// Optional is a value that may be absent. It holds the value plus one, so the
// zero value is "absent", as the kernel keeps ICMP types.
type Optional uint16

// Some is a present value.
func Some(v uint8) Optional { return Optional(v) + 1 }

// Get gives the value and whether it is present.
func (o Optional) Get() (v uint8, ok bool) {
	if o == 0 {
		return 0, false
	}
	return uint8(o - 1), true
}

// MarshalJSON writes the value or null.
func (o Optional) MarshalJSON() ([]byte, error) {
	if o == 0 {
		return []byte("null"), nil
	}
	return fmt.Appendf(nil, "%d", o-1), nil
}

// Rate is a limit within a number of seconds.
type Rate struct {
	Limit   uint32 `json:"limit"`
	Seconds uint32 `json:"seconds"`
}

// LogFlags says which packets of a rule are logged.
type LogFlags uint8

// The log options. Log alone logs the packet that makes the state.
const (
	LogFirst   LogFlags = 1 << iota // log
	LogAll                          // log (all)
	LogUser                         // log (user)
	LogMatches                      // log (matches)
)

// StateKind is how a pass rule tracks a connection.
type StateKind uint8

// The kinds of state.
const (
	StateNone StateKind = iota
	StateKeep
	StateModulate
	StateSynproxy
)

var stateNames = [...]string{"no state", "keep state", "modulate state", "synproxy state"}

func (s StateKind) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "?"
}

// MarshalText writes the words of the rule.
func (s StateKind) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// RouteKind is route-to, reply-to, dup-to or fastroute.
type RouteKind uint8

// The kinds of routing.
const (
	RouteNone RouteKind = iota
	RouteFast
	RouteTo
	DupTo
	ReplyTo
)

var routeNames = [...]string{"", "fastroute", "route-to", "dup-to", "reply-to"}

func (r RouteKind) String() string {
	if int(r) < len(routeNames) {
		return routeNames[r]
	}
	return "?"
}

// MarshalText writes the keyword.
func (r RouteKind) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// PoolType is how an address of a pool is chosen.
type PoolType uint8

// The pool types.
const (
	PoolNone PoolType = iota
	PoolBitmask
	PoolRandom
	PoolSourceHash
	PoolRoundRobin
	PoolLeastStates
)

var poolNames = [...]string{"", "bitmask", "random", "source-hash", "round-robin", "least-states"}

func (t PoolType) String() string {
	if int(t) < len(poolNames) {
		return poolNames[t]
	}
	return "?"
}

// MarshalText writes the keyword.
func (t PoolType) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// dynamic reports whether the type may choose from tables and several addresses.
func (t PoolType) dynamic() bool {
	return t == PoolRoundRobin || t == PoolLeastStates || t == PoolRandom || t == PoolSourceHash
}

// PickupMode is DragonFly's treatment of connections seen in the middle.
type PickupMode uint8

// The pickup modes.
const (
	PickupUnspecified PickupMode = iota
	PickupDisabled               // no-pickups
	PickupHashOnly               // hash-only
	PickupEnabled                // pickups
)

var pickupNames = [...]string{"", "no-pickups", "hash-only", "pickups"}

func (m PickupMode) String() string {
	if int(m) < len(pickupNames) {
		return pickupNames[m]
	}
	return "?"
}

// DivertKind is how a packet is handed to a local program.
type DivertKind uint8

// The kinds of divert.
const (
	DivertNone DivertKind = iota
	DivertTo
	DivertReply
	DivertPacket
)
