package route

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Attributes and flags that golang.org/x/sys/unix lacks; values of
// linux/neighbour.h.
const (
	ndaFlagsExt   = 15
	ntfProxy      = 0x08
	ntfExtManaged = 0x1
)

const (
	nudUsable = unix.NUD_REACHABLE | unix.NUD_STALE | unix.NUD_DELAY | unix.NUD_PROBE | unix.NUD_PERMANENT | unix.NUD_NOARP
	nudStatic = unix.NUD_PERMANENT | unix.NUD_NOARP
)

// kernelEvent is one notification of rtnetlink: of a route or of a neighbour.
type kernelEvent struct {
	deleted   bool
	flags     uint16 // NLM_F_* of the notification
	port      uint32 // netlink port of the process that asked, 0: the kernel itself
	route     *linuxRoute
	neighbour *linuxNeighbour
}

// subscription delivers notifications in the order of the kernel.
type subscription interface {
	// receive blocks for the next events. It fails with ENOBUFS when the
	// kernel dropped some; the subscription is of no use then.
	receive() ([]kernelEvent, error)
	close()
}

// kernel is what the Table needs of Linux. It is an interface so that the
// Table can be tested without one. Its methods may be called concurrently.
type kernel interface {
	subscribe(receiveBuffer int) (subscription, error)
	dumpRoutes(yield func(linuxRoute)) error
	dumpNeighbours(yield func(linuxNeighbour)) error
	dumpProxies(yield func(linuxNeighbour)) error // neighbours that Linux answers for

	// routeSet adds a route; with replace, in place of one of the same
	// destination and metric.
	routeSet(r linuxRoute, replace bool) error
	routeDelete(r linuxRoute) error

	// routeAdd adds routes and returns an error for each.
	routeAdd(routes []linuxRoute) []error

	routePort() uint32 // netlink port of routeSet and routeDelete

	neighbourSet(n linuxNeighbour, replace bool) error
	neighbourDelete(n linuxNeighbour) error
	close()
}

// rtnetlink is the kernel over sockets in one network namespace.
type rtnetlink struct {
	ns      netns.NsHandle
	routes  *nl.SocketHandle
	neighs  *nl.SocketHandle
	port    uint32
	skipped *atomic.Uint64 // messages that made no sense
}

