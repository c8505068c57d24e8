package engine

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/pf/conf"
)

// seed gives the state table its secret, once.
func (e *Engine) seed() error {
	head := &e.head.Values[0]
	if head.Seed != 0 {
		return nil
	}
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return fmt.Errorf("seed state table: %w", err)
	}
	head.Seed = binary.NativeEndian.Uint64(b[:]) | 1
	e.apply(defaultOptions())
	return nil
}

// defaultOptions are those of an empty ruleset.
func defaultOptions() conf.Options {
	rs, err := conf.Load("defaults", strings.NewReader(""), conf.Config{})
	if err != nil {
		return conf.Options{}
	}
	return rs.Options
}

// timeouts says which of pf.conf's timeouts each of the data path's is.
var timeouts = [...]conf.Timeout{
	bpf.PftmTCPFirstPacket:   conf.TimeoutTCPFirst,
	bpf.PftmTCPOpening:       conf.TimeoutTCPOpening,
	bpf.PftmTCPEstablished:   conf.TimeoutTCPEstablished,
	bpf.PftmTCPClosing:       conf.TimeoutTCPClosing,
	bpf.PftmTCPFinWait:       conf.TimeoutTCPFinWait,
	bpf.PftmTCPClosed:        conf.TimeoutTCPClosed,
	bpf.PftmUDPFirstPacket:   conf.TimeoutUDPFirst,
	bpf.PftmUDPSingle:        conf.TimeoutUDPSingle,
	bpf.PftmUDPMultiple:      conf.TimeoutUDPMultiple,
	bpf.PftmICMPFirstPacket:  conf.TimeoutICMPFirst,
	bpf.PftmICMPErrorReply:   conf.TimeoutICMPError,
	bpf.PftmOtherFirstPacket: conf.TimeoutOtherFirst,
	bpf.PftmOtherSingle:      conf.TimeoutOtherSingle,
	bpf.PftmOtherMultiple:    conf.TimeoutOtherMultiple,
	bpf.PftmAdaptiveStart:    conf.TimeoutAdaptiveStart,
	bpf.PftmAdaptiveEnd:      conf.TimeoutAdaptiveEnd,
}

// StatesLimitError is a limit of states beyond what the table was made for.
type StatesLimitError struct{ Limit, Capacity uint32 }

func (e *StatesLimitError) Error() string {
	return fmt.Sprintf("set limit states %d: the state table has room for %d; load with --states %d", e.Limit, e.Capacity, e.Limit)
}

// Capacity is the largest limit of states that the table can keep.
func (e *Engine) Capacity() uint32 { return e.states.capacity() }

// checkLimits reports a limit that cannot be kept.
func (e *Engine) checkLimits(o conf.Options) error {
	if limit := o.Limits[conf.LimitSrcNodes]; limit > bpf.PFSrcNodes {
		return fmt.Errorf("set limit src-nodes %d: there is room for %d", limit, bpf.PFSrcNodes)
	}
	if limit, most := o.Limits[conf.LimitStates], e.states.capacity(); limit > most && limit != math.MaxUint32 {
		return &StatesLimitError{Limit: limit, Capacity: most}
	}
	return nil
}

// apply writes limits and timeouts, each with one store.
func (e *Engine) apply(o conf.Options) {
	set := &e.settings.Values[0]
	limit := o.Limits[conf.LimitStates]
	if most := e.states.capacity(); limit == 0 || limit > most {
		limit = most
	}
	atomic.StoreUint32(&set.StatesLimit, limit)
	atomic.StoreUint32(&set.SrcNodesLimit, o.Limits[conf.LimitSrcNodes])
	atomic.StoreUint32(&set.SrcTrack, o.Timeouts[conf.TimeoutSrcTrack]*e.clock.hertz)
	e.interval.Store(o.Timeouts[conf.TimeoutInterval])
	for i, timeout := range timeouts {
		value := o.Timeouts[timeout]
		switch timeout {
		case conf.TimeoutAdaptiveStart:
			if value == 0 && o.Timeouts[conf.TimeoutAdaptiveEnd] == 0 {
				value = limit / 10 * 6
			}
		case conf.TimeoutAdaptiveEnd:
			if value == 0 && o.Timeouts[conf.TimeoutAdaptiveStart] == 0 {
				value = limit / 10 * 12
			}
		default:
			value *= e.clock.hertz
		}
		atomic.StoreUint32(&set.Timeout[i], value)
	}
	e.applyOwn()
	e.applyFragments(o)
}

// State is one state, read at one moment.
type State struct {
	ID        uint64 // of the slot and its making
	Protocol  uint8
	Family    conf.AddressFamily
	Direction conf.Direction
	Interface uint32 // slot, or bpf.IfnetSlots for all
	// Wire and Stack are the keys outside and inside of a translation: the
	// first address is the one inside this host's view, as pf prints them.
	Wire, Stack [2]netip.AddrPort
	Peers       [2]uint8
	SeqLo       [2]uint32
	SeqHi       [2]uint32
	WScale      [2]uint8
	Packets     [2]uint64
	Bytes       [2]uint64
	Age         time.Duration
	Expires     time.Duration
	Rule        uint32 // slot of its counters
	slot        uint32
	tag         uint64
}

// States returns all live states. It reads the table in place; a state that
// is changed meanwhile is read as it then is.
func (e *Engine) States() []State {
	now := e.clock.jiffies()
	count := atomic.LoadUint64(&e.head.Values[0].Count)
	var states []State
	slots := e.states.used()
	for i := range slots {
		s := &slots[i]
		tag := atomic.LoadUint64(&s.Tag)
		if tag>>32 != uint64(bpf.PFStateLive) {
			continue
		}
		state := e.read(uint32(i), s, now, count)
		if atomic.LoadUint64(&s.Tag) == tag && state.Expires > 0 {
			state.tag = tag
			states = append(states, state)
		}
	}
	return states
}

