package difftest

import (
	"bytes"
	"net/netip"
	"time"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/loader"
	"github.com/bsdnet/bsdnet/pf/conf"
	"github.com/bsdnet/bsdnet/pf/reference"
)

// segment is a step of a script: who sends what.
type segment struct {
	server bool
	flags  uint8
	data   int
}

const (
	fin  = reference.FIN
	syn  = reference.SYN
	rst  = reference.RST
	push = reference.PUSH
	ack  = reference.ACK
)

func client(flags uint8, data int) segment { return segment{false, flags, data} }
func server(flags uint8, data int) segment { return segment{true, flags, data} }

// scripts are the lives of TCP connections.
var scripts = map[string][]segment{
	"whole connection": {client(syn, 0), server(syn|ack, 0), client(ack, 0), client(push|ack, 100), server(ack, 0), server(push|ack, 1300),
		client(ack, 0), server(push|ack, 10), client(push|ack, 10), client(fin|ack, 0), server(ack, 0), server(fin|ack, 0), client(ack, 0)},
	"port reuse": {client(syn, 0), server(syn|ack, 0), client(ack, 0), client(fin|ack, 0), server(fin|ack, 0), client(ack, 0),
		client(syn, 0), server(syn|ack, 0), client(ack, 0)},
	"answer first":      {server(syn|ack, 0), client(ack, 0), client(push|ack, 30), server(ack, 0)},
	"simultaneous open": {client(syn, 0), server(syn, 0), client(syn|ack, 0), server(syn|ack, 0), client(push|ack, 20), server(ack, 0)},
	"taken up midway":   {client(push|ack, 200), server(push|ack, 300), client(ack, 0), server(push|ack, 20), client(fin|ack, 0), server(fin|ack, 0), client(ack, 0)},
	"refused":           {client(syn, 0), server(rst|ack, 0), client(syn, 0), server(rst|ack, 0)},
	"reset by client":   {client(syn, 0), server(syn|ack, 0), client(ack, 0), client(push|ack, 50), client(rst, 0), server(push|ack, 50)},
	"reset by server":   {client(syn, 0), server(syn|ack, 0), client(ack, 0), server(push|ack, 50), server(rst|ack, 0), client(ack, 0)},
	"closed by server": {client(syn, 0), server(syn|ack, 0), client(ack, 0), server(fin|ack, 5), client(push|ack, 40), server(ack, 0), client(fin|ack, 0),
		server(ack, 0)},
	"long talk": {client(syn, 0), server(syn|ack, 0), client(ack, 0), client(push|ack, 100), server(ack, 0), client(push|ack, 200), server(ack, 0),
		server(push|ack, 1300), client(ack, 0), server(push|ack, 1300), server(push|ack, 700), client(ack, 0), client(ack, 0), client(push|ack, 10),
		server(push|ack, 90), client(push|ack, 80), server(push|ack, 70), client(ack, 0), client(fin|ack, 0), server(fin|ack, 0), client(ack, 0)},
	"one side seen": {client(syn, 0), client(ack, 0), client(push|ack, 10), client(fin|ack, 0), client(ack, 0)},
}

var scriptNames = []string{"whole connection", "port reuse", "answer first", "simultaneous open", "taken up midway", "refused",
	"reset by client", "reset by server", "closed by server", "one side seen", "long talk"}

// peer is an end of a flow.
type peer struct {
	end   netip.AddrPort
	iface string // where its packets come in; for the host, where they go out
	host  bool   // the router itself
	next  uint32 // sequence number
	scale conf.Optional
	last  *wire // sent last
	seen  *wire // arrived last, as it arrived
}

// flow is one conversation: who talks, and what each side believes.
type flow struct {
	protocol uint8
	name     string
	script   []segment
	peers    [2]peer
	kind     uint8 // of ICMP
	id       uint16
}

