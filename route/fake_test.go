package route

import (
	"errors"
	"iter"
	"maps"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/ifnet"
	"github.com/bsdnet/bsdnet/route/fibalgo"
)

// memoryPath is a dataPath that checks what the data path relies on: a next
// hop is written before a route points at it, and never while one does.
type memoryPath struct {
	t      testing.TB
	number uint32 // of next hops
	fib    map[netip.Prefix]uint32
	hops   map[uint32]bpf.Nexthop
	neighs map[neighbourKey]bpf.Llentry
	writes int
	refuse map[netip.Prefix]bool // prefixes that cannot be written
}

func newMemoryPath(t testing.TB) *memoryPath {
	return &memoryPath{
		t:      t,
		number: 64,
		fib:    make(map[netip.Prefix]uint32),
		hops:   make(map[uint32]bpf.Nexthop),
		neighs: make(map[neighbourKey]bpf.Llentry),
		refuse: make(map[netip.Prefix]bool),
	}
}

var errRefused = errors.New("refused")

func (m *memoryPath) setRoutes(writes []routeWrite) (int, error) {
	for i, w := range writes {
		if m.refuse[w.dst] {
			return i, errRefused
		}
		if m.hops[w.nexthop].Flags&bpf.NexthopUp == 0 {
			m.t.Errorf("route to %s points at next hop %d, which is not written", w.dst, w.nexthop)
		}
		m.fib[w.dst] = w.nexthop
		m.writes++
	}
	return len(writes), nil
}

func (m *memoryPath) plan(bool) (*fibalgo.Plan, bool) { return nil, true }
func (m *memoryPath) memory(bool) int                 { return 0 }
func (m *memoryPath) reclaim() error                  { return nil }

func (m *memoryPath) compile(bool, *fibalgo.Plan, int, iter.Seq2[netip.Prefix, uint32]) error {
	return errRefused
}

func (m *memoryPath) lookup(addr netip.Addr) (number uint32, ok bool) {
	for bits := addr.BitLen(); bits >= 0; bits-- {
		if dst, err := addr.Prefix(bits); err == nil && m.fib[dst] != 0 {
			return m.fib[dst], true
		}
	}
	return 0, false
}

func (m *memoryPath) deleteRoutes(dsts []netip.Prefix, _ func(netip.Prefix) (int, uint32)) (int, error) {
	for _, dst := range dsts {
		delete(m.fib, dst)
		m.writes++
	}
	return len(dsts), nil
}

func (m *memoryPath) routes(yield func(netip.Prefix, uint32)) error {
	for dst, number := range maps.Clone(m.fib) {
		yield(dst, number)
	}
	return nil
}

func (m *memoryPath) nexthop(number uint32) bpf.Nexthop { return m.hops[number] }

func (m *memoryPath) setNexthop(number uint32, nh bpf.Nexthop) {
	for dst, n := range m.fib {
		if n == number {
			m.t.Errorf("next hop %d is written while the route to %s points at it", number, dst)
		}
	}
	if number == 0 || number >= m.number {
		m.t.Errorf("next hop %d is written", number)
	}
	m.hops[number] = nh
}

func (m *memoryPath) setLladdr(number uint32, ll bpf.Llentry) {
	nh := m.hops[number]
	nh.Lladdr, nh.State = ll.Lladdr, ll.State
	m.hops[number] = nh
}

func (m *memoryPath) nexthops() uint32 { return m.number }

func (m *memoryPath) setNeighbour(key neighbourKey, ll bpf.Llentry) error {
	m.neighs[key] = ll
	return nil
}

func (m *memoryPath) deleteNeighbour(key neighbourKey) error {
	delete(m.neighs, key)
	return nil
}

func (m *memoryPath) neighbours(yield func(neighbourKey, bpf.Llentry)) error {
	for key, ll := range maps.Clone(m.neighs) {
		yield(key, ll)
	}
	return nil
}

func (m *memoryPath) close() error { return nil }

