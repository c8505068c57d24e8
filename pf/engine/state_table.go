package engine

import (
	"errors"
	"fmt"
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/bsdnet/bsdnet/bpf"
)

// stateTable is the table of states that the data path and the daemon share:
// slots, and the index of two buckets a hash that leads to them. Both are
// changed by atomics alone, by whoever comes first; functions of the same names
// in pf_state_table.h do the same.
type stateTable struct {
	slots *bpf.Array[bpf.PFState]
	index *bpf.Array[bpf.PFStateBucket]
	head  *bpf.PFStateHead
	// ofRule are the numbers of states by the slot of their rule's counters.
	ofRule *bpf.Array[uint64]
	nodes  *srcNodes
	// track is for how long the source nodes of a state outlive it.
	track func(slot uint32, s *bpf.PFState) uint32
}

// openStateTable takes over nodes, which it closes if it fails.
func openStateTable(maps Maps, head *bpf.PFStateHead, nodes *srcNodes, track func(uint32, *bpf.PFState) uint32) (*stateTable, error) {
	t := &stateTable{head: head, nodes: nodes, track: track}
	var err error
	if t.slots, err = bpf.MapArray[bpf.PFState](maps.States); err != nil {
		return nil, errors.Join(err, nodes.close())
	}
	if t.index, err = bpf.MapArray[bpf.PFStateBucket](maps.StateIndex); err != nil {
		return nil, errors.Join(err, t.slots.Close(), nodes.close())
	}
	if t.ofRule, err = bpf.MapArray[uint64](maps.RuleStates); err != nil {
		return nil, errors.Join(err, t.slots.Close(), t.index.Close(), nodes.close())
	}
	buckets := len(t.index.Values)
	if bits.OnesCount(uint(buckets)) != 1 || len(t.slots.Values) != buckets*int(bpf.PFBucketEntries) {
		t.close()
		return nil, fmt.Errorf("state table of %d slots with an index for %d", len(t.slots.Values), buckets*int(bpf.PFBucketEntries))
	}
	atomic.StoreUint32(&head.Buckets, uint32(buckets-1))
	atomic.StoreUint32(&head.Slots, uint32(len(t.slots.Values)))
	t.finish()
	return t, nil
}

// capacity is the number of states that the table takes: each may need two
// slots, and the last slots are hard to find.
func (t *stateTable) capacity() uint32 { return uint32(len(t.slots.Values) / 2) }

// used are the slots that have ever been in use, and so all that states are in.
func (t *stateTable) used() []bpf.PFState {
	return t.slots.Values[:min(atomic.LoadUint64(&t.head.Fresh), uint64(len(t.slots.Values)))]
}

// freeing reports whether a state was begun to be freed.
func freeing(tag uint64) bool { return tag != 0 && tag>>32 == uint64(bpf.PFStateFreeing) }

// finish ends what a daemon that was killed had begun to free.
func (t *stateTable) finish() {
	var seen []uint32
	slots := t.used()
	for slot := range slots {
		if freeing(atomic.LoadUint64(&slots[slot].Tag)) {
			seen = append(seen, uint32(slot))
		}
	}
	if len(seen) == 0 {
		return
	}
	// The data path, too, passes here, but is gone in an instant.
	time.Sleep(10 * time.Millisecond)
	for _, slot := range seen {
		if freeing(atomic.LoadUint64(&slots[slot].Tag)) {
			t.release(slot)
		}
	}
}

// entries calls f with the places of the index where a hash may be, until f
// says that it is done.
func (t *stateTable) entries(hash uint32, f func(entry *uint64) (done bool)) {
	for _, place := range []uint32{hash >> 1, hash * 0x9e3779b1 >> 7} {
		bucket := &t.index.Values[place&t.head.Buckets]
		for i := range bucket.Entry {
			if f(&bucket.Entry[i]) {
				return
			}
		}
	}
}

