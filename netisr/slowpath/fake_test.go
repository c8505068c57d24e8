package slowpath_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"time"
	"unsafe"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/netisr"
	"github.com/bsdnet/bsdnet/netisr/inet"
	"github.com/bsdnet/bsdnet/netisr/slowpath"
)

// world is a router with two interfaces, everything about it in memory.
//
//	em0, slot 1: 10.0.0.254/24, fe80::1:1/64, 2001:db8::fe/64
//	em1, slot 2: 10.0.1.254/24, fe80::1:2/64, 2001:db8:1::fe/64, MTU 1400
//	em2, slot 3: no address
type world struct {
	tb       testing.TB
	netisr   *netisr.Netisr
	stack    *slowpath.Stack
	queue    *netisr.MemoryQueue
	pool     *netisr.Pool
	clock    netisr.FakeClock
	nexthops map[uint32]bpf.Nexthop
	asked    []string           // of the resolver
	answer   slowpath.Neighbour // of the resolver
	sent     [][]byte           // ICMP messages
	refuse   bool               // sending fails
	keep     bool               // remember sent messages
}

const worldPackets = 2048

var interfaces = map[uint32]*slowpath.Interface{
	1: {Index: 11, Name: "em0", MTU: 1500, Prefixes: prefixes("10.0.0.254/24", "fe80::1:1/64", "2001:db8::fe/64")},
	2: {Index: 12, Name: "em1", MTU: 1400, Prefixes: prefixes("10.0.1.254/24", "fe80::1:2/64", "2001:db8:1::fe/64")},
	3: {Index: 13, Name: "em2", MTU: 1500},
}

