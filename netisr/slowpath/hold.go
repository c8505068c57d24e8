package slowpath

import (
	"net/netip"
	"sync"
	"time"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/netisr"
	"github.com/bsdnet/bsdnet/netisr/icmp"
)

const (
	holdScan    = 250 * time.Millisecond // how often next hops are looked at for having waited too long
	retryPeriod = time.Second            // between two questions about one next hop
)

// holdTable holds packets for next hops whose link address is not known, as
// la_hold does.
type holdTable struct {
	mu      sync.Mutex
	entries map[holdKey]*holdEntry
	free    []*holdEntry
	total   int       // packets held
	again   []holdKey // to be asked for once more; the scanning thread's own
}

type holdKey struct {
	slot uint32
	addr netip.Addr
}

// holdEntry is a next hop that was asked for, and the packets that wait for
// it; or one that is down.
type holdEntry struct {
	first, last *netisr.Packet
	count       int
	since       time.Duration // when it was asked for first, or went down
	asked       time.Duration // when it was asked for last
	down        bool
	known       bool // the resolver knows it, the data path did not yet
}

func (table *holdTable) holding() int {
	table.mu.Lock()
	defer table.mu.Unlock()
	return table.total
}

// take removes the packets of an entry and returns them as a list.
func (table *holdTable) take(e *holdEntry) (list *netisr.Packet) {
	list = e.first
	table.total -= e.count
	e.first, e.last, e.count = nil, nil, 0
	return list
}

// remove forgets an entry that has no packets.
func (table *holdTable) remove(key holdKey, e *holdEntry) {
	delete(table.entries, key)
	*e = holdEntry{}
	table.free = append(table.free, e)
}

// enter returns the entry of a next hop and whether it is new, or nil when
// the table is full.
func (table *holdTable) enter(key holdKey, limit int, now time.Duration) (e *holdEntry, fresh bool) {
	if e = table.entries[key]; e != nil {
		return e, false
	}
	if len(table.entries) >= limit {
		return nil, false
	}
	if n := len(table.free); n > 0 {
		e, table.free = table.free[n-1], table.free[:n-1]
	} else {
		e = new(holdEntry)
	}
	e.since, e.asked = now, now
	table.entries[key] = e
	return e, true
}

// unresolved holds a packet whose next hop has no link address, and asks for
// it.
func (s *Stack) unresolved(t *netisr.Thread, p *netisr.Packet) {
	h := p.Header()
	addr, ok := s.nextHop(h, p.Network())
	if !ok {
		s.drop(t, p, arpDropped)
		return
	}
	key := holdKey{h.Ifp, addr}
	resumed := h.Flags&bpf.MResumed != 0
	// Once it is held, the packet is no longer ours to look at.
	ask, down, held := s.holdPacket(t, key, p)
	if down {
		s.failUnreachable(t, p)
	} else if !held {
		s.drop(t, p, arpDropped)
	}
	if ask {
		s.ask(t, key, !down && held, resumed)
	}
}

// ask asks for a next hop, and deals with what is known already. Waiting says
// that packets wait for it, resumed that the data path has sent one of them
// back before.
func (s *Stack) ask(t *netisr.Thread, key holdKey, waiting, resumed bool) {
	s.count(t, arpTxRequests)
	switch s.config.Resolver.Resolve(key.slot, key.addr) {
	case NeighbourValid:
		if waiting && resumed {
			// The data path did not know the address when the packet was
			// sent back already: it must not go round in circles.
			s.retryLater(key)
			return
		}
		s.release(t, s.settle(key))
	case NeighbourFailed:
		if waiting {
			s.failAll(t, s.settleDown(key, t.Now()))
		}
	}
}

// holdPacket puts a packet into the table. It says whether to ask for the next
// hop, whether the next hop is known to be down, and whether the packet is
// held; if not, it is still the caller's.
func (s *Stack) holdPacket(t *netisr.Thread, key holdKey, p *netisr.Packet) (ask, down, held bool) {
	settings := s.settings.Load()
	s.hold.mu.Lock()
	defer s.hold.mu.Unlock()
	e, fresh := s.hold.enter(key, settings.HoldHops, t.Now())
	if e == nil {
		return false, false, false
	}
	ask = fresh || t.Now()-e.asked >= retryPeriod
	if ask {
		e.asked = t.Now()
	}
	if e.down {
		return ask, true, false
	}
	if e.count > 0 && e.count >= settings.HoldPerHop {
		oldest := e.first
		e.first = oldest.Next
		if e.first == nil {
			e.last = nil
		}
		e.count--
		s.hold.total--
		s.drop(t, oldest, arpDropped)
	}
	if settings.HoldPerHop < 1 || s.hold.total >= settings.HoldTotal {
		return ask, false, false
	}
	p.Next = nil
	if e.last == nil {
		e.first = p
	} else {
		e.last.Next = p
	}
	e.last = p
	e.count++
	s.hold.total++
	s.count(t, arpHeld)
	return ask, false, true
}

