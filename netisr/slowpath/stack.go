package slowpath

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/netisr"
	"github.com/bsdnet/bsdnet/netisr/icmp"
	"github.com/bsdnet/bsdnet/netisr/inet"
	"github.com/bsdnet/bsdnet/netisr/reass"
)

// What bounds reassembly until SetReassembly says otherwise.
const (
	defaultFragments   = 5000
	defaultFragmentAge = 30 * time.Second
)

// Config is what a stack is made of. Routes and TimeOfDay may be left out.
type Config struct {
	Netisr     *netisr.Netisr
	Interfaces Interfaces
	Nexthops   Nexthops
	Resolver   Resolver
	Routes     Routes
	Sender     Sender
	Settings   Settings
	TimeOfDay  func() time.Duration // since midnight UTC; default the system's
}

// Stack is the slow path of one instance. Its exported methods may be called
// concurrently.
type Stack struct {
	config    Config
	settings  atomic.Pointer[Settings]
	handlers  [bpf.ReasonMax]atomic.Pointer[netisr.Handler]
	threads   []thread
	hold      holdTable
	limiter   icmp.Limiter
	limiter6  icmp.Bucket
	limiterND icmp.Limiter
	reass     *reass.Table
	judged    judged
}

// thread is what one netisr thread has for itself.
type thread struct {
	stats   threadStats
	message [icmp.MinMTU6]byte // scratch for one ICMP message
}

// New makes a stack and registers its protocols. It must be called before the
// netisr starts.
func New(config Config) (*Stack, error) {
	if config.Netisr == nil || config.Interfaces == nil || config.Nexthops == nil || config.Resolver == nil || config.Sender == nil {
		return nil, errors.New("make slow path: netisr, interfaces, nexthops, resolver and sender are needed")
	}
	if config.TimeOfDay == nil {
		config.TimeOfDay = timeOfDay
	}
	s := &Stack{config: config, threads: make([]thread, config.Netisr.Threads())}
	s.hold.entries = make(map[holdKey]*holdEntry)
	s.reass = reass.New(defaultFragments, defaultFragmentAge)
	s.judged.packets = make(map[uint32]*judgedPacket)
	s.SetSettings(config.Settings)
	for _, protocol := range []netisr.Protocol{
		{Number: netisr.ProtocolIP, Name: "ip", Handler: s.input4},
		{Number: netisr.ProtocolIPv6, Name: "ip6", Handler: s.input6},
	} {
		if err := config.Netisr.Register(protocol); err != nil {
			return nil, fmt.Errorf("make slow path: %w", err)
		}
	}
	s.startHoldTimer(config.Netisr.Thread(0))
	s.startReassemblyTimer(config.Netisr.Thread(0))
	return s, nil
}

func timeOfDay() time.Duration {
	now := time.Now().UTC()
	return now.Sub(now.Truncate(24 * time.Hour))
}

// Settings returns the settings now.
func (s *Stack) Settings() Settings { return *s.settings.Load() }

// SetSettings replaces the settings; packets in hand keep to the old ones.
func (s *Stack) SetSettings(settings Settings) { s.settings.Store(&settings) }

// Handle makes a handler responsible for the packets of a reason, or nobody
// if it is nil; without one the stack's own handling holds. Packet filters in
// the daemon use it for [bpf.ReasonNetisrHook].
func (s *Stack) Handle(reason bpf.Reason, handler netisr.Handler) error {
	if !reason.Queued() {
		return fmt.Errorf("handle reason %v: not a reason to queue a packet", reason)
	}
	if handler == nil {
		s.handlers[reason].Store(nil)
		return nil
	}
	s.handlers[reason].Store(&handler)
	return nil
}

// other gives a packet to the handler of its reason, if there is one.
func (s *Stack) other(t *netisr.Thread, p *netisr.Packet) bool {
	reason := p.Header().Reason
	if reason >= uint32(len(s.handlers)) {
		return false
	}
	handler := s.handlers[reason].Load()
	if handler == nil {
		return false
	}
	(*handler)(t, p)
	return true
}

// count adds one to a counter of the thread.
func (s *Stack) count(t *netisr.Thread, c counter) { s.threads[t.ID()].stats.counters[c].Add(1) }

// drop frees a packet and counts why.
func (s *Stack) drop(t *netisr.Thread, p *netisr.Packet, c counter) {
	s.count(t, c)
	t.Free(p)
}

// resume sends a packet back into the data path.
func resume(t *netisr.Thread, p *netisr.Packet, where uint32) {
	p.Header().Resume = uint8(where)
	t.Transmit(p)
}

