package fibalgo

import (
	"encoding/binary"
	"errors"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/bsdnet/bsdnet/bpf"
)

// ErrFull says that a table has no room for a change. Readers may see the change
// for some of the addresses by now; the table takes no more of them, and a
// larger one must be built.
var ErrFull = errors.New("no room in compiled table")

// Table is a compiled table. The default route is no part of it. Its methods
// must not be called concurrently, but for Lookup.
type Table struct {
	plan   *Plan
	words  []uint32
	alloc  allocator
	root   *node
	room   []span // for writeList
	slab   []node
	online bool // others read it
	full   bool
	batch  bool             // lists are written by End
	dirty  map[*node][]step // those of a batch, with the way to them
}

// New returns an empty table in words, which must be zero. It is offline: to
// be filled by Insert and then made fit for readers by Online.
func New(plan *Plan, words []uint32) (*Table, error) {
	t := &Table{plan: plan, words: words}
	if len(words) < 1<<plan.levels[0].bits {
		return nil, ErrFull
	}
	t.alloc = allocator{end: uint32(min(len(words), int(bpf.FibPointer)))}
	t.root = t.newNode(0, 0, 0)
	var err error
	t.root.place, t.root.size, err = t.alloc.get(1 << plan.levels[0].bits)
	if err != nil {
		return nil, err
	}
	return t, nil
}

// Plan returns how the table is compiled.
func (t *Table) Plan() *Plan { return t.plan }

// Used returns how many words are in use or resting.
func (t *Table) Used() int { return int(t.alloc.next) - t.alloc.unused }

// key is an address, left-aligned.
type key struct{ high, low uint64 }

