package api

import "strings"

// Flags are the RTF_* bits of a route, with FreeBSD's values.
type Flags uint32

// The flags; see route(4).
const (
	Up        Flags = 0x1
	Gateway   Flags = 0x2
	Host      Flags = 0x4
	Reject    Flags = 0x8
	Dynamic   Flags = 0x10
	Modified  Flags = 0x20
	Done      Flags = 0x40
	Cloning   Flags = 0x100 // DragonFly's
	Xresolve  Flags = 0x200
	Llinfo    Flags = 0x400
	Static    Flags = 0x800
	Blackhole Flags = 0x1000
	Proto2    Flags = 0x4000
	Proto1    Flags = 0x8000
	Prcloning Flags = 0x10000 // DragonFly's
	Wascloned Flags = 0x20000 // DragonFly's
	Proto3    Flags = 0x40000
	Fixedmtu  Flags = 0x80000
	Pinned    Flags = 0x100000
	Local     Flags = 0x200000
	Broadcast Flags = 0x400000
	Multicast Flags = 0x800000
	Sticky    Flags = 0x10000000
)

// Fmask are the flags that a change may set and clear: RTF_FMASK.
const Fmask = Proto1 | Proto2 | Proto3 | Blackhole | Reject | Static | Sticky

// Settable are the flags that a request may carry; the others follow from
// what the route is.
const Settable = Reject | Static | Blackhole | Proto1 | Proto2 | Proto3 | Dynamic | Modified

// letters holds the letter of each flag in the order in which netstat -r
// prints them, with the name of its JSON form.
var letters = []struct {
	flag   Flags
	letter byte
	name   string
}{
	{Up, 'U', "up"},
	{Gateway, 'G', "gateway"},
	{Host, 'H', "host"},
	{Reject, 'R', "reject"},
	{Dynamic, 'D', "dynamic"},
	{Modified, 'M', "modified"},
	{Done, 'd', "done"},
	{Xresolve, 'X', "xresolve"},
	{Static, 'S', "static"},
	{Proto1, '1', "proto1"},
	{Proto2, '2', "proto2"},
	{Proto3, '3', "proto3"},
	{Blackhole, 'B', "blackhole"},
	{Broadcast, 'b', "broadcast"},
	{Llinfo, 'L', "llinfo"},
}

// Letters returns the flags as netstat -r prints them, such as "UGS".
func (f Flags) Letters() string {
	var b []byte
	for _, l := range letters {
		if f&l.flag != 0 {
			b = append(b, l.letter)
		}
	}
	return string(b)
}

// Pretty returns the names of the flags that have a letter, in the same order.
func (f Flags) Pretty() []string {
	names := []string{}
	for _, l := range letters {
		if f&l.flag != 0 {
			names = append(names, l.name)
		}
	}
	return names
}

// names holds the name of each flag in the order of its bit, as route get
// and route monitor print them.
var names = []bitName{
	{uint32(Up), "UP"},
	{uint32(Gateway), "GATEWAY"},
	{uint32(Host), "HOST"},
	{uint32(Reject), "REJECT"},
	{uint32(Dynamic), "DYNAMIC"},
	{uint32(Modified), "MODIFIED"},
	{uint32(Done), "DONE"},
	{uint32(Xresolve), "XRESOLVE"},
	{uint32(Llinfo), "LLINFO"},
	{uint32(Static), "STATIC"},
	{uint32(Blackhole), "BLACKHOLE"},
	{uint32(Proto2), "PROTO2"},
	{uint32(Proto1), "PROTO1"},
	{uint32(Prcloning), "PRCLONING"},
	{uint32(Wascloned), "WASCLONED"},
	{uint32(Proto3), "PROTO3"},
	{uint32(Fixedmtu), "FIXEDMTU"},
	{uint32(Pinned), "PINNED"},
	{uint32(Local), "LOCAL"},
	{uint32(Broadcast), "BROADCAST"},
	{uint32(Multicast), "MULTICAST"},
	{uint32(Sticky), "STICKY"},
}

// String returns the flags as route get prints them, such as
// "<UP,GATEWAY,DONE,STATIC>"; no flags are the empty string.
func (f Flags) String() string { return bits(uint32(f), names) }

type bitName struct {
	bit  uint32
	name string
}

func bits(value uint32, names []bitName) string {
	var set []string
	for _, n := range names {
		if value&n.bit != 0 {
			set = append(set, n.name)
		}
	}
	if set == nil {
		return ""
	}
	return "<" + strings.Join(set, ",") + ">"
}
