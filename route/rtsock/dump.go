package rtsock

import (
	"context"
	"math"
	"net/netip"

	"github.com/bsdnet/bsdnet/errno"
	ifapi "github.com/bsdnet/bsdnet/ifnet/api"
	"github.com/bsdnet/bsdnet/route/api"
	"github.com/bsdnet/bsdnet/route/rtm"
)

// The name of a sysctl of routing: CTL_NET, PF_ROUTE, 0, family, operation,
// argument and, for dumps, the table.
const (
	ctlNet        = 4
	netRtDump     = 1
	netRtFlags    = 2
	netRtIflist   = 3
	netRtIfmalist = 4 // FreeBSD's
	netRtIflistl  = 5 // FreeBSD's
)

// pieceMax is how much of a sysctl's answer one message holds.
const pieceMax = 48 << 10

// NullOld is the oldlen of a sysctl whose old is NULL: it asks for the length.
const NullOld = math.MaxUint64

// sysctl answers a TypeSysctl. Its answer goes past the limit of the socket's
// buffer, as that of sysctl(3) does not go through it; the next sysctl is read
// only when it is done.
func (k *socket) sysctl(packet []byte) {
	old, err := k.rib(packet)
	oldlen := le.Uint64(packet[ctlOldlen:])
	length := uint64(len(old))
	switch {
	case err != nil:
		old, length = nil, 0
		k.server.failed.Add(1)
	case oldlen == NullOld:
		old, length = nil, length+length/10 // the table may grow meanwhile
	case oldlen < length:
		old, err = nil, errno.ENOMEM
	}
	k.server.dumps.Add(1)
	for {
		piece, rest := cutPiece(old)
		answer := control(k.system, TypeSysctl, ctlHeader)
		copy(answer[ctlSeq:], packet[ctlSeq:ctlSeq+4])
		if err != nil {
			le.PutUint32(answer[ctlErrno:], uint32(k.errorOf(err)))
		}
		if len(rest) > 0 {
			le.PutUint32(answer[ctlNamelen:], 1)
		}
		le.PutUint64(answer[ctlOldlen:], length)
		answer = append(answer, piece...)
		le.PutUint16(answer, uint16(len(answer)))
		k.buffer.putAnyway(answer)
		if old = rest; len(old) == 0 {
			return
		}
	}
}

// cutPiece cuts whole messages off a dump.
func cutPiece(b []byte) (piece, rest []byte) {
	n := 0
	for n < len(b) {
		length := int(le.Uint16(b[n:]))
		if n > 0 && n+length > pieceMax {
			break
		}
		n += length
	}
	return b[:n], b[n:]
}

// rib makes what a sysctl returns.
func (k *socket) rib(packet []byte) ([]byte, error) {
	namelen := int(le.Uint32(packet[ctlNamelen:]))
	if namelen < 0 || namelen > 24 || len(packet) < ctlHeader+4*namelen {
		return nil, errno.EINVAL
	}
	name := make([]int, namelen)
	for i := range name {
		name[i] = int(int32(le.Uint32(packet[ctlHeader+4*i:])))
	}
	switch {
	case namelen < 3 || name[0] != ctlNet || name[1] != pfRoute || name[2] != 0:
		return nil, errno.EINVAL
	case namelen < 6:
		return nil, errno.EISDIR
	}
	family, op, arg := name[3], name[4], name[5]
	switch {
	case namelen > 7 || namelen == 7 && (op != netRtDump || k.system != rtm.FreeBSD):
		return nil, errno.ENOTDIR
	case namelen == 7 && name[6] != 0 && name[6] != -1:
		return nil, errno.EINVAL // no such table
	case family < 0 || family >= int(afMax[k.system]):
		return nil, errno.EINVAL
	}
	ctx := context.Background()
	switch op {
	case netRtDump:
		return k.server.dumpRoutes(ctx, k.system, family, 0)
	case netRtFlags:
		llinfo := arg&int(api.Llinfo) != 0 || arg == 0
		if k.system == rtm.FreeBSD && llinfo {
			if family == 0 {
				return nil, errno.EINVAL
			}
			return k.server.dumpNeighbours(ctx, k.system, family)
		}
		if k.system == rtm.DragonFly && arg&int(api.Llinfo) != 0 {
			return k.server.dumpNeighbours(ctx, k.system, family)
		}
		if arg == 0 {
			return nil, nil // no route has any of no flags
		}
		return k.server.dumpRoutes(ctx, k.system, family, api.Flags(arg))
	case netRtIflist:
		return k.server.dumpInterfaces(ctx, k.system, family, arg, false)
	case netRtIflistl:
		if k.system == rtm.FreeBSD {
			return k.server.dumpInterfaces(ctx, k.system, family, arg, true)
		}
	case netRtIfmalist:
		if k.system == rtm.FreeBSD {
			return k.server.dumpGroups(ctx, k.system, family, arg)
		}
	}
	return nil, errno.EINVAL
}

