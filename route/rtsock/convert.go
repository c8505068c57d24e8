package rtsock

import (
	"context"
	"net"
	"net/netip"

	ifapi "github.com/bsdnet/bsdnet/ifnet/api"
	"github.com/bsdnet/bsdnet/route/api"
	"github.com/bsdnet/bsdnet/route/rtm"
)

// familyOf returns the family by which a message is filtered: its
// destination's, or that of the address of an interface.
func familyOf(m api.Message) uint8 {
	switch m.Type {
	case api.RTMIfinfo, api.RTMIfannounce:
		return rtm.AFUnspec
	case api.RTMNewaddr, api.RTMDeladdr, api.RTMNewmaddr, api.RTMDelmaddr:
		return uint8(api.FamilyOf(m.Addr.Addr()))
	}
	return uint8(api.FamilyOf(m.Dst.Addr()))
}

// convert makes a message of a system of one of the table.
func (s *Server) convert(v rtm.Version, m api.Message) *rtm.Message {
	switch m.Type {
	case api.RTMIfannounce:
		out := &rtm.Message{Version: v, Type: m.Type, Index: uint16(m.Link.Index), Name: m.Link.Name, What: rtm.Arrival}
		if m.Departure {
			out.What = rtm.Departure
		}
		return out
	case api.RTMIfinfo:
		return s.ifinfo(v, m)
	case api.RTMNewaddr, api.RTMDeladdr:
		return address(v, m.Type, m.Link, m.Addr, m.Brd, 0)
	case api.RTMNewmaddr, api.RTMDelmaddr:
		return group(v, m.Type, m.Link, m.Addr.Addr())
	}
	e := api.Rtentry{Dst: m.Dst, Gateway: m.Gateway, Flags: m.Flags, Interface: m.Link, Metrics: m.Metrics, Ifa: m.Ifa}
	out := s.entry(v, m.Type, e, rtm.Addrs(m.Sender.Addrs))
	out.Pid, out.Seq, out.Inits = int32(m.Pid), int32(m.Seq), uint64(m.Inits)
	if m.Errno != "" {
		out.Errno = errorOf(m.Errno)
	}
	if m.Pid == 0 {
		// The kernels say nothing of metrics in what nobody asked for.
		out.Metrics, out.Inits = rtm.Metrics{}, 0
	}
	switch {
	case m.Flags&api.Llinfo != 0:
		out.Addrs[rtm.Gateway] = rtm.Link{Index: uint16(m.Link.Index), Type: m.Link.Type, Addr: rtm.Lladdr(m.Link), Len: rtm.NullLink}
	case m.Type == api.RTMMiss:
		out.Addrs[rtm.Gateway] = nil
	}
	if m.Author.IsValid() {
		out.Addrs[rtm.Author] = rtm.IP(m.Author, m.Link.Index)
	}
	return out
}

// entry makes a message of a route. asked may have RTA_IFP and RTA_IFA.
func (s *Server) entry(v rtm.Version, typ api.MessageType, e api.Rtentry, asked rtm.Addrs) *rtm.Message {
	m := rtm.FromEntry(v, typ, e)
	if asked&(rtm.Bit(rtm.Ifp)|rtm.Bit(rtm.Ifa)) != 0 && e.Interface.Name != "" {
		m.Addrs[rtm.Ifp] = rtm.LinkOf(e.Interface)
		if e.Ifa.IsValid() {
			m.Addrs[rtm.Ifa] = rtm.IP(e.Ifa, e.Interface.Index)
		}
		m.Addrs[rtm.Brd] = s.farEnd(e)
	}
	return m
}

// farEnd returns the other end of a point-to-point link that a route leads over.
func (s *Server) farEnd(e api.Rtentry) rtm.Sockaddr {
	list, err := s.interfaces.Interfaces(context.Background(), ifapi.Name{Name: e.Interface.Name})
	if err != nil || len(list) != 1 || list[0].Flags&ifapi.IffPointopoint == 0 {
		return nil
	}
	for _, a := range list[0].Addresses {
		if a.Prefix.Addr() == e.Ifa.WithZone("") && a.Destination.IsValid() {
			return rtm.IP(a.Destination, e.Interface.Index)
		}
	}
	return nil
}

// ifaRoute is IFA_ROUTE of ifa_flags: there is a route to the address's network.
const ifaRoute = 0x1

// address makes a message of an address of an interface. brd is its broadcast
// address, or the other end of a point-to-point link.
func address(v rtm.Version, typ api.MessageType, l api.Link, p netip.Prefix, brd netip.Addr, metric int) *rtm.Message {
	m := &rtm.Message{Version: v, Type: typ, Index: uint16(l.Index), Metric: int32(metric)}
	if typ == api.RTMNewaddr && !p.IsSingleIP() {
		m.Flags = ifaRoute
	}
	m.Addrs[rtm.Netmask] = rtm.AddressMask(v, p)
	m.Addrs[rtm.Ifp] = rtm.LinkOf(l)
	m.Addrs[rtm.Ifa] = rtm.IP(p.Addr(), l.Index)
	if brd.IsValid() {
		m.Addrs[rtm.Brd] = rtm.IP(brd, l.Index)
	}
	return m
}