// flow makes a conversation between two ends that a ruleset may know.
func (g *generator) flow(x *trial) *flow {
	family := g.family()
	near, far := inside, outside
	if g.chance(30) {
		near, far = far, near
	}
	f := &flow{protocol: pick(g, []uint8{6, 6, 6, 6, 17, 17, 1, 1, 47})}
	c, s := &f.peers[0], &f.peers[1]
	clientIP := netip.MustParseAddr(pick(g, hosts[near+family]))
	serverIP := netip.MustParseAddr(pick(g, hosts[far+family]))
	switch n := g.IntN(20); {
	case n < 4:
		serverIP = netip.MustParseAddr(pick(g, routersOwn[family]))
	case n == 4:
		serverIP = netip.MustParseAddr(pick(g, hosts[near+family])) // hairpin
	case n == 5 && x.build == loader.TC:
		clientIP, c.host = netip.MustParseAddr(pick(g, routersOwn[family])), true
		near = routeOf(serverIP)
	}
	c.iface, s.iface = near, routeOf(serverIP)
	if isLocal(serverIP) {
		s.host, s.iface = true, near
	}
	c.end = netip.AddrPortFrom(clientIP, uint16(pick(g, []int{53, 443, 1000, 1024, 1025, 5000, 40000, 50000})))
	s.end = netip.AddrPortFrom(serverIP, uint16(pick(g, ports)))
	c.next, s.next = g.Uint32(), g.Uint32()
	if g.chance(20) {
		c.next = 0xffffff00 // wraps around
	}
	if g.chance(60) {
		c.scale = conf.Some(uint8(g.IntN(16)))
	}
	if g.chance(60) {
		s.scale = conf.Some(uint8(g.IntN(10)))
	}
	f.id = uint16(1 + g.IntN(4))
	switch f.protocol {
	case reference.TCP:
		f.name = pick(g, scriptNames)
		f.script = scripts[f.name]
	case reference.ICMP:
		f.name, f.kind = "icmp", pick(g, []uint8{8, 8, 8, 13, 10})
		if family == "6" {
			f.protocol, f.kind = reference.ICMPv6, pick(g, []uint8{128, 128, 133})
		}
		fallthrough
	default:
		if f.name == "" {
			f.name = "datagrams"
		}
		for range 2 + g.IntN(10) {
			f.script = append(f.script, segment{server: g.chance(40), data: g.IntN(60)})
		}
		f.script[0].server = g.chance(5)
	}
	return f
}

// packet makes the next packet of a side.
func (g *generator) packet(f *flow, step segment) wire {
	from, to := &f.peers[btoi(step.server)], &f.peers[btoi(!step.server)]
	w := wire{Payload: bytes.Repeat([]byte{byte(g.IntN(256))}, step.data)}
	w.TTL = 64
	w.Protocol = f.protocol
	src, dst := from.end, to.end
	if from.seen != nil {
		// It answers what it saw.
		src, dst = netip.AddrPortFrom(from.seen.Dst, from.seen.DstPort), netip.AddrPortFrom(from.seen.Src, from.seen.SrcPort)
	}
	w.Src, w.Dst = src.Addr(), dst.Addr()
	switch f.protocol {
	case reference.TCP:
		w.SrcPort, w.DstPort = src.Port(), dst.Port()
		w.TCP = reference.TCPHeader{Flags: step.flags, Seq: from.next, Window: uint16(g.IntN(65536))}
		if g.chance(60) {
			w.TCP.Window = 65535
		}
		if step.flags&ack != 0 {
			w.TCP.Ack = to.next
		}
		if step.flags&syn != 0 {
			w.TCP.Scale = from.scale
			w.TCP.MSS = pick(g, []uint16{0, 1460, 1460, 1301, 1305, 536})
		}
		from.next += uint32(step.data)
		if step.flags&(syn|fin) != 0 {
			from.next++
		}
	case reference.UDP:
		w.SrcPort, w.DstPort = src.Port(), dst.Port()
		w.NoSum = w.Src.Is4() && g.chance(10)
	case reference.ICMP, reference.ICMPv6:
		w.ICMP = reference.ICMPHeader{Type: f.kind, ID: f.id}
		if step.server {
			w.ICMP.Type = map[uint8]uint8{8: 0, 13: 14, 10: 9, 128: 129, 133: 134}[f.kind]
			if from.seen != nil {
				w.ICMP.ID = from.seen.ICMP.ID
			}
		}
	}
	if g.chance(12) {
		w.TOS = pick(g, []uint8{0x10, 0x11, 0x03})
	}
	w.DF = w.Src.Is4() && g.chance(40)
	return w
}

// spoil makes a packet of a flow an unusual one.
func (g *generator) spoil(w *wire) {
	switch n := g.IntN(14); {
	case n == 0:
		w.Options = true
		switch {
		case g.chance(70):
		case w.Src.Is4():
			w.Protocol, w.TTL = reference.IGMP, uint8(1+g.IntN(2))
		default:
			w.Protocol, w.TTL, w.ICMP = reference.ICMPv6, uint8(1+g.IntN(2)), reference.ICMPHeader{Type: uint8(130 + g.IntN(4))}
		}
	case n == 1:
		g.fragment(w)
	case n == 2:
		w.DstPort = 0
	case w.Protocol != reference.TCP:
	case n == 3:
		w.TCP.Flags = uint8(g.IntN(64))
	case n == 4:
		w.TCP.Seq += 1 << (10 + g.IntN(21))
	case n == 5:
		w.TCP.Seq -= 1 << (5 + g.IntN(26))
	case n == 6:
		w.TCP.Ack += 1 << (5 + g.IntN(26))
	case n == 7:
		w.TCP.Ack -= 1 << (5 + g.IntN(26))
	case n == 8:
		w.TCP.Window = 0
	case n == 9:
		w.TCP.Flags = rst
		w.TCP.Seq += uint32(g.IntN(5)) - 2
		w.Payload = nil
	case n == 10:
		w.TCP.Flags = rst | ack
		w.TCP.Seq -= uint32(g.IntN(3000))
		w.Payload = nil
	case n == 11:
		w.TCP.Flags &^= ack
	case n == 12:
		w.TCP.Ack = 0
	case n == 13:
		w.TCP.Flags |= fin
	}
}