// each calls f with the slots that the index has for a hash, until f says that
// it is done.
func (t *stateTable) each(hash uint32, f func(slot uint32) (done bool)) {
	t.entries(hash, func(entry *uint64) bool {
		value := atomic.LoadUint64(entry)
		return value>>32 == uint64(hash) && f(uint32(value)&bpf.PFStateSlot)
	})
}

// takeSlot takes a free slot.
func (t *stateTable) takeSlot() (slot uint32, ok bool) {
	for {
		old := atomic.LoadUint64(&t.head.Free)
		if uint32(old) == 0 {
			break
		}
		slot = uint32(old) - 1
		next := atomic.LoadUint32(&t.slots.Values[slot].Peer)
		if atomic.CompareAndSwapUint64(&t.head.Free, old, (old>>32+1)<<32|uint64(next)) {
			return slot, true
		}
	}
	if fresh := atomic.AddUint64(&t.head.Fresh, 1) - 1; fresh < uint64(len(t.slots.Values)) {
		return uint32(fresh), true
	}
	atomic.AddUint64(&t.head.Fresh, ^uint64(0))
	return 0, false
}

// giveSlot gives a slot up.
func (t *stateTable) giveSlot(slot uint32) {
	s := &t.slots.Values[slot]
	atomic.StoreUint64(&s.Tag, 0)
	for {
		old := atomic.LoadUint64(&t.head.Free)
		atomic.StoreUint32(&s.Peer, uint32(old))
		if atomic.CompareAndSwapUint64(&t.head.Free, old, (old>>32+1)<<32|uint64(slot+1)) {
			return
		}
	}
}

// claim takes a slot for a hash; it is busy until its tag is written.
func (t *stateTable) claim(hash uint32) (slot uint32, ok bool) {
	if slot, ok = t.takeSlot(); !ok {
		return 0, false
	}
	atomic.StoreUint64(&t.slots.Values[slot].Tag, uint64(bpf.PFStateBusy)<<32|uint64(hash))
	ok = false
	t.entries(hash, func(entry *uint64) bool {
		ok = atomic.CompareAndSwapUint64(entry, 0, uint64(hash)<<32|uint64(slot))
		return ok
	})
	if !ok {
		t.giveSlot(slot)
	}
	return slot, ok
}

// unclaim gives a slot and its entry up that are nobody else's.
func (t *stateTable) unclaim(slot uint32) {
	hash := uint32(atomic.LoadUint64(&t.slots.Values[slot].Tag))
	t.entries(hash, func(entry *uint64) bool {
		return atomic.CompareAndSwapUint64(entry, uint64(hash)<<32|uint64(slot), 0)
	})
	t.giveSlot(slot)
}

// free ends a state, if it is still the one that was seen.
func (t *stateTable) free(slot uint32, tag uint64) bool {
	if !atomic.CompareAndSwapUint64(&t.slots.Values[slot].Tag, tag, uint64(bpf.PFStateFreeing)<<32|uint64(uint32(tag))) {
		return false
	}
	t.release(slot)
	return true
}

// release gives up the slots of a state that is marked as begun to free.
func (t *stateTable) release(slot uint32) {
	s := &t.slots.Values[slot]
	peer, rule := s.Peer, s.Rule
	if uint32(s.Flags)&bpf.PFStateSrcNode != 0 {
		t.nodes.drop(slot, s, t.track(slot, s))
	}
	if peer != slot && peer < uint32(len(t.slots.Values)) && t.slots.Values[peer].Peer == slot {
		t.unclaim(peer)
	}
	t.unclaim(slot)
	atomic.AddUint64(&t.head.Count, ^uint64(0))
	t.countOfRule(rule, -1)
}

// countOfRule counts a state that a rule won or lost.
func (t *stateTable) countOfRule(rule uint32, by int) {
	if rule < bpf.PFRules {
		atomic.AddUint64(&t.ofRule.Values[rule], uint64(by))
	}
}

func (t *stateTable) close() error {
	return errors.Join(t.slots.Close(), t.index.Close(), t.ofRule.Close(), t.nodes.close())
}
