package conf

import (
	"net/netip"
)

// RuleAddr is one side of a rule: an address and a port.
type RuleAddr struct {
	Addr Addr      `json:"addr"`
	Not  bool      `json:"not,omitempty"`
	Port PortRange `json:"port,omitzero"`
}

// OverloadTable is the table that a source goes to when it exceeds
// max-src-conn or max-src-conn-rate.
type OverloadTable struct {
	Table string `json:"table"`
	// Flush kills the states of the source that this rule made, FlushGlobal
	// those of every rule.
	Flush       bool `json:"flush,omitempty"`
	FlushGlobal bool `json:"flushGlobal,omitempty"`
}

// SourceTrack says whether and where sources are counted.
type SourceTrack uint8

// The places.
const (
	SourceTrackNone SourceTrack = iota
	SourceTrackGlobal
	SourceTrackRule
)

// StateOptions are the options of keep, modulate and synproxy state.
type StateOptions struct {
	Max         uint32        `json:"max,omitempty"` // states of this rule; 0 is no limit
	NoSync      bool          `json:"noSync,omitempty"`
	SourceTrack SourceTrack   `json:"sourceTrack,omitempty"`
	SrcStates   uint32        `json:"maxSrcStates,omitempty"`
	SrcConn     uint32        `json:"maxSrcConn,omitempty"`
	SrcConnRate Rate          `json:"maxSrcConnRate,omitzero"`
	SrcNodes    uint32        `json:"maxSrcNodes,omitempty"`
	Overload    OverloadTable `json:"overload,omitzero"`
	IfBound     bool          `json:"ifBound,omitempty"`
	Sloppy      bool          `json:"sloppy,omitempty"`
	Pflow       bool          `json:"pflow,omitempty"`
	Pickup      PickupMode    `json:"pickup,omitempty"` // DragonFly

	// Timeouts in seconds, zero where the default holds.
	Timeouts Timeouts `json:"timeouts,omitzero"`

	// floating is said against "set state-policy if-bound".
	floating bool
}

// ScrubOptions normalise packets: of a scrub rule (FreeBSD, DragonFly), of a
// match or pass rule with scrub (...), or of its state.
type ScrubOptions struct {
	NoDF          bool     `json:"noDF,omitempty"`
	RandomID      bool     `json:"randomID,omitempty"`
	MinTTL        uint8    `json:"minTTL,omitempty"`
	MaxMSS        uint16   `json:"maxMSS,omitempty"`
	ReassembleTCP bool     `json:"reassembleTCP,omitempty"`
	SetTOS        Optional `json:"setTOS"`

	// Fragments of a scrub rule: how they are treated.
	Fragments FragmentMode `json:"fragments,omitempty"`
}

// FragmentMode is the fragment treatment of a scrub rule.
type FragmentMode uint8

// The treatments.
const (
	FragmentsReassemble FragmentMode = iota
	FragmentsNoReassemble
	FragmentsCrop        // DragonFly
	FragmentsDropOverlap // DragonFly
)

// Divert hands packets to a program.
type Divert struct {
	Kind DivertKind `json:"kind"`
	Addr netip.Addr `json:"addr,omitzero"`
	Port uint16     `json:"port,omitempty"`
}

// DummynetPipes are the pipes or queues of dummynet(4) that a packet goes
// through; zero is none. Return is for the other direction of the state.
type DummynetPipes struct {
	Pipe   uint16 `json:"pipe,omitempty"`
	Return uint16 `json:"return,omitempty"`
	Queue  bool   `json:"queue,omitempty"` // dnqueue instead of dnpipe
}

// PacketRate limits a rule: packets in so many seconds.
type PacketRate = Rate

