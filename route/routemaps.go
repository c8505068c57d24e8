package route

import (
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/route/fibalgo"
)

// innerMap is BPF_F_INNER_MAP: arrays of any length fit into the array of maps.
const innerMap = 0x1000

const blockSize = int(unsafe.Sizeof(bpf.FibBlock{}))

// plans are the ways to compile a table.
var plans = []*fibalgo.Plan{fibalgo.DXR, fibalgo.DIR24_8, fibalgo.DXR6, fibalgo.MTrie6}

// compiled is the compiled table of one family.
type compiled struct {
	table *fibalgo.Table // nil: made by a daemon before this one
	plan  *fibalgo.Plan
	slot  uint32
	m     *ebpf.Map
	bytes []byte // the map in memory
}

// words returns the memory of the table.
func (c *compiled) words() []uint32 {
	return unsafe.Slice((*uint32)(unsafe.Pointer(&c.bytes[0])), len(c.bytes)/4)
}

func (c *compiled) close() error {
	if c.m == nil {
		return nil
	}
	return errors.Join(unix.Munmap(c.bytes), c.m.Close())
}

// routeMaps is the routes of a routing table in the maps of the data path. Its
// changes must not overlap; lookup may be called at any time.
type routeMaps struct {
	maps  Maps
	trie  trie
	fib   uint32
	array *bpf.Array[bpf.Fib]

	mu    sync.RWMutex // held to change which tables there are, and to read what may be unmapped
	alloc sync.Mutex   // held over what must not meet reclaim; locked after mu
	inet  *compiled    // nil: the trie
	inet6 *compiled
	stale [2]bool // the trie of a family has routes that are compiled by now
}

func newRouteMaps(maps Maps) (*routeMaps, error) {
	array, err := bpf.MapArray[bpf.Fib](maps.Fibs)
	if err != nil {
		return nil, err
	}
	r := &routeMaps{maps: maps, trie: trie{maps.Inet, maps.Inet6, 0}, array: array}
	for _, inet := range []bool{true, false} {
		head := *r.head(inet)
		for _, plan := range plans {
			if plan.Algo == uint32(head)&bpf.FibAlgoMask {
				*r.family(inet) = &compiled{plan: plan, slot: uint32(head>>bpf.FibSlotShift) & bpf.FibSlotMask}
			}
		}
	}
	return r, nil
}

func (r *routeMaps) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	errs := []error{r.array.Close()}
	for _, c := range []*compiled{r.inet, r.inet6} {
		if c != nil {
			errs = append(errs, c.close())
		}
	}
	r.inet, r.inet6 = nil, nil
	return errors.Join(errs...)
}

// head returns the word of a family that the data path reads.
func (r *routeMaps) head(inet bool) *uint64 {
	if inet {
		return &r.array.Values[r.fib].Inet
	}
	return &r.array.Values[r.fib].Inet6
}

func (r *routeMaps) family(inet bool) **compiled {
	if inet {
		return &r.inet
	}
	return &r.inet6
}

func (r *routeMaps) plan(inet bool) (plan *fibalgo.Plan, known bool) {
	c := *r.family(inet)
	if c == nil {
		return nil, true
	}
	return c.plan, c.table != nil
}

func (r *routeMaps) memory(inet bool) int {
	if c := *r.family(inet); c != nil {
		return len(c.bytes)
	}
	return 0
}

func indexOfFamily(inet bool) int {
	if inet {
		return 0
	}
	return 1
}

// setDefault changes the next hop of the default route of a compiled family.
func (r *routeMaps) setDefault(inet bool, number uint32) {
	head := r.head(inet)
	atomic.StoreUint64(head, atomic.LoadUint64(head)&(1<<bpf.FibDefaultShift-1)|uint64(number)<<bpf.FibDefaultShift)
}

func (r *routeMaps) setRoutes(writes []routeWrite) (int, error) {
	defer r.maps.changed()
	for done := 0; done < len(writes); {
		// Runs of one family keep the order, which is the caller's.
		inet := writes[done].dst.Addr().Is4()
		run := done + 1
		for run < len(writes) && writes[run].dst.Addr().Is4() == inet {
			run++
		}
		n, err := r.setRun(inet, writes[done:run])
		done += n
		if err != nil {
			return done, err
		}
	}
	return len(writes), nil
}

