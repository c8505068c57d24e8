package engine

import (
	"errors"
	"net/netip"

	"github.com/cilium/ebpf"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/pf/conf"
)

// entryKeys are the keys of a table's addresses in the two tries.
type entryKeys struct {
	inet  []bpf.PFTableKey
	inet6 []bpf.PFTableKey6
	not   [2][]uint32 // values of inet and inet6
}

func keysOf(number uint32, list []conf.TablePrefix) (k entryKeys) {
	for _, p := range list {
		value := uint32(0)
		if p.Not {
			value = 1
		}
		addr, length := p.Prefix.Addr(), uint32(32+p.Prefix.Bits())
		if addr.Is4() {
			k.inet = append(k.inet, bpf.PFTableKey{Prefixlen: length, Table: bigEndian(number), Addr: addr.As4()})
			k.not[0] = append(k.not[0], value)
		} else {
			k.inet6 = append(k.inet6, bpf.PFTableKey6{Prefixlen: length, Table: bigEndian(number), Addr: addr.As16()})
			k.not[1] = append(k.not[1], value)
		}
	}
	return k
}

// putEntries writes addresses of a table into the data path.
func (e *Engine) putEntries(number uint32, list []conf.TablePrefix) error {
	k := keysOf(number, list)
	if len(k.inet) > 0 {
		if _, err := e.maps.Table.BatchUpdate(k.inet, k.not[0], nil); err != nil {
			return err
		}
	}
	if len(k.inet6) > 0 {
		if _, err := e.maps.Table6.BatchUpdate(k.inet6, k.not[1], nil); err != nil {
			return err
		}
	}
	return nil
}

// deleteEntries takes addresses of a table out of the data path. Those that
// are not there do not matter.
func (e *Engine) deleteEntries(number uint32, list []conf.TablePrefix) error {
	k := keysOf(number, list)
	return errors.Join(deleteKeys(e.maps.Table, k.inet), deleteKeys(e.maps.Table6, k.inet6))
}

func deleteKeys[Key any](m *ebpf.Map, keys []Key) error {
	for len(keys) > 0 {
		done, err := m.BatchDelete(keys, nil)
		if err == nil {
			return nil
		}
		if !errors.Is(err, ebpf.ErrKeyNotExist) {
			return err
		}
		keys = keys[min(done+1, len(keys)):] // behind the one that was not there
	}
	return nil
}

// storedEntries reads all addresses in the data path, by the number of their
// table.
func (e *Engine) storedEntries() (map[uint32]map[netip.Prefix]entry, error) {
	stored := make(map[uint32]map[netip.Prefix]entry)
	at := now()
	store := func(number uint32, prefix netip.Prefix, not uint32) {
		t := stored[number]
		if t == nil {
			t = make(map[netip.Prefix]entry)
			stored[number] = t
		}
		t[prefix] = entry{not: not != 0, cleared: at}
	}
	var not uint32
	var key bpf.PFTableKey
	entries := e.maps.Table.Iterate()
	for entries.Next(&key, &not) {
		store(bigEndian(key.Table), netip.PrefixFrom(netip.AddrFrom4(key.Addr), int(key.Prefixlen)-32), not)
	}
	var key6 bpf.PFTableKey6
	entries6 := e.maps.Table6.Iterate()
	for entries6.Next(&key6, &not) {
		store(bigEndian(key6.Table), netip.PrefixFrom(netip.AddrFrom16(key6.Addr), int(key6.Prefixlen)-32), not)
	}
	return stored, errors.Join(entries.Err(), entries6.Err())
}
