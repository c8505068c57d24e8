package rtsock

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"

	"github.com/bsdnet/bsdnet/errno"
	"github.com/bsdnet/bsdnet/route/api"
	"github.com/bsdnet/bsdnet/route/rtm"
)

var le = binary.LittleEndian

// Where an answer differs from the message that it answers: struct rt_msghdr.
const (
	offPid   = 16
	offErrno = 24
	offFlags = 8
)

// afMax is AF_MAX: families from there on make a message invalid.
var afMax = map[rtm.Version]uint8{rtm.FreeBSD: 42, rtm.DragonFly: 38}

// take carries out what a program wrote.
func (k *socket) take(packet []byte) {
	if len(packet) >= ctlHeader && isControl(api.MessageType(packet[3])) {
		k.control(packet)
		return
	}
	m, err := rtm.DecodeRequest(k.system, packet)
	if m == nil {
		k.refuse(packet, err)
		return
	}
	dst, family := netip.Addr{}, uint8(rtm.AFUnspec)
	answer := append([]byte(nil), packet...)
	le.PutUint32(answer[offPid:], uint32(k.pid))
	if err == nil {
		err = k.check(m)
	}
	if m.Addrs[rtm.Dst] != nil {
		family = m.Addrs[rtm.Dst].Family()
		dst, _, _ = rtm.AddrOf(m.Addrs[rtm.Dst])
	}
	told := false
	var found [2][]byte
	if err == nil {
		found, told, err = k.carryOut(m)
	}
	var out [2][]byte
	out[at(k.system)] = answer
	switch {
	case err != nil:
		k.server.failed.Add(1)
		le.PutUint32(answer[offErrno:], uint32(k.errorOf(err)))
		k.echo(out, family, dst)
		k.mu.Lock()
		silent := !k.useLoopback
		k.mu.Unlock()
		if silent {
			k.buffer.put(answer) // write(2) cannot say it
		}
	case told:
	case found[at(k.system)] != nil:
		k.echo(found, family, dst)
	default:
		flags := le.Uint32(answer[offFlags:]) | uint32(api.Done)
		le.PutUint32(answer[offFlags:], flags)
		k.echo(out, family, dst)
	}
}

// errorOf returns the system's number of an error.
func (k *socket) errorOf(err error) int32 {
	number := errno.Of(err)
	if k.system == rtm.DragonFly && number == errno.EADDRINUSE {
		number = errno.EDQUOT // what its rt_setgate calls a gateway that is its own way
	}
	return int32(number.Number())
}

// refuse answers what is no message, to the one who wrote it alone.
func (k *socket) refuse(packet []byte, err error) {
	k.server.failed.Add(1)
	m := &rtm.Message{Version: k.system, Pid: int32(k.pid), Errno: k.errorOf(err)}
	if len(packet) >= 4 {
		m.Type = api.MessageType(packet[3])
	}
	// The other messages are shorter than a rt_msghdr, which has the errno.
	if m.Type > api.RTMResolve {
		m.Type = 0
	}
	if len(packet) >= 24 {
		m.Seq = int32(le.Uint32(packet[20:]))
	}
	if answer, err := m.Append(nil); err == nil {
		k.buffer.put(answer)
	}
}

// check makes the checks that come before the type is looked at.
func (k *socket) check(m *rtm.Message) error {
	limit := afMax[k.system]
	dst, gateway := m.Addrs[rtm.Dst], m.Addrs[rtm.Gateway]
	if dst == nil || dst.Family() >= limit || gateway != nil && gateway.Family() >= limit {
		return errno.EINVAL
	}
	if _, _, ok := rtm.AddrOf(dst); !ok {
		if f := dst.Family(); f == rtm.AFInet || f == rtm.AFInet6 {
			return errno.EINVAL // too short
		}
		return errno.EAFNOSUPPORT
	}
	if m.Type != api.RTMGet && k.uid != 0 {
		return errno.EPERM
	}
	return nil
}

// carryOut does what a message asks for. It returns what was found for the
// systems, or nothing if the message itself is the answer, or told if the table
// tells everybody what it did.
func (k *socket) carryOut(m *rtm.Message) (found [2][]byte, told bool, err error) {
	ctx := context.Background()
	if m.Flags&uint32(api.Llinfo) != 0 && (m.Type == api.RTMAdd || m.Type == api.RTMDelete || m.Type == api.RTMGet) {
		found, err = k.neighbour(ctx, m)
		return found, false, err
	}
	req, err := k.request(m)
	if err != nil {
		return found, false, err
	}
	table := k.server.table
	switch m.Type {
	case api.RTMAdd:
		if m.Addrs[rtm.Gateway] == nil {
			return found, false, errno.EINVAL
		}
		_, err = table.RouteAdd(ctx, req)
	case api.RTMDelete:
		_, err = table.RouteDelete(ctx, req)
	case api.RTMChange:
		_, err = table.RouteChange(ctx, req)
	case api.RTMLock:
		req.LocksOnly = true
		_, err = table.RouteChange(ctx, req)
	case api.RTMGet:
		e, err := table.RouteGet(ctx, req)
		if err != nil {
			return found, false, err
		}
		found, err = k.found(m, func(v rtm.Version) *rtm.Message {
			return k.server.entry(v, api.RTMGet, e, rtm.Addrs(req.Sender.Addrs))
		})
		return found, false, err
	default:
		return found, false, errno.EOPNOTSUPP
	}
	return found, err == nil, err
}