func (r *routeMaps) setRun(inet bool, writes []routeWrite) (int, error) {
	c := *r.family(inet)
	if c == nil {
		return r.trie.set(writes)
	}
	if c.table == nil {
		return 0, fibalgo.ErrFull
	}
	if err := r.makeRoom(inet, c, len(writes)); err != nil {
		return 0, err
	}
	r.alloc.Lock()
	defer r.alloc.Unlock()
	c.table.Begin()
	for _, w := range writes {
		if w.dst.Bits() == 0 {
			r.setDefault(inet, w.nexthop)
			continue
		}
		if err := c.table.Insert(w.dst, w.nexthop); err != nil {
			break // and so does End
		}
	}
	if err := c.table.End(); err != nil {
		return 0, err
	}
	return len(writes), nil
}

// roomWords is how many words a change may take out of use.
const roomWords = 32

// makeRoom reclaims memory now if a table may lack it for some changes.
func (r *routeMaps) makeRoom(inet bool, c *compiled, changes int) error {
	if c.table.Room() >= changes*roomWords {
		return nil
	}
	return r.reclaimFamily(inet)
}

func (r *routeMaps) deleteRoutes(dsts []netip.Prefix, cover func(netip.Prefix) (int, uint32)) (int, error) {
	defer r.maps.changed()
	for done := 0; done < len(dsts); {
		inet := dsts[done].Addr().Is4()
		run := done + 1
		for run < len(dsts) && dsts[run].Addr().Is4() == inet {
			run++
		}
		n, err := r.deleteRun(inet, dsts[done:run], cover)
		done += n
		if err != nil {
			return done, err
		}
	}
	return len(dsts), nil
}

func (r *routeMaps) deleteRun(inet bool, dsts []netip.Prefix, cover func(netip.Prefix) (int, uint32)) (int, error) {
	c := *r.family(inet)
	if c == nil {
		for i, dst := range dsts {
			if err := r.trie.delete(dst); err != nil {
				return i, err
			}
		}
		return len(dsts), nil
	}
	if c.table == nil {
		return 0, fibalgo.ErrFull
	}
	if err := r.makeRoom(inet, c, len(dsts)); err != nil {
		return 0, err
	}
	r.alloc.Lock()
	defer r.alloc.Unlock()
	c.table.Begin()
	for _, dst := range dsts {
		if dst.Bits() == 0 {
			r.setDefault(inet, 0)
			continue
		}
		bits, number := cover(dst)
		if err := c.table.Delete(dst, bits, number); err != nil {
			break
		}
	}
	if err := c.table.End(); err != nil {
		return 0, err
	}
	return len(dsts), nil
}

func (r *routeMaps) routes(yield func(netip.Prefix, uint32)) error {
	for _, inet := range []bool{true, false} {
		if *r.family(inet) != nil {
			continue
		}
		if err := r.trie.each(inet, yield); err != nil {
			return err
		}
	}
	return nil
}

func (r *routeMaps) lookup(addr netip.Addr) (uint32, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	c := *r.family(addr.Is4())
	if c == nil {
		return r.trie.lookup(addr)
	}
	if c.table == nil {
		return 0, false
	}
	number := c.table.Lookup(addr)
	if number == 0 {
		number = uint32(atomic.LoadUint64(r.head(addr.Is4())) >> bpf.FibDefaultShift)
	}
	return number, number != 0
}

// grace waits until no packet is in the data path that was there at the call:
// the kernel ends an update of an array of maps with synchronize_rcu.
func (r *routeMaps) grace(c *compiled) error { return r.maps.Tables.Put(c.slot, c.m) }

func (r *routeMaps) reclaim() error {
	return errors.Join(r.reclaimFamily(true), r.reclaimFamily(false), r.clearTries())
}

func (r *routeMaps) reclaimFamily(inet bool) error {
	r.mu.RLock() // compile must not take the table away under way
	defer r.mu.RUnlock()
	c := *r.family(inet)
	if c == nil || c.table == nil {
		return nil
	}
	r.alloc.Lock()
	some := c.table.Rest()
	r.alloc.Unlock()
	if !some {
		return nil
	}
	if err := r.grace(c); err != nil {
		return err
	}
	r.alloc.Lock()
	defer r.alloc.Unlock()
	c.table.Free()
	return nil
}

// clearTries deletes from the tries what has been compiled.
func (r *routeMaps) clearTries() error {
	r.alloc.Lock()
	defer r.alloc.Unlock()
	var errs []error
	for i, inet := range []bool{true, false} {
		if r.stale[i] {
			errs = append(errs, r.trie.clear(inet))
			r.stale[i] = false
		}
	}
	return errors.Join(errs...)
}

