package conf

// PoolAddr is one address of a pool.
type PoolAddr struct {
	Addr Addr `json:"addr"`
	// Interface is the outgoing interface of route-to, reply-to and dup-to.
	Interface string `json:"interface,omitempty"`
	// Weight of least-states and round-robin; 0 is 1.
	Weight uint16 `json:"weight,omitempty"`
}

// MAPE are the port set parameters of map-e-portset (RFC 7597).
type MAPE struct {
	Offset   uint8  `json:"offset"`
	PSIDBits uint8  `json:"psidBits"`
	PSID     uint16 `json:"psid"`
}

// Pool is where a translated or routed packet goes: addresses, ports and the
// way of choosing one.
type Pool struct {
	Addrs []PoolAddr `json:"addrs"`
	Type  PoolType   `json:"type,omitempty"`
	// Key of source-hash.
	Key [4]uint32 `json:"key,omitzero"`
	// StickyAddress keeps a source at the address it got.
	StickyAddress bool `json:"stickyAddress,omitempty"`

	// PortLow and PortHigh are the proxy ports. For nat, 0 and 0 is
	// static-port: the source port stays. For rdr, 0 and 0 keeps the
	// destination port, and PortHigh 0 means one port.
	PortLow  uint16 `json:"portLow,omitempty"`
	PortHigh uint16 `json:"portHigh,omitempty"`

	MAPE MAPE `json:"mapE,omitzero"`
	// EndpointIndependent gives one source the same port for every peer.
	EndpointIndependent bool `json:"endpointIndependent,omitempty"`
	// PreferIPv6NextHop lets IPv4 packets go to a router by its IPv6 address.
	PreferIPv6NextHop bool `json:"preferIPv6NextHop,omitempty"`
}

// equal reports whether two pools, each possibly nil, mean the same.
func (p *Pool) equal(q *Pool) bool {
	if p == nil || q == nil {
		return p == q
	}
	if p.Type != q.Type || p.Key != q.Key || p.StickyAddress != q.StickyAddress ||
		p.PortLow != q.PortLow || p.PortHigh != q.PortHigh || p.MAPE != q.MAPE ||
		p.EndpointIndependent != q.EndpointIndependent || p.PreferIPv6NextHop != q.PreferIPv6NextHop || len(p.Addrs) != len(q.Addrs) {
		return false
	}
	for i := range p.Addrs {
		if p.Addrs[i] != q.Addrs[i] {
			return false
		}
	}
	return true
}

// addrKind reports whether the pool's only address is of kind k.
func (p *Pool) addrKind(k AddrKind) bool {
	return len(p.Addrs) == 1 && p.Addrs[0].Addr.Kind == k
}
