package route

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/route/fibalgo"
)

// Maps are the maps of the data path that a Table fills. The loader makes and
// pins them; the Table neither closes nor unpins them.
type Maps struct {
	Inet    *ebpf.Map // LPM trie: struct rt_key -> number of a next hop
	Inet6   *ebpf.Map // LPM trie: struct rt_key6 -> number of a next hop
	Fibs    *ebpf.Map // mmapable array of struct fib
	Tables  *ebpf.Map // array of maps: compiled routing tables
	Nexthop *ebpf.Map // mmapable array of struct nexthop
	Arp     *ebpf.Map // hash: struct arp_key -> struct llentry
	Nd6     *ebpf.Map // hash: struct nd6_key -> struct llentry

	// Generation grows after every change of routes and neighbours: the data
	// path remembers look-ups by it. Nil if nothing does.
	Generation *uint64
}

// changed makes the data path forget the look-ups that it remembers.
func (m *Maps) changed() {
	if m.Generation != nil {
		atomic.AddUint64(m.Generation, 1)
	}
}

// neighbourKey names an entry of the arp or nd6 map.
type neighbourKey struct {
	slot uint32
	addr netip.Addr // without zone
}

// routeWrite is one change of a route's next hop.
type routeWrite struct {
	dst     netip.Prefix
	nexthop uint32
}

// routePath is the part of the dataPath that has the routes.
type routePath interface {
	// setRoutes makes routes point at next hops that are already written. It
	// returns how many it did, in order, when one fails. With fibalgo.ErrFull
	// the family is to be compiled anew.
	setRoutes(writes []routeWrite) (int, error)

	// deleteRoutes deletes routes and returns how many it did, in order, when
	// one fails; cover finds the longest prefix that is shorter than one among
	// those that remain, and its next hop, 0 and 0 if there is none.
	deleteRoutes(dsts []netip.Prefix, cover func(netip.Prefix) (bits int, nexthop uint32)) (int, error)

	// routes reads what is there of families that are not compiled.
	routes(yield func(dst netip.Prefix, nexthop uint32)) error

	// plan returns how the routes of a family are compiled, nil: not. With
	// !known a daemon before this one compiled them, and they cannot be changed.
	plan(inet bool) (plan *fibalgo.Plan, known bool)

	// compile puts a table of n routes, which it may ask for more than once, in
	// the place of what is there; plan is nil for the trie.
	compile(inet bool, plan *fibalgo.Plan, n int, routes iter.Seq2[netip.Prefix, uint32]) error

	// lookup finds the next hop of an address as the data path does.
	lookup(addr netip.Addr) (nexthop uint32, ok bool)

	// reclaim makes memory fit for use that changes have taken out of it. It
	// may wait for the data path, and may be called at any time.
	reclaim() error

	// memory returns the bytes that a family's routes take where they are
	// compiled.
	memory(inet bool) int
}

// dataPath is what the Table needs of the maps. It is an interface so that
// the Table can be tested without a kernel.
type dataPath interface {
	routePath

	// nexthop reads an entry, setNexthop writes one that no route points at,
	// setLladdr changes link address and state of any entry at once.
	nexthop(number uint32) bpf.Nexthop
	setNexthop(number uint32, nh bpf.Nexthop)
	setLladdr(number uint32, ll bpf.Llentry)
	nexthops() uint32

	setNeighbour(key neighbourKey, ll bpf.Llentry) error
	deleteNeighbour(key neighbourKey) error
	neighbours(yield func(key neighbourKey, ll bpf.Llentry)) error

	close() error
}

// mapPath is the dataPath of the real maps.
type mapPath struct {
	*routeMaps
	maps  Maps
	array []byte // the nexthop map
}

const (
	nexthopSize   = int(unsafe.Sizeof(bpf.Nexthop{}))
	nexthopLladdr = int(unsafe.Offsetof(bpf.Nexthop{}.Lladdr))
)