// familyFilter gives a family the form of the API: EAFNOSUPPORT if it has no
// routes here.
func familyFilter(family int) (api.Family, error) {
	switch family {
	case rtm.AFUnspec, rtm.AFInet, rtm.AFInet6:
		return api.Family(family), nil
	}
	return 0, errno.EAFNOSUPPORT
}

// dumpRoutes lists the routes that have any of the flags, or all if there are
// none.
func (s *Server) dumpRoutes(ctx context.Context, v rtm.Version, family int, flags api.Flags) ([]byte, error) {
	filter, err := familyFilter(family)
	if err != nil {
		return nil, err
	}
	routes, err := s.table.Routes(ctx, api.RouteFilter{Family: filter})
	if err != nil {
		return nil, err
	}
	far := s.farEnds(ctx)
	var out []byte
	for _, e := range routes {
		if flags != 0 && e.Flags&flags == 0 {
			continue
		}
		m := s.entry(v, api.RTMGet, e, 0)
		if e.Interface.Name != "" {
			m.Addrs[rtm.Ifp] = rtm.LinkOf(e.Interface)
			if e.Ifa.IsValid() {
				m.Addrs[rtm.Ifa] = rtm.IP(e.Ifa, e.Interface.Index)
			}
			if brd, ok := far[e.Ifa.WithZone("")]; ok {
				m.Addrs[rtm.Brd] = rtm.IP(brd, e.Interface.Index)
			}
		}
		if out, err = m.AppendDump(out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// farEnds returns the other ends of point-to-point links by own addresses.
func (s *Server) farEnds(ctx context.Context) map[netip.Addr]netip.Addr {
	far := make(map[netip.Addr]netip.Addr)
	list, err := s.interfaces.Interfaces(ctx, ifapi.Name{})
	if err != nil {
		return far
	}
	for _, ifp := range list {
		for _, a := range ifp.Addresses {
			if ifp.Flags&ifapi.IffPointopoint != 0 && a.Destination.IsValid() {
				far[a.Prefix.Addr().WithZone("")] = a.Destination
			}
		}
	}
	return far
}

// dumpNeighbours lists the ARP or the neighbour discovery table.
func (s *Server) dumpNeighbours(ctx context.Context, v rtm.Version, family int) ([]byte, error) {
	filter, err := familyFilter(family)
	if err != nil {
		return nil, err
	}
	list, err := s.table.Neighbours(ctx, api.NeighbourFilter{Family: filter})
	if err != nil {
		return nil, err
	}
	var out []byte
	for _, n := range list {
		if n.Lladdr == "" {
			continue // of no use without: the kernels skip those that are not resolved
		}
		if out, err = s.llinfo(v, n).AppendDump(out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// dumpInterfaces lists the interfaces, or that of an index, with the addresses
// of a family, or all. long asks for the l messages.
func (s *Server) dumpInterfaces(ctx context.Context, v rtm.Version, family, index int, long bool) ([]byte, error) {
	list, err := s.interfaces.Interfaces(ctx, ifapi.Name{})
	if err != nil {
		return nil, err
	}
	add := (*rtm.Message).AppendDump
	if long {
		add = (*rtm.Message).AppendL
	}
	var out []byte
	for _, ifp := range list {
		if index != 0 && ifp.Index != index {
			continue
		}
		l := api.Link{Index: ifp.Index, Name: ifp.Name, Lladdr: ifp.Lladdr, Type: ifp.Type}
		m := interfaceMessage(v, ifp)
		m.Addrs[rtm.Ifp] = rtm.LinkOf(l)
		if out, err = add(m, out); err != nil {
			return nil, err
		}
		for _, a := range ifp.Addresses {
			if family != 0 && family != int(api.FamilyOf(a.Prefix.Addr())) {
				continue
			}
			brd := a.Broadcast
			if a.Destination.IsValid() {
				brd = a.Destination
			}
			m := address(v, api.RTMNewaddr, l, a.Prefix, brd, ifp.Metric)
			m.Addrs[rtm.Ifp] = nil // that of the RTM_IFINFO before it
			if v == rtm.DragonFly {
				m.AddrFlags = int32(a.Flags)
			}
			if long {
				m.Data = rtm.IfData{} // no counters of single addresses here
			}
			if out, err = add(m, out); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// dumpGroups lists the multicast groups of the interfaces, or of one.
func (s *Server) dumpGroups(ctx context.Context, v rtm.Version, family, index int) ([]byte, error) {
	list, err := s.interfaces.Interfaces(ctx, ifapi.Name{})
	if err != nil {
		return nil, err
	}
	joined, err := readGroups()
	if err != nil {
		return nil, err
	}
	var out []byte
	for _, ifp := range list {
		if index != 0 && ifp.Index != index {
			continue
		}
		l := api.Link{Index: ifp.Index, Name: ifp.Name, Lladdr: ifp.Lladdr, Type: ifp.Type}
		for _, a := range joined.of(ifp.Index) {
			if family != 0 && family != int(api.FamilyOf(a)) {
				continue
			}
			if out, err = group(v, api.RTMNewmaddr, l, a).AppendDump(out); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}
