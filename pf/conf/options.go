package conf

import "encoding/json"

// Timeout is one of pf's timers.
type Timeout uint8

// The timeouts in the order of the kernel, which is the order of printing.
const (
	TimeoutTCPFirst Timeout = iota
	TimeoutTCPOpening
	TimeoutTCPEstablished
	TimeoutTCPClosing
	TimeoutTCPFinWait
	TimeoutTCPClosed
	TimeoutTCPTSDiff
	TimeoutSCTPFirst
	TimeoutSCTPOpening
	TimeoutSCTPEstablished
	TimeoutSCTPClosing
	TimeoutSCTPClosed
	TimeoutUDPFirst
	TimeoutUDPSingle
	TimeoutUDPMultiple
	TimeoutICMPFirst
	TimeoutICMPError
	TimeoutOtherFirst
	TimeoutOtherSingle
	TimeoutOtherMultiple
	TimeoutFragment
	TimeoutInterval
	TimeoutAdaptiveStart
	TimeoutAdaptiveEnd
	TimeoutSrcTrack
	TimeoutCount
)

var timeoutNames = [TimeoutCount]string{
	TimeoutTCPFirst:        "tcp.first",
	TimeoutTCPOpening:      "tcp.opening",
	TimeoutTCPEstablished:  "tcp.established",
	TimeoutTCPClosing:      "tcp.closing",
	TimeoutTCPFinWait:      "tcp.finwait",
	TimeoutTCPClosed:       "tcp.closed",
	TimeoutTCPTSDiff:       "tcp.tsdiff",
	TimeoutSCTPFirst:       "sctp.first",
	TimeoutSCTPOpening:     "sctp.opening",
	TimeoutSCTPEstablished: "sctp.established",
	TimeoutSCTPClosing:     "sctp.closing",
	TimeoutSCTPClosed:      "sctp.closed",
	TimeoutUDPFirst:        "udp.first",
	TimeoutUDPSingle:       "udp.single",
	TimeoutUDPMultiple:     "udp.multiple",
	TimeoutICMPFirst:       "icmp.first",
	TimeoutICMPError:       "icmp.error",
	TimeoutOtherFirst:      "other.first",
	TimeoutOtherSingle:     "other.single",
	TimeoutOtherMultiple:   "other.multiple",
	TimeoutFragment:        "frag",
	TimeoutInterval:        "interval",
	TimeoutAdaptiveStart:   "adaptive.start",
	TimeoutAdaptiveEnd:     "adaptive.end",
	TimeoutSrcTrack:        "src.track",
}

func (t Timeout) String() string {
	if t < TimeoutCount {
		return timeoutNames[t]
	}
	return "?"
}

// parseTimeout finds a timeout by its name.
func parseTimeout(name string) (Timeout, bool) {
	for t, n := range timeoutNames {
		if n == name {
			return Timeout(t), true
		}
	}
	return 0, false
}

// Timeouts are seconds (states for the adaptive ones) by timer. Zero is
// "not set" in rules.
type Timeouts [TimeoutCount]uint32

// MarshalJSON writes the set timeouts by name.
func (t Timeouts) MarshalJSON() ([]byte, error) {
	m := make(map[string]uint32)
	for i, v := range t {
		if v != 0 {
			m[timeoutNames[i]] = v
		}
	}
	return json.Marshal(m)
}

// defaultTimeouts of pf; SCTP's are those of TCP.
var defaultTimeouts = Timeouts{
	TimeoutTCPFirst:        120,
	TimeoutTCPOpening:      30,
	TimeoutTCPEstablished:  24 * 3600,
	TimeoutTCPClosing:      900,
	TimeoutTCPFinWait:      45,
	TimeoutTCPClosed:       90,
	TimeoutTCPTSDiff:       30,
	TimeoutSCTPFirst:       120,
	TimeoutSCTPOpening:     30,
	TimeoutSCTPEstablished: 24 * 3600,
	TimeoutSCTPClosing:     900,
	TimeoutSCTPClosed:      90,
	TimeoutUDPFirst:        60,
	TimeoutUDPSingle:       30,
	TimeoutUDPMultiple:     60,
	TimeoutICMPFirst:       20,
	TimeoutICMPError:       10,
	TimeoutOtherFirst:      60,
	TimeoutOtherSingle:     30,
	TimeoutOtherMultiple:   60,
	TimeoutFragment:        30,
	TimeoutInterval:        10,
	TimeoutSrcTrack:        0,
}