// newMapPath checks the maps against the ABI and maps the next hops into
// memory.
func newMapPath(maps Maps) (*mapPath, error) {
	for _, m := range []struct {
		name       string
		m          *ebpf.Map
		kind       ebpf.MapType
		key, value uintptr
	}{
		{"inet", maps.Inet, ebpf.LPMTrie, unsafe.Sizeof(bpf.RtKey{}), 4},
		{"inet6", maps.Inet6, ebpf.LPMTrie, unsafe.Sizeof(bpf.RtKey6{}), 4},
		{"fibs", maps.Fibs, ebpf.Array, 4, unsafe.Sizeof(bpf.Fib{})},
		{"tables", maps.Tables, ebpf.ArrayOfMaps, 4, 4},
		{"nexthop", maps.Nexthop, ebpf.Array, 4, unsafe.Sizeof(bpf.Nexthop{})},
		{"arp", maps.Arp, ebpf.Hash, unsafe.Sizeof(bpf.ARPKey{}), unsafe.Sizeof(bpf.Llentry{})},
		{"nd6", maps.Nd6, ebpf.Hash, unsafe.Sizeof(bpf.Nd6Key{}), unsafe.Sizeof(bpf.Llentry{})},
	} {
		if m.m == nil {
			return nil, fmt.Errorf("use map %s: not given", m.name)
		}
		if m.m.Type() != m.kind || m.m.KeySize() != uint32(m.key) || m.m.ValueSize() != uint32(m.value) {
			return nil, fmt.Errorf("use map %s: is %s with %d byte keys and %d byte values, want %s with %d and %d",
				m.name, m.m.Type(), m.m.KeySize(), m.m.ValueSize(), m.kind, m.key, m.value)
		}
	}
	size := int(maps.Nexthop.MaxEntries()) * nexthopSize
	page := unix.Getpagesize()
	memory, err := unix.Mmap(maps.Nexthop.FD(), 0, (size+page-1)&^(page-1), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map next hops into memory: %w", err)
	}
	routes, err := newRouteMaps(maps)
	if err != nil {
		return nil, errors.Join(err, unix.Munmap(memory))
	}
	return &mapPath{routeMaps: routes, maps: maps, array: memory}, nil
}

func (p *mapPath) close() error {
	if err := errors.Join(unix.Munmap(p.array), p.routeMaps.close()); err != nil {
		return fmt.Errorf("unmap routing tables: %w", err)
	}
	return nil
}

func (p *mapPath) nexthops() uint32 { return p.maps.Nexthop.MaxEntries() }

// words returns an entry of the nexthop map as the 64-bit words in which it
// is written. The memory is page-aligned and entries are whole words.
func (p *mapPath) words(number uint32) []uint64 {
	entry := p.array[int(number)*nexthopSize : (int(number)+1)*nexthopSize]
	return unsafe.Slice((*uint64)(unsafe.Pointer(&entry[0])), nexthopSize/8)
}

func (p *mapPath) nexthop(number uint32) bpf.Nexthop {
	var nh bpf.Nexthop
	to := unsafe.Slice((*uint64)(unsafe.Pointer(&nh)), nexthopSize/8)
	from := p.words(number)
	for i := range to {
		to[i] = atomic.LoadUint64(&from[i])
	}
	return nh
}

func (p *mapPath) setNexthop(number uint32, nh bpf.Nexthop) {
	from := unsafe.Slice((*uint64)(unsafe.Pointer(&nh)), nexthopSize/8)
	to := p.words(number)
	for i := range to {
		atomic.StoreUint64(&to[i], from[i])
	}
}

func (p *mapPath) setLladdr(number uint32, ll bpf.Llentry) {
	atomic.StoreUint64(&p.words(number)[nexthopLladdr/8], lladdrWord(ll))
}

// lladdrWord returns link address and state as the data path reads them: one
// word in host order.
func lladdrWord(ll bpf.Llentry) uint64 {
	var b [8]byte
	copy(b[:], ll.Lladdr[:])
	binary.NativeEndian.PutUint16(b[6:], ll.State)
	return binary.NativeEndian.Uint64(b[:])
}

func (p *mapPath) setNeighbour(key neighbourKey, ll bpf.Llentry) error {
	defer p.maps.changed()
	var err error
	if key.addr.Is4() {
		err = p.maps.Arp.Put(&bpf.ARPKey{Ifslot: key.slot, Addr: key.addr.As4()}, &ll)
	} else {
		err = p.maps.Nd6.Put(&bpf.Nd6Key{Ifslot: key.slot, Addr: key.addr.As16()}, &ll)
	}
	if err != nil {
		return fmt.Errorf("set neighbour %s: %w", key.addr, err)
	}
	return nil
}

func (p *mapPath) deleteNeighbour(key neighbourKey) error {
	defer p.maps.changed()
	var err error
	if key.addr.Is4() {
		err = p.maps.Arp.Delete(&bpf.ARPKey{Ifslot: key.slot, Addr: key.addr.As4()})
	} else {
		err = p.maps.Nd6.Delete(&bpf.Nd6Key{Ifslot: key.slot, Addr: key.addr.As16()})
	}
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("delete neighbour %s: %w", key.addr, err)
	}
	return nil
}

func (p *mapPath) neighbours(yield func(neighbourKey, bpf.Llentry)) error {
	var ll bpf.Llentry
	var key bpf.ARPKey
	arp := p.maps.Arp.Iterate()
	for arp.Next(&key, &ll) {
		yield(neighbourKey{key.Ifslot, netip.AddrFrom4(key.Addr)}, ll)
	}
	if err := arp.Err(); err != nil {
		return fmt.Errorf("read ARP table: %w", err)
	}
	var key6 bpf.Nd6Key
	nd6 := p.maps.Nd6.Iterate()
	for nd6.Next(&key6, &ll) {
		yield(neighbourKey{key6.Ifslot, netip.AddrFrom16(key6.Addr)}, ll)
	}
	if err := nd6.Err(); err != nil {
		return fmt.Errorf("read neighbour discovery table: %w", err)
	}
	return nil
}
