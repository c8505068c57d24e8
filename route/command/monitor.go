package command

import (
	"encoding/json"
	"net/netip"
	"strings"
	"time"

	"github.com/bsdnet/bsdnet/route/api"
)

// The lengths in bytes of FreeBSD's messages on a 64-bit machine.
const (
	lenRtMsghdr  = 152
	lenIfMsghdr  = 168
	lenIfaMsghdr = 20
	lenIfanMsg   = 24
)

// sockaddr is one address of a message: an IP address or a link.
type sockaddr struct {
	name string // of its bit: "DST", "GATEWAY" ...
	addr netip.Addr
	link api.Link
}

// size returns the bytes that the sockaddr takes, rounded up to 8.
func (s sockaddr) size() int {
	switch {
	case !s.addr.IsValid():
		return 56 // struct sockaddr_dl
	case s.addr.Is4():
		return 16
	}
	return 32
}

// sockaddrs returns the addresses of a message in the order of their bits.
func sockaddrs(m api.Message) []sockaddr {
	var list []sockaddr
	add := func(name string, a netip.Addr) {
		if a.IsValid() {
			list = append(list, sockaddr{name: name, addr: a})
		}
	}
	hasLink := m.Link != api.Link{}
	switch m.Type {
	case api.RTMIfinfo, api.RTMIfannounce:
		return nil
	case api.RTMNewaddr, api.RTMDeladdr:
		if m.Addr.IsValid() {
			add("NETMASK", mask(m.Addr))
		}
		if hasLink {
			list = append(list, sockaddr{name: "IFP", link: m.Link})
		}
		add("IFA", m.Addr.Addr())
		add("BRD", m.Brd)
		return list
	}
	add("DST", m.Dst.Addr())
	if m.Gateway.IsValid() {
		add("GATEWAY", scoped(m.Gateway, m.Link.Name))
	} else if hasLink {
		list = append(list, sockaddr{name: "GATEWAY", link: m.Link})
	}
	if m.Dst.IsValid() && !m.Dst.IsSingleIP() {
		add("NETMASK", mask(m.Dst))
	}
	add("AUTHOR", m.Author)
	return list
}

// messageLen returns the length of a message on FreeBSD's routing socket.
func messageLen(m api.Message) int {
	n := lenRtMsghdr
	switch m.Type {
	case api.RTMIfinfo:
		n = lenIfMsghdr
	case api.RTMNewaddr, api.RTMDeladdr:
		n = lenIfaMsghdr
	case api.RTMIfannounce:
		n = lenIfanMsg
	}
	for _, s := range sockaddrs(m) {
		n += s.size()
	}
	return n
}

// ctime is the layout of ctime(3).
const ctime = time.ANSIC

// printMonitored prints a message as route monitor does, or as one line of
// JSON.
func (r *routeRun) printMonitored(m api.Message) error {
	if r.json {
		return json.NewEncoder(r.Stdout).Encode(m)
	}
	if r.family != api.Unspec && m.Dst.IsValid() && !r.family.Has(m.Dst.Addr()) {
		return nil
	}
	r.printf("\ngot message of size %d on %s\n", messageLen(m), m.Time.Format(ctime))
	r.printMessage(m)
	return nil
}

// printMessage prints a routing message in words.
func (r *routeRun) printMessage(m api.Message) {
	if text := m.Type.Text(); text != "" {
		r.printf("%s: ", text)
	} else {
		r.printf("unknown type %d: ", m.Type)
	}
	r.printf("len %d, ", messageLen(m))
	switch m.Type {
	case api.RTMIfinfo:
		r.printf("if# %d, link: %s, flags:%s\n", m.Link.Index, m.LinkState, m.Ifflags)
	case api.RTMNewaddr, api.RTMDeladdr:
		r.printf("metric 0, flags:%s", m.Flags)
		r.printSockaddrs(m)
	case api.RTMIfannounce:
		what := "arrival"
		if m.Departure {
			what = "departure"
		}
		r.printf("if# %d, what: %s\n", m.Link.Index, what)
	default:
		r.printf("pid: %d, seq %d, errno %d, flags:%s", m.Pid, m.Seq, m.Errno.Number(), m.Flags)
		r.printCommon(m)
	}
}

func (r *routeRun) printCommon(m api.Message) {
	r.printf("\nlocks: %s inits: %s", m.Metrics.Locks, m.Inits)
	r.printSockaddrs(m)
}

func (r *routeRun) printSockaddrs(m api.Message) {
	list := sockaddrs(m)
	if len(list) == 0 {
		r.printf("\n")
		return
	}
	var names []string
	for _, s := range list {
		names = append(names, s.name)
	}
	r.printf("\nsockaddrs: <%s>\n", strings.Join(names, ","))
	for _, s := range list {
		if s.addr.IsValid() {
			r.printf(" %s", r.routename(s.addr))
		} else {
			r.printf(" %s", linkAddr(s.link))
		}
	}
	r.printf("\n")
}
