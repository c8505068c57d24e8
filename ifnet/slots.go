package ifnet

import "github.com/bsdnet/bsdnet/bpf"

// Clones get indexes of ranges of their own, one for their ends in the host's
// namespace and one for those in the private namespace, such that each has the
// slot of its choice. An index is used again only after many others, since
// events of the interface that had it before may still be on their way.
const (
	cloneIndexBase = 1 << 20
	stackIndexBase = 1 << 21
	indexRounds    = (stackIndexBase - cloneIndexBase) / bpf.IfnetSlots
)

// Reservation is a pair of indexes for a clone, with their slots.
type Reservation struct {
	Index, Stack    int
	Slot, StackSlot uint32
}

// Reserve takes two slots for a clone.
func (t *Table) Reserve() (Reservation, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	slot, ok := t.freeSlot()
	if !ok {
		return Reservation{}, ErrNoSlot
	}
	t.slots[slot] = 0
	stackSlot, ok := t.freeSlot()
	if !ok {
		delete(t.slots, slot)
		return Reservation{}, ErrNoSlot
	}
	next := func(base int, slot uint32) int {
		t.rounds[slot] = (t.rounds[slot] + 1) % indexRounds
		return base + int(t.rounds[slot]*bpf.IfnetSlots+slot)
	}
	r := Reservation{
		Index: next(cloneIndexBase, slot), Stack: next(stackIndexBase, stackSlot),
		Slot: slot, StackSlot: stackSlot,
	}
	t.slots[slot], t.slots[stackSlot] = r.Index, 0
	return r, nil
}

// Reserved takes the slots of a clone that is there already.
func (t *Table) Reserved(index, stack int) Reservation {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := Reservation{Index: index, Stack: stack, Slot: uint32(index) % bpf.IfnetSlots, StackSlot: uint32(stack) % bpf.IfnetSlots}
	t.slots[r.Slot], t.slots[r.StackSlot] = index, 0
	return r
}

// Unreserve gives the slots of a clone back.
func (t *Table) Unreserve(r Reservation) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.slots[r.Slot] == r.Index {
		t.clear(r.Slot)
	}
	t.clear(r.StackSlot)
}

// freeSlot looks for a slot, the later ones first, so that indexes grow. Every
// fourth is left, so that an interface of any index finds one.
func (t *Table) freeSlot() (uint32, bool) {
	for range bpf.IfnetSlots {
		slot := t.cursor
		t.cursor = (t.cursor + 1) % bpf.IfnetSlots
		if slot%bpf.IfnetProbes == bpf.IfnetProbes-1 {
			continue
		}
		if _, taken := t.slots[slot]; !taken {
			return slot, true
		}
	}
	return 0, false
}
