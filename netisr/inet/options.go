package inet

import (
	"encoding/binary"
	"time"
)

// Kinds of IPv4 options (RFC 791, RFC 2113).
const (
	optionEnd         = 0
	optionNop         = 1
	optionRecordRoute = 7
	optionTimestamp   = 68
	optionLooseSource = 131
	optionStrict      = 137
	optionRouterAlert = 148

	optionCopied = 0x80
)

// Flags of the timestamp option.
const (
	timestampOnly         = 0
	timestampAndAddress   = 1
	timestampPrespecified = 3
)

// Addresses answers what option processing asks. Addresses are 4 bytes in
// network order.
type Addresses interface {
	// Local reports whether an address is one of this host's.
	Local(addr [4]byte) bool
	// Outgoing returns this host's address on the interface that leads to a
	// destination, of this host or elsewhere.
	Outgoing(destination [4]byte) (addr [4]byte, ok bool)
	// Direct reports whether a destination is on a network of this host.
	Direct(destination [4]byte) bool
	// Incoming returns this host's address on the receiving interface.
	Incoming() (addr [4]byte, ok bool)
}

// Verdict says what becomes of a packet with options.
type Verdict int

const (
	VerdictContinue Verdict = iota // go on with it
	VerdictForward                 // the destination was rewritten: forward it
	VerdictDrop                    // drop it silently: a source route on a host that does not forward
	VerdictError                   // drop it and send the ICMP error named in Result
)

// Result is what came out of option processing.
type Result struct {
	Verdict     Verdict
	Type, Code  uint8 // of the ICMP error
	Pointer     uint8 // for a parameter problem: offset of the bad byte in the packet
	RouterAlert bool  // there is a router alert option (RFC 2113)
	Changed     bool  // the packet was changed; its header checksum is right again
}

// ICMP errors that options lead to.
const (
	icmpUnreach        = 3
	icmpUnreachHost    = 1
	icmpUnreachSrcFail = 5
	icmpUnreachFilter  = 13
	icmpParamProb      = 12
)

// Options processes the options of IPv4 packets as ip_dooptions of the BSDs
// does.
type Options struct {
	Forwarding        bool                 // net.inet.ip.forwarding
	SourceRoute       bool                 // net.inet.ip.sourceroute: forward source-routed packets
	AcceptSourceRoute bool                 // net.inet.ip.accept_sourceroute: accept them for this host
	Stealth           bool                 // net.inet.ip.stealth: do not touch packets of others
	RejectAll         bool                 // net.inet.ip.process_options=2
	IgnoreAll         bool                 // net.inet.ip.process_options=0
	TimeOfDay         func() time.Duration // since midnight UTC, for timestamps
}

// Process works through the options of a packet that [Header4] accepts, and
// changes the packet as they ask.
func (o *Options) Process(packet []byte, addresses Addresses) (result Result) {
	headerLen := int(packet[0]&0xf) * 4
	if headerLen == HeaderLen4 || o.IgnoreAll {
		return result
	}
	if o.RejectAll {
		return Result{Verdict: VerdictError, Type: icmpUnreach, Code: icmpUnreachFilter}
	}
	forward := false
	for at := HeaderLen4; at < headerLen; {
		kind := packet[at]
		if kind == optionEnd {
			break
		}
		if kind == optionNop {
			at++
			continue
		}
		if at+1 >= headerLen || packet[at+1] < 2 || at+int(packet[at+1]) > headerLen {
			return badParameter(at + 1)
		}
		option := packet[at : at+int(packet[at+1])]
		var one Result
		switch kind {
		case optionLooseSource, optionStrict:
			one = o.sourceRoute(packet, option, at, addresses)
			forward = forward || one.Verdict == VerdictForward
		case optionRecordRoute:
			one = o.recordRoute(packet, option, at, addresses)
		case optionTimestamp:
			one = o.timestamp(packet, option, at, addresses)
		case optionRouterAlert:
			result.RouterAlert = true
		}
		result.Changed = result.Changed || one.Changed
		if one.Verdict == VerdictDrop || one.Verdict == VerdictError {
			// What earlier options changed stays, as on the BSDs: the
			// error quotes the packet with a header that is valid.
			if result.Changed {
				SetChecksum4(packet)
			}
			one.RouterAlert, one.Changed = result.RouterAlert, result.Changed
			return one
		}
		at += len(option)
	}
	if forward {
		result.Verdict = VerdictForward
	}
	if result.Changed {
		SetChecksum4(packet)
	}
	return result
}

