package api

// MetricBits are the RTV_* bits: which metrics a message sets or locks.
type MetricBits uint32

// The metrics; values as in FreeBSD's net/route.h.
const (
	RTVMtu      MetricBits = 0x1
	RTVHopcount MetricBits = 0x2
	RTVExpire   MetricBits = 0x4
	RTVRpipe    MetricBits = 0x8
	RTVSpipe    MetricBits = 0x10
	RTVSsthresh MetricBits = 0x20
	RTVRtt      MetricBits = 0x40
	RTVRttvar   MetricBits = 0x80
	RTVWeight   MetricBits = 0x100
)

// String returns the bits as route monitor prints them, such as "<mtu>".
func (m MetricBits) String() string {
	return bits(uint32(m), []bitName{
		{uint32(RTVWeight), "weight"},
		{uint32(RTVRttvar), "rttvar"},
		{uint32(RTVRtt), "rtt"},
		{uint32(RTVSsthresh), "ssthresh"},
		{uint32(RTVSpipe), "sendpipe"},
		{uint32(RTVRpipe), "recvpipe"},
		{uint32(RTVExpire), "expire"},
		{uint32(RTVHopcount), "hopcount"},
		{uint32(RTVMtu), "mtu"},
	})
}

// Metrics are the rt_metrics of a route.
type Metrics struct {
	Locks    MetricBits `json:"locks,omitempty"`
	Mtu      uint64     `json:"mtu,omitempty"`      // bytes
	Hopcount uint64     `json:"hopcount,omitempty"` // hops expected
	Expire   int64      `json:"expire,omitempty"`   // seconds since 1970, 0: never
	Recvpipe uint64     `json:"recvpipe,omitempty"` // bytes
	Sendpipe uint64     `json:"sendpipe,omitempty"` // bytes
	Ssthresh uint64     `json:"ssthresh,omitempty"` // bytes
	Rtt      uint64     `json:"rtt,omitempty"`      // microseconds
	Rttvar   uint64     `json:"rttvar,omitempty"`   // microseconds
	Weight   uint64     `json:"weight,omitempty"`   // of one path among equals
	Pksent   uint64     `json:"pksent,omitempty"`   // packets
}

// Merge returns m with the metrics named in inits taken from n.
func (m Metrics) Merge(n Metrics, inits MetricBits) Metrics {
	set := func(bit MetricBits, to *uint64, from uint64) {
		if inits&bit != 0 {
			*to = from
		}
	}
	set(RTVMtu, &m.Mtu, n.Mtu)
	set(RTVHopcount, &m.Hopcount, n.Hopcount)
	set(RTVRpipe, &m.Recvpipe, n.Recvpipe)
	set(RTVSpipe, &m.Sendpipe, n.Sendpipe)
	set(RTVSsthresh, &m.Ssthresh, n.Ssthresh)
	set(RTVRtt, &m.Rtt, n.Rtt)
	set(RTVRttvar, &m.Rttvar, n.Rttvar)
	set(RTVWeight, &m.Weight, n.Weight)
	if inits&RTVExpire != 0 {
		m.Expire = n.Expire
	}
	return m.Lock(n.Locks, inits)
}

// Lock returns m with the locks named in inits taken from locks.
func (m Metrics) Lock(locks, inits MetricBits) Metrics {
	m.Locks = m.Locks&^inits | locks&inits
	return m
}
