package command

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/bsdnet/bsdnet/errno"
	"github.com/bsdnet/bsdnet/route/api"
	"github.com/bsdnet/bsdnet/route/rtm"
)

// ctime is the layout of ctime(3).
const ctime = time.ANSIC

// monitor prints what comes from a routing socket until the context ends.
func (r *routeRun) monitor(ctx context.Context) int {
	if r.json {
		return r.monitorJSON(ctx)
	}
	socket, err := r.Socket(ctx)
	if err != nil {
		return r.report("route", err)
	}
	defer socket.Close()
	stop := context.AfterFunc(ctx, func() { socket.Close() })
	defer stop()
	packet := make([]byte, rtm.MaxLen)
	for {
		n, err := socket.Read(packet)
		switch {
		case ctx.Err() != nil || errors.Is(err, io.EOF):
			return 0
		case err != nil:
			r.warn("route", "read: %v", err)
			return 1
		}
		r.printPacket(packet[:n])
	}
}

// monitorJSON prints messages as lines of JSON.
func (r *routeRun) monitorJSON(ctx context.Context) int {
	for {
		err := r.Backend.Monitor(ctx, func(m api.Message) error { return json.NewEncoder(r.Stdout).Encode(m) })
		switch {
		case ctx.Err() != nil || err == nil:
			return 0
		case errors.Is(err, api.ENOBUFS):
			r.warn("route", "read from routing socket: %v", api.ENOBUFS)
		default:
			return r.report("route", err)
		}
	}
}

// printPacket prints what one read of the socket gave.
func (r *routeRun) printPacket(packet []byte) {
	m, err := rtm.Decode(packet)
	switch {
	case err == nil:
		if dst, _, ok := rtm.AddrOf(m.Addrs[rtm.Dst]); ok && r.family != api.Unspec && !r.family.Has(dst) {
			return
		}
		r.printf("\ngot message of size %d on %s\n", len(packet), r.now().Format(ctime))
		r.printMessage(m, len(packet))
	case errors.Is(err, errno.EPROTONOSUPPORT):
		r.printf("\ngot message of size %d on %s\n", len(packet), r.now().Format(ctime))
		r.printf("routing message version %d not understood\n", packet[2])
	case errors.Is(err, errno.EOPNOTSUPP) && lostMessages(packet):
		r.warn("route", "read: %v", errno.ENOBUFS)
	case errors.Is(err, errno.EOPNOTSUPP):
		r.printf("\ngot message of size %d on %s\n", len(packet), r.now().Format(ctime))
		r.printf("unknown type %d: len %d, type: %d, len: %d\n", packet[3], binary.LittleEndian.Uint16(packet), packet[3], len(packet))
	default:
		r.printf("\ngot message of size %d on %s\n", len(packet), r.now().Format(ctime))
		r.printf("\nprint_rtmsg: truncated route message, only %d bytes left\n", len(packet))
	}
}

// lostMessages reports whether a message is the one by which a routing socket
// of bsdnet tells that it lost some; see docs/route.md.
func lostMessages(packet []byte) bool { return packet[3] == 0xf2 }

// printMessage prints a message in words.
func (r *routeRun) printMessage(m *rtm.Message, size int) {
	r.printf("%s: len %d, ", m.Type.Text(), size)
	switch m.Type {
	case api.RTMIfinfo:
		r.printf("if# %d, link: %s, flags:%s", m.Index, api.LinkState(m.Data.LinkState), api.Ifflags(m.Flags))
		r.printSockaddrs(m)
	case api.RTMNewaddr, api.RTMDeladdr:
		r.printf("metric %d, flags:%s", m.Metric, api.Flags(m.Flags))
		r.printSockaddrs(m)
	case api.RTMNewmaddr, api.RTMDelmaddr:
		r.printSockaddrs(m)
	case api.RTMIfannounce:
		what := fmt.Sprintf("#%d", m.What)
		switch m.What {
		case rtm.Arrival:
			what = "arrival"
		case rtm.Departure:
			what = "departure"
		}
		r.printf("if# %d, what: %s\n", m.Index, what)
	case api.RTMIeee80211:
		r.printf("type: %d, len: %d\n", m.Type, size)
	default:
		r.printf("pid: %d, seq %d, errno %d, flags:%s", m.Pid, m.Seq, m.Errno, api.Flags(m.Flags))
		r.printCommon(m)
	}
}