// Limit is one of pf's memory pools.
type Limit uint8

// The limits.
const (
	LimitStates Limit = iota
	LimitSrcNodes
	LimitFrags
	LimitTables
	LimitTableEntries
	LimitPacketDelay
	LimitAnchors
	LimitCount
)

var limitNames = [LimitCount]string{"states", "src-nodes", "frags", "tables", "table-entries",
	"pktdelay-pkts", "anchors"}

func (l Limit) String() string {
	if l < LimitCount {
		return limitNames[l]
	}
	return "?"
}

// HardLimits are the greatest numbers of objects.
type HardLimits [LimitCount]uint32

// MarshalJSON writes the limits by name.
func (l HardLimits) MarshalJSON() ([]byte, error) {
	m := make(map[string]uint32)
	for i, v := range l {
		if v != 0 {
			m[limitNames[i]] = v
		}
	}
	return json.Marshal(m)
}

// Syncookies says when SYN cookies are used.
type Syncookies uint8

// The modes.
const (
	SyncookiesNever Syncookies = iota
	SyncookiesAlways
	SyncookiesAdaptive
)

var syncookieNames = [...]string{"never", "always", "adaptive"}

func (s Syncookies) String() string { return syncookieNames[s] }

// MarshalText writes the mode as "set syncookies" takes it.
func (s Syncookies) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Optimization is how the ruleset optimizer works.
type Optimization uint8

// The levels, ordered. Profile uses the counters of a loaded ruleset.
const (
	OptimizeNone Optimization = iota
	OptimizeBasic
	OptimizeProfile
)

var optimizationNames = [...]string{"none", "basic", "profile"}

func (o Optimization) String() string { return optimizationNames[o] }

// MarshalText writes the level as "set ruleset-optimization" takes it.
func (o Optimization) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// Options are the values of the set statements, defaults filled in.
type Options struct {
	Timeouts Timeouts   `json:"timeouts"`
	Limits   HardLimits `json:"limits"`

	Debug        string `json:"debug"`                    // level as printed
	HostID       uint32 `json:"hostID,omitempty"`         // 0 is random
	LogInterface string `json:"logInterface,omitempty"`   // set loginterface
	Reassemble   bool   `json:"reassemble"`               // set reassemble
	ReassembleDF bool   `json:"reassembleNoDF,omitempty"` // set reassemble yes no-df
	Fingerprints string `json:"fingerprints,omitempty"`   // set fingerprints

	// BlockPolicy is the answer of block rules without one, FailPolicy of
	// rules that cannot make a state.
	BlockPolicy ReturnKind `json:"blockPolicy"`
	FailPolicy  ReturnKind `json:"failPolicy"`
	StatePolicy bool       `json:"statePolicyIfBound"`

	// StateDefaults and KeepPolicy are the options of states that name none.
	StateDefaults *StateOptions `json:"stateDefaults,omitempty"`
	KeepPolicy    StateKind     `json:"keepPolicy,omitempty"` // DragonFly

	Optimization Optimization `json:"rulesetOptimization"`
	// SkipOn are the interfaces and groups that pf does not filter.
	SkipOn []string `json:"skip,omitempty"`

	Syncookies      Syncookies `json:"syncookies"`
	SyncookiesStart uint8      `json:"syncookiesStart,omitempty"` // percent of the state limit
	SyncookiesEnd   uint8      `json:"syncookiesEnd,omitempty"`
	KeepCounters    bool       `json:"keepCounters,omitempty"`
	RequireOrder    bool       `json:"requireOrder"`
}