func badParameter(pointer int) Result {
	return Result{Verdict: VerdictError, Type: icmpParamProb, Pointer: uint8(pointer)}
}

var sourceRouteFailed = Result{Verdict: VerdictError, Type: icmpUnreach, Code: icmpUnreachSrcFail}

// sourceRoute handles LSRR and SSRR: at a listed address, the next one becomes
// the destination and its place records this host's outgoing address.
func (o *Options) sourceRoute(packet, option []byte, at int, addresses Addresses) Result {
	if len(option) < 3 {
		return badParameter(at + 1)
	}
	if option[2] < 4 {
		return badParameter(at + 2)
	}
	destination := [4]byte(packet[16:20])
	if !addresses.Local(destination) {
		if option[0] == optionStrict || !o.SourceRoute {
			return sourceRouteFailed
		}
		return Result{} // loose, and not at the next listed address yet
	}
	next := int(option[2]) - 1
	if next+4 > len(option) {
		// The route has ended: it is for this host.
		if !o.AcceptSourceRoute {
			return sourceRouteFailed
		}
		return Result{}
	}
	if o.Stealth {
		return Result{Verdict: VerdictDrop}
	}
	if !o.SourceRoute {
		if o.Forwarding {
			return sourceRouteFailed
		}
		return Result{Verdict: VerdictDrop}
	}
	hop := [4]byte(option[next:])
	if option[0] == optionStrict && !addresses.Direct(hop) {
		return sourceRouteFailed
	}
	own, ok := addresses.Outgoing(hop)
	if !ok {
		return sourceRouteFailed
	}
	copy(packet[16:20], hop[:])
	copy(option[next:], own[:])
	option[2] += 4
	if hop[0]&0xf0 == 0xe0 {
		return Result{Changed: true}
	}
	return Result{Verdict: VerdictForward, Changed: true}
}

// recordRoute handles RR: this host's outgoing address goes into the next
// free place; a full option is left alone.
func (o *Options) recordRoute(packet, option []byte, at int, addresses Addresses) Result {
	destination := [4]byte(packet[16:20])
	if o.Stealth && !addresses.Local(destination) {
		return Result{}
	}
	if len(option) < 3 || option[2] < 4 {
		return badParameter(at + 2)
	}
	next := int(option[2]) - 1
	if next+4 > len(option) {
		return Result{}
	}
	own, ok := addresses.Outgoing(destination)
	if !ok {
		return Result{Verdict: VerdictError, Type: icmpUnreach, Code: icmpUnreachHost}
	}
	copy(option[next:], own[:])
	option[2] += 4
	return Result{Changed: true}
}

// timestamp handles TS: milliseconds since midnight UTC, with or without an
// address before them; a full option counts the overflow.
func (o *Options) timestamp(packet, option []byte, at int, addresses Addresses) Result {
	if o.Stealth && !addresses.Local([4]byte(packet[16:20])) {
		return Result{}
	}
	if len(option) < 4 || len(option) > 40 || option[2] < 5 {
		return badParameter(at + 1)
	}
	next := int(option[2]) - 1
	if next+4 > len(option) {
		if option[3]&0xf0 == 0xf0 {
			return badParameter(at + 2) // more hosts than the counter holds
		}
		option[3] += 1 << 4
		return Result{Changed: true}
	}
	switch flag := option[3] & 0xf; flag {
	case timestampOnly:
	case timestampAndAddress, timestampPrespecified:
		if next+8 > len(option) {
			return badParameter(at + 2)
		}
		if flag == timestampPrespecified {
			if !addresses.Local([4]byte(option[next:])) {
				return Result{}
			}
		} else {
			own, ok := addresses.Incoming()
			if !ok {
				return Result{}
			}
			copy(option[next:], own[:])
		}
		option[2] += 4
		next += 4
	default:
		return badParameter(at + 3)
	}
	binary.BigEndian.PutUint32(option[next:], uint32(o.TimeOfDay().Milliseconds()))
	option[2] += 4
	return Result{Changed: true}
}
