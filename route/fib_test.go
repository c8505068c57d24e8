package route

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
	"unsafe"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/route/api"
)

func via(gateway string, slot uint32) nexthopKey {
	key := nexthopKey{flags: bpf.NexthopUp | bpf.NexthopGateway, ifslot: slot}
	b := mustAddr(gateway).As4()
	copy(key.gateway[:], b[:])
	return key
}

func set(dst string, key nexthopKey) fibChange { return fibChange{dst: mustPrefix(dst), key: key} }
func unset(dst string) fibChange               { return fibChange{dst: mustPrefix(dst), delete: true} }

// The layout that mapPath writes by words.
func TestNexthopLayout(t *testing.T) {
	if unsafe.Sizeof(bpf.Nexthop{}) != 64 || nexthopLladdr != 32 || unsafe.Offsetof(bpf.Nexthop{}.State) != 38 {
		t.Errorf("size %d, lladdr at %d, state at %d", unsafe.Sizeof(bpf.Nexthop{}), nexthopLladdr, unsafe.Offsetof(bpf.Nexthop{}.State))
	}
	if unsafe.Sizeof(bpf.RtKey{}) != 12 || unsafe.Sizeof(bpf.RtKey6{}) != 24 {
		t.Error("keys have padding")
	}
	ll := bpf.Llentry{Lladdr: [6]byte{1, 2, 3, 4, 5, 6}, State: uint16(bpf.NeighbourValid)}
	word := lladdrWord(ll)
	if *(*bpf.Llentry)(unsafe.Pointer(&word)) != ll {
		t.Errorf("word %x", word)
	}
}

func TestNexthopsAreShared(t *testing.T) {
	path := newMemoryPath(t)
	f := newFib(path, newClock().now)
	if err := f.commit([]fibChange{
		set("10.1.0.0/16", via("192.0.2.2", 2)),
		set("10.2.0.0/16", via("192.0.2.2", 2)),
		set("10.3.0.0/16", via("192.0.2.3", 2)),
	}); err != nil {
		t.Fatal(err)
	}
	a, b, c := path.fib[mustPrefix("10.1.0.0/16")], path.fib[mustPrefix("10.2.0.0/16")], path.fib[mustPrefix("10.3.0.0/16")]
	if a == 0 || a != b || a == c {
		t.Errorf("next hops %d, %d, %d", a, b, c)
	}
	writes := path.writes
	if err := f.commit([]fibChange{set("10.1.0.0/16", via("192.0.2.2", 2))}); err != nil || path.writes != writes {
		t.Errorf("a route that is right was written again: %v", err)
	}
}

// A number rests for its grace before it is used again, and a next hop that
// is wanted again within it keeps its number.
func TestNexthopGrace(t *testing.T) {
	path := newMemoryPath(t)
	path.number = 4 // 1, 2 and 3
	clock := newClock()
	f := newFib(path, clock.now)
	commit := func(changes ...fibChange) error { t.Helper(); return f.commit(changes) }
	for i := range 3 {
		if err := commit(set(fmt.Sprintf("10.%d.0.0/16", i), via(fmt.Sprintf("192.0.2.%d", i+2), 2))); err != nil {
			t.Fatal(err)
		}
	}
	if err := commit(set("10.9.0.0/16", via("192.0.2.9", 2))); !errors.Is(err, api.ENOBUFS) {
		t.Errorf("more next hops than numbers: %v", err)
	}
	if err := commit(unset("10.0.0.0/16"), unset("10.1.0.0/16")); err != nil {
		t.Fatal(err)
	}
	clock.advance(nexthopGrace - time.Second)
	if err := commit(set("10.9.0.0/16", via("192.0.2.9", 2))); !errors.Is(err, api.ENOBUFS) {
		t.Errorf("a number was used again too soon: %v", err)
	}
	if err := commit(set("10.1.0.0/16", via("192.0.2.3", 2))); err != nil || path.fib[mustPrefix("10.1.0.0/16")] != 2 {
		t.Errorf("revived as %d: %v", path.fib[mustPrefix("10.1.0.0/16")], err)
	}
	clock.advance(time.Second)
	if err := commit(set("10.9.0.0/16", via("192.0.2.9", 2))); err != nil || path.fib[mustPrefix("10.9.0.0/16")] != 1 {
		t.Errorf("after the grace: number %d, %v", path.fib[mustPrefix("10.9.0.0/16")], err)
	}
	if err := commit(set("10.8.0.0/16", via("192.0.2.8", 2))); !errors.Is(err, api.ENOBUFS) {
		t.Errorf("the revived number was given away: %v", err)
	}
}