// Rule is one expanded rule. What all fields mean together is in
// pf.conf(5); a rule with an Anchor calls that anchor's rules.
//
// Rules are comparable by value except for the pools and the anchor.
type Rule struct {
	// Number is the rule's index within its anchor and kind of rule, as
	// shown by pfctl -vv.
	Number int      `json:"number"`
	Pos    Position `json:"position"`

	Action Action     `json:"action"`
	Return ReturnKind `json:"return,omitempty"`
	// ReturnTTL is the TTL of a reset; 0 is the default.
	ReturnTTL uint8 `json:"returnTTL,omitempty"`
	// ReturnICMP and ReturnICMP6 are type<<8 | code.
	ReturnICMP  uint16 `json:"returnICMP,omitempty"`
	ReturnICMP6 uint16 `json:"returnICMP6,omitempty"`

	Direction Direction `json:"direction"`
	Log       LogFlags  `json:"log,omitempty"`
	LogIf     uint8     `json:"logInterface,omitempty"` // the N of pflogN
	Quick     bool      `json:"quick,omitempty"`

	// Interface is an interface or group name, empty for all. "any" (OpenBSD)
	// is every interface except loopback ones that pf skips.
	Interface string `json:"interface,omitempty"`
	// RoutingDomain is the N of "on rdomain N".
	RoutingDomain Optional `json:"routingDomain"`
	// InterfaceNot negates Interface or RoutingDomain.
	InterfaceNot  bool   `json:"interfaceNot,omitempty"`
	ReceivedOn    string `json:"receivedOn,omitempty"`
	ReceivedOnNot bool   `json:"receivedOnNot,omitempty"`

	Family   AddressFamily `json:"family,omitempty"`
	Protocol uint8         `json:"protocol,omitempty"` // 0 is any
	Src      RuleAddr      `json:"src"`
	Dst      RuleAddr      `json:"dst"`
	// OS is a fingerprint name as in pf.os(5), OSNumber its number if
	// Config.Fingerprints was given.
	OS       string `json:"os,omitempty"`
	OSNumber uint32 `json:"osNumber,omitempty"`

	User  IDRange `json:"user,omitzero"`
	Group IDRange `json:"group,omitzero"`

	// Flags out of FlagSet must be set; 0 of 0 is "any".
	Flags    uint8    `json:"flags,omitempty"`
	FlagSet  uint8    `json:"flagSet,omitempty"`
	ICMPType Optional `json:"icmpType"`
	ICMPCode Optional `json:"icmpCode"`
	TOS      uint8    `json:"tos,omitempty"` // 0 is any
	Prio     Optional `json:"prio"`
	Fragment bool     `json:"fragment,omitempty"`
	// AllowOpts lets packets with IP options and routing headers pass.
	AllowOpts bool `json:"allowOpts,omitempty"`
	// Probability out of 2^32-1 that the rule is used; 0 is always.
	Probability uint32     `json:"probability,omitempty"`
	PacketRate  PacketRate `json:"maxPktRate,omitzero"`
	PacketSize  uint16     `json:"maxPktSize,omitempty"`
	Once        bool       `json:"once,omitempty"`

	State        StateKind    `json:"state"`
	StateOptions StateOptions `json:"stateOptions,omitzero"`
	// AllowRelated lets ICMP errors of the state pass (FreeBSD).
	AllowRelated bool         `json:"allowRelated,omitempty"`
	Scrub        ScrubOptions `json:"scrub,omitzero"`

	// SetPrio are the priorities of packets, and of TCP ACKs and low-delay ones.
	SetPrio [2]Optional `json:"setPrio"`
	// SetDelay is in milliseconds; 0 is none.
	SetDelay    uint16 `json:"setDelay,omitempty"`
	HasSetDelay bool   `json:"-"`
	Queue       string `json:"queue,omitempty"`
	// AckQueue is the queue of TCP ACKs and low-delay packets.
	AckQueue string        `json:"ackQueue,omitempty"`
	Dummynet DummynetPipes `json:"dummynet,omitzero"`

	Tag       string `json:"tag,omitempty"`
	Tagged    string `json:"tagged,omitempty"`
	TaggedNot bool   `json:"taggedNot,omitempty"`

	Labels       [maxLabels]string `json:"labels"`
	RIdentifier  uint32            `json:"ridentifier,omitempty"`
	RoutingTable Optional          `json:"routingTable"`
	Divert       Divert            `json:"divert,omitzero"`
	DivertPacket uint16            `json:"divertPacketPort,omitempty"`

	// RouteKind says how Route is used.
	RouteKind RouteKind `json:"routeKind,omitempty"`
	// Route, Nat and Rdr are nil where the rule has none. FreeBSD's and
	// DragonFly's translation rules use Nat for nat and binat, Rdr for rdr.
	Route *Pool `json:"route,omitempty"`
	Nat   *Pool `json:"nat,omitempty"`
	Rdr   *Pool `json:"rdr,omitempty"`
	// NewFamily is the family of af-to: Nat then holds the new source, Rdr the
	// new destination, if given.
	NewFamily AddressFamily `json:"newFamily,omitempty"`
	// NatPass makes a translation rule also pass ("nat pass").
	NatPass bool `json:"natPass,omitempty"`

	// Anchor is set for rules that call an anchor.
	Anchor *AnchorCall `json:"anchor,omitempty"`
}

