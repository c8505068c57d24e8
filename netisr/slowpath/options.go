package slowpath

import (
	"net/netip"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/netisr"
	"github.com/bsdnet/bsdnet/netisr/icmp"
	"github.com/bsdnet/bsdnet/netisr/inet"
)

// options processes the options of an IPv4 packet and sends it on its way.
// Packets that the data path found bad come here too: if their options show
// nothing bad, they are dropped.
func (s *Stack) options(t *netisr.Thread, p *netisr.Packet) {
	h, packet, settings := p.Header(), p.Network(), s.settings.Load()
	ifp, ok := s.receiver(h)
	if !ok {
		s.drop(t, p, ipBadOptions)
		return
	}
	processor := inet.Options{
		Forwarding: settings.Forwarding, SourceRoute: settings.SourceRoute,
		AcceptSourceRoute: settings.AcceptSourceRoute, Stealth: settings.Stealth,
		IgnoreAll: settings.ProcessOptions == 0, RejectAll: settings.ProcessOptions == 2,
		TimeOfDay: s.config.TimeOfDay,
	}
	result := processor.Process(packet, optionAddresses{s, ifp, addr4(packet[12:16])})
	if result.RouterAlert {
		s.count(t, ipRouterAlert)
	}
	switch result.Verdict {
	case inet.VerdictDrop:
		s.drop(t, p, ipCantForward)
		return
	case inet.VerdictError:
		s.count(t, ipBadOptions)
		s.fail4(t, p, icmp.Error4{Type: result.Type, Code: result.Code, Pointer: result.Pointer})
		return
	}
	if bpf.Reason(h.Reason) == bpf.ReasonNetisrParamprob {
		s.drop(t, p, ipBadOptions)
		return
	}
	target := addr4(packet[16:20])
	local := h.Flags&linkGroup != 0 || target.IsMulticast() || packet[16] == 255 || packet[16] == 0 ||
		ifp.broadcast(target) || s.config.Interfaces.Local(target)
	switch {
	case local:
		s.count(t, ipDelivered)
		resume(t, p, bpf.ResumeLocal)
	case settings.Forwarding:
		s.count(t, ipForward)
		resume(t, p, bpf.ResumeForward)
	default:
		s.drop(t, p, ipCantForward)
	}
}

// optionAddresses answers the questions of option processing.
type optionAddresses struct {
	stack  *Stack
	ifp    *Interface
	sender netip.Addr
}

func (a optionAddresses) Local(addr [4]byte) bool {
	return a.stack.config.Interfaces.Local(netip.AddrFrom4(addr))
}

// Outgoing returns the destination itself when it is this host's; else the
// address of the interface that leads there, or, when nobody knows routes, of
// the receiving one.
func (a optionAddresses) Outgoing(destination [4]byte) ([4]byte, bool) {
	target := netip.AddrFrom4(destination)
	if a.stack.config.Interfaces.Local(target) {
		return destination, true
	}
	ifp := a.ifp
	if a.stack.config.Routes != nil {
		slot, ok := a.stack.config.Routes.Route(target)
		if !ok {
			return [4]byte{}, false
		}
		if ifp, ok = a.stack.config.Interfaces.Interface(slot); !ok {
			return [4]byte{}, false
		}
	}
	return asAddr4(ifp.addressFor(target))
}

func (a optionAddresses) Direct(destination [4]byte) bool {
	target := netip.AddrFrom4(destination)
	if a.stack.config.Routes == nil {
		return a.ifp.onLink(target)
	}
	slot, ok := a.stack.config.Routes.Route(target)
	if !ok {
		return false
	}
	ifp, ok := a.stack.config.Interfaces.Interface(slot)
	return ok && ifp.onLink(target)
}

func (a optionAddresses) Incoming() ([4]byte, bool) { return asAddr4(a.ifp.addressFor(a.sender)) }

func asAddr4(addr netip.Addr, ok bool) ([4]byte, bool) {
	if !ok {
		return [4]byte{}, false
	}
	return addr.As4(), true
}

// hopByHop processes the hop-by-hop options of an IPv6 packet and sends it on
// its way.
func (s *Stack) hopByHop(t *netisr.Thread, p *netisr.Packet) {
	packet := p.Network()
	if packet[6] == inet.ProtoHopByHop {
		result := inet.ProcessHopByHop(packet)
		if result.RouterAlert {
			s.count(t, ip6RouterAlert)
		}
		switch result.Verdict {
		case inet.VerdictDrop:
			s.drop(t, p, ip6BadOptions)
			return
		case inet.VerdictError:
			s.count(t, ip6BadOptions)
			s.fail6(t, p, icmp.Error6{
				Type: icmp.Type6ParamProb, Code: result.Code, Parameter: result.Pointer, AnswerMulticast: result.AnswerMulticast,
			})
			return
		}
	}
	target := addr6(packet[24:40])
	switch {
	case target.IsMulticast() || s.config.Interfaces.Local(target):
		s.count(t, ip6Delivered)
		resume(t, p, bpf.ResumeLocal)
	case s.settings.Load().Forwarding6:
		s.count(t, ip6Forward)
		resume(t, p, bpf.ResumeForward)
	default:
		s.drop(t, p, ip6CantForward)
	}
}

// badHeader6 answers an IPv6 packet that the data path found bad: it finds out
// what is, and drops the packet.
func (s *Stack) badHeader6(t *netisr.Thread, p *netisr.Packet) {
	packet := p.Network()
	s.count(t, ip6BadOptions)
	e := icmp.Error6{Type: icmp.Type6ParamProb}
	upper := inet.UpperLayer(packet)
	switch routing := upper.Routing; {
	case upper.Misplaced != 0:
		e.Code, e.Parameter = icmp.Code6ParamNextHeader, uint32(upper.Misplaced)
	case routing != 0 && packet[routing+2] == 0 && packet[routing+3] != 0:
		// RFC 5095: a type 0 routing header is treated as unrecognised.
		e.Code, e.Parameter = icmp.Code6ParamHeader, uint32(routing+2)
	case packet[6] == inet.ProtoHopByHop:
		result := inet.ProcessHopByHop(packet)
		if result.Verdict != inet.VerdictError {
			t.Free(p)
			return
		}
		e.Code, e.Parameter, e.AnswerMulticast = result.Code, result.Pointer, result.AnswerMulticast
	case !upper.Complete:
		e.Code, e.Parameter = icmp.Code6ParamHeader, uint32(upper.Next)
	default:
		t.Free(p)
		return
	}
	s.fail6(t, p, e)
}