func prefixes(texts ...string) (list []netip.Prefix) {
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

func (w *world) Interface(slot uint32) (*slowpath.Interface, bool) {
	ifp, ok := interfaces[slot]
	return ifp, ok
}

func (w *world) Local(addr netip.Addr) bool {
	for _, ifp := range interfaces {
		for _, prefix := range ifp.Prefixes {
			if prefix.Addr() == addr {
				return true
			}
		}
	}
	return false
}

func (w *world) Nexthop(number uint32) (bpf.Nexthop, bool) {
	nexthop, ok := w.nexthops[number]
	return nexthop, ok
}

func (w *world) Route(destination netip.Addr) (uint32, bool) {
	switch {
	case destination.Is4() && destination.As4()[0] == 99:
		return 0, false
	case destination.Is4() && destination.As4()[2] == 1:
		return 2, true
	}
	return 1, true
}

func (w *world) Resolve(slot uint32, addr netip.Addr) slowpath.Neighbour {
	if ifp, ok := interfaces[slot]; ok {
		w.asked = append(w.asked, ifp.Name+" "+addr.String())
	}
	return w.answer
}

func (w *world) Send(packet []byte, index int) error {
	if w.refuse {
		return errors.New("refused")
	}
	if w.keep {
		w.sent = append(w.sent, bytes.Clone(packet))
	}
	return nil
}

func newWorld(tb testing.TB, settings slowpath.Settings) *world {
	tb.Helper()
	w := &world{tb: tb, keep: true, nexthops: map[uint32]bpf.Nexthop{
		1: {Flags: bpf.NexthopUp, Ifslot: 2},
		2: {Flags: bpf.NexthopUp | bpf.NexthopGateway, Ifslot: 2, Gateway: [16]byte{10, 0, 1, 9}},
		3: {Flags: bpf.NexthopUp | bpf.NexthopGateway | bpf.NexthopGateway6, Ifslot: 2, Gateway: [16]byte{0xfe, 0x80, 15: 9},
			Lladdr: [6]uint8{2, 0, 0, 0, 0, 9}, State: uint16(bpf.NeighbourValid)},
		4: {Flags: bpf.NexthopUp, Ifslot: 2, Mtu: 600},
		5: {Flags: bpf.NexthopUp | bpf.NexthopGateway, Ifslot: 1, Gateway: [16]byte{10, 0, 0, 9}},
	}}
	var err error
	if w.pool, err = netisr.NewPool(make([]byte, worldPackets*2048), 2048); err != nil {
		tb.Fatal(err)
	}
	if w.queue, err = netisr.NewMemoryQueue(0); err != nil {
		tb.Fatal(err)
	}
	if w.netisr, err = netisr.New(netisr.Config{Threads: 1, Clock: &w.clock}, w.pool, []netisr.Queue{w.queue}); err != nil {
		tb.Fatal(err)
	}
	w.stack, err = slowpath.New(slowpath.Config{
		Netisr: w.netisr, Interfaces: w, Nexthops: w, Resolver: w, Routes: w, Sender: w, Settings: settings,
		TimeOfDay: func() time.Duration { return 12 * time.Hour },
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		held := int(w.stack.Stats().ARP.Holding)
		if err := w.netisr.Stop(); err != nil {
			tb.Error(err)
		}
		if got := w.pool.Available(); got != worldPackets-held {
			tb.Errorf("%d packets of %d came back, %d are held", got, worldPackets, held)
		}
	})
	return w
}

// router are the settings of most tests.
func router() slowpath.Settings {
	settings := slowpath.DefaultSettings()
	settings.Forwarding, settings.Forwarding6 = true, true
	return settings
}

// put sends an IP packet to the slow path and lets it be handled.
func (w *world) put(header bpf.NetisrHeader, network []byte) {
	w.queue.Put(w.data(header, network))
	w.step()
}

// data is the packet as the data path sends it.
func (w *world) data(header bpf.NetisrHeader, network []byte) []byte {
	header.Magic, header.EtherType = uint16(bpf.NetisrMagic), 0xb588
	header.L3Off, header.Af = 14, 4
	if len(network) > 0 && network[0]>>4 == 6 {
		header.Af = 6
	}
	header.IpLen = uint16(len(network))
	if header.Rcvif == 0 {
		header.Rcvif = 1
	}
	if header.Ifp == 0 {
		header.Ifp = 2
	}
	if header.Nexthop == 0 {
		header.Nexthop = 1
	}
	data := bytes.Clone(unsafe.Slice((*byte)(unsafe.Pointer(&header)), bpf.NetisrHeaderLen))
	data = append(data, "\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x08\x00"...)
	return append(data, network...)
}

func (w *world) step() {
	for w.netisr.Thread(0).Step() > 0 {
	}
}

// returned is a packet that went back into the data path.
type returned struct {
	bpf.NetisrHeader
	network []byte
}

func (w *world) take() (packets []returned) {
	for _, data := range w.queue.Take() {
		header := *(*bpf.NetisrHeader)(unsafe.Pointer(unsafe.SliceData(data)))
		packets = append(packets, returned{header, data[bpf.NetisrHeaderLen+14:]})
	}
	return packets
}

// takeSent returns the ICMP messages sent since the last call.
func (w *world) takeSent() [][]byte {
	sent := w.sent
	w.sent = nil
	return sent
}

// ip4 is an IPv4 packet from 10.0.0.1 to 10.0.1.1.
func ip4(options string, payload int, edits ...int) []byte {
	header := 20 + (len(options)+3)&^3
	p := make([]byte, header+payload)
	p[0], p[8], p[9] = 0x40|byte(header/4), 64, 17
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	copy(p[12:], "\x0a\x00\x00\x01\x0a\x00\x01\x01")
	copy(p[20:], options)
	for i := range payload {
		p[header+i] = byte(i)
	}
	for i := 0; i < len(edits); i += 2 {
		p[edits[i]] = byte(edits[i+1])
	}
	if header := int(p[0]&0xf) * 4; header >= 20 && header <= len(p) {
		inet.SetChecksum4(p)
	}
	return p
}

// ip6 is an IPv6 packet from 2001:db8::1 to 2001:db8:1::1.
func ip6(next byte, rest []byte, edits ...int) []byte {
	p := append([]byte{0x60, 0, 0, 0, byte(len(rest) >> 8), byte(len(rest)), next, 64}, make([]byte, 32)...)
	copy(p[8:], "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01")
	copy(p[24:], "\x20\x01\x0d\xb8\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01")
	p = append(p, rest...)
	for i := 0; i < len(edits); i += 2 {
		p[edits[i]] = byte(edits[i+1])
	}
	return p
}