func openRtnetlink(ns netns.NsHandle, skipped *atomic.Uint64) (*rtnetlink, error) {
	k := &rtnetlink{ns: ns, skipped: skipped}
	for _, handle := range []**nl.SocketHandle{&k.routes, &k.neighs} {
		socket, err := nl.GetNetlinkSocketAt(ns, netns.None(), unix.NETLINK_ROUTE)
		if err != nil {
			k.close()
			return nil, fmt.Errorf("open rtnetlink: %w", err)
		}
		*handle = &nl.SocketHandle{Socket: socket}
	}
	port, err := k.routes.Socket.GetPid()
	if err != nil {
		k.close()
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	k.port = port
	return k, nil
}

func (k *rtnetlink) close() {
	for _, handle := range []*nl.SocketHandle{k.routes, k.neighs} {
		if handle != nil {
			handle.Close()
		}
	}
}

func (k *rtnetlink) routePort() uint32 { return k.port }

type rtnetlinkSubscription struct {
	socket  *nl.NetlinkSocket
	skipped *atomic.Uint64
}

func (k *rtnetlink) subscribe(receiveBuffer int) (subscription, error) {
	// One socket for all groups keeps the order between routes and neighbours.
	socket, err := nl.SubscribeAt(k.ns, netns.None(), unix.NETLINK_ROUTE,
		unix.RTNLGRP_NEIGH, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("subscribe to rtnetlink: %w", err)
	}
	if err := socket.SetReceiveBufferSize(receiveBuffer, true); err != nil {
		// Without CAP_NET_ADMIN in the first user namespace.
		if err := socket.SetReceiveBufferSize(receiveBuffer, false); err != nil {
			socket.Close()
			return nil, fmt.Errorf("subscribe to rtnetlink: set receive buffer: %w", err)
		}
	}
	return &rtnetlinkSubscription{socket, k.skipped}, nil
}

func (s *rtnetlinkSubscription) close() { s.socket.Close() }

func (s *rtnetlinkSubscription) receive() ([]kernelEvent, error) {
	messages, from, err := s.socket.Receive()
	if err != nil {
		return nil, fmt.Errorf("receive from rtnetlink: %w", err)
	}
	if from.Pid != nl.PidKernel {
		return nil, nil
	}
	events := make([]kernelEvent, 0, len(messages))
	for _, m := range messages {
		event, err := parseEvent(m.Header.Type, m.Header.Flags, m.Header.Pid, m.Data)
		if err != nil {
			if !errors.Is(err, errFamily) {
				s.skipped.Add(1)
			}
			continue
		}
		events = append(events, event)
	}
	return events, nil
}

// parseEvent reads one notification.
func parseEvent(kind, flags uint16, port uint32, payload []byte) (kernelEvent, error) {
	event := kernelEvent{flags: flags, port: port}
	switch kind {
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		r, err := parseRoute(payload)
		if err != nil {
			return kernelEvent{}, err
		}
		event.route, event.deleted = &r, kind == unix.RTM_DELROUTE
	case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
		n, err := parseNeighbour(payload)
		if err != nil {
			return kernelEvent{}, err
		}
		event.neighbour, event.deleted = &n, kind == unix.RTM_DELNEIGH
	default:
		return kernelEvent{}, fmt.Errorf("message of type %d", kind)
	}
	return event, nil
}

// dumpTries is how often a dump that changed under way is repeated before
// what it gave is taken as it is.
const dumpTries = 5

// dump runs a dump on a socket of its own, so that a long one does not keep
// requests waiting.
func (k *rtnetlink) dump(request func() *nl.NetlinkRequest, reset func(), yield func([]byte)) error {
	socket, err := nl.GetNetlinkSocketAt(k.ns, netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	handle := &nl.SocketHandle{Socket: socket}
	defer handle.Close()
	for try := 1; ; try++ {
		reset()
		req := request()
		req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: handle}
		err := req.ExecuteIter(unix.NETLINK_ROUTE, 0, func(m []byte) bool {
			yield(m)
			return true
		})
		if !errors.Is(err, nl.ErrDumpInterrupted) || try == dumpTries {
			return err
		}
	}
}

func (k *rtnetlink) dumpRoutes(yield func(linuxRoute)) error {
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		var routes []linuxRoute
		err := k.dump(func() *nl.NetlinkRequest {
			req := nl.NewNetlinkRequest(unix.RTM_GETROUTE, unix.NLM_F_DUMP)
			req.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: family}})
			return req
		}, func() { routes = routes[:0] }, func(m []byte) {
			r, err := parseRoute(m)
			if err != nil {
				if !errors.Is(err, errFamily) {
					k.skipped.Add(1)
				}
				return
			}
			routes = append(routes, r)
		})
		if err != nil {
			return fmt.Errorf("dump routes: %w", err)
		}
		for _, r := range routes {
			yield(r)
		}
	}
	return nil
}

func (k *rtnetlink) dumpNeighbours(yield func(linuxNeighbour)) error {
	return k.dumpNeighbourTable(0, yield)
}

func (k *rtnetlink) dumpProxies(yield func(linuxNeighbour)) error {
	return k.dumpNeighbourTable(ntfProxy, yield)
}

func (k *rtnetlink) dumpNeighbourTable(flags uint8, yield func(linuxNeighbour)) error {
	var neighbours []linuxNeighbour
	err := k.dump(func() *nl.NetlinkRequest {
		req := nl.NewNetlinkRequest(unix.RTM_GETNEIGH, unix.NLM_F_DUMP)
		req.AddData(&ndMsg{flags: flags})
		return req
	}, func() { neighbours = neighbours[:0] }, func(m []byte) {
		n, err := parseNeighbour(m)
		if err != nil {
			if !errors.Is(err, errFamily) {
				k.skipped.Add(1)
			}
			return
		}
		neighbours = append(neighbours, n)
	})
	if err != nil {
		return fmt.Errorf("dump neighbours: %w", err)
	}
	for _, n := range neighbours {
		yield(n)
	}
	return nil
}

