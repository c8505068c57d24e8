package reference

import (
	"slices"
	"time"

	"github.com/bsdnet/bsdnet/pf/conf"
)

// States of a peer. Those of TCP are numbered as in tcp_fsm.h.
const (
	NoTraffic = 0
	Single    = 1
	Multiple  = 2

	Closed      = 0
	SynSent     = 2
	Established = 4
	Closing     = 7
	FinWait2    = 9
	TimeWait    = 10
)

// Peer is one end of a state: the one that sent the first packet, or the other.
type Peer struct {
	State        uint8
	SeqLow       uint32 // next byte that it will send
	SeqHigh      uint32 // end of what it may send
	Window       uint16 // largest that it offered, not scaled
	Scale        uint8
	ScaleOffered bool
}

// State is a conversation that was let pass.
type State struct {
	Protocol  uint8
	Direction conf.Direction // of the first packet
	Interface string         // empty: all
	// Wire is the key of packets that come in, Stack of those that go out.
	// They differ by translation.
	Wire, Stack  Key
	Peers        [2]Peer
	Timeout      conf.Timeout
	Created      time.Duration
	Last         time.Duration // packet that set the timer
	Packets      [2]uint64     // of the first sender, and of the other
	Bytes        [2]uint64
	Rule         *conf.Rule
	Translation  *conf.Rule
	Tag          string
	Sloppy       bool
	AllowOptions bool
	Actions      Actions
	// Timeouts are those that the rule has for itself.
	Timeouts conf.Timeouts
	nodes    []*SourceNode
}

// Translated reports whether the packets of a state change.
func (s *State) Translated() bool { return s.Wire != s.Stack }

// key returns the key that packets of a direction have.
func (s *State) key(dir conf.Direction) Key {
	if dir == conf.In {
		return s.Wire
	}
	return s.Stack
}

// way returns 0 for packets of the one who began, 1 for the other's.
func (s *State) way(dir conf.Direction) int {
	if dir == s.Direction {
		return 0
	}
	return 1
}

// translate makes a packet what it is on the other side.
func (s *State) translate(p *Packet, dir conf.Direction) {
	if s.Translated() {
		p.setEnds(s.key(opposite(dir)).ends(dir))
	}
}

// find returns the state that a packet with a key belongs to.
func (f *Firewall) find(key Key, protocol uint8, dir conf.Direction, iface string) *State {
	return f.findState(key, protocol, dir, iface, false)
}

// findState finds a state of an interface, or one wherever it is bound to.
func (f *Firewall) findState(key Key, protocol uint8, dir conf.Direction, iface string, everywhere bool) *State {
	for _, s := range f.byKey[dir][key] {
		if s.Protocol == protocol && (everywhere || s.Interface == "" || s.Interface == iface) {
			return s
		}
	}
	return nil
}

// add keeps a state.
func (f *Firewall) add(s *State) {
	f.states = append(f.states, s)
	for dir, states := range f.byKey {
		states[s.key(dir)] = append(states[s.key(dir)], s)
	}
}

// Remove ends a state.
func (f *Firewall) Remove(s *State) {
	gone := func(other *State) bool { return other == s }
	if !slices.Contains(f.states, s) {
		return
	}
	f.letGo(s)
	f.states = slices.DeleteFunc(f.states, gone)
	for dir, states := range f.byKey {
		key := s.key(dir)
		if states[key] = slices.DeleteFunc(states[key], gone); len(states[key]) == 0 {
			delete(states, key)
		}
	}
}

// Clear ends all states and forgets the sources that had some.
func (f *Firewall) Clear() {
	f.nodes = nil
	f.keep(nil)
}

// keep makes the states of a list all there are.
func (f *Firewall) keep(states []*State) {
	f.states = nil
	f.byKey = map[conf.Direction]map[Key][]*State{conf.In: {}, conf.Out: {}}
	for _, s := range states {
		f.add(s)
	}
}

// Purge ends the states that have expired.
func (f *Firewall) Purge() {
	var live, over []*State
	for _, s := range f.states {
		if f.Expired(s) {
			over = append(over, s)
		} else {
			live = append(live, s)
		}
	}
	for _, s := range over {
		f.letGo(s)
	}
	if len(over) > 0 {
		f.keep(live)
	}
}