func (e *Engine) read(slot uint32, s *bpf.PFState, now uint32, count uint64) State {
	state := State{
		ID: uint64(s.Creation)<<32 | uint64(slot), Protocol: s.Proto, Family: conf.Inet, Direction: conf.In,
		Interface: s.Ifslot, Peers: s.Peers, SeqLo: s.Seqlo, SeqHi: s.Seqhi, WScale: s.Wscale,
		Packets: s.Packets, Bytes: s.Bytes, Rule: s.Rule, slot: slot,
	}
	if s.Af == 6 {
		state.Family = conf.Inet6
	}
	if uint32(s.Direction) == bpf.PfilOut {
		state.Direction = conf.Out
	}
	state.Age = e.clock.duration(now - s.Creation)
	timeout := e.timeout(slot, s, count)
	if idle := now - s.Expire; idle < timeout {
		state.Expires = e.clock.duration(timeout - idle)
	}
	own := key(s)
	other := own
	if s.Peer != slot && s.Peer < uint32(len(e.states.slots.Values)) {
		other = key(&e.states.slots.Values[s.Peer])
	}
	state.Wire, state.Stack = own, other
	if state.Direction == conf.Out {
		state.Wire, state.Stack = other, own
	}
	return state
}

func key(s *bpf.PFState) (k [2]netip.AddrPort) {
	for i := range k {
		addr := netip.AddrFrom16(s.Addr[i])
		if s.Af == 4 {
			addr = netip.AddrFrom4([4]byte(s.Addr[i][:4]))
		}
		k[i] = netip.AddrPortFrom(addr, s.Port[i]>>8|s.Port[i]<<8)
	}
	return k
}

// timeout is pf_timeout_of of the data path: it shrinks as the table fills, or
// as the states of a rule with adaptive timeouts of its own become many.
func (e *Engine) timeout(slot uint32, s *bpf.PFState, count uint64) uint32 {
	index, set := s.Timeout, &e.settings.Values[0]
	if uint32(s.Flags)&bpf.PFStateActions != 0 {
		set = &e.settings.Values[e.actions.Values[slot].Timeouts%uint16(bpf.PFSettingsMax)]
	}
	if atomic.LoadUint32(&set.Flags)&bpf.PFSetAdaptiveRule != 0 && s.Rule < bpf.PFRules {
		count = atomic.LoadUint64(&e.states.ofRule.Values[s.Rule])
	}
	if int(index) >= len(timeouts) {
		return 0
	}
	value := uint64(atomic.LoadUint32(&set.Timeout[index]))
	start, end := uint64(set.Timeout[bpf.PftmAdaptiveStart]), uint64(set.Timeout[bpf.PftmAdaptiveEnd])
	switch {
	case end == 0 || count <= start || start >= end:
		return uint32(value)
	case count >= end:
		return 0
	}
	return uint32(value * (end - count) / (end - start))
}

// Count returns how many states there are, and the limit.
func (e *Engine) Count() (count uint64, limit uint32) {
	return atomic.LoadUint64(&e.head.Values[0].Count), atomic.LoadUint32(&e.settings.Values[0].StatesLimit)
}

// Kill ends the states that match and returns how many.
func (e *Engine) Kill(match func(*State) bool) int {
	killed := 0
	for _, state := range e.States() {
		if match(&state) && e.states.free(state.slot, state.tag) {
			killed++
		}
	}
	return killed
}

// Purge frees expired states and source nodes until ctx ends, a part of the table at a time. It
// sees the whole in the interval of set timeout, at most four seconds; in one
// when the table is half full, since what is expired takes the room of others.
func (e *Engine) Purge(ctx context.Context) {
	const tick = 100 * time.Millisecond
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	next := func(from, slots int) int {
		return min(from+max(1, int(int64(slots)*int64(tick)/int64(e.purgePeriod()))), slots)
	}
	for state, node := 0, 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		slots := len(e.states.used())
		to := next(state, slots)
		e.purge(state, to)
		if state = to; state == slots {
			state = 0
		}
		slots = len(e.states.nodes.slots.Values)
		to = next(node, slots)
		e.states.nodes.purge(node, to)
		if node = to; node == slots {
			node = 0
		}
	}
}

// purgePeriod is how long a look at the whole table may take.
func (e *Engine) purgePeriod() time.Duration {
	const busy, most = time.Second, 4 * time.Second
	if count, limit := e.Count(); count > uint64(limit)/2 {
		return busy
	}
	interval := time.Duration(e.interval.Load()) * time.Second
	return min(max(interval, busy), most)
}

// purge frees the expired states in a range of slots.
func (e *Engine) purge(from, to int) {
	now := e.clock.jiffies()
	count := atomic.LoadUint64(&e.head.Values[0].Count)
	for slot := from; slot < to; slot++ {
		e.purgeSlot(uint32(slot), now, count)
	}
}

func (e *Engine) purgeSlot(slot, now uint32, count uint64) {
	s := &e.states.slots.Values[slot]
	tag := atomic.LoadUint64(&s.Tag)
	if tag>>32 != uint64(bpf.PFStateLive) {
		return
	}
	idle := now - atomic.LoadUint32(&s.Expire)
	if idle > e.timeout(slot, s, count) && idle < 1<<31 {
		e.states.free(slot, tag)
	}
}