// Log reports whether packets are logged at all.
func (r *Rule) logged() bool { return r.Log != 0 || r.LogIf != 0 }

// AnchorCall is what an anchor rule calls.
type AnchorCall struct {
	// Path is the full path of the anchor without leading slash, with a final
	// "*" element for every anchor below.
	Path string `json:"path"`
	// Printed is the name as pfctl prints it; empty for unnamed anchors.
	Printed string `json:"printed,omitempty"`
	// Wildcard evaluates every anchor below Path's directory.
	Wildcard bool `json:"wildcard,omitempty"`
	// Inline anchors hold rules in braces.
	Inline bool `json:"inline,omitempty"`
	// Target holds the rules of an inline anchor.
	Target *Anchor `json:"-"`

	written  string // the name of a call, as in the file
	absolute bool
}

// shown is the name of a call as printed.
func (c *AnchorCall) shown(o FormatOptions) string {
	if o.AnchorPaths && c.written != "" {
		return c.written
	}
	return c.Printed
}

// EtherAddr is one side of an ether rule; the zero value matches everything.
type EtherAddr struct {
	Addr  [6]byte `json:"addr"`
	Mask  [6]byte `json:"mask"`
	Not   bool    `json:"not,omitempty"`
	IsSet bool    `json:"isSet,omitempty"`
}

// EtherRule is a layer 2 rule of FreeBSD.
type EtherRule struct {
	Number int      `json:"number"`
	Pos    Position `json:"position"`

	Action       Action    `json:"action"`
	Direction    Direction `json:"direction"`
	Quick        bool      `json:"quick,omitempty"`
	Interface    string    `json:"interface,omitempty"`
	InterfaceNot bool      `json:"interfaceNot,omitempty"`
	BridgeTo     string    `json:"bridgeTo,omitempty"`
	EtherType    uint16    `json:"etherType,omitempty"` // 0 is any

	Src EtherAddr `json:"src,omitzero"`
	Dst EtherAddr `json:"dst,omitzero"`
	// Family, IPSrc and IPDst are the layer 3 addresses of "l3".
	Family AddressFamily `json:"family,omitempty"`
	IPSrc  RuleAddr      `json:"ipSrc"`
	IPDst  RuleAddr      `json:"ipDst"`

	Labels      [maxLabels]string `json:"labels"`
	RIdentifier uint32            `json:"ridentifier,omitempty"`
	Queue       string            `json:"queue,omitempty"`
	Tag         string            `json:"tag,omitempty"`
	Tagged      string            `json:"tagged,omitempty"`
	TaggedNot   bool              `json:"taggedNot,omitempty"`
	Dummynet    DummynetPipes     `json:"dummynet,omitzero"`

	Anchor *AnchorCall `json:"anchor,omitempty"`
}