func keyOf(a netip.Addr) key {
	if a.Is4() {
		b := a.As4()
		return key{high: uint64(binary.BigEndian.Uint32(b[:])) << 32}
	}
	b := a.As16()
	return key{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// bits returns n bits of the key, at most 32, from the bit at on.
func (k key) bits(at, n int) uint32 {
	var word uint64
	switch {
	case at >= 64:
		word = k.low << (at - 64)
	case at == 0:
		word = k.high
	default:
		word = k.high<<at | k.low>>(64-at)
	}
	return uint32(word >> (64 - n))
}

// node is the part of the table for the addresses that share depth bits.
type node struct {
	level    int
	depth    int
	place    uint32 // of its words
	size     uint32 // words that it has, 0: none yet
	cover    uint32 // next hop of addresses without a route in the node
	children map[uint32]*node
	dense    []*node // in place of children, by index, if many are to come
	// An array: for each index one and the bits of its route in this node, 0:
	// covered; and its words while it has none.
	lengths []uint8
	pending map[uint32]uint32
	routes  []route // a list: by start, shorter ones first
}

// denseBits is the size of an array whose children are kept by index.
const denseBits = 20

func (t *Table) newNode(level, depth int, cover uint32) *node {
	if len(t.slab) == 0 {
		t.slab = make([]node, slabNodes)
	}
	n := &t.slab[0]
	t.slab = t.slab[1:]
	n.level, n.depth, n.cover = level, depth, cover
	if level == 0 && t.plan.levels[0].bits == denseBits {
		n.dense = make([]*node, 1<<denseBits)
	}
	if !t.plan.levels[level].ranges {
		n.lengths = make([]uint8, 1<<t.plan.levels[level].bits)
	}
	return n
}

// slabNodes is how many nodes are made at a time.
const slabNodes = 64

func (n *node) child(index uint32) *node {
	if n.dense != nil {
		return n.dense[index]
	}
	return n.children[index]
}

func (n *node) setChild(index uint32, c *node) {
	if n.dense != nil {
		n.dense[index] = c
		return
	}
	if c == nil {
		delete(n.children, index)
		return
	}
	if n.children == nil {
		n.children = make(map[uint32]*node)
	}
	n.children[index] = c
}

// each passes the children on.
func (n *node) each() iter.Seq2[uint32, *node] {
	if n.dense == nil {
		return maps.All(n.children)
	}
	return func(yield func(uint32, *node) bool) {
		for index, c := range n.dense {
			if c != nil && !yield(uint32(index), c) {
				return
			}
		}
	}
}

func (t *Table) store(at, word uint32) { atomic.StoreUint32(&t.words[at], word) }

// step is a node on the way to a prefix, and the index by which it goes on.
type step struct {
	n     *node
	index uint32
}

// way returns the nodes down to the one in which a prefix ends. Those that are
// not there are made, with make, and not yet known to readers.
func (t *Table) way(k key, bits int, create bool, steps []step) []step {
	n := t.root
	for {
		stride := t.plan.levels[n.level].bits
		index := k.bits(n.depth, stride)
		steps = append(steps, step{n, index})
		if bits <= n.depth+stride {
			return steps
		}
		c := n.child(index)
		if c == nil {
			if !create {
				return nil
			}
			c = t.newNode(n.level+1, n.depth+stride, n.at(t, index))
			n.setChild(index, c)
			if !t.online && n.size != 0 && n.lengths != nil {
				t.words[n.place+index] = bpf.FibPointer // there is one, for setWord
			}
		}
		n = c
	}
}

// at returns the next hop of the addresses at an index without a deeper route.
func (n *node) at(t *Table, index uint32) uint32 {
	switch c := n.child(index); {
	case c != nil:
		return c.cover
	case n.lengths == nil:
		return n.covering(t.plan.levels[n.level].bits, index)
	case n.size != 0:
		return t.words[n.place+index]
	}
	if value, ok := n.pending[index]; ok {
		return value
	}
	return n.cover
}

// Insert adds a route or changes its next hop, which is not 0. The prefix is
// masked, of the plan's family and not the default route.
func (t *Table) Insert(dst netip.Prefix, value uint32) error {
	if t.full {
		return ErrFull
	}
	var room [16]step
	steps := t.way(keyOf(dst.Addr()), dst.Bits(), true, room[:0])
	last := steps[len(steps)-1]
	bits := uint8(dst.Bits() - last.n.depth)
	var err error
	if last.n.lengths == nil {
		last.n.putRoute(route{last.index, bits, value})
		err = t.coverChildren(last.n, last.index, bits)
	} else {
		err = t.fillArray(last.n, last.index, bits, value)
	}
	return t.finish(errors.Join(err, t.settle(steps)))
}

// Delete removes a route. bits and value tell the longest shorter prefix among
// the routes that remain and its next hop; bits is 0 if there is none but the
// default.
func (t *Table) Delete(dst netip.Prefix, bits int, value uint32) error {
	if t.full {
		return ErrFull
	}
	var room [16]step
	steps := t.way(keyOf(dst.Addr()), dst.Bits(), false, room[:0])
	if steps == nil {
		return nil
	}
	last := steps[len(steps)-1]
	own := uint8(dst.Bits() - last.n.depth)
	var err error
	if last.n.lengths == nil {
		last.n.dropRoute(last.index, own)
		err = t.coverChildren(last.n, last.index, own)
	} else {
		length := uint8(0)
		if bits > last.n.depth {
			length = uint8(bits-last.n.depth) + 1
		} else {
			value = last.n.cover
		}
		err = t.clearArray(last.n, last.index, own, length, value)
	}
	return t.finish(errors.Join(err, t.settle(steps)))
}

// Begin starts a batch of changes, which may become visible to readers as late
// as with End: many of them to neighbouring prefixes cost little more than one.
func (t *Table) Begin() { t.batch = true }

// End ends a batch.
func (t *Table) End() error {
	t.batch = false
	if t.full {
		t.dirty = nil
		return ErrFull
	}
	dirty := t.dirty
	var err error
	for n, steps := range dirty {
		delete(dirty, n) // what follows sees those that are still unwritten
		if err = t.publish(t.prune(steps)); err != nil {
			break
		}
	}
	t.dirty = nil
	return t.finish(err)
}

// settle makes a change at the last of some nodes visible, or puts it off.
func (t *Table) settle(steps []step) error {
	last := steps[len(steps)-1].n
	if !t.batch || !t.online || last.lengths != nil {
		return t.publish(t.prune(steps))
	}
	if _, ok := t.dirty[last]; !ok {
		if t.dirty == nil {
			t.dirty = make(map[*node][]step)
		}
		t.dirty[last] = slices.Clone(steps)
	}
	return nil
}

// Room returns how many words have never been used.
func (t *Table) Room() int { return int(t.alloc.end - t.alloc.next) }

// finish notes that the table is full if a change says so.
func (t *Table) finish(err error) error {
	if err != nil {
		t.full = true
		return ErrFull
	}
	return nil
}

// Online writes what Insert has left unwritten, and makes all further changes
// fit for readers.
func (t *Table) Online() error {
	err := t.write(t.root)
	t.online = true
	return t.finish(err)
}

// write writes the lists at and below a node and the pointers to them.
func (t *Table) write(n *node) error {
	for index, c := range n.each() {
		if err := t.write(c); err != nil {
			return err
		}
		if n.lengths != nil {
			t.store(n.place+index, c.place|bpf.FibPointer)
		}
	}
	if n.lengths == nil {
		return t.writeList(n)
	}
	return nil
}

// Rest puts the words that changes have taken out of use aside, and reports
// whether there are any. Free makes them fit for use, when no reader is left
// that may have seen them in use at the time of Rest.
func (t *Table) Rest() bool {
	t.alloc.resting = append(t.alloc.resting, t.alloc.retired...)
	t.alloc.retired = nil
	return len(t.alloc.resting) > 0
}

// Free ends the rest of words.
func (t *Table) Free() { t.alloc.endRest() }

// publish makes readers see a change at the last of some nodes: it writes the
// nodes that are new or lists, from the last one up, until there is one that
// has its pointer already.
func (t *Table) publish(steps []step) error {
	if !t.online {
		return t.allot(steps)
	}
	for i := len(steps) - 1; i >= 0; i-- {
		n := steps[i].n
		before := n.place
		fresh := n.size == 0
		switch {
		case n.lengths == nil:
			if err := t.writeList(n); err != nil {
				return err
			}
		case fresh:
			if err := t.writeArray(n); err != nil {
				return err
			}
		}
		if i == 0 || !fresh && n.place == before {
			return nil
		}
		up := steps[i-1]
		if up.n.lengths != nil && up.n.size != 0 {
			t.store(up.n.place+up.index, n.place|bpf.FibPointer)
			return nil
		}
	}
	return nil
}

// allot gives new arrays their words in a table that nobody reads.
func (t *Table) allot(steps []step) error {
	for _, s := range steps {
		if s.n.lengths != nil && s.n.size == 0 {
			if err := t.writeArray(s.n); err != nil {
				return err
			}
		}
	}
	return nil
}

// prune takes nodes without routes off the end of a way, and returns those
// that remain.
func (t *Table) prune(steps []step) []step {
	for len(steps) > 1 && steps[len(steps)-1].n.empty() {
		c := steps[len(steps)-1].n
		steps = steps[:len(steps)-1]
		up := steps[len(steps)-1]
		up.n.setChild(up.index, nil)
		if up.n.lengths != nil {
			t.store(up.n.place+up.index, c.cover)
		} else if t.online && up.n.size != 0 {
			// Readers must be off the child before its words are others'.
			if err := t.writeList(up.n); err != nil {
				t.full = true
			}
		}
		t.release(c)
	}
	return steps
}

func (n *node) empty() bool {
	if n.dense != nil || len(n.children) > 0 || len(n.routes) > 0 {
		return false
	}
	for _, l := range n.lengths {
		if l != 0 {
			return false
		}
	}
	return true
}

// release takes the words of a node out of use.
func (t *Table) release(n *node) {
	if n.size != 0 {
		t.alloc.put(n.place, n.size, t.online)
		n.size = 0
	}
}

// Lookup returns the next hop of an address as readers find it, 0: none.
func (t *Table) Lookup(addr netip.Addr) uint32 { return t.plan.Lookup(t.words, addr) }

// Lookup returns the next hop of an address in the words of a table, as
// bpf/c/fib.h finds it.
func (p *Plan) Lookup(words []uint32, addr netip.Addr) uint32 {
	k := keyOf(addr)
	var at uint32
	depth := 0
	for _, l := range p.levels {
		index := k.bits(depth, l.bits)
		depth += l.bits
		var word uint32
		switch {
		case !l.ranges:
			word = atomic.LoadUint32(&words[at+index])
		case p.inet:
			word = findRange(words[at:], index)
		default:
			word = findRange6(words[at:], index)
		}
		if word&bpf.FibPointer == 0 {
			return word
		}
		at = word &^ bpf.FibPointer
	}
	return 0
}