func execute(req *nl.NetlinkRequest, handle *nl.SocketHandle) error {
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: handle}
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

func (k *rtnetlink) routeSet(r linuxRoute, replace bool) error {
	flags := unix.NLM_F_CREATE | unix.NLM_F_ACK
	if replace {
		flags |= unix.NLM_F_REPLACE
	} else {
		flags |= unix.NLM_F_EXCL
	}
	req := nl.NewNetlinkRequest(unix.RTM_NEWROUTE, flags)
	addRoute(req, r, r.scope)
	if err := execute(req, k.routes); err != nil {
		return fmt.Errorf("set route to %s in Linux: %w", r.dst, err)
	}
	return nil
}

// addBatch is how many requests are sent at once: their answers must find room
// in the socket's buffer.
const addBatch = 64

func (k *rtnetlink) routeAdd(routes []linuxRoute) []error {
	errs := make([]error, 0, len(routes))
	for chunk := range slices.Chunk(routes, addBatch) {
		errs = append(errs, k.addChunk(chunk)...)
	}
	return errs
}

func (k *rtnetlink) addChunk(routes []linuxRoute) []error {
	errs := make([]error, len(routes))
	socket := k.routes.Socket
	socket.Lock()
	defer socket.Unlock()
	var buffer []byte
	first := atomic.AddUint32(&k.routes.Seq, uint32(len(routes))) - uint32(len(routes)) + 1
	for i, r := range routes {
		req := nl.NewNetlinkRequest(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_ACK|unix.NLM_F_EXCL)
		req.Seq = first + uint32(i)
		addRoute(req, r, r.scope)
		buffer = append(buffer, req.Serialize()...)
		buffer = append(buffer, make([]byte, (4-len(buffer)%4)%4)...)
	}
	_, err := unix.Write(socket.GetFd(), buffer)
	for answers := 0; err == nil && answers < len(routes); {
		var messages []syscall.NetlinkMessage
		if messages, _, err = socket.Receive(); err != nil {
			break
		}
		for _, m := range messages {
			i := m.Header.Seq - first
			if m.Header.Type != unix.NLMSG_ERROR || i >= uint32(len(routes)) || len(m.Data) < 4 {
				continue
			}
			answers++
			if code := int32(binary.NativeEndian.Uint32(m.Data)); code != 0 {
				errs[i] = fmt.Errorf("set route to %s in Linux: %w", routes[i].dst, unix.Errno(-code))
			}
		}
	}
	if err != nil {
		for i := range errs {
			errs[i] = fmt.Errorf("set routes in Linux: %w", err)
		}
	}
	return errs
}

func (k *rtnetlink) routeDelete(r linuxRoute) error {
	req := nl.NewNetlinkRequest(unix.RTM_DELROUTE, unix.NLM_F_ACK)
	addRoute(req, r, unix.RT_SCOPE_NOWHERE)
	if err := execute(req, k.routes); err != nil {
		return fmt.Errorf("delete route to %s in Linux: %w", r.dst, err)
	}
	return nil
}