// fragment makes a packet the first or a later part of another.
func (g *generator) fragment(w *wire) {
	w.Fragment, w.ID = true, uint16(g.IntN(65536))
	if g.chance(50) {
		w.Offset, w.Payload = 100, make([]byte, 32)
	}
}

// traffic sends several conversations through a trial, mixed.
func (g *generator) traffic(x *trial, packets int, kinds map[string]int) {
	flows := []*flow{}
	for n := 0; n < packets && !x.failed; n++ {
		if len(flows) == 0 || len(flows) < 4 && g.chance(15) {
			f := g.flow(x)
			kinds[f.name]++
			flows = append(flows, f)
		}
		i := g.IntN(len(flows))
		f := flows[i]
		switch c := g.IntN(100); {
		case c < 4:
			x.advance(time.Duration(1+g.IntN(40)) * time.Second)
			kinds["time passes"]++
		case c < 5:
			x.advance(time.Duration(1+g.IntN(30)) * time.Hour)
			kinds["much time passes"]++
		case c < 12:
			g.icmpError(x, f, kinds)
			continue
		case c < 17 && f.peers[0].last != nil:
			kinds["repeated"]++
			g.deliver(x, f, 0, *f.peers[0].last)
			continue
		}
		step := f.script[0]
		w := g.packet(f, step)
		if g.chance(12) {
			kinds["spoiled"]++
			g.spoil(&w)
		} else if g.chance(2 + 10*btoi(g.scrubs)) {
			g.fragment(&w)
		}
		g.deliver(x, f, btoi(step.server), w)
		f.script = f.script[1:]
		if len(f.script) == 0 {
			flows = append(flows[:i], flows[i+1:]...)
		}
	}
}

// deliver sends a packet of one side; if it arrives, the other has seen it.
func (g *generator) deliver(x *trial, f *flow, side int, w wire) {
	from, to := &f.peers[side], &f.peers[1-side]
	if from.host && x.build == loader.XDP {
		return // what the host sends never meets that build
	}
	if isLocal(w.Src) != from.host {
		return // translated to the router, or from it
	}
	sent := w
	sent.finish()
	from.last = &sent
	got := x.send(w, from.iface, from.host)
	if got.out == nil || got.out.Fragment || got.out.Protocol != f.protocol {
		return
	}
	to.seen = got.out
	to.host = got.reason == bpf.ReasonLocal
	if !to.host {
		to.iface = got.iface
	} else {
		to.iface = from.iface
	}
}

// icmpError lets somebody on the way, or the receiver, complain about the last
// packet that a side saw.
func (g *generator) icmpError(x *trial, f *flow, kinds map[string]int) {
	side := g.IntN(2)
	p := &f.peers[side]
	if p.seen == nil || p.host {
		return
	}
	about := *p.seen
	about.QuotedBytes = pick(g, []int{8, 8, 28, 0})
	from := about.Dst
	if g.chance(40) {
		from = netip.MustParseAddr(map[bool]string{true: "203.0.113.250", false: "2001:db8:2::fa"}[about.Src.Is4()])
	}
	kind, code := pick(g, []uint8{3, 3, 11, 4, 12}), uint8(g.IntN(4))
	if from.Is6() {
		kind = pick(g, []uint8{1, 2, 3, 4})
	}
	switch n := g.IntN(12); {
	case n >= 10 && f.protocol == reference.TCP:
		about.TCP.Seq += 1 << 30
		kinds["icmp error, wrong sequence number"]++
	case n == 1 && (f.protocol == reference.TCP || f.protocol == reference.UDP):
		about.DstPort ^= 1
		kinds["icmp error, wrong port"]++
	}
	e := quote(from, kind, code, &about)
	if g.chance(8) {
		e.Dst = netip.MustParseAddr(pick(g, hosts[inside+map[bool]string{true: "4", false: "6"}[from.Is4()]]))
		kinds["icmp error, wrong destination"]++
	}
	kinds["icmp error"]++
	x.send(e, p.iface, false)
}
