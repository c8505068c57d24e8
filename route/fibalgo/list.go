package fibalgo

import (
	"cmp"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/bsdnet/bsdnet/bpf"
)

// route is one that ends in a list of ranges.
type route struct {
	start uint32 // bits of this level, right-aligned
	bits  uint8  // how many of them count
	value uint32
}

func compareRoutes(a, b route) int {
	return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.bits, b.bits))
}

// putRoute enters a route, or changes it.
func (n *node) putRoute(r route) {
	at, found := slices.BinarySearchFunc(n.routes, r, compareRoutes)
	if found {
		n.routes[at].value = r.value
		return
	}
	n.routes = slices.Insert(n.routes, at, r)
}

func (n *node) dropRoute(start uint32, bits uint8) {
	at, found := slices.BinarySearchFunc(n.routes, route{start: start, bits: bits}, compareRoutes)
	if found {
		n.routes = slices.Delete(n.routes, at, at+1)
	}
}

// coverChildren tells the children of a list below a prefix of it what covers
// them now. Those that are lists change their place: the list is to be written.
func (t *Table) coverChildren(n *node, start uint32, bits uint8) error {
	stride := t.plan.levels[n.level].bits
	for index, c := range n.children {
		if bits > 0 && (index^start)>>(stride-int(bits)) != 0 {
			continue
		}
		if err := t.recover(n, index, c, n.covering(stride, index)); err != nil {
			return err
		}
	}
	return nil
}

// covering returns the next hop of an index of a list, children aside.
func (n *node) covering(stride int, index uint32) uint32 {
	value, best := n.cover, -1
	for _, r := range n.routes {
		if r.start > index {
			break
		}
		if int(r.bits) > best && uint64(index^r.start)>>(stride-int(r.bits)) == 0 {
			value, best = r.value, int(r.bits)
		}
	}
	return value
}

// span is a range: it ends where the next one begins.
type span struct{ start, word uint32 }

// open is a route whose end has not been reached.
type open struct {
	end   uint64 // first index behind it
	value uint32
}

// sweep goes through the routes and children of a list in order.
type sweep struct {
	spans []span
	open  []open
	cover uint32
	limit uint64 // of the indexes
}

func (s *sweep) emit(start uint64, word uint32) {
	if start >= s.limit {
		return
	}
	last := len(s.spans) - 1
	if last >= 0 && uint64(s.spans[last].start) == start {
		s.spans = s.spans[:last]
		last--
	}
	if last >= 0 && s.spans[last].word == word {
		return
	}
	s.spans = append(s.spans, span{uint32(start), word})
}

// closeUntil ends the routes that end at or before an index.
func (s *sweep) closeUntil(index uint64) {
	for len(s.open) > 0 && s.open[len(s.open)-1].end <= index {
		end := s.open[len(s.open)-1].end
		s.open = s.open[:len(s.open)-1]
		s.emit(end, s.value())
	}
}

func (s *sweep) value() uint32 {
	if len(s.open) == 0 {
		return s.cover
	}
	return s.open[len(s.open)-1].value
}

// spans returns a list as ranges that follow each other.
func (t *Table) spans(n *node) []span {
	stride := t.plan.levels[n.level].bits
	s := sweep{spans: t.room[:0], cover: n.cover, limit: 1 << stride}
	s.emit(0, n.cover)
	var indexes []uint32
	if len(n.children) > 0 {
		indexes = slices.Sorted(maps.Keys(n.children))
	}
	child := func(index uint32) {
		s.closeUntil(uint64(index))
		c := n.children[index]
		if c.size == 0 {
			s.emit(uint64(index), c.cover) // until it is written
		} else {
			s.emit(uint64(index), c.place|bpf.FibPointer)
		}
		s.open = append(s.open, open{uint64(index) + 1, 0})
		s.closeUntil(uint64(index) + 1)
	}
	for _, r := range n.routes {
		for len(indexes) > 0 && indexes[0] < r.start {
			child(indexes[0])
			indexes = indexes[1:]
		}
		s.closeUntil(uint64(r.start))
		s.emit(uint64(r.start), r.value)
		s.open = append(s.open, open{uint64(r.start) + 1<<(stride-int(r.bits)), r.value})
	}
	for _, index := range indexes {
		child(index)
	}
	s.closeUntil(s.limit)
	t.room = s.spans
	return s.spans
}

// writeList writes a list at a new place.
func (t *Table) writeList(n *node) error {
	spans := t.spans(n)
	each := 2
	if t.plan.inet {
		each = 1
	}
	place, size, err := t.alloc.get(1 + each*len(spans))
	if err != nil {
		return err
	}
	t.store(place, uint32(len(spans)))
	for i, s := range spans {
		if t.plan.inet {
			t.store(place+1+uint32(i), s.start<<16|s.word)
			continue
		}
		t.store(place+1+2*uint32(i), s.start)
		t.store(place+2+2*uint32(i), s.word)
	}
	t.release(n)
	n.place, n.size = place, size
	return nil
}

// findRange is fib_range of bpf/c/fib.h.
func findRange(words []uint32, key uint32) uint32 {
	n, first := atomic.LoadUint32(&words[0]), uint32(1)
	key = key<<16 | 0xffff
	for n > 1 {
		if half := n / 2; atomic.LoadUint32(&words[first+half]) <= key {
			first += half
			n -= half
		} else {
			n -= half
		}
	}
	return atomic.LoadUint32(&words[first]) & 0xffff
}

// findRange6 is fib_range6 of bpf/c/fib.h.
func findRange6(words []uint32, key uint32) uint32 {
	n, first := atomic.LoadUint32(&words[0]), uint32(1)
	for n > 1 {
		half := n / 2
		if atomic.LoadUint32(&words[first+2*half]) <= key {
			first += 2 * half
		}
		n -= half
	}
	return atomic.LoadUint32(&words[first+1])
}