// printCommon prints metrics and sockaddrs of a message about a route.
func (r *routeRun) printCommon(m *rtm.Message) {
	r.printf("\nlocks: %s inits: %s", api.MetricBits(m.Metrics.Locks), api.MetricBits(m.Inits))
	if m.Present() != 0 {
		r.printSockaddrs(m)
	}
}

// addrNames are the names of sockaddrs by their place.
var addrNames = []string{"DST", "GATEWAY", "NETMASK", "GENMASK", "IFP", "IFA", "AUTHOR", "BRD"}

func (r *routeRun) printSockaddrs(m *rtm.Message) {
	var names, values []string
	for i, sa := range m.Addrs[:len(addrNames)] {
		if sa != nil {
			names = append(names, addrNames[i])
			values = append(values, " "+r.sockaddrName(sa))
		}
	}
	if names == nil {
		r.printf("\n")
		return
	}
	r.printf("\nsockaddrs: <%s>\n%s\n", strings.Join(names, ","), strings.Join(values, ""))
}

// sockaddrName returns the name of a sockaddr as routename of route(8) does.
func (r *routeRun) sockaddrName(sa rtm.Sockaddr) string {
	if a, scope, ok := rtm.AddrOf(sa); ok {
		if scope != 0 {
			a = a.WithZone(r.interfaceName(scope))
		}
		return r.routename(a)
	}
	if link, ok := sa.(rtm.Link); ok {
		return linkNtoa(link)
	}
	if raw, ok := sa.(rtm.Raw); ok && len(raw) == 0 && !r.numeric {
		return "default"
	}
	text := fmt.Sprintf("(%d)", sa.Family())
	octets, err := rtm.AppendSockaddr(nil, sa)
	if err != nil {
		return text
	}
	for at := 2; at < int(octets[0]); at += 2 {
		text += fmt.Sprintf(" %x", binary.LittleEndian.Uint16(octets[at:]))
	}
	return text
}

func (r *routeRun) interfaceName(index int) string {
	if r.IndexToName != nil {
		if name, ok := r.IndexToName(index); ok {
			return name
		}
	}
	return fmt.Sprint(index)
}

// linkNtoa formats a link address as link_ntoa(3) does, and as route(8) does
// where there is none.
func linkNtoa(l rtm.Link) string {
	if l.Name == "" && l.Addr == "" && l.Selector == "" {
		return fmt.Sprintf("link#%d", l.Index)
	}
	if l.Addr == "" {
		return l.Name
	}
	text := ""
	if l.Name != "" {
		text = l.Name + ":"
	}
	for i, octet := range []byte(l.Addr) {
		if i > 0 {
			text += "."
		}
		text += fmt.Sprintf("%x", octet)
	}
	return text
}

// answer makes the message by which a routing socket would answer a get.
func answer(e api.Rtentry) *rtm.Message {
	m := rtm.FromEntry(rtm.FreeBSD, api.RTMGet, e)
	m.Flags |= uint32(api.Done)
	m.Addrs[rtm.Ifp] = rtm.LinkOf(e.Interface)
	if e.Ifa.IsValid() {
		m.Addrs[rtm.Ifa] = rtm.IP(e.Ifa, e.Interface.Index)
	}
	return m
}

// length returns the length of a message that is not sent.
func length(m *rtm.Message) int {
	b, err := m.Append(nil)
	if err != nil {
		return 0
	}
	return len(b)
}

// sodump prints a sockaddr of a request as -v does.
func (r *routeRun) sodump(which string, sa rtm.Sockaddr) {
	if link, ok := sa.(rtm.Link); ok {
		text := ""
		if link.Name != "" || link.Addr != "" {
			text = linkNtoa(link)
		}
		r.printf("RTA_%s: link %s; ", which, text)
		return
	}
	a, _, ok := rtm.AddrOf(sa)
	if !ok {
		return
	}
	family := "inet"
	if a.Is6() {
		family = "inet6"
	}
	r.printf("RTA_%s: %s %s; ", which, family, a)
}