// statesOf returns the number of states that a rule has.
func (f *Firewall) statesOf(r *conf.Rule) (n int) {
	for _, s := range f.states {
		if s.Rule == r {
			n++
		}
	}
	return n
}

// Lifetime returns how long a state may be idle among a number of states. It
// shrinks as they fill the table beyond adaptive.start.
func (f *Firewall) Lifetime(s *State, among int) time.Duration {
	o := &f.rules.Options
	value := uint64(o.Timeouts[s.Timeout])
	if own := s.Timeouts[s.Timeout]; own != 0 {
		f.use("timeout of a rule")
		value = uint64(own)
	}
	start, end := uint64(o.Timeouts[conf.TimeoutAdaptiveStart]), uint64(o.Timeouts[conf.TimeoutAdaptiveEnd])
	if s.Timeouts[conf.TimeoutAdaptiveStart] != 0 {
		// The rule's own go by the number of its states.
		start, end = uint64(s.Timeouts[conf.TimeoutAdaptiveStart]), uint64(s.Timeouts[conf.TimeoutAdaptiveEnd])
		among += f.statesOf(s.Rule) - len(f.states)
	}
	if start == 0 && end == 0 {
		limit := uint64(o.Limits[conf.LimitStates])
		start, end = limit/10*6, limit/10*12
	}
	states := uint64(max(among, 0))
	lifetime := time.Duration(value) * time.Second
	switch {
	case end == 0 || states <= start || start >= end:
		return lifetime
	case states >= end:
		return 0
	}
	f.use("adaptive timeout")
	return lifetime * time.Duration(end-states) / time.Duration(end-start)
}

// Expired reports whether a state has been idle for too long.
func (f *Firewall) Expired(s *State) bool {
	return f.env.Now()-s.Last > f.Lifetime(s, len(f.states))
}

// newState begins a state with its first packet.
func newState(p *Packet, dir conf.Direction) *State {
	s := &State{Protocol: p.Protocol, Direction: dir}
	src, dst := &s.Peers[0], &s.Peers[1]
	switch p.Protocol {
	case TCP:
		s.Timeout = conf.TimeoutTCPFirst
		src.State, dst.State = SynSent, Closed
		src.SeqLow = p.TCP.Seq
		src.SeqHigh = p.TCP.Seq + uint32(p.TCP.Data) + 1
		src.Window = max(p.TCP.Window, 1)
		if p.TCP.Flags&SYN != 0 {
			src.SeqHigh++
			src.offer(p)
			src.Window = src.unscaled(src.Window)
		}
		if p.TCP.Flags&FIN != 0 {
			src.SeqHigh++
		}
		dst.SeqHigh, dst.Window = 1, 1
	case UDP:
		s.Timeout = conf.TimeoutUDPFirst
		src.State = Single
	case ICMP, ICMPv6:
		s.Timeout = conf.TimeoutICMPFirst
	default:
		s.Timeout = conf.TimeoutOtherFirst
		src.State = Single
	}
	return s
}

// track moves a state on by a packet. It returns whether the packet belongs
// to it, and whether it starts the timer anew.
func (s *State) track(p *Packet, dir conf.Direction) (ok, refresh bool) {
	way := s.way(dir)
	src, dst := &s.Peers[way], &s.Peers[1-way]
	switch p.Protocol {
	case TCP:
		if s.Sloppy {
			s.trackSloppy(p, src, dst)
			return true, true
		}
		return s.trackTCP(p, src, dst)
	case ICMP, ICMPv6:
		s.Timeout = conf.TimeoutICMPError
		return true, true
	}
	src.State = max(src.State, Single)
	if dst.State == Single {
		dst.State = Multiple
	}
	both := src.State == Multiple && dst.State == Multiple
	switch {
	case p.Protocol == UDP && both:
		s.Timeout = conf.TimeoutUDPMultiple
	case p.Protocol == UDP:
		s.Timeout = conf.TimeoutUDPSingle
	case both:
		s.Timeout = conf.TimeoutOtherMultiple
	default:
		s.Timeout = conf.TimeoutOtherSingle
	}
	return true, true
}
