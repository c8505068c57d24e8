package route

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"

	"github.com/bsdnet/bsdnet/bpf"
)

// fibBits is how many bits of the keys of the tries name the routing table.
const fibBits = 32

// networkOrder returns the number of a routing table as keys hold it.
func networkOrder(fib uint32) uint32 {
	return binary.NativeEndian.Uint32(binary.BigEndian.AppendUint32(nil, fib))
}

// trie is the routes of a routing table in the LPM tries rt_inet and rt_inet6.
type trie struct {
	inet, inet6 *ebpf.Map
	fib         uint32
}

func (t trie) key(dst netip.Prefix) bpf.RtKey {
	return bpf.RtKey{Prefixlen: uint32(fibBits + dst.Bits()), Fib: networkOrder(t.fib), Dst: dst.Addr().As4()}
}

func (t trie) key6(dst netip.Prefix) bpf.RtKey6 {
	return bpf.RtKey6{Prefixlen: uint32(fibBits + dst.Bits()), Fib: networkOrder(t.fib), Dst: dst.Addr().As16()}
}

// batchMin is the number of writes from which one batched system call is
// worth its set-up.
const batchMin = 8

// set sets routes of one family and returns how many it did, in order.
func (t trie) set(writes []routeWrite) (int, error) {
	inet := writes[0].dst.Addr().Is4()
	if len(writes) >= batchMin {
		n, err := t.setBatch(inet, writes)
		if err == nil {
			return len(writes), nil
		}
		if !errors.Is(err, ebpf.ErrNotSupported) {
			return n, fmt.Errorf("set route to %s: %w", writes[min(n, len(writes)-1)].dst, err)
		}
	}
	for i, w := range writes {
		var err error
		if inet {
			key := t.key(w.dst)
			err = t.inet.Put(&key, &w.nexthop)
		} else {
			key := t.key6(w.dst)
			err = t.inet6.Put(&key, &w.nexthop)
		}
		if err != nil {
			return i, fmt.Errorf("set route to %s: %w", w.dst, err)
		}
	}
	return len(writes), nil
}

func (t trie) setBatch(inet bool, writes []routeWrite) (int, error) {
	values := make([]uint32, len(writes))
	if inet {
		keys := make([]bpf.RtKey, len(writes))
		for i, w := range writes {
			keys[i], values[i] = t.key(w.dst), w.nexthop
		}
		return t.inet.BatchUpdate(keys, values, nil)
	}
	keys := make([]bpf.RtKey6, len(writes))
	for i, w := range writes {
		keys[i], values[i] = t.key6(w.dst), w.nexthop
	}
	return t.inet6.BatchUpdate(keys, values, nil)
}

func (t trie) delete(dst netip.Prefix) error {
	var err error
	if dst.Addr().Is4() {
		key := t.key(dst)
		err = t.inet.Delete(&key)
	} else {
		key := t.key6(dst)
		err = t.inet6.Delete(&key)
	}
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("delete route to %s: %w", dst, err)
	}
	return nil
}

// each passes the routes of a family on.
func (t trie) each(inet bool, yield func(netip.Prefix, uint32)) error {
	var number uint32
	if inet {
		var key bpf.RtKey
		entries := t.inet.Iterate()
		for entries.Next(&key, &number) {
			if key.Fib == networkOrder(t.fib) && key.Prefixlen >= fibBits {
				yield(netip.PrefixFrom(netip.AddrFrom4(key.Dst), int(key.Prefixlen-fibBits)), number)
			}
		}
		if err := entries.Err(); err != nil {
			return fmt.Errorf("read routes: %w", err)
		}
		return nil
	}
	var key bpf.RtKey6
	entries := t.inet6.Iterate()
	for entries.Next(&key, &number) {
		if key.Fib == networkOrder(t.fib) && key.Prefixlen >= fibBits {
			yield(netip.PrefixFrom(netip.AddrFrom16(key.Dst), int(key.Prefixlen-fibBits)), number)
		}
	}
	if err := entries.Err(); err != nil {
		return fmt.Errorf("read IPv6 routes: %w", err)
	}
	return nil
}

// clear deletes all routes of a family.
func (t trie) clear(inet bool) error {
	var all []netip.Prefix
	errs := []error{t.each(inet, func(dst netip.Prefix, _ uint32) { all = append(all, dst) })}
	for _, dst := range all {
		errs = append(errs, t.delete(dst))
	}
	return errors.Join(errs...)
}

func (t trie) lookup(addr netip.Addr) (number uint32, ok bool) {
	var err error
	if dst := netip.PrefixFrom(addr, addr.BitLen()); addr.Is4() {
		key := t.key(dst)
		err = t.inet.Lookup(&key, &number)
	} else {
		key := t.key6(dst)
		err = t.inet6.Lookup(&key, &number)
	}
	return number, err == nil && number != 0
}