// message makes the message that carries the request.
func (r *routeRun) message() *rtm.Message {
	req := r.request
	e := api.Rtentry{Dst: req.Dst, Gateway: req.Gateway.WithZone(""), Flags: req.Flags | api.Up, Metrics: req.Metrics}
	if r.isHost {
		e.Flags |= api.Host
	}
	if req.Interface == "" {
		e.Flags |= api.Gateway
	}
	types := map[string]api.MessageType{"add": api.RTMAdd, "change": api.RTMChange, "get": api.RTMGet, "show": api.RTMGet}
	typ, ok := types[r.command]
	if !ok {
		typ = api.RTMDelete
		e.Flags |= api.Pinned
	}
	m := rtm.FromEntry(rtm.FreeBSD, typ, e)
	m.Seq, m.Inits = 1, uint64(req.Inits)
	m.Metrics.Weight = req.Metrics.Weight
	switch {
	case req.Interface != "":
		m.Addrs[rtm.Gateway] = rtm.Link{Name: req.Interface}
	case !req.Gateway.IsValid():
		m.Addrs[rtm.Gateway] = nil
	}
	if req.Ifp != "" {
		m.Addrs[rtm.Ifp] = rtm.Link{Name: req.Ifp, Len: rtm.NullLink}
	} else if typ == api.RTMGet {
		m.Addrs[rtm.Ifp] = rtm.Link{Len: rtm.NullLink}
	}
	if req.Ifa.IsValid() {
		m.Addrs[rtm.Ifa] = rtm.IP(req.Ifa, 0)
	}
	return m
}

// printRequest prints a request as -v does: its sockaddrs, then the message
// that carries it.
func (r *routeRun) printRequest() {
	m := r.message()
	for _, i := range []int{rtm.Dst, rtm.Gateway, rtm.Netmask, rtm.Genmask, rtm.Ifp, rtm.Ifa} {
		if m.Addrs[i] != nil {
			r.sodump(addrNames[i], m.Addrs[i])
		}
	}
	r.printMessage(m, length(m))
}

// printGet prints a route as route get does.
func (r *routeRun) printGet(e api.Rtentry) {
	m := answer(e)
	r.printf("   route to: %s\n", r.routename(r.request.Dst.Addr()))
	r.printf("destination: %s\n", r.sockaddrName(m.Addrs[rtm.Dst]))
	if mask := m.Addrs[rtm.Netmask]; mask != nil {
		r.printf("       mask: %s\n", r.sockaddrName(mask))
	}
	if m.Flags&uint32(api.Gateway) != 0 {
		gateway := e.Gateway
		if gateway.IsValid() {
			r.printf("    gateway: %s\n", r.routename(scoped(gateway, e.Interface.Name)))
		}
	}
	r.printf("        fib: %d\n", e.Fib)
	if e.Interface.Name != "" {
		r.printf("  interface: %s\n", e.Interface.Name)
	}
	r.printf("      flags: %s\n", api.Flags(m.Flags))
	r.printMetrics(m.Metrics)
	if r.verbose {
		r.printCommon(m)
	}
}

// printMetrics prints the table of metrics of route get. An L marks what is
// locked.
func (r *routeRun) printMetrics(m rtm.Metrics) {
	r.printf("%9s %9s %9s %9s %9s %10s %9s\n", "recvpipe", "sendpipe", "ssthresh", "rtt,msec", "mtu   ", "weight", "expire")
	lock := func(bit api.MetricBits) string {
		if api.MetricBits(m.Locks)&bit != 0 {
			return "L"
		}
		return " "
	}
	expire := int64(m.Expire)
	if expire > 0 {
		expire -= r.now().Unix()
	}
	r.printf("%8d%s ", m.Recvpipe, lock(api.RTVRpipe))
	r.printf("%8d%s ", m.Sendpipe, lock(api.RTVSpipe))
	r.printf("%8d%s ", m.Ssthresh, lock(api.RTVSsthresh))
	r.printf("%8d%s ", (m.Rtt+500)/1000, lock(api.RTVRtt))
	r.printf("%8d%s ", m.Mtu, lock(api.RTVMtu))
	r.printf("%8d%s ", m.Weight, lock(api.RTVWeight))
	r.printf("%8d%s\n", expire, lock(api.RTVExpire))
}

// routename returns the name of a host: by name unless -n was given.
func (r *routeRun) routename(a netip.Addr) string {
	if !r.numeric {
		if a.IsUnspecified() {
			return "default"
		}
		if name, ok := r.name(a); ok {
			return name
		}
	}
	return a.String()
}