// fragments takes what is about reassembly.
func (s *Stack) fragments(t *netisr.Thread, p *netisr.Packet) bool {
	switch bpf.Reason(p.Header().Reason) {
	case bpf.ReasonNetisrReassemble:
		s.reassemble(t, p)
		return true
	case bpf.ReasonNetisrRefragment:
		s.refragment(t, p)
		return true
	case bpf.ReasonNetisrTunnel:
		s.reassembleTunnel(t, p)
		return true
	}
	if p.Header().Flags&bpf.MReassembled != 0 {
		s.settleReassembled(p)
	}
	return false
}

// input4 handles IPv4 packets.
func (s *Stack) input4(t *netisr.Thread, p *netisr.Packet) {
	if s.fragments(t, p) || s.other(t, p) {
		return
	}
	if _, err := inet.Header4(p.Network()); err != nil {
		s.drop(t, p, ipTooShort)
		return
	}
	switch bpf.Reason(p.Header().Reason) {
	case bpf.ReasonNetisrARP:
		s.unresolved(t, p)
	case bpf.ReasonNetisrTTL:
		s.fail4(t, p, icmp.Error4{Type: icmp.TypeTimeExceeded, Code: icmp.CodeTimeInTransit})
	case bpf.ReasonNetisrNoroute, bpf.ReasonNetisrReject:
		// The BSDs answer host unreachable for both (ip_forward).
		s.fail4(t, p, icmp.Error4{Type: icmp.TypeUnreach, Code: icmp.CodeUnreachHost})
	case bpf.ReasonNetisrFragment:
		s.fragment(t, p)
	case bpf.ReasonNetisrToobig:
		s.count(t, ipCantFrag)
		s.failTooBig4(t, p)
	case bpf.ReasonNetisrOptions, bpf.ReasonNetisrParamprob:
		s.options(t, p)
	case bpf.ReasonNetisrRedirect:
		s.redirect4(t, p)
	default:
		s.drop(t, p, ipNoHandler)
	}
}

// input6 handles IPv6 packets.
func (s *Stack) input6(t *netisr.Thread, p *netisr.Packet) {
	if s.fragments(t, p) || s.other(t, p) {
		return
	}
	if inet.Header6(p.Network()) != nil {
		s.drop(t, p, ip6TooShort)
		return
	}
	switch bpf.Reason(p.Header().Reason) {
	case bpf.ReasonNetisrARP:
		s.unresolved(t, p)
	case bpf.ReasonNetisrTTL:
		s.fail6(t, p, icmp.Error6{Type: icmp.Type6TimeExceeded, Code: icmp.Code6TimeTransit})
	case bpf.ReasonNetisrNoroute:
		s.fail6(t, p, icmp.Error6{Type: icmp.Type6Unreach, Code: icmp.Code6UnreachNoRoute})
	case bpf.ReasonNetisrReject:
		s.fail6(t, p, icmp.Error6{Type: icmp.Type6Unreach, Code: icmp.Code6UnreachReject})
	case bpf.ReasonNetisrScope:
		s.fail6(t, p, icmp.Error6{Type: icmp.Type6Unreach, Code: icmp.Code6UnreachScope})
	case bpf.ReasonNetisrToobig, bpf.ReasonNetisrFragment:
		if p.Header().Flags&bpf.MTunnel != 0 {
			s.fragmentTunnel6(t, p)
			return
		}
		s.count(t, ip6CantFrag)
		mtu := max(s.mtu(p.Header()), icmp.MinMTU6)
		s.fail6(t, p, icmp.Error6{Type: icmp.Type6TooBig, Parameter: uint32(mtu)})
	case bpf.ReasonNetisrOptions:
		s.hopByHop(t, p)
	case bpf.ReasonNetisrParamprob:
		s.badHeader6(t, p)
	case bpf.ReasonNetisrRedirect:
		s.redirect6(t, p)
	default:
		s.drop(t, p, ip6NoHandler)
	}
}

// mtu returns the bytes of IP packet that a packet's next hop takes, or 0 if
// that is not known.
func (s *Stack) mtu(h *bpf.NetisrHeader) int {
	if nexthop, ok := s.config.Nexthops.Nexthop(h.Nexthop); ok && nexthop.Mtu != 0 {
		return int(nexthop.Mtu)
	}
	if ifp, ok := s.config.Interfaces.Interface(h.Ifp); ok {
		return ifp.MTU
	}
	return 0
}