// What cannot be written stays as it was; the rest of the batch is done.
func TestCommitFails(t *testing.T) {
	path := newMemoryPath(t)
	f := newFib(path, newClock().now)
	if err := f.commit([]fibChange{set("10.2.0.0/16", via("192.0.2.2", 2))}); err != nil {
		t.Fatal(err)
	}
	path.refuse[mustPrefix("10.2.0.0/16")] = true
	err := f.commit([]fibChange{
		set("10.1.0.0/16", via("192.0.2.3", 2)),
		set("10.2.0.0/16", via("192.0.2.3", 2)),
		set("10.3.0.0/16", via("192.0.2.3", 2)),
	})
	if !errors.Is(err, errRefused) {
		t.Errorf("error %v", err)
	}
	for dst, want := range map[string]uint32{"10.1.0.0/16": 2, "10.2.0.0/16": 1, "10.3.0.0/16": 2} {
		if got := path.fib[mustPrefix(dst)]; got != want || f.number(mustPrefix(dst)) != want {
			t.Errorf("%s: next hop %d and %d, want %d", dst, got, f.number(mustPrefix(dst)), want)
		}
	}
	if refs := f.nexthops.byNumber[2].refs; refs != 2 {
		t.Errorf("%d references, want 2", refs)
	}
}

// Random changes: references stay right, and memoryPath watches the order of
// the writes.
func TestFibRandom(t *testing.T) {
	path := newMemoryPath(t)
	clock := newClock()
	f := newFib(path, clock.now)
	random := rand.New(rand.NewPCG(3, 4))
	wanted := make(map[netip.Prefix]nexthopKey)
	for range 3000 {
		var changes []fibChange
		for range random.IntN(8) {
			dst := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(random.IntN(40)), 0, 0}), 16)
			if random.IntN(3) == 0 {
				changes = append(changes, fibChange{dst: dst, delete: true})
				delete(wanted, dst)
				continue
			}
			key := via(fmt.Sprintf("192.0.2.%d", 2+random.IntN(20)), 2)
			changes = append(changes, fibChange{dst: dst, key: key})
			wanted[dst] = key
		}
		// One change a prefix in a batch, as the Table makes them.
		last := make(map[netip.Prefix]fibChange)
		for _, c := range changes {
			last[c.dst] = c
		}
		changes = changes[:0]
		for _, c := range last {
			changes = append(changes, c)
		}
		if err := f.commit(changes); err != nil {
			t.Fatal(err)
		}
		clock.advance(time.Duration(random.IntN(5)) * time.Second)
		f.nexthops.sweep()
	}
	refs := make(map[uint32]int)
	for dst, number := range path.fib {
		refs[number]++
		if got, want := f.nexthops.byNumber[number].key, wanted[dst]; got != want {
			t.Errorf("%s: %+v, want %+v", dst, got, want)
		}
	}
	if len(path.fib) != len(wanted) {
		t.Errorf("%d routes, want %d", len(path.fib), len(wanted))
	}
	for number, nh := range f.nexthops.byNumber {
		if nh.refs != refs[number] {
			t.Errorf("next hop %d: %d references, want %d", number, nh.refs, refs[number])
		}
	}
}