// retryLater makes the next scan send the packets of a next hop on.
func (s *Stack) retryLater(key holdKey) {
	s.hold.mu.Lock()
	defer s.hold.mu.Unlock()
	if e := s.hold.entries[key]; e != nil {
		e.known = true
	}
}

// settle forgets a next hop that is valid and returns the packets held for it.
func (s *Stack) settle(key holdKey) (list *netisr.Packet) {
	s.hold.mu.Lock()
	defer s.hold.mu.Unlock()
	if e := s.hold.entries[key]; e != nil {
		list = s.hold.take(e)
		s.hold.remove(key, e)
	}
	return list
}

// settleDown remembers that a next hop is down and returns the packets held
// for it.
func (s *Stack) settleDown(key holdKey, now time.Duration) (list *netisr.Packet) {
	s.hold.mu.Lock()
	defer s.hold.mu.Unlock()
	e := s.hold.entries[key]
	if e == nil {
		return nil
	}
	list = s.hold.take(e)
	e.down, e.since = true, now
	return list
}

// NeighbourChanged tells the stack that a next hop became valid, and is so in
// the next hops of the data path, or that it did not answer. It may be called
// on any goroutine and does not block; it is cheap when nothing waits.
func (s *Stack) NeighbourChanged(slot uint32, addr netip.Addr, state Neighbour) {
	key := holdKey{slot, addr}
	s.hold.mu.Lock()
	_, waiting := s.hold.entries[key]
	s.hold.mu.Unlock()
	if !waiting || state == NeighbourPending {
		return
	}
	// An error means that the netisr has stopped, with all its packets.
	_ = s.config.Netisr.Post(0, func(t *netisr.Thread) {
		if state == NeighbourValid {
			s.release(t, s.settle(key))
		} else {
			s.failAll(t, s.settleDown(key, t.Now()))
		}
	})
}

// release sends a list of held packets on.
func (s *Stack) release(t *netisr.Thread, list *netisr.Packet) {
	for list != nil {
		p := list
		list = p.Next
		s.count(t, arpReleased)
		resume(t, p, bpf.ResumeOutput)
	}
}

// failAll answers a list of held packets with errors.
func (s *Stack) failAll(t *netisr.Thread, list *netisr.Packet) {
	if list != nil {
		s.count(t, arpTimeouts)
	}
	for list != nil {
		p := list
		list = p.Next
		p.Next = nil
		s.failUnreachable(t, p)
	}
}

// failUnreachable answers a packet whose next hop is down.
func (s *Stack) failUnreachable(t *netisr.Thread, p *netisr.Packet) {
	if p.Header().Af == 6 {
		s.fail6(t, p, icmp.Error6{Type: icmp.Type6Unreach, Code: icmp.Code6UnreachAddress})
		return
	}
	s.fail4(t, p, icmp.Error4{Type: icmp.TypeUnreach, Code: icmp.CodeUnreachHost})
}

// startHoldTimer makes a thread look for next hops that have waited too long.
func (s *Stack) startHoldTimer(t *netisr.Thread) {
	var timer *netisr.Timer
	timer = t.NewTimer(func(t *netisr.Thread) {
		known, failed := s.scan(t.Now())
		s.release(t, known)
		s.failAll(t, failed)
		for _, key := range s.hold.again {
			s.ask(t, key, true, true)
		}
		timer.Reset(holdScan)
	})
	timer.Reset(holdScan)
}

// scan takes the packets of all next hops that are known by now, and of those
// that did not answer in time, forgets those that have been down for long
// enough, and lists those to be asked for again. A next hop that is known keeps its entry, so that packets which come
// back once more do not wait longer than others.
func (s *Stack) scan(now time.Duration) (known, failed *netisr.Packet) {
	settings := s.settings.Load()
	patience := time.Duration(settings.MaxTries) * time.Second
	s.hold.mu.Lock()
	defer s.hold.mu.Unlock()
	s.hold.again = s.hold.again[:0]
	for key, e := range s.hold.entries {
		switch {
		case e.down && now-e.since >= settings.HostDownTime:
			s.hold.remove(key, e)
		case e.down:
		case now-e.since >= patience && e.count == 0:
			s.hold.remove(key, e)
		case now-e.since >= patience:
			failed = s.hold.takeBefore(e, failed)
			e.down, e.since = true, now
		case e.known && e.count > 0:
			e.known = false
			known = s.hold.takeBefore(e, known)
		case e.count > 0 && now-e.asked >= retryPeriod:
			e.asked = now
			s.hold.again = append(s.hold.again, key)
		}
	}
	return known, failed
}

// takeBefore removes the packets of an entry and puts them before a list.
func (table *holdTable) takeBefore(e *holdEntry, list *netisr.Packet) *netisr.Packet {
	last := e.last
	first := table.take(e)
	if first == nil {
		return list
	}
	last.Next = list
	return first
}
