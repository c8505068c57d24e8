package loader

import (
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"

	"github.com/bsdnet/bsdnet/bpf"
)

// TunnelMirror writes tunnels into the maps of the data path. Calls must not
// overlap.
type TunnelMirror struct {
	entries    *bpf.Array[bpf.Tunnel]
	keys       *ebpf.Map
	generation *uint64
}

// NewTunnelMirror opens the maps of a data path. generation is the word by
// which the data path knows that what it remembers is fresh.
func NewTunnelMirror(dp *Datapath, generation *uint64) (*TunnelMirror, error) {
	entries, err := bpf.MapArray[bpf.Tunnel](dp.Maps["tunnel"])
	if err != nil {
		return nil, err
	}
	return &TunnelMirror{entries: entries, keys: dp.Maps["tunnel_key"], generation: generation}, nil
}

// Close ends the mapping.
func (m *TunnelMirror) Close() error { return m.entries.Close() }

// Put writes the tunnel of the interface in a slot. While it is written, the
// tunnel has no ends. What the data path itself writes stays.
func (m *TunnelMirror) Put(slot uint32, entry *bpf.Tunnel) error {
	if slot >= bpf.IfnetSlots {
		return fmt.Errorf("slot %d out of range", slot)
	}
	const words = int(unsafe.Sizeof(bpf.Tunnel{})) / 8
	from := (*[words]uint64)(unsafe.Pointer(entry))
	to := (*[words]uint64)(unsafe.Pointer(&m.entries.Values[slot]))
	atomic.StoreUint64(&to[0], 0)
	for n := 1; n < words; n++ {
		if n != sequenceWord || entry.Flags&bpf.TunnelSeq == 0 {
			atomic.StoreUint64(&to[n], from[n])
		}
	}
	atomic.StoreUint64(&to[0], from[0])
	atomic.AddUint64(m.generation, 1)
	return nil
}

// sequenceWord is the one that the data path writes.
const sequenceWord = int(unsafe.Offsetof(bpf.Tunnel{}.Oseq)) / 8

// PutKey makes outer packets of a key those of the tunnel in a slot.
func (m *TunnelMirror) PutKey(key bpf.TunnelKey, slot uint32) error {
	defer atomic.AddUint64(m.generation, 1)
	if err := m.keys.Put(key, slot); err != nil {
		return fmt.Errorf("set tunnel of slot %d: %w", slot, err)
	}
	return nil
}

// DeleteKey undoes PutKey.
func (m *TunnelMirror) DeleteKey(key bpf.TunnelKey) error {
	defer atomic.AddUint64(m.generation, 1)
	if err := m.keys.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("clear tunnel: %w", err)
	}
	return nil
}

// Keys returns the keys there are, with their slots.
func (m *TunnelMirror) Keys() (map[bpf.TunnelKey]uint32, error) {
	keys := make(map[bpf.TunnelKey]uint32)
	var key bpf.TunnelKey
	var slot uint32
	entries := m.keys.Iterate()
	for entries.Next(&key, &slot) {
		keys[key] = slot
	}
	if err := entries.Err(); err != nil {
		return nil, fmt.Errorf("list tunnels: %w", err)
	}
	return keys, nil
}
