package slowpath

import (
	"math/rand/v2"
	"net/netip"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/netisr"
	"github.com/bsdnet/bsdnet/netisr/icmp"
)

const linkGroup = bpf.MBcast | bpf.MMcast

// fail4 sends an ICMP error about a packet, if it may, and frees the packet.
func (s *Stack) fail4(t *netisr.Thread, p *netisr.Packet, e icmp.Error4) {
	s.report4(t, p, e)
	t.Free(p)
}

// report4 sends an ICMP error or redirect about a packet, if it may, and says
// whether it did.
func (s *Stack) report4(t *netisr.Thread, p *netisr.Packet, e icmp.Error4) bool {
	if e.Type != icmp.TypeRedirect {
		s.count(t, icmpError)
	}
	h, packet, settings := p.Header(), p.Network(), s.settings.Load()
	if settings.Stealth && e.Type == icmp.TypeTimeExceeded {
		return false
	}
	switch icmp.Check4(packet, h.Flags&linkGroup != 0) {
	case icmp.Allowed:
	case icmp.RefusedMalformed:
		s.count(t, icmpOldShort)
		return false
	case icmp.RefusedError:
		s.count(t, icmpOldICMP)
		return false
	default:
		s.count(t, icmpCantSend)
		return false
	}
	ifp, ok := s.receiver(h)
	if !ok {
		s.count(t, icmpNoRoute)
		return false
	}
	sender, target := addr4(packet[12:16]), addr4(packet[16:20])
	if ifp.broadcast(sender) || ifp.broadcast(target) {
		s.count(t, icmpCantSend)
		return false
	}
	if !s.limiter.Allow(e.Type, settings.ICMPLimit, t.Now()) {
		s.count(t, icmpTooFreq)
		return false
	}
	source, ok := settings.ICMPReplySource, settings.ICMPReplySource.Is4()
	if !ok {
		if source, ok = s.source(ifp, sender, target); !ok {
			s.count(t, icmpNoRoute)
			return false
		}
	}
	thread := &s.threads[t.ID()]
	message := icmp.AppendError4(thread.message[:0], packet, e, icmp.Options4{
		Source: source.As4(), TTL: uint8(settings.TTL), ID: uint16(rand.Uint32()), Quote: settings.ICMPQuote,
	})
	if err := s.config.Sender.Send(message, ifp.Index); err != nil {
		s.count(t, icmpSendFail)
		return false
	}
	thread.stats.out[e.Type].Add(1)
	return true
}

// failTooBig4 sends fragmentation needed with the MTU of the next hop.
func (s *Stack) failTooBig4(t *netisr.Thread, p *netisr.Packet) {
	s.fail4(t, p, icmp.Error4{
		Type: icmp.TypeUnreach, Code: icmp.CodeUnreachNeedFragment, MTU: uint16(min(s.mtu(p.Header()), 0xffff)),
	})
}

// fail6 sends an ICMPv6 error about a packet, if it may, and frees the packet.
func (s *Stack) fail6(t *netisr.Thread, p *netisr.Packet, e icmp.Error6) {
	s.report6(t, p, e)
	t.Free(p)
}

func (s *Stack) report6(t *netisr.Thread, p *netisr.Packet, e icmp.Error6) {
	s.count(t, icmp6Error)
	h, packet, settings := p.Header(), p.Network(), s.settings.Load()
	if icmp.Check6(packet, e, h.Flags&linkGroup != 0) != icmp.Allowed {
		s.count(t, icmp6CantError)
		return
	}
	ifp, ok := s.receiver(h)
	if !ok {
		s.count(t, icmp6NoRoute)
		return
	}
	if !s.limiter6.Allow(settings.ICMP6Rate, settings.ICMP6Burst, t.Now()) {
		s.count(t, icmp6TooFreq)
		return
	}
	source, ok := s.source(ifp, addr6(packet[8:24]), addr6(packet[24:40]))
	if !ok {
		s.count(t, icmp6NoRoute)
		return
	}
	message := icmp.AppendError6(s.threads[t.ID()].message[:0], packet, e, options6(source, settings))
	s.send6(t, message, e.Type, ifp)
}

func options6(source netip.Addr, settings *Settings) icmp.Options6 {
	return icmp.Options6{Source: source.As16(), HopLimit: uint8(settings.HopLimit)}
}

// send6 sends an ICMPv6 message of a type and counts it.
func (s *Stack) send6(t *netisr.Thread, message []byte, kind uint8, ifp *Interface) bool {
	if err := s.config.Sender.Send(message, ifp.Index); err != nil {
		s.count(t, icmp6SendFail)
		return false
	}
	s.threads[t.ID()].stats.out6[kind].Add(1)
	return true
}
