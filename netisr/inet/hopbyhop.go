package inet

// Kinds of IPv6 options (RFC 8200, RFC 2711, RFC 2675).
const (
	option6Pad1        = 0
	option6PadN        = 1
	option6RouterAlert = 5
)

// HopByHop is what came out of the options of a hop-by-hop header.
type HopByHop struct {
	Verdict     Verdict // VerdictContinue, VerdictDrop or VerdictError
	Code        uint8   // of the ICMPv6 parameter problem
	Pointer     uint32  // offset of the bad byte in the packet
	RouterAlert bool
	// AnswerMulticast says that the error is about an option that demands an
	// answer even when the packet was multicast (RFC 4443, 2.4 e.3).
	AnswerMulticast bool
}

// Codes of the ICMPv6 parameter problem.
const (
	paramProbHeader = 0
	paramProbOption = 2
)

// ProcessHopByHop looks at the options in the hop-by-hop header of a packet
// that [Header6] accepts and whose next header is [ProtoHopByHop]. Options
// that are not known are treated as the two high bits of their kind say (RFC
// 8200, 4.2). Jumbo payloads are not supported and so not known.
func ProcessHopByHop(packet []byte) (result HopByHop) {
	const header = HeaderLen6
	if len(packet) < header+8 {
		return HopByHop{Verdict: VerdictDrop}
	}
	end := header + 8 + 8*int(packet[header+1])
	if end > len(packet) {
		return HopByHop{Verdict: VerdictError, Code: paramProbHeader, Pointer: header + 1}
	}
	for at := header + 2; at < end; {
		kind := packet[at]
		if kind == option6Pad1 {
			at++
			continue
		}
		if at+1 >= end || at+2+int(packet[at+1]) > end {
			return HopByHop{Verdict: VerdictError, Code: paramProbHeader, Pointer: uint32(min(at+1, end-1))}
		}
		length := int(packet[at+1])
		switch {
		case kind == option6PadN:
		case kind == option6RouterAlert:
			if length != 2 {
				return HopByHop{Verdict: VerdictError, Code: paramProbHeader, Pointer: uint32(at + 1)}
			}
			result.RouterAlert = true
		case kind>>6 == 0: // skip
		case kind>>6 == 1:
			return HopByHop{Verdict: VerdictDrop}
		default: // the jumbo payload among them
			return HopByHop{Verdict: VerdictError, Code: paramProbOption, Pointer: uint32(at), AnswerMulticast: kind>>6 == 2}
		}
		at += 2 + length
	}
	return result
}