// addRoute appends a route to a request.
func addRoute(req *nl.NetlinkRequest, r linuxRoute, scope uint8) {
	msg := unix.RtMsg{
		Family:   familyOf(r.dst.Addr()),
		Dst_len:  uint8(r.dst.Bits()),
		Tos:      r.tos,
		Table:    unix.RT_TABLE_MAIN,
		Protocol: r.protocol,
		Scope:    scope,
		Type:     r.kind,
	}
	if r.table != 0 && r.table < 256 {
		msg.Table = uint8(r.table)
	}
	if len(r.hops) == 1 {
		msg.Flags = uint32(r.hops[0].flags & unix.RTNH_F_ONLINK)
	}
	req.AddData(&nl.RtMsg{RtMsg: msg})
	if r.dst.Bits() > 0 {
		req.AddData(nl.NewRtAttr(unix.RTA_DST, r.dst.Addr().AsSlice()))
	}
	if r.priority != 0 {
		req.AddData(nl.NewRtAttr(unix.RTA_PRIORITY, nl.Uint32Attr(r.priority)))
	}
	if r.prefsrc.IsValid() {
		req.AddData(nl.NewRtAttr(unix.RTA_PREFSRC, r.prefsrc.AsSlice()))
	}
	if len(r.hops) == 1 {
		addHop(req, r.hops[0], r.dst.Addr())
	} else if len(r.hops) > 1 {
		multipath := nl.NewRtAttr(unix.RTA_MULTIPATH, nil)
		for _, hop := range r.hops {
			nexthop := &nl.RtNexthop{RtNexthop: unix.RtNexthop{
				Ifindex: int32(hop.ifindex),
				Hops:    uint8(hop.weight - 1),
			}}
			if hop.gateway.IsValid() {
				nexthop.Children = []nl.NetlinkRequestData{gatewayAttr(hop.gateway, r.dst.Addr())}
			}
			multipath.AddChild(nexthop)
		}
		req.AddData(multipath)
	}
	if r.mtu != 0 {
		metrics := nl.NewRtAttr(unix.RTA_METRICS, nil)
		metrics.AddRtAttr(unix.RTAX_MTU, nl.Uint32Attr(r.mtu))
		req.AddData(metrics)
	}
}

func addHop(req *nl.NetlinkRequest, hop linuxHop, dst netip.Addr) {
	if hop.ifindex != 0 {
		req.AddData(nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(hop.ifindex))))
	}
	if hop.gateway.IsValid() {
		req.AddData(gatewayAttr(hop.gateway, dst))
	}
}

func gatewayAttr(gateway, dst netip.Addr) *nl.RtAttr {
	if gateway.Is4() == dst.Is4() {
		return nl.NewRtAttr(unix.RTA_GATEWAY, gateway.AsSlice())
	}
	via := append(nl.Uint16Attr(uint16(familyOf(gateway))), gateway.AsSlice()...)
	return nl.NewRtAttr(unix.RTA_VIA, via)
}

func familyOf(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// ndMsg is struct ndmsg.
type ndMsg struct {
	family uint8
	index  uint32
	state  uint16
	flags  uint8
}

func (m *ndMsg) Len() int { return unix.SizeofNdMsg }

func (m *ndMsg) Serialize() []byte {
	b := []byte{m.family, 0, 0, 0}
	b = append(b, nl.Uint32Attr(m.index)...)
	b = append(b, nl.Uint16Attr(m.state)...)
	return append(b, m.flags, 0)
}

func (k *rtnetlink) neighbourSet(n linuxNeighbour, replace bool) error {
	flags := unix.NLM_F_CREATE | unix.NLM_F_ACK
	if replace {
		flags |= unix.NLM_F_REPLACE
	}
	req := nl.NewNetlinkRequest(unix.RTM_NEWNEIGH, flags)
	addNeighbour(req, n)
	if err := execute(req, k.neighs); err != nil {
		return fmt.Errorf("set neighbour %s in Linux: %w", n.addr, err)
	}
	return nil
}

func (k *rtnetlink) neighbourDelete(n linuxNeighbour) error {
	req := nl.NewNetlinkRequest(unix.RTM_DELNEIGH, unix.NLM_F_ACK)
	addNeighbour(req, n)
	if err := execute(req, k.neighs); err != nil {
		return fmt.Errorf("delete neighbour %s in Linux: %w", n.addr, err)
	}
	return nil
}

func addNeighbour(req *nl.NetlinkRequest, n linuxNeighbour) {
	req.AddData(&ndMsg{
		family: familyOf(n.addr),
		index:  uint32(n.ifindex),
		state:  n.state,
		flags:  n.flags,
	})
	req.AddData(nl.NewRtAttr(unix.NDA_DST, n.addr.AsSlice()))
	if len(n.lladdr) > 0 {
		req.AddData(nl.NewRtAttr(unix.NDA_LLADDR, n.lladdr))
	}
	if n.flagsExt != 0 {
		req.AddData(nl.NewRtAttr(ndaFlagsExt, nl.Uint32Attr(n.flagsExt)))
	}
}