// group makes a message of a multicast group. On Ethernet its link address is
// the gateway.
func group(v rtm.Version, typ api.MessageType, l api.Link, addr netip.Addr) *rtm.Message {
	m := &rtm.Message{Version: v, Type: typ, Index: uint16(l.Index)}
	m.Addrs[rtm.Ifp] = rtm.LinkOf(l)
	m.Addrs[rtm.Ifa] = rtm.IP(addr, l.Index)
	if len(rtm.Lladdr(l)) == 6 {
		m.Addrs[rtm.Gateway] = rtm.Link{Index: uint16(l.Index), Type: l.Type, Addr: multicastLladdr(addr), Len: rtm.NullLink}
	}
	return m
}

// multicastLladdr maps a group to Ethernet, RFC 1112 and RFC 2464.
func multicastLladdr(a netip.Addr) string {
	if a.Is4() {
		b := a.As4()
		return string([]byte{0x01, 0x00, 0x5e, b[1] & 0x7f, b[2], b[3]})
	}
	b := a.As16()
	return string([]byte{0x33, 0x33, b[12], b[13], b[14], b[15]})
}

// ifinfo makes a RTM_IFINFO, with the counters if the interface is still there.
func (s *Server) ifinfo(v rtm.Version, m api.Message) *rtm.Message {
	list, err := s.interfaces.Interfaces(context.Background(), ifapi.Name{Name: m.Link.Name})
	if err == nil && len(list) == 1 && list[0].Index == m.Link.Index {
		return interfaceMessage(v, list[0])
	}
	return &rtm.Message{
		Version: v, Type: api.RTMIfinfo, Index: uint16(m.Link.Index), Flags: uint32(m.Ifflags),
		Data: rtm.IfData{
			Type: m.Link.Type, Addrlen: uint8(len(rtm.Lladdr(m.Link))), Hdrlen: hdrlen(m.Link.Type),
			LinkState: uint8(m.LinkState), Mtu: uint32(m.Mtu),
		},
	}
}

// hdrlen is the length of a link header.
func hdrlen(iftype uint8) uint8 {
	switch iftype {
	case ifapi.IftEther, ifapi.IftL2vlan, ifapi.IftBridge, ifapi.IftLagg:
		return 14
	}
	return 0
}

func interfaceMessage(v rtm.Version, ifp ifapi.Interface) *rtm.Message {
	d := ifp.Data
	return &rtm.Message{
		Version: v, Type: api.RTMIfinfo, Index: uint16(ifp.Index), Flags: uint32(ifp.Flags),
		Data: rtm.IfData{
			Type: ifp.Type, Addrlen: uint8(len(rtm.Lladdr(api.Link{Lladdr: ifp.Lladdr}))), Hdrlen: hdrlen(ifp.Type),
			LinkState: uint8(ifp.LinkState), Mtu: uint32(ifp.MTU), Metric: uint32(ifp.Metric), Baudrate: d.Baudrate,
			Ipackets: d.Ipackets, Ierrors: d.Ierrors, Opackets: d.Opackets, Oerrors: d.Oerrors, Collisions: d.Colls,
			Ibytes: d.Ibytes, Obytes: d.Obytes, Imcasts: d.Imcasts, Omcasts: d.Omcasts,
			Iqdrops: d.Iqdrops, Oqdrops: d.Oqdrops, Noproto: d.Noproto,
		},
	}
}

// llinfo makes a message of a neighbour.
func (s *Server) llinfo(v rtm.Version, n api.Neighbour) *rtm.Message {
	flags := api.Host | api.Llinfo | api.Up
	if n.Permanent {
		flags |= api.Static
	}
	m := &rtm.Message{Version: v, Type: api.RTMGet, Index: uint16(n.Interface.Index), Flags: uint32(flags)}
	m.Addrs[rtm.Dst] = rtm.IP(n.Addr, n.Interface.Index)
	mac, _ := net.ParseMAC(n.Lladdr)
	m.Addrs[rtm.Gateway] = rtm.Link{Index: uint16(n.Interface.Index), Type: n.Interface.Type, Addr: string(mac), Len: rtm.NullLink}
	return m
}

// translate makes a message of one system that of another.
func translate(packet []byte, to rtm.Version) ([]byte, bool) {
	m, err := rtm.Decode(packet)
	if err != nil {
		return nil, false
	}
	m.Version = to
	m.Use = 0
	if dst := m.Addrs[rtm.Dst]; dst != nil && m.Addrs[rtm.Netmask] != nil {
		bits, err := rtm.MaskBits(dst.Family(), m.Addrs[rtm.Netmask])
		a, _, ok := rtm.AddrOf(dst)
		if err == nil && ok {
			m.Addrs[rtm.Netmask] = rtm.RouteMask(to, netip.PrefixFrom(a, bits))
		}
	}
	out, err := m.Append(nil)
	return out, err == nil
}