// found makes the answer to a get for both systems.
func (k *socket) found(request *rtm.Message, message func(v rtm.Version) *rtm.Message) (found [2][]byte, err error) {
	for _, v := range []rtm.Version{rtm.FreeBSD, rtm.DragonFly} {
		m := message(v)
		m.Pid, m.Seq, m.Flags = int32(k.pid), request.Seq, m.Flags|uint32(api.Done)
		if found[at(v)], err = m.AppendDump(nil); err != nil {
			return found, errno.ENOBUFS
		}
	}
	return found, nil
}

// request makes a request of a message.
func (k *socket) request(m *rtm.Message) (api.RouteRequest, error) {
	req := api.RouteRequest{
		Flags: api.Flags(m.Flags) & api.Settable, Inits: api.MetricBits(m.Inits) & rtm.SettableMetrics(k.system),
		Metrics: rtm.FromMetrics(m.Metrics), Pid: k.pid, Seq: int(m.Seq), Sender: api.Sender{Socket: k.id, Addrs: uint32(m.Present())},
	}
	if k.system == rtm.FreeBSD && m.Type == api.RTMChange {
		req.Fmask = api.Flags(uint32(m.Use)) & api.Fmask
	}
	dst, _, _ := rtm.AddrOf(m.Addrs[rtm.Dst])
	bits := dst.BitLen()
	if mask := m.Addrs[rtm.Netmask]; mask != nil && m.Flags&uint32(api.Host) == 0 {
		var err error
		if bits, err = rtm.MaskBits(m.Addrs[rtm.Dst].Family(), mask); err != nil {
			return req, err
		}
		req.Exact = true
	}
	req.Dst = netip.PrefixFrom(dst, bits)
	if sa, ok := m.Addrs[rtm.Ifp].(rtm.Link); ok && m.Type != api.RTMGet {
		req.Ifp = k.server.linkName(sa)
	}
	if a, _, ok := rtm.AddrOf(m.Addrs[rtm.Ifa]); ok && m.Type != api.RTMGet {
		req.Ifa = a
	}
	return req, k.gateway(m, &req)
}

// gateway reads the gateway: an address, or a link or an own address for an
// interface route.
func (k *socket) gateway(m *rtm.Message, req *api.RouteRequest) error {
	if m.Type == api.RTMGet || m.Type == api.RTMLock {
		return nil
	}
	switch sa := m.Addrs[rtm.Gateway].(type) {
	case nil:
	case rtm.Link:
		if req.Interface = k.server.linkName(sa); req.Interface == "" {
			return errno.EINVAL
		}
	default:
		a, scope, ok := rtm.AddrOf(sa)
		if !ok {
			return errno.EINVAL // of another family, or too short
		}
		if scope != 0 {
			a = a.WithZone(k.server.indexName(scope))
		}
		discards := req.Flags&(api.Reject|api.Blackhole) != 0
		if m.Flags&uint32(api.Gateway) == 0 && m.Type == api.RTMAdd && !discards {
			req.Interface = a.String()
			return nil
		}
		req.Gateway = a
	}
	return nil
}

// neighbour adds, deletes or looks up an entry of the ARP or the neighbour
// discovery table, as arp(8) and ndp(8) do.
func (k *socket) neighbour(ctx context.Context, m *rtm.Message) (found [2][]byte, err error) {
	dst, _, _ := rtm.AddrOf(m.Addrs[rtm.Dst])
	table := k.server.table
	link, isLink := m.Addrs[rtm.Gateway].(rtm.Link)
	switch m.Type {
	case api.RTMAdd:
		if !isLink || link.Index == 0 || len(link.Addr) == 0 {
			return found, errno.EINVAL
		}
		return found, table.NeighbourSet(ctx, api.NeighbourRequest{
			Addr: dst, Lladdr: net.HardwareAddr(link.Addr).String(), Interface: k.server.linkName(link),
			Temporary: m.Metrics.Expire != 0,
		})
	case api.RTMDelete:
		filter := api.NeighbourFilter{Addr: dst}
		if isLink && link.Index != 0 {
			filter.Interface = k.server.linkName(link)
		}
		return found, table.NeighbourDelete(ctx, filter)
	}
	list, err := table.Neighbours(ctx, api.NeighbourFilter{Addr: dst})
	if err != nil {
		return found, err
	}
	if len(list) == 0 {
		return found, errno.ESRCH
	}
	return k.found(m, func(v rtm.Version) *rtm.Message { return k.server.llinfo(v, list[0]) })
}

// linkName returns the name of the interface that a link names, by its name or
// its index, or "".
func (s *Server) linkName(link rtm.Link) string {
	if link.Name != "" {
		return link.Name
	}
	if link.Index == 0 {
		return ""
	}
	return s.indexName(int(link.Index))
}

// indexName returns the name of the interface with an index, or its number.
func (s *Server) indexName(index int) string {
	if name, ok := s.interfaces.IndexToName(index); ok {
		return name
	}
	return strconv.Itoa(index)
}