func (r *routeMaps) compile(inet bool, plan *fibalgo.Plan, n int, routes iter.Seq2[netip.Prefix, uint32]) error {
	defer r.maps.changed()
	if plan == nil {
		return r.uncompile(inet, routes)
	}
	var c *compiled
	var number uint32 // of the default route
	for size := plan.Size(n); c == nil; size += size / 2 {
		fresh, err := r.allocate(plan, size)
		if err != nil {
			return err
		}
		number, err = fresh.fill(routes)
		switch {
		case err == nil:
			c = fresh
		case !errors.Is(err, fibalgo.ErrFull) || uint64(size) > uint64(bpf.FibPointer):
			return errors.Join(err, fresh.close())
		default:
			if err := fresh.close(); err != nil {
				return err
			}
		}
	}
	if err := r.maps.Tables.Put(c.slot, c.m); err != nil {
		return errors.Join(fmt.Errorf("put compiled routing table: %w", err), c.close())
	}
	r.swap(inet, c, uint64(number)<<bpf.FibDefaultShift|uint64(c.slot)<<bpf.FibSlotShift|uint64(plan.Algo))
	return nil
}

// uncompile puts the routes of a family into the trie.
func (r *routeMaps) uncompile(inet bool, routes iter.Seq2[netip.Prefix, uint32]) error {
	var writes []routeWrite
	for dst, number := range routes {
		writes = append(writes, routeWrite{dst, number})
	}
	if err := r.fillTrie(inet, writes); err != nil {
		return err
	}
	r.swap(inet, nil, uint64(bpf.FibLpmTrie))
	return nil
}

// fillTrie makes the trie of a family hold some routes alone.
func (r *routeMaps) fillTrie(inet bool, writes []routeWrite) error {
	r.alloc.Lock()
	defer r.alloc.Unlock()
	if err := r.trie.clear(inet); err != nil {
		return err
	}
	r.stale[indexOfFamily(inet)] = false
	if len(writes) == 0 {
		return nil
	}
	_, err := r.trie.set(writes)
	return err
}

// swap makes the data path use another table, and lets go of the old one.
func (r *routeMaps) swap(inet bool, c *compiled, head uint64) {
	atomic.StoreUint64(r.head(inet), head)
	r.maps.changed()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.alloc.Lock()
	defer r.alloc.Unlock()
	old := *r.family(inet)
	*r.family(inet) = c
	if old == nil {
		r.stale[indexOfFamily(inet)] = true
		return
	}
	// The kernel keeps the map until the packets are gone that may read it.
	_ = r.maps.Tables.Delete(old.slot)
	_ = old.close()
}

// allocate makes the memory of a table.
func (r *routeMaps) allocate(plan *fibalgo.Plan, words int) (*compiled, error) {
	slot, err := r.freeSlot()
	if err != nil {
		return nil, err
	}
	blocks := (words*4 + blockSize - 1) / blockSize
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "fib_" + plan.Name, Type: ebpf.Array, KeySize: 4, ValueSize: uint32(blockSize),
		MaxEntries: uint32(blocks), Flags: unix.BPF_F_MMAPABLE | innerMap})
	if err != nil {
		return nil, fmt.Errorf("make routing table %s of %d bytes: %w", plan.Name, blocks*blockSize, err)
	}
	bytes, err := unix.Mmap(m.FD(), 0, blocks*blockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("map routing table into memory: %w", err), m.Close())
	}
	c := &compiled{plan: plan, slot: slot, m: m, bytes: bytes}
	if c.table, err = fibalgo.New(plan, c.words()); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// fill enters routes into a new table and returns the next hop of the default
// route.
func (c *compiled) fill(routes iter.Seq2[netip.Prefix, uint32]) (number uint32, err error) {
	for dst, nexthop := range routes {
		if dst.Bits() == 0 {
			number = nexthop
			continue
		}
		if err := c.table.Insert(dst, nexthop); err != nil {
			return 0, err
		}
	}
	return number, c.table.Online()
}

// freeSlot returns a place in the array of maps that no routing table uses.
func (r *routeMaps) freeSlot() (uint32, error) {
	used := make(map[uint32]bool)
	for i := range r.array.Values {
		for _, head := range []uint64{r.array.Values[i].Inet, r.array.Values[i].Inet6} {
			if uint32(head)&bpf.FibAlgoMask != bpf.FibLpmTrie {
				used[uint32(head>>bpf.FibSlotShift)&bpf.FibSlotMask] = true
			}
		}
	}
	for slot := range r.maps.Tables.MaxEntries() {
		if !used[slot] {
			return slot, nil
		}
	}
	return 0, errors.New("make routing table: too many are compiled")
}

// tableMap opens the map in a slot of the array of maps.
func (r *routeMaps) tableMap(slot uint32) (*ebpf.Map, error) {
	var id ebpf.MapID
	if err := r.maps.Tables.Lookup(slot, &id); err != nil {
		return nil, fmt.Errorf("open compiled routing table: %w", err)
	}
	return ebpf.NewMapFromID(id)
}
