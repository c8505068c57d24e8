package slowpath

import (
	"net/netip"

	"github.com/bsdnet/bsdnet/bpf"
)

// receiver returns the interface that a packet's sender is on: where it came
// in, or, for one that this host sent, where it goes out.
func (s *Stack) receiver(h *bpf.NetisrHeader) (*Interface, bool) {
	if h.Flags&bpf.MHost != 0 {
		return s.config.Interfaces.Interface(h.Ifp)
	}
	return s.config.Interfaces.Interface(h.Rcvif)
}

// source chooses the address from which an ICMP message about a packet goes
// to the packet's sender, as icmp_reflect does: the address the packet was
// sent to, if it is this host's; else the receiving interface's, on the
// sender's network if it has one there; else that of the interface that leads
// to the sender.
func (s *Stack) source(ifp *Interface, sender, target netip.Addr) (netip.Addr, bool) {
	if !target.IsMulticast() && s.config.Interfaces.Local(target) {
		return target, true
	}
	if addr, ok := ifp.addressFor(sender); ok {
		return addr, true
	}
	if s.config.Routes != nil && !sender.IsLinkLocalUnicast() {
		if slot, ok := s.config.Routes.Route(sender); ok {
			if out, ok := s.config.Interfaces.Interface(slot); ok {
				return out.addressFor(sender)
			}
		}
	}
	return netip.Addr{}, false
}

// addressFor returns the address to use towards a peer: of its family and
// scope, on its network if there is one, else the first.
func (ifp *Interface) addressFor(peer netip.Addr) (best netip.Addr, ok bool) {
	for _, prefix := range ifp.Prefixes {
		addr := prefix.Addr()
		if addr.Is4() != peer.Is4() || addr.Is6() && addr.IsLinkLocalUnicast() != peer.IsLinkLocalUnicast() {
			continue
		}
		if prefix.Contains(peer) {
			return addr, true
		}
		if !ok {
			best, ok = addr, true
		}
	}
	return best, ok
}

// onLink reports whether a peer is on a network of the interface.
func (ifp *Interface) onLink(peer netip.Addr) bool {
	if peer.Is6() && peer.IsLinkLocalUnicast() {
		return true
	}
	for _, prefix := range ifp.Prefixes {
		if prefix.Contains(peer) {
			return true
		}
	}
	return false
}

// broadcast reports whether an IPv4 address is the directed broadcast address
// of a network of the interface, or the network's own address, which was one
// once.
func (ifp *Interface) broadcast(addr netip.Addr) bool {
	for _, prefix := range ifp.Prefixes {
		if !prefix.Addr().Is4() || prefix.Bits() > 30 || !prefix.Contains(addr) {
			continue
		}
		host := uint32(1)<<(32-prefix.Bits()) - 1
		bytes := addr.As4()
		part := (uint32(bytes[0])<<24 | uint32(bytes[1])<<16 | uint32(bytes[2])<<8 | uint32(bytes[3])) & host
		if part == host || part == 0 {
			return true
		}
	}
	return false
}

// linkLocal returns the interface's IPv6 link-local address.
func (ifp *Interface) linkLocal() (netip.Addr, bool) {
	for _, prefix := range ifp.Prefixes {
		if addr := prefix.Addr(); addr.Is6() && addr.IsLinkLocalUnicast() {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

func addr4(bytes []byte) netip.Addr { return netip.AddrFrom4([4]byte(bytes)) }
func addr6(bytes []byte) netip.Addr { return netip.AddrFrom16([16]byte(bytes)) }
