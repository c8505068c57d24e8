// Package icmp makes ICMP and ICMPv6 error messages and redirects, decides
// when none may be sent, and limits their rate.
//
// The rules are those of RFC 1122 (3.2.2), RFC 1812 (4.3.2) and RFC 4443
// (2.4); where they leave a choice, the BSDs' is taken. Packets are bytes in
// network order, starting with the IP header, and may hold anything. Nothing
// here allocates when the destination has room.
package icmp

// Types and codes of ICMP (netinet/ip_icmp.h).
const (
	TypeEchoReply      = 0
	TypeUnreach        = 3
	TypeSourceQuench   = 4
	TypeRedirect       = 5
	TypeEcho           = 8
	TypeRouterAdvert   = 9
	TypeRouterSolicit  = 10
	TypeTimeExceeded   = 11
	TypeParamProb      = 12
	TypeTimestamp      = 13
	TypeTimestampReply = 14
	TypeInfoRequest    = 15
	TypeInfoReply      = 16
	TypeMaskRequest    = 17
	TypeMaskReply      = 18

	MaxType = 40

	CodeUnreachNet          = 0
	CodeUnreachHost         = 1
	CodeUnreachProtocol     = 2
	CodeUnreachPort         = 3
	CodeUnreachNeedFragment = 4
	CodeUnreachSrcFail      = 5
	CodeUnreachNetUnknown   = 6
	CodeUnreachHostUnknown  = 7
	CodeUnreachIsolated     = 8
	CodeUnreachNetProhib    = 9
	CodeUnreachHostProhib   = 10
	CodeUnreachTOSNet       = 11
	CodeUnreachTOSHost      = 12
	CodeUnreachFilter       = 13
	CodeUnreachPrecedence   = 14
	CodeUnreachCutoff       = 15

	CodeRedirectNet  = 0
	CodeRedirectHost = 1

	CodeTimeInTransit  = 0
	CodeTimeReassembly = 1
)

// Types and codes of ICMPv6 (netinet/icmp6.h).
const (
	Type6Unreach      = 1
	Type6TooBig       = 2
	Type6TimeExceeded = 3
	Type6ParamProb    = 4
	Type6Redirect     = 137

	Code6UnreachNoRoute = 0
	Code6UnreachAdmin   = 1
	Code6UnreachScope   = 2
	Code6UnreachAddress = 3
	Code6UnreachPort    = 4
	Code6UnreachPolicy  = 5
	Code6UnreachReject  = 6

	Code6TimeTransit = 0

	Code6ParamHeader     = 0
	Code6ParamNextHeader = 1
	Code6ParamOption     = 2
)
