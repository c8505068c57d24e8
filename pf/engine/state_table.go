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
// slots, and the index of two buckets a hash. Slots are taken and given up by
// atomics alone, by whoever comes first.
type stateTable struct {
	slots *bpf.Array[bpf.PFState]
	index *bpf.Array[bpf.PFStateBucket]
	head  *bpf.PFStateHead
	// ofRule are the numbers of states by the slot of their rule's counters.
	ofRule *bpf.Array[uint64]
}

func openStateTable(maps Maps, head *bpf.PFStateHead) (*stateTable, error) {
	t := &stateTable{head: head}
	var err error
	if t.slots, err = bpf.MapArray[bpf.PFState](maps.States); err != nil {
		return nil, err
	}
	if t.index, err = bpf.MapArray[bpf.PFStateBucket](maps.StateIndex); err != nil {
		t.slots.Close()
		return nil, err
	}
	if t.ofRule, err = bpf.MapArray[uint64](maps.RuleStates); err != nil {
		t.slots.Close()
		t.index.Close()
		return nil, err
	}
	buckets := len(t.index.Values)
	if bits.OnesCount(uint(buckets)) != 1 || len(t.slots.Values) != buckets*int(bpf.PFBucketSlots) {
		t.slots.Close()
		t.index.Close()
		t.ofRule.Close()
		return nil, fmt.Errorf("state table of %d slots with an index for %d", len(t.slots.Values), buckets*int(bpf.PFBucketSlots))
	}
	atomic.StoreUint32(&head.Buckets, uint32(buckets-1))
	t.finish()
	return t, nil
}

// capacity is the number of states that the table takes: each may need two
// slots, and the last slots are hard to find.
func (t *stateTable) capacity() uint32 { return uint32(len(t.slots.Values) / 2) }

// finish ends what a daemon that was killed had begun to free.
func (t *stateTable) finish() {
	const begun = uint64(bpf.PFStateBusy) << 32
	var seen []uint32
	for slot := range t.slots.Values {
		if atomic.LoadUint64(&t.slots.Values[slot].Tag) == begun {
			seen = append(seen, uint32(slot))
		}
	}
	if len(seen) == 0 {
		return
	}
	// The data path, too, passes here, but is gone in an instant.
	time.Sleep(10 * time.Millisecond)
	for _, slot := range seen {
		if atomic.LoadUint64(&t.slots.Values[slot].Tag) == begun {
			t.release(slot)
		}
	}
}

// mark is pf_mark of the data path.
func mark(hash uint32) uint64 { return uint64(max(hash*0x85ebca6b>>16, 1)) }

// lane says where the mark of a slot is in the index.
func (t *stateTable) lane(slot uint32) (word *uint64, shift uint32) {
	lane := slot % bpf.PFBucketSlots
	return &t.index.Values[slot/bpf.PFBucketSlots].Marks[lane/4], lane % 4 * 16
}

// each calls f with the slots where a hash may be, until f says that it is
// done.
func (t *stateTable) each(hash uint32, f func(slot uint32) (done bool)) {
	for _, place := range []uint32{hash >> 1, hash * 0x9e3779b1 >> 7} {
		bucket := place & t.head.Buckets
		for lane := range uint32(bpf.PFBucketSlots) {
			if f(bucket*bpf.PFBucketSlots + lane) {
				return
			}
		}
	}
}

// claim takes a free slot for a hash; it is busy until its tag is written.
func (t *stateTable) claim(hash uint32) (claimed uint32, ok bool) {
	t.each(hash, func(slot uint32) bool {
		word, shift := t.lane(slot)
		if atomic.LoadUint64(word)>>shift&0xffff != 0 {
			return false
		}
		if ok = atomic.CompareAndSwapUint64(&t.slots.Values[slot].Tag, 0, uint64(bpf.PFStateBusy)<<32|uint64(hash)); ok {
			atomic.OrUint64(word, mark(hash)<<shift)
			claimed = slot
		}
		return ok
	})
	return claimed, ok
}

// unclaim gives a slot up that is nobody else's.
func (t *stateTable) unclaim(slot uint32) {
	word, shift := t.lane(slot)
	atomic.AndUint64(word, ^(uint64(0xffff) << shift))
	atomic.StoreUint64(&t.slots.Values[slot].Tag, 0)
}

// free ends a state, if it is still the one that was seen.
func (t *stateTable) free(slot uint32, tag uint64) bool {
	if !atomic.CompareAndSwapUint64(&t.slots.Values[slot].Tag, tag, uint64(bpf.PFStateBusy)<<32) {
		return false
	}
	t.release(slot)
	return true
}

// release gives up the slots of a state that is marked as begun to free.
func (t *stateTable) release(slot uint32) {
	peer, rule := t.slots.Values[slot].Peer, t.slots.Values[slot].Rule
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
	err := t.slots.Close()
	return errors.Join(err, t.index.Close(), t.ofRule.Close())
}
