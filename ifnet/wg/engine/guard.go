package engine

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

// guard keeps the tunnel from carrying its own packets: it asks for the way to
// an endpoint before it sends there, and knows its own packets again where a
// filter turned them into the tunnel all the same. It also says whether the
// source address that an endpoint was last reached by is still good, which
// wireguard-go finds out only for sockets that are not wrapped.
type guard struct {
	index  int // of the interface
	counts *counters
	port   atomic.Uint32
	mark   atomic.Uint32
	events *nl.NetlinkSocket
	closed atomic.Bool

	mu      sync.RWMutex
	paths   map[pathKey]*path
	records map[netip.AddrPort]*record
	asker   *netlink.Handle
	asked   int // questions in this second
	second  int64
}

// pathKey is an endpoint with the address and interface by which it was last
// reached.
type pathKey struct {
	to     netip.AddrPort
	from   netip.Addr
	device int32
}

// path is the way to an endpoint.
type path struct {
	loop   bool // it leads into the tunnel
	sticky bool // the source address is still good
	*record
}

// record is the receiver indexes of what was sent to an endpoint last, the
// newer one in the lower half.
type record struct{ indexes atomic.Uint64 }

const (
	pathsMax = 4096
	// Spoofed handshakes under load make answers to any number of addresses.
	questionsMax = 500 // a second
)

// newGuard makes the guard of an interface. Without rtnetlink everything is
// let through.
func newGuard(name string, counts *counters) *guard {
	g := &guard{counts: counts, paths: make(map[pathKey]*path), records: make(map[netip.AddrPort]*record)}
	if ifp, err := net.InterfaceByName(name); err == nil {
		g.index = ifp.Index
	}
	var err error
	if g.asker, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		g.asker = nil
	}
	if g.events, err = nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE,
		unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV6_RULE); err == nil {
		go g.follow()
	}
	return g
}

func (g *guard) close() {
	g.closed.Store(true)
	if g.events != nil {
		g.events.Close()
	}
}

// follow forgets all ways whenever one may have changed.
func (g *guard) follow() {
	for {
		_, _, _ = g.events.Receive() // an error may mean that events were lost
		if g.closed.Load() {
			return
		}
		g.forget()
		time.Sleep(10 * time.Millisecond) // many routes may change at once
	}
}

func (g *guard) forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.paths)
}

// path returns the way to an endpoint.
func (g *guard) path(endpoint *conn.StdNetEndpoint) *path {
	key := pathKey{endpoint.AddrPort, endpoint.SrcIP(), endpoint.SrcIfidx()}
	g.mu.RLock()
	p := g.paths[key]
	g.mu.RUnlock()
	if p != nil {
		return p
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	p = &path{sticky: true, record: g.recordOf(key.to)}
	if g.mayAsk() {
		g.ask(key, p)
	}
	if len(g.paths) >= pathsMax {
		clear(g.paths)
	}
	g.paths[key] = p
	return p
}

// recordOf returns the record of an endpoint; g.mu is held.
func (g *guard) recordOf(to netip.AddrPort) *record {
	r := g.records[to]
	if r == nil {
		if len(g.records) >= pathsMax {
			clear(g.records)
		}
		r = &record{}
		g.records[to] = r
	}
	return r
}

// mayAsk says whether there is time for another question; g.mu is held.
func (g *guard) mayAsk() bool {
	if now := time.Now().Unix(); now != g.second {
		g.second, g.asked = now, 0
	}
	g.asked++
	return g.asker != nil && g.asked <= questionsMax
}

// ask asks the kernel where an endpoint is; g.mu is held.
func (g *guard) ask(key pathKey, p *path) {
	to := key.to.Addr()
	if to.IsLinkLocalUnicast() {
		return // on the interface of its zone
	}
	options := netlink.RouteGetOptions{Mark: g.mark.Load()}
	routes, err := g.asker.RouteGetWithOptions(to.AsSlice(), &options)
	if err != nil || len(routes) == 0 {
		p.sticky = false // the kernel shall say why not
		return
	}
	p.loop = routes[0].LinkIndex == g.index
	if !key.from.IsValid() {
		return
	}
	options.SrcAddr = key.from.AsSlice()
	routes, err = g.asker.RouteGetWithOptions(to.AsSlice(), &options)
	p.sticky = err == nil && len(routes) > 0 && routes[0].LinkIndex == int(key.device)
}

// sent notes for whom a message is that is sent.
func (r *record) sent(message []byte) {
	if len(message) < 8 {
		return
	}
	index := uint64(binary.LittleEndian.Uint32(message[4:]))
	if old := r.indexes.Load(); old&0xffffffff != index {
		r.indexes.Store(old<<32 | index)
	}
}

// own reports whether an IP packet is a datagram that this process sent a
// moment ago: from its port, to an endpoint, for the same receiver.
func (g *guard) own(packet []byte) bool {
	from, to, message := datagram(packet)
	if len(message) < 8 || uint32(from) != g.port.Load() {
		return false
	}
	g.mu.RLock()
	r := g.records[to]
	g.mu.RUnlock()
	if r == nil {
		return false
	}
	index, indexes := uint64(binary.LittleEndian.Uint32(message[4:])), r.indexes.Load()
	return index == indexes&0xffffffff || index == indexes>>32
}

// datagram returns the source port, the destination and the payload of a UDP
// packet, nothing of another.
func datagram(packet []byte) (from uint16, to netip.AddrPort, payload []byte) {
	var udp []byte
	var dst netip.Addr
	switch {
	case len(packet) >= 20 && packet[0]>>4 == 4:
		length := int(packet[0]&15) * 4
		if packet[9] != unix.IPPROTO_UDP || length < 20 || len(packet) < length || binary.BigEndian.Uint16(packet[6:])&0x1fff != 0 {
			return 0, to, nil
		}
		dst, udp = netip.AddrFrom4([4]byte(packet[16:20])), packet[length:]
	case len(packet) >= 40 && packet[0]>>4 == 6:
		if udp = packet[40:]; packet[6] != unix.IPPROTO_UDP {
			if packet[6] != unix.IPPROTO_FRAGMENT || len(udp) < 8 || udp[0] != unix.IPPROTO_UDP || binary.BigEndian.Uint16(udp[2:])&0xfff8 != 0 {
				return 0, to, nil
			}
			udp = udp[8:]
		}
		dst = netip.AddrFrom16([16]byte(packet[24:40]))
	}
	if len(udp) < 8 {
		return 0, to, nil
	}
	return binary.BigEndian.Uint16(udp), netip.AddrPortFrom(dst, binary.BigEndian.Uint16(udp[2:])), udp[8:]
}
