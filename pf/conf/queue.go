package conf

// ServiceCurve is a bandwidth with an optional burst: M1 for Milliseconds, then
// M2. Bandwidths are in bits a second.
type ServiceCurve struct {
	M1           uint64 `json:"m1,omitempty"`
	Milliseconds uint32 `json:"ms,omitempty"`
	M2           uint64 `json:"m2,omitempty"`
}

// Queue is a queue of OpenBSD's queueing, queue(1) of pf.conf(5).
type Queue struct {
	Pos       Position `json:"position"`
	Name      string   `json:"name"`
	Parent    string   `json:"parent,omitempty"`
	Interface string   `json:"interface,omitempty"`

	Bandwidth ServiceCurve `json:"bandwidth,omitzero"` // link share
	Min       ServiceCurve `json:"min,omitzero"`       // guaranteed
	Max       ServiceCurve `json:"max,omitzero"`       // upper limit

	// Flows makes it a flow queue (FQ-CoDel) with so many buckets; Quantum is
	// in bytes.
	Flows   uint32 `json:"flows,omitempty"`
	Quantum uint32 `json:"quantum,omitempty"`

	Default bool `json:"default,omitempty"`
	// Limit is in packets; 0 is the default of 50.
	Limit uint32 `json:"limit,omitempty"`

	// Children are the queues below, in the order defined.
	Children []*Queue `json:"children,omitempty"`

	root    bool // has a bandwidth and no parent
	matches int  // parents found
}

// Scheduler is a discipline of altq(4).
type Scheduler uint8

// The disciplines.
const (
	SchedulerNone Scheduler = iota
	SchedulerCBQ
	SchedulerPRIQ
	SchedulerHFSC
	SchedulerFAIRQ
	SchedulerCoDel
)

var schedulerNames = [...]string{"", "cbq", "priq", "hfsc", "fairq", "codel"}

func (s Scheduler) String() string { return schedulerNames[s] }

// MarshalText writes the keyword.
func (s Scheduler) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// classful reports whether the discipline has a tree of queues below a root.
func (s Scheduler) classful() bool {
	return s == SchedulerCBQ || s == SchedulerHFSC || s == SchedulerFAIRQ
}

// Bandwidth is a number of bits a second, or a percentage if Percent is not 0
// or Bits is 0.
type Bandwidth struct {
	Bits    uint64 `json:"bits,omitempty"`
	Percent uint32 `json:"percent,omitempty"`
}

// ALTQCurve is a service curve as written; Used tells whether it was given.
type ALTQCurve struct {
	Used         bool      `json:"used,omitempty"`
	M1           Bandwidth `json:"m1,omitzero"`
	Milliseconds uint32    `json:"ms,omitempty"`
	M2           Bandwidth `json:"m2,omitzero"`
}

// ALTQOptions are the parenthesised options of a scheduler.
type ALTQOptions struct {
	Default bool `json:"default,omitempty"`
	Borrow  bool `json:"borrow,omitempty"` // cbq
	Control bool `json:"control,omitempty"`
	RED     bool `json:"red,omitempty"`
	ECN     bool `json:"ecn,omitempty"`
	RIO     bool `json:"rio,omitempty"`
	CoDel   bool `json:"codel,omitempty"`

	LinkShare  ALTQCurve `json:"linkshare,omitzero"`  // hfsc, fairq
	RealTime   ALTQCurve `json:"realtime,omitzero"`   // hfsc
	UpperLimit ALTQCurve `json:"upperlimit,omitzero"` // hfsc

	Buckets uint32    `json:"buckets,omitempty"` // fairq
	Hogs    Bandwidth `json:"hogs,omitzero"`     // fairq

	Target   uint32 `json:"target,omitempty"`   // codel, ms
	Interval uint32 `json:"interval,omitempty"` // codel, ms
}

// ALTQ is an interface with a discipline, or a queue of one if Queue is set.
type ALTQ struct {
	Pos       Position  `json:"position"`
	Interface string    `json:"interface"`
	Scheduler Scheduler `json:"scheduler"`
	Queue     string    `json:"queue,omitempty"`
	Parent    string    `json:"parent,omitempty"`

	// Bandwidth is the resolved bits a second.
	Bandwidth uint64 `json:"bandwidth"`
	// Written is the bandwidth as in the file, to print it again.
	Written Bandwidth `json:"written"`

	// TBRSize is the token bucket of the interface in bytes.
	TBRSize  uint32      `json:"tbrsize,omitempty"`
	Priority uint8       `json:"priority,omitempty"`
	Limit    uint32      `json:"limit,omitempty"`
	Options  ALTQOptions `json:"options,omitzero"`

	// The curves of hfsc and fairq, resolved.
	LinkShare  ServiceCurve `json:"linkshare,omitzero"`
	RealTime   ServiceCurve `json:"realtime,omitzero"`
	UpperLimit ServiceCurve `json:"upperlimit,omitzero"`

	root   *ALTQ // the interface
	isRoot bool
	// What the checks add up: of an interface its classes and the priorities
	// in use, of a queue those below.
	rootClasses, defaultClasses int
	priorities                  uint32
	childBits                   uint64
	childShares, childRealTimes []ServiceCurve
}
