package route

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/route/api"
)

// nexthopKey is what routes must have in common to share a next hop.
type nexthopKey struct {
	flags   uint32 // bpf.Nexthop*
	ifslot  uint32
	mtu     uint32 // bytes, 0: the interface's
	fib     uint32
	gateway [16]byte // network order, IPv4 in the first four bytes
}

// neighbour returns the gateway's entry in arp or nd6, if there is a gateway.
func (k nexthopKey) neighbour() (neighbourKey, bool) {
	switch {
	case k.flags&bpf.NexthopGateway == 0:
		return neighbourKey{}, false
	case k.flags&bpf.NexthopGateway6 != 0:
		return neighbourKey{k.ifslot, netip.AddrFrom16(k.gateway)}, true
	}
	return neighbourKey{k.ifslot, netip.AddrFrom4([4]byte(k.gateway[:4]))}, true
}

// nexthop is one entry of the nexthop map.
type nexthop struct {
	number  uint32
	key     nexthopKey
	refs    int       // routes that point at it
	retired time.Time // when refs became 0
}

// nexthopGrace is how long a next hop without routes is kept as it is. Longer
// than a packet may hold its number: a run of the data path takes
// microseconds, but netisr holds packets while a neighbour is resolved.
const nexthopGrace = 15 * time.Second

// nexthopTable shares and numbers next hops. Number 0 is never used: it says
// "none". The caller locks.
type nexthopTable struct {
	path dataPath
	now  func() time.Time

	// lladdr finds the link address of a gateway; watch is told when one
	// becomes or ceases to be in use.
	lladdr func(neighbourKey) bpf.Llentry
	watch  func(key neighbourKey, inUse bool)

	byKey     map[nexthopKey]*nexthop
	byNumber  map[uint32]*nexthop
	byGateway map[neighbourKey][]*nexthop
	retired   []*nexthop // in the order of their time; may hold revived ones
	free      []uint32   // numbers that have been used and are free again
	next      uint32     // lowest number never used
}

func newNexthopTable(path dataPath, now func() time.Time) *nexthopTable {
	return &nexthopTable{
		path:      path,
		now:       now,
		lladdr:    func(neighbourKey) bpf.Llentry { return bpf.Llentry{} },
		watch:     func(neighbourKey, bool) {},
		byKey:     make(map[nexthopKey]*nexthop),
		byNumber:  make(map[uint32]*nexthop),
		byGateway: make(map[neighbourKey][]*nexthop),
		next:      1,
	}
}

// acquire returns the next hop of a key with one more reference. A new entry
// is completely written when acquire returns. It fails with ENOBUFS when all
// numbers are taken.
func (t *nexthopTable) acquire(key nexthopKey) (*nexthop, error) {
	if nh, ok := t.byKey[key]; ok {
		nh.refs++
		return nh, nil
	}
	number, err := t.allocate()
	if err != nil {
		return nil, err
	}
	nh := &nexthop{number: number, key: key, refs: 1}
	entry := bpf.Nexthop{
		Flags:   key.flags,
		Ifslot:  key.ifslot,
		Mtu:     key.mtu,
		Fib:     key.fib,
		Gateway: key.gateway,
	}
	gateway, ok := key.neighbour()
	if ok {
		ll := t.lladdr(gateway)
		entry.Lladdr, entry.State = ll.Lladdr, ll.State
	}
	t.path.setNexthop(number, entry)
	t.insert(nh)
	if ok && len(t.byGateway[gateway]) == 1 {
		t.watch(gateway, true)
	}
	return nh, nil
}

func (t *nexthopTable) insert(nh *nexthop) {
	if _, taken := t.byKey[nh.key]; !taken {
		t.byKey[nh.key] = nh
	}
	t.byNumber[nh.number] = nh
	if gateway, ok := nh.key.neighbour(); ok {
		t.byGateway[gateway] = append(t.byGateway[gateway], nh)
	}
}

func (t *nexthopTable) allocate() (uint32, error) {
	if t.next >= t.path.nexthops() && len(t.free) == 0 {
		t.sweep()
	}
	// Numbers never used come first: they cannot be held by any packet.
	for t.next < t.path.nexthops() {
		number := t.next
		t.next++
		if t.byNumber[number] == nil {
			return number, nil
		}
	}
	if len(t.free) > 0 {
		number := t.free[0]
		t.free = t.free[1:]
		return number, nil
	}
	return 0, api.Errorf(api.ENOBUFS, "allocate next hop: all %d are in use", t.path.nexthops()-1)
}

// release drops one reference. An entry without references stays as it is,
// and is given to the next who wants the same, until its grace is over.
func (t *nexthopTable) release(nh *nexthop) {
	nh.refs--
	if nh.refs > 0 {
		return
	}
	if nh.refs < 0 {
		panic(fmt.Sprintf("release next hop %d: no references", nh.number))
	}
	nh.retired = t.now()
	t.retired = append(t.retired, nh)
}

// sweep frees the numbers of next hops whose grace is over.
func (t *nexthopTable) sweep() {
	now := t.now()
	for len(t.retired) > 0 && now.Sub(t.retired[0].retired) >= nexthopGrace {
		nh := t.retired[0]
		t.retired = t.retired[1:]
		if nh.refs > 0 || t.byNumber[nh.number] != nh || now.Sub(nh.retired) < nexthopGrace {
			continue // revived, or retired again later in the list
		}
		delete(t.byNumber, nh.number)
		if t.byKey[nh.key] == nh {
			delete(t.byKey, nh.key)
		}
		if gateway, ok := nh.key.neighbour(); ok {
			t.forgetGateway(gateway, nh)
		}
		t.path.setNexthop(nh.number, bpf.Nexthop{})
		t.free = append(t.free, nh.number)
	}
}

func (t *nexthopTable) forgetGateway(gateway neighbourKey, nh *nexthop) {
	list := t.byGateway[gateway]
	for i := range list {
		if list[i] == nh {
			list = append(list[:i:i], list[i+1:]...)
			break
		}
	}
	if len(list) > 0 {
		t.byGateway[gateway] = list
		return
	}
	delete(t.byGateway, gateway)
	t.watch(gateway, false)
}

// neighbourChanged stores the link address of a gateway in the next hops that
// use it, each by one store of 64 bits.
func (t *nexthopTable) neighbourChanged(key neighbourKey, ll bpf.Llentry) {
	for _, nh := range t.byGateway[key] {
		t.path.setLladdr(nh.number, ll)
	}
}

// adopt takes a next hop over from the map as a previous daemon left it, with
// one reference more. Entries that say the same under two numbers are kept
// apart; the second goes when its routes are written again.
func (t *nexthopTable) adopt(number uint32) *nexthop {
	if nh, ok := t.byNumber[number]; ok {
		nh.refs++
		return nh
	}
	entry := t.path.nexthop(number)
	nh := &nexthop{number: number, refs: 1, key: nexthopKey{
		flags:   entry.Flags,
		ifslot:  entry.Ifslot,
		mtu:     entry.Mtu,
		fib:     entry.Fib,
		gateway: entry.Gateway,
	}}
	t.insert(nh)
	return nh
}
