package slowpath

import (
	"net/netip"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/netisr"
	"github.com/bsdnet/bsdnet/netisr/icmp"
)

// redirect4 tells a packet's sender of the better next hop, if it is to be
// told, and sends the packet on.
func (s *Stack) redirect4(t *netisr.Thread, p *netisr.Packet) {
	h, packet := p.Header(), p.Network()
	if s.settings.Load().Redirect {
		ifp, known := s.config.Interfaces.Interface(h.Ifp)
		gateway, ok := s.nextHop(h, packet)
		// Only a neighbour can use it, and only of the same link (RFC 1812, 5.2.7.2).
		if known && ok && gateway.Is4() && h.Rcvif == h.Ifp && ifp.onLink(addr4(packet[12:16])) && ifp.onLink(gateway) {
			e := icmp.Error4{Type: icmp.TypeRedirect, Code: icmp.CodeRedirectHost, Gateway: gateway.As4()}
			if s.report4(t, p, e) {
				s.count(t, ipRedirectSent)
			}
		}
	}
	h.Flags &^= bpf.MRedirect // it has been seen to
	resume(t, p, bpf.ResumeOutput)
}

// redirect6 is the same for IPv6 (RFC 4861, 8.2).
func (s *Stack) redirect6(t *netisr.Thread, p *netisr.Packet) {
	if s.settings.Load().Redirect6 && s.reportRedirect6(t, p) {
		s.count(t, ip6RedirectSent)
	}
	p.Header().Flags &^= bpf.MRedirect
	resume(t, p, bpf.ResumeOutput)
}

func (s *Stack) reportRedirect6(t *netisr.Thread, p *netisr.Packet) bool {
	h, packet, settings := p.Header(), p.Network(), s.settings.Load()
	ifp, ok := s.config.Interfaces.Interface(h.Ifp)
	if !ok || h.Rcvif != h.Ifp {
		return false
	}
	sender, target := addr6(packet[8:24]), addr6(packet[24:40])
	if icmp.Check6(packet, icmp.Error6{Type: icmp.Type6Redirect}, h.Flags&linkGroup != 0) != icmp.Allowed || !ifp.onLink(sender) {
		s.count(t, icmp6CantError)
		return false
	}
	source, ok := ifp.linkLocal()
	if !ok {
		s.count(t, icmp6NoRoute)
		return false
	}
	nexthop, _ := s.config.Nexthops.Nexthop(h.Nexthop)
	gateway, ok := s.nextHop(h, packet)
	if !ok || gateway != target && !gateway.IsLinkLocalUnicast() {
		return false // hosts know routers by their link-local addresses only
	}
	if !s.limiterND.Allow(icmp.Type6Redirect, settings.ICMP6Rate, t.Now()) {
		s.count(t, icmp6TooFreq)
		return false
	}
	redirect := icmp.Redirect6{Target: gateway.As16(), Destination: target.As16()}
	// The link address in a next hop is its gateway's.
	if nexthop.State == uint16(bpf.NeighbourValid) && nexthop.Flags&bpf.NexthopGateway != 0 {
		redirect.Lladdr = nexthop.Lladdr[:]
	}
	message := icmp.AppendRedirect6(s.threads[t.ID()].message[:0], packet, redirect, options6(source, settings))
	return s.send6(t, message, icmp.Type6Redirect, ifp)
}

// nextHop returns the address of the neighbour that a packet goes to: its next
// hop's gateway, or its own destination.
func (s *Stack) nextHop(h *bpf.NetisrHeader, packet []byte) (netip.Addr, bool) {
	nexthop, ok := s.config.Nexthops.Nexthop(h.Nexthop)
	if !ok {
		return netip.Addr{}, false
	}
	switch {
	case nexthop.Flags&bpf.NexthopGateway == 0 && h.Af == 4:
		return addr4(packet[16:20]), true
	case nexthop.Flags&bpf.NexthopGateway == 0:
		return addr6(packet[24:40]), true
	case nexthop.Flags&bpf.NexthopGateway6 != 0 || h.Af == 6:
		return netip.AddrFrom16(nexthop.Gateway), true
	}
	return addr4(nexthop.Gateway[:4]), true
}