// fakeKernel is a kernel that does what it is told and remembers it.
type fakeKernel struct {
	mu        sync.Mutex
	events    chan []kernelEvent
	closed    chan struct{}
	routes    []linuxRoute
	neighs    []linuxNeighbour
	asked     []linuxNeighbour
	unmanaged bool // does not know NTF_EXT_MANAGED
	refuse    error
}

func newFakeKernel() *fakeKernel {
	return &fakeKernel{events: make(chan []kernelEvent, 16), closed: make(chan struct{})}
}

func (k *fakeKernel) subscribe(int) (subscription, error) {
	return &fakeSubscription{k, make(chan struct{}), sync.Once{}}, nil
}

type fakeSubscription struct {
	k    *fakeKernel
	done chan struct{}
	once sync.Once
}

func (s *fakeSubscription) receive() ([]kernelEvent, error) {
	select {
	case events := <-s.k.events:
		return events, nil
	case <-s.done:
		return nil, unix.EBADF
	}
}

func (s *fakeSubscription) close() { s.once.Do(func() { close(s.done) }) }

func (k *fakeKernel) dumpRoutes(yield func(linuxRoute)) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range k.routes {
		yield(r)
	}
	return nil
}

func (k *fakeKernel) dumpNeighbours(yield func(linuxNeighbour)) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, n := range k.neighs {
		yield(n)
	}
	return nil
}

func (k *fakeKernel) dumpProxies(func(linuxNeighbour)) error { return nil }

func (k *fakeKernel) routeSet(r linuxRoute, _ bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.refuse != nil {
		return k.refuse
	}
	k.routes = append(k.routes, r)
	return nil
}

func (k *fakeKernel) routeAdd(routes []linuxRoute) []error {
	errs := make([]error, len(routes))
	for i, r := range routes {
		errs[i] = k.routeSet(r, false)
	}
	return errs
}

func (k *fakeKernel) routeDelete(linuxRoute) error { return k.refuse }
func (k *fakeKernel) routePort() uint32            { return 99 }

func (k *fakeKernel) neighbourSet(n linuxNeighbour, _ bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.unmanaged && n.flagsExt != 0 {
		return unix.EINVAL
	}
	k.asked = append(k.asked, n)
	return nil
}

func (k *fakeKernel) neighbourDelete(linuxNeighbour) error { return nil }
func (k *fakeKernel) close()                               {}

// askedFor returns the requests for a neighbour since the last call.
func (k *fakeKernel) askedFor(addr string) []linuxNeighbour {
	k.mu.Lock()
	defer k.mu.Unlock()
	var asked, rest []linuxNeighbour
	for _, n := range k.asked {
		if n.addr == mustAddr(addr) {
			asked = append(asked, n)
		} else {
			rest = append(rest, n)
		}
	}
	k.asked = rest
	return asked
}

// fakeInterfaces are em0 (2), em1 (3), owned, and en0 (4), which is not.
func fakeInterfaces() *followed {
	f := &followed{byID: make(map[int]*ifnet.Ifnet)}
	for i, name := range []string{"lo", "em0", "em1", "en0"} {
		index := i + 1
		ifp := &ifnet.Ifnet{
			Index: index, Slot: uint32(index), HasSlot: true, Name: name, Device: name, MTU: 1500,
			Owned: name == "em0" || name == "em1", Up: true, Running: true, Loopback: name == "lo",
		}
		if name == "em0" {
			ifp.Addrs = []ifnet.Addr{{Prefix: mustPrefix("192.0.2.1/24")}}
		}
		f.byID[index] = ifp
	}
	return f
}

// clock is a time that stands still until it is moved.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Unix(1_000_000, 0)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// change replaces an interface and tells of it.
func (f *followed) change(index int, kind ifnet.EventKind, edit func(*ifnet.Ifnet)) {
	f.mu.Lock()
	ifp := &ifnet.Ifnet{Index: index, Slot: uint32(index), HasSlot: true}
	if old := f.byID[index]; old != nil {
		*ifp = *old
	}
	if edit != nil {
		edit(ifp)
		f.byID[index] = ifp
	} else {
		delete(f.byID, index)
	}
	subs := f.subs
	f.mu.Unlock()
	for _, sub := range subs {
		sub(ifnet.Event{Kind: kind, If: ifp})
	}
}
