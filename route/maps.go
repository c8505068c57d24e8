package route

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/bpf"
)

// Maps are the maps of the data path that a Table fills. The loader makes and
// pins them; the Table neither closes nor unpins them.
type Maps struct {
	Inet    *ebpf.Map // LPM trie: struct rt_key -> number of a next hop
	Inet6   *ebpf.Map // LPM trie: struct rt_key6 -> number of a next hop
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

// dataPath is what the Table needs of the maps. It is an interface so that
// the Table can be tested without a kernel.
type dataPath interface {
	// setRoutes makes routes point at next hops that are already written. It
	// returns how many it did, in order, when one fails.
	setRoutes(writes []routeWrite) (int, error)
	deleteRoute(dst netip.Prefix) error
	routes(yield func(dst netip.Prefix, nexthop uint32)) error

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
	maps   Maps
	memory []byte // the nexthop map
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
	return &mapPath{maps: maps, memory: memory}, nil
}

func (p *mapPath) close() error {
	if err := unix.Munmap(p.memory); err != nil {
		return fmt.Errorf("unmap next hops: %w", err)
	}
	return nil
}

func rtKey(dst netip.Prefix) bpf.RtKey {
	return bpf.RtKey{Prefixlen: uint32(dst.Bits()), Dst: dst.Addr().As4()}
}

func rtKey6(dst netip.Prefix) bpf.RtKey6 {
	return bpf.RtKey6{Prefixlen: uint32(dst.Bits()), Dst: dst.Addr().As16()}
}

// batchMin is the number of writes from which one batched system call is
// worth its set-up.
const batchMin = 8

func (p *mapPath) setRoutes(writes []routeWrite) (int, error) {
	defer p.maps.changed()
	for done := 0; done < len(writes); {
		// Runs of one family keep the order, which is the caller's.
		run := done + 1
		for run < len(writes) && writes[run].dst.Addr().Is4() == writes[done].dst.Addr().Is4() {
			run++
		}
		n, err := p.setRun(writes[done:run])
		done += n
		if err != nil {
			return done, err
		}
	}
	return len(writes), nil
}

func (p *mapPath) setRun(writes []routeWrite) (int, error) {
	inet := writes[0].dst.Addr().Is4()
	if len(writes) >= batchMin {
		values := make([]uint32, len(writes))
		var n int
		var err error
		if inet {
			keys := make([]bpf.RtKey, len(writes))
			for i, w := range writes {
				keys[i], values[i] = rtKey(w.dst), w.nexthop
			}
			n, err = p.maps.Inet.BatchUpdate(keys, values, nil)
		} else {
			keys := make([]bpf.RtKey6, len(writes))
			for i, w := range writes {
				keys[i], values[i] = rtKey6(w.dst), w.nexthop
			}
			n, err = p.maps.Inet6.BatchUpdate(keys, values, nil)
		}
		if err == nil {
			return len(writes), nil
		}
		if !errors.Is(err, ebpf.ErrNotSupported) {
			return n, fmt.Errorf("set route to %s: %w", writes[min(n, len(writes)-1)].dst, err)
		}
	}
	for i, w := range writes {
		var err error
		if inet {
			key := rtKey(w.dst)
			err = p.maps.Inet.Put(&key, &w.nexthop)
		} else {
			key := rtKey6(w.dst)
			err = p.maps.Inet6.Put(&key, &w.nexthop)
		}
		if err != nil {
			return i, fmt.Errorf("set route to %s: %w", w.dst, err)
		}
	}
	return len(writes), nil
}

func (p *mapPath) deleteRoute(dst netip.Prefix) error {
	defer p.maps.changed()
	var err error
	if dst.Addr().Is4() {
		key := rtKey(dst)
		err = p.maps.Inet.Delete(&key)
	} else {
		key := rtKey6(dst)
		err = p.maps.Inet6.Delete(&key)
	}
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("delete route to %s: %w", dst, err)
	}
	return nil
}

func (p *mapPath) routes(yield func(netip.Prefix, uint32)) error {
	var number uint32
	var key bpf.RtKey
	inet := p.maps.Inet.Iterate()
	for inet.Next(&key, &number) {
		yield(netip.PrefixFrom(netip.AddrFrom4(key.Dst), int(key.Prefixlen)), number)
	}
	if err := inet.Err(); err != nil {
		return fmt.Errorf("read routes: %w", err)
	}
	var key6 bpf.RtKey6
	inet6 := p.maps.Inet6.Iterate()
	for inet6.Next(&key6, &number) {
		yield(netip.PrefixFrom(netip.AddrFrom16(key6.Dst), int(key6.Prefixlen)), number)
	}
	if err := inet6.Err(); err != nil {
		return fmt.Errorf("read IPv6 routes: %w", err)
	}
	return nil
}

func (p *mapPath) nexthops() uint32 { return p.maps.Nexthop.MaxEntries() }

// words returns an entry of the nexthop map as the 64-bit words in which it
// is written. The memory is page-aligned and entries are whole words.
func (p *mapPath) words(number uint32) []uint64 {
	entry := p.memory[int(number)*nexthopSize : (int(number)+1)*nexthopSize]
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
