package slowpath

import (
	"net/netip"

	"github.com/bsdnet/bsdnet/bpf"
)

// Interface describes an interface at one moment. It must not change; a
// change is a new one.
type Interface struct {
	Index    int            // in the host's namespace
	Name     string         // as the user knows it
	MTU      int            // bytes of IP packet
	Lladdr   [6]byte        // zero if it has none
	Prefixes []netip.Prefix // its addresses with their prefix lengths, not masked, in order of preference
}

// Interfaces answers questions about this host's interfaces and addresses. It
// is called for every packet, on several threads at once, and must neither
// block nor allocate.
type Interfaces interface {
	// Interface returns the interface in a slot of the ifnet map.
	Interface(slot uint32) (*Interface, bool)
	// Local reports whether an address is one of this host's.
	Local(addr netip.Addr) bool
}

// Nexthops returns entries of the nexthop map. It must not block.
type Nexthops interface {
	Nexthop(number uint32) (bpf.Nexthop, bool)
}

// Routes looks up the interface that leads to a destination. It is asked by
// options and for source addresses only. It must not block.
type Routes interface {
	Route(destination netip.Addr) (slot uint32, ok bool)
}

// Neighbour is what is known of a neighbour's link address.
type Neighbour int

const (
	NeighbourPending Neighbour = iota // asked, no answer yet
	NeighbourValid                    // known, and in the next hops of the data path
	NeighbourFailed                   // did not answer
)

// Resolver asks for link addresses. It must not block: the answer comes later
// through [Stack.NeighbourChanged]. What it returns is what is known now; it
// may say NeighbourPending whenever it does not know. Slots and addresses come
// from packets of the data path and need not exist.
type Resolver interface {
	Resolve(slot uint32, addr netip.Addr) Neighbour
}

// Sender sends IP packets that this host originates, header included. The
// index is that of the interface a link-local destination is on. It must not
// block, and must not keep the packet.
type Sender interface {
	Send(packet []byte, index int) error
}
