package engine

import (
	"fmt"
	"slices"
	"time"

	"github.com/bsdnet/bsdnet/bpf"
)

// rangeSpace hands out places in pf_ranges. What is given back is not used
// again for a while, because a packet may still be looking there.
type rangeSpace struct {
	array *bpf.Array[bpf.PFRange]
	taken []extent // in order, without overlap
	now   func() time.Time
}

// extent is a run of ranges.
type extent struct {
	first, count uint32
	released     time.Time // zero: in use
}

// grace is longer than any packet is looked at.
const grace = time.Second

// newRangeSpace takes over what pools use already.
func newRangeSpace(array *bpf.Array[bpf.PFRange], pools []bpf.PFPool) *rangeSpace {
	s := &rangeSpace{array: array, now: time.Now}
	for i := range pools {
		for _, place := range pools[i].Ranges {
			if place != 0 {
				s.taken = append(s.taken, extent{first: uint32(place), count: uint32(place >> 32)})
			}
		}
	}
	slices.SortFunc(s.taken, func(a, b extent) int { return int(a.first) - int(b.first) })
	return s
}

// at returns the ranges at a place.
func (s *rangeSpace) at(place uint64) []bpf.PFRange {
	first, count := uint32(place), uint32(place>>32)
	return s.array.Values[first : first+count]
}

// take stores a list and returns its place as pf_pool has it, 0 for an empty one.
func (s *rangeSpace) take(list []bpf.PFRange) (uint64, error) {
	if len(list) == 0 {
		return 0, nil
	}
	if len(list) > poolRanges {
		return 0, fmt.Errorf("pool has %d ranges of addresses, at most %d", len(list), poolRanges)
	}
	now := s.now()
	s.taken = slices.DeleteFunc(s.taken, func(t extent) bool { return !t.released.IsZero() && now.Sub(t.released) > grace })
	first, at := uint32(0), len(s.taken)
	for i, t := range s.taken {
		if uint64(first)+uint64(len(list)) <= uint64(t.first) {
			at = i
			break
		}
		first = t.first + t.count
	}
	if uint64(first)+uint64(len(list)) > uint64(len(s.array.Values)) {
		return 0, fmt.Errorf("no room for a pool of %d ranges of addresses; all together at most %d", len(list), len(s.array.Values))
	}
	copy(s.array.Values[first:], list)
	s.taken = slices.Insert(s.taken, at, extent{first: first, count: uint32(len(list))})
	return uint64(len(list))<<32 | uint64(first), nil
}

// release gives a place back.
func (s *rangeSpace) release(place uint64) {
	if place == 0 {
		return
	}
	for i := range s.taken {
		if s.taken[i].first == uint32(place) && s.taken[i].released.IsZero() {
			s.taken[i].released = s.now()
			return
		}
	}
}

// give gives back what a pool uses.
func (s *rangeSpace) give(pool *bpf.PFPool) {
	for _, place := range pool.Ranges {
		s.release(place)
	}
}
