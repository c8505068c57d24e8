package fibalgo

import "math/bits"

import "github.com/bsdnet/bsdnet/bpf"

// block is a run of words.
type block struct{ place, size uint32 }

// allocator hands out the words of a table. Runs that fit into a value of the
// map do not cross its end.
type allocator struct {
	next    uint32 // first word never used
	end     uint32
	unused  int // words below next that are free
	free    map[uint32][]uint32
	retired []block // out of use
	resting []block // and known to be so by a reader that starts now
}

// sizeOf rounds up to sizes that are used again: powers of two up to a line of
// the cache, then four to each power of two.
func sizeOf(words int) uint32 {
	switch {
	case words <= 4:
		return 4
	case words <= 16:
		return 1 << bits.Len(uint(words-1))
	}
	unit := max(16, 1<<(bits.Len(uint(words-1))-3))
	return uint32((words + unit - 1) / unit * unit)
}

// get returns the place of at least so many words and how many they are.
func (a *allocator) get(words int) (place, size uint32, err error) {
	size = sizeOf(words)
	if list := a.free[size]; len(list) > 0 {
		place = list[len(list)-1]
		a.free[size] = list[:len(list)-1]
		a.unused -= int(size)
		return place, size, nil
	}
	place = a.next
	if align := min(size, 16); place%align != 0 {
		place += align - place%align
	}
	if inBlock := place % bpf.FibBlockWords; size <= bpf.FibBlockWords && inBlock+size > bpf.FibBlockWords {
		place += bpf.FibBlockWords - inBlock
	}
	if uint64(place)+uint64(size) > uint64(a.end) {
		return 0, 0, ErrFull
	}
	a.unused += int(place - a.next)
	a.next = place + size
	return place, size, nil
}

// put takes words out of use; with rest, readers may still be at them.
func (a *allocator) put(place, size uint32, rest bool) {
	if rest {
		a.retired = append(a.retired, block{place, size})
		return
	}
	if a.free == nil {
		a.free = make(map[uint32][]uint32)
	}
	a.free[size] = append(a.free[size], place)
	a.unused += int(size)
}

func (a *allocator) endRest() {
	for _, b := range a.resting {
		a.put(b.place, b.size, false)
	}
	a.resting = a.resting[:0]
}
