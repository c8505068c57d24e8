package bpf

import (
	"fmt"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Array is an array map seen as a slice of its values, without system calls.
// Its elements are shared with the data path: single 64-bit words may be read
// and written atomically, nothing larger.
type Array[T any] struct {
	Values []T
	memory []byte
}

// MapArray maps the values of an mmapable array map. T must have the layout
// of the map's values, whose size must be a multiple of 8.
func MapArray[T any](m *ebpf.Map) (*Array[T], error) {
	var zero T
	if size := uint32(unsafe.Sizeof(zero)); m.ValueSize() != size || size%8 != 0 {
		return nil, fmt.Errorf("map %v: values have %d bytes, not %d", m, m.ValueSize(), size)
	}
	length := int(m.ValueSize()) * int(m.MaxEntries())
	page := unix.Getpagesize()
	memory, err := unix.Mmap(m.FD(), 0, (length+page-1)/page*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %v into memory: %w", m, err)
	}
	return &Array[T]{
		Values: unsafe.Slice((*T)(unsafe.Pointer(&memory[0])), m.MaxEntries()),
		memory: memory,
	}, nil
}

// Close ends the mapping; Values must not be used any more.
func (a *Array[T]) Close() error {
	a.Values = nil
	return unix.Munmap(a.memory)
}
