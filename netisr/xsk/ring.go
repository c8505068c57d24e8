package xsk

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Desc is one entry of a receive or transmit ring: a piece of a packet. Addr
// is an offset into the UMEM, Len counts bytes, Options holds [PacketContinued].
type Desc = unix.XDPDesc

// PacketContinued in the options of a descriptor says that the next
// descriptor holds more of the same packet.
const PacketContinued = unix.XDP_PKT_CONTD

// ring is one ring shared with the kernel. Producer and consumer count
// entries and wrap; the side that user space owns is kept in a private copy,
// because only user space writes it.
//
// Loads and stores of the shared indices are atomic: Go's atomics are
// sequentially consistent, which includes the acquire and release pairs that
// the kernel relies on (net/xdp/xsk_queue.h).
type ring[T any] struct {
	producer *uint32
	consumer *uint32
	flags    *uint32
	entries  []T
	mask     uint32
	own      uint32 // private copy of the index that user space advances
	other    uint32 // last seen value of the kernel's index
	memory   []byte
}

// mapRing maps a ring of size entries, a power of two, at the page offset of
// its kind.
func mapRing[T any](fd int, size int, page int64, offset unix.XDPRingOffset) (*ring[T], error) {
	var entry T
	length := int(offset.Desc) + size*int(unsafe.Sizeof(entry))
	memory, err := unix.Mmap(fd, page, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("map ring: %w", err)
	}
	at := func(offset uint64) *uint32 { return (*uint32)(unsafe.Pointer(&memory[offset])) }
	return &ring[T]{
		producer: at(offset.Producer),
		consumer: at(offset.Consumer),
		flags:    at(offset.Flags),
		entries:  unsafe.Slice((*T)(unsafe.Pointer(&memory[offset.Desc])), size),
		mask:     uint32(size - 1),
		memory:   memory,
	}, nil
}

// unmap releases the mapping; a nil ring is allowed.
func (r *ring[T]) unmap() error {
	if r == nil || r.memory == nil {
		return nil
	}
	memory := r.memory
	r.memory, r.entries = nil, nil
	return unix.Munmap(memory)
}

// room returns how many entries user space may produce, looking at the
// kernel's index only when fewer than want are known to be free.
func (r *ring[T]) room(want int) int {
	size := r.mask + 1
	free := size - (r.own - r.other)
	if free < uint32(want) {
		r.other = atomic.LoadUint32(r.consumer)
		free = size - (r.own - r.other)
	}
	return int(free)
}

// produce copies entries in and publishes as many as fit.
func (r *ring[T]) produce(entries []T) int {
	n := min(len(entries), r.room(len(entries)))
	if n == 0 {
		return 0
	}
	for i := range n {
		r.entries[(r.own+uint32(i))&r.mask] = entries[i]
	}
	r.own += uint32(n)
	atomic.StoreUint32(r.producer, r.own)
	return n
}

// ready returns how many entries the kernel has produced, looking at its
// index only when fewer than want are known.
func (r *ring[T]) ready(want int) int {
	if r.other-r.own < uint32(want) {
		r.other = atomic.LoadUint32(r.producer)
	}
	return int(r.other - r.own)
}

// consume copies up to len(entries) out and gives their places back.
func (r *ring[T]) consume(entries []T) int {
	n := min(len(entries), r.ready(len(entries)))
	if n == 0 {
		return 0
	}
	for i := range n {
		entries[i] = r.entries[(r.own+uint32(i))&r.mask]
	}
	r.own += uint32(n)
	atomic.StoreUint32(r.consumer, r.own)
	return n
}

// needsWakeup reports whether the kernel waits for a system call before it
// looks at the ring again.
func (r *ring[T]) needsWakeup() bool {
	return atomic.LoadUint32(r.flags)&unix.XDP_RING_NEED_WAKEUP != 0
}
