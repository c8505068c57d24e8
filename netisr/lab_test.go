package netisr_test

import (
	"testing"
	"unsafe"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/netisr"
	"github.com/bsdnet/bsdnet/netisr/internal/nslab"
)

// lab is a netisr on one end of a veth pair.
type lab struct {
	ns      *nslab.Namespace
	veth    nslab.Veth
	sockets *netisr.Sockets
	netisr  *netisr.Netisr
	sent    func() uint64 // packets that reached the other end
}

// newLab opens the sockets and makes the netisr; the caller registers
// protocols and calls start.
func newLab(tb testing.TB, queues, mtu int, config netisr.Config, socketConfig netisr.SocketConfig) *lab {
	tb.Helper()
	l := &lab{ns: nslab.NewNamespace(tb)}
	l.veth = l.ns.NewVeth(tb, queues, mtu)
	counter := nslab.NewCounter(tb)
	l.ns.Attach(tb, l.veth.A, nslab.NewSink(tb, counter))
	l.sent = func() uint64 { return nslab.ReadCounter(tb, counter) }
	l.ns.Do(tb, func() {
		socketConfig.Interface, socketConfig.Queues = l.veth.B.Index, queues
		sockets, err := netisr.OpenSockets(socketConfig)
		if err != nil {
			tb.Error(err)
			return
		}
		l.sockets = sockets
	})
	tb.Cleanup(func() {
		if err := l.sockets.Close(); err != nil {
			tb.Error(err)
		}
	})
	n, err := netisr.New(config, l.sockets.Pool(), l.sockets.Queues())
	if err != nil {
		tb.Fatal(err)
	}
	l.netisr = n
	tb.Cleanup(func() {
		if err := n.Stop(); err != nil {
			tb.Error(err)
		}
	})
	return l
}

// start runs the threads and lets packets in.
func (l *lab) start(tb testing.TB) {
	tb.Helper()
	if err := l.netisr.Start(); err != nil {
		tb.Fatal(err)
	}
	sockets := nslab.NewSocketMap(tb, len(l.sockets.Sockets()))
	for queue, socket := range l.sockets.Sockets() {
		if err := sockets.Put(uint32(queue), uint32(socket.FD())); err != nil {
			tb.Fatal(err)
		}
	}
	l.ns.Attach(tb, l.veth.B, nslab.NewRedirector(tb, sockets))
}

// packet puts the header of the data path before a frame.
func packet(header bpf.NetisrHeader, frame []byte) []byte {
	header.Magic, header.EtherType = uint16(bpf.NetisrMagic), 0xb588
	header.EtherDhost = [6]uint8{2, 0, 0, 0, 0, 2}
	header.EtherShost = [6]uint8{2, 0, 0, 0, 0, 1}
	data := append([]byte(nil), unsafe.Slice((*byte)(unsafe.Pointer(&header)), bpf.NetisrHeaderLen)...)
	return append(data, frame...)
}

// udpFrame is a frame with an IPv4 UDP packet whose checksums are not set.
func udpFrame(source, destination [4]byte, sport, dport uint16, length int) []byte {
	frame := make([]byte, 14+length)
	copy(frame, "\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x08\x00")
	ip := frame[14:]
	ip[0], ip[2], ip[3], ip[8], ip[9] = 0x45, byte(length>>8), byte(length), 64, 17
	copy(ip[12:], source[:])
	copy(ip[16:], destination[:])
	ip[20], ip[21], ip[22], ip[23] = byte(sport>>8), byte(sport), byte(dport>>8), byte(dport)
	return frame
}
