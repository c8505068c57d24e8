package engine

import (
	"cmp"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/pf/conf"
)

// entryKey is a key of one of the two tries.
type entryKey interface {
	bpf.PFTableKey | bpf.PFTableKey6
}

// keyed is an address as a trie holds it.
type keyed[Key entryKey] struct {
	high, low uint64 // the address as a number, IPv4 in high
	key       Key
	value     uint32 // as enum pf_table_value
}

// keysOf makes the keys of addresses for the two tries, in the order of the
// addresses: neighbours share their way through a trie, so that a million of
// them take a fifth of the time that they take in any order.
func keysOf(number uint32, list []conf.TablePrefix, counters counterNumbers) (inet []keyed[bpf.PFTableKey], inet6 []keyed[bpf.PFTableKey6]) {
	for i, p := range list {
		value := counters.at(i)
		if p.Not {
			value |= bpf.PFEntryNot
		}
		addr, length := p.Prefix.Addr(), uint32(32+p.Prefix.Bits())
		if addr.Is4() {
			key := bpf.PFTableKey{Prefixlen: length, Table: bigEndian(number), Addr: addr.As4()}
			inet = append(inet, keyed[bpf.PFTableKey]{high: uint64(binary.BigEndian.Uint32(key.Addr[:])), key: key, value: value})
			continue
		}
		key := bpf.PFTableKey6{Prefixlen: length, Table: bigEndian(number), Addr: addr.As16()}
		high, low := binary.BigEndian.Uint64(key.Addr[:8]), binary.BigEndian.Uint64(key.Addr[8:])
		inet6 = append(inet6, keyed[bpf.PFTableKey6]{high: high, low: low, key: key, value: value})
	}
	sortKeys(inet)
	sortKeys(inet6)
	return inet, inet6
}

func sortKeys[Key entryKey](keys []keyed[Key]) {
	slices.SortFunc(keys, func(a, b keyed[Key]) int { return cmp.Or(cmp.Compare(a.high, b.high), cmp.Compare(a.low, b.low)) })
}

// putEntries writes addresses of a table into the data path.
func (e *Engine) putEntries(number uint32, list []conf.TablePrefix, counters counterNumbers) error {
	inet, inet6 := keysOf(number, list, counters)
	if err := putKeys(e.maps.Table, inet); err != nil {
		return err
	}
	return putKeys(e.maps.Table6, inet6)
}

// entryBatch is how many addresses are written by one system call.
const entryBatch = 1 << 16

func putKeys[Key entryKey](m *ebpf.Map, list []keyed[Key]) error {
	for part := range slices.Chunk(list, entryBatch) {
		keys, values := make([]Key, len(part)), make([]uint32, len(part))
		for i := range part {
			keys[i], values[i] = part[i].key, part[i].value
		}
		if _, err := m.BatchUpdate(keys, values, nil); err != nil {
			return err
		}
	}
	return nil
}

// deleteEntries takes addresses of a table out of the data path. Those that
// are not there do not matter.
func (e *Engine) deleteEntries(number uint32, list []conf.TablePrefix) error {
	inet, inet6 := keysOf(number, list, 0)
	return errors.Join(deleteKeys(e.maps.Table, inet), deleteKeys(e.maps.Table6, inet6))
}

func deleteKeys[Key entryKey](m *ebpf.Map, list []keyed[Key]) error {
	for part := range slices.Chunk(list, entryBatch) {
		keys := make([]Key, len(part))
		for i := range part {
			keys[i] = part[i].key
		}
		for len(keys) > 0 {
			done, err := m.BatchDelete(keys, nil)
			if err == nil {
				break
			}
			if !errors.Is(err, ebpf.ErrKeyNotExist) {
				return err
			}
			keys = keys[min(done+1, len(keys)):] // behind the one that was not there
		}
	}
	return nil
}

// storedEntries reads all addresses in the data path, by the number of their
// table, with the numbers of their counters.
func (e *Engine) storedEntries() (map[uint32]map[netip.Prefix]entry, error) {
	stored := make(map[uint32]map[netip.Prefix]entry)
	at := now()
	store := func(number uint32, prefix netip.Prefix, value uint32) {
		t := stored[number]
		if t == nil {
			t = make(map[netip.Prefix]entry)
			stored[number] = t
		}
		counters := value &^ bpf.PFEntryNot
		t[prefix] = entry{not: value&bpf.PFEntryNot != 0, cleared: at, counters: counters}
		e.nextEntry = max(e.nextEntry, counters)
	}
	var value uint32
	var key bpf.PFTableKey
	entries := e.maps.Table.Iterate()
	for entries.Next(&key, &value) {
		store(bigEndian(key.Table), netip.PrefixFrom(netip.AddrFrom4(key.Addr), int(key.Prefixlen)-32), value)
	}
	var key6 bpf.PFTableKey6
	entries6 := e.maps.Table6.Iterate()
	for entries6.Next(&key6, &value) {
		store(bigEndian(key6.Table), netip.PrefixFrom(netip.AddrFrom16(key6.Addr), int(key6.Prefixlen)-32), value)
	}
	return stored, errors.Join(entries.Err(), entries6.Err())
}
