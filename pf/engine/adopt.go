package engine

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"

	"github.com/bsdnet/bsdnet/bpf"
)

// Connection is a TCP connection of this host that began before pf could see
// it.
type Connection struct {
	Local, Remote netip.AddrPort
	// Accepted says that the other end opened it.
	Accepted bool
}

// Adopt makes states of connections that have none, so that they outlive rules
// that would not let them begin in the middle, and counts them. Nobody tells
// their sequence numbers, so the states are sloppy ones.
func (e *Engine) Adopt(connections []Connection) (adopted int) {
	for i := range connections {
		if e.adopt(&connections[i]) {
			adopted++
		}
	}
	return adopted
}

func (e *Engine) adopt(c *Connection) bool {
	s := bpf.PFState{
		Proto: 6, Af: 4, Direction: uint8(bpf.PfilOut), Flags: uint8(bpf.PFStateWire | bpf.PFStateStack | bpf.PFStateSloppy),
		Ifslot: bpf.IfnetSlots, Timeout: uint8(bpf.PftmTCPEstablished),
		Peers: [2]uint8{uint8(bpf.PFTcpsEstablished), uint8(bpf.PFTcpsEstablished)},
	}
	if c.Accepted {
		s.Direction = uint8(bpf.PfilIn)
	}
	if c.Local.Addr().Is6() {
		s.Af = 6
	}
	// As pf_setup orders them: the other end, then this host.
	for i, end := range []netip.AddrPort{c.Remote, c.Local} {
		copy(s.Addr[i][:], end.Addr().AsSlice())
		s.Port[i] = end.Port()>>8 | end.Port()<<8
	}
	hash := stateHash(&s, e.head.Values[0].Seed)
	if e.hasState(&s, hash) {
		return false
	}
	count := &e.head.Values[0].Count
	if atomic.AddUint64(count, 1) > uint64(atomic.LoadUint32(&e.settings.Values[0].StatesLimit)) {
		atomic.AddUint64(count, ^uint64(0))
		return false
	}
	slot, ok := e.states.claim(hash)
	if !ok {
		atomic.AddUint64(count, ^uint64(0))
		return false
	}
	s.Id = uint32(atomic.AddUint64(&e.head.Values[0].Ids, 1) - 1)
	s.Peer, s.Creation = slot, e.clock.jiffies()
	s.Expire = s.Creation
	place := &e.states.slots.Values[slot]
	s.Tag = place.Tag // busy until it is published
	*place = s
	e.states.countOfRule(s.Rule, 1)
	atomic.StoreUint64(&place.Tag, uint64(bpf.PFStateLive)<<32|uint64(hash))
	return true
}

// stateHash is pf_hash of the data path.
func stateHash(s *bpf.PFState, seed uint64) uint32 {
	mix := func(h, word uint64) uint64 {
		h = (h ^ word) * 0xff51afd7ed558ccd
		return h ^ h>>32
	}
	word := func(end, half int) uint64 { return binary.NativeEndian.Uint64(s.Addr[end][8*half:]) }
	h := mix(mix(seed, word(0, 0)), word(1, 0))
	if s.Af == 6 {
		h = mix(mix(h, word(0, 1)), word(1, 1))
	}
	h = mix(h, uint64(s.Port[0])<<32|uint64(s.Port[1])<<16|uint64(s.Proto)<<8|uint64(s.Af))
	return uint32(h) | 1
}

func (e *Engine) hasState(want *bpf.PFState, hash uint32) (found bool) {
	e.states.each(hash, func(slot uint32) bool {
		s := &e.states.slots.Values[slot]
		tag := atomic.LoadUint64(&s.Tag)
		found = uint32(tag) == hash && tag>>32 >= uint64(bpf.PFStateLive) && s.Addr == want.Addr && s.Port == want.Port &&
			s.Proto == want.Proto && s.Af == want.Af
		return found
	})
	return found
}
