package xsk_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/netisr/internal/nslab"
	"github.com/bsdnet/bsdnet/netisr/xsk"
)

// ends are two sockets that face each other over a veth pair.
type ends struct {
	ns   *nslab.Namespace
	veth nslab.Veth
	a, b *xsk.Socket
	umem *xsk.UMEM
}

func newEnds(t *testing.T, mtu int, config xsk.Config) ends {
	t.Helper()
	e := ends{ns: nslab.NewNamespace(t)}
	e.veth = e.ns.NewVeth(t, 1, mtu)
	umem, err := xsk.NewUMEM(xsk.UMEMConfig{Chunks: 256, ChunkSize: 4096})
	if err != nil {
		t.Fatal(err)
	}
	e.umem = umem
	t.Cleanup(func() {
		if err := umem.Close(); err != nil {
			t.Error(err)
		}
	})
	config.FillSize, config.CompletionSize, config.RxSize, config.TxSize = 64, 64, 64, 64
	open := func(index int) (socket *xsk.Socket) {
		e.ns.Do(t, func() {
			config := config
			config.Interface = index
			socket, err = xsk.Open(umem, config)
			if err != nil {
				t.Error(err)
			}
		})
		t.Cleanup(func() {
			if err := socket.Close(); err != nil {
				t.Error(err)
			}
		})
		return socket
	}
	e.a, e.b = open(e.veth.A.Index), open(e.veth.B.Index)
	for socket, iface := range map[*xsk.Socket]int{e.a: 0, e.b: 1} {
		sockets := nslab.NewSocketMap(t, 1)
		if err := sockets.Put(uint32(0), uint32(socket.FD())); err != nil {
			t.Fatal(err)
		}
		end := e.veth.A
		if iface == 1 {
			end = e.veth.B
		}
		e.ns.Attach(t, end, nslab.NewRedirector(t, sockets))
	}
	return e
}

// fill gives a socket the chunks from first to last.
func fill(t *testing.T, u *xsk.UMEM, s *xsk.Socket, first, last int) {
	t.Helper()
	var addrs []uint64
	for i := first; i <= last; i++ {
		addrs = append(addrs, uint64(i*u.ChunkSize()))
	}
	if n := s.Fill(addrs); n != len(addrs) {
		t.Fatalf("Fill took %d of %d", n, len(addrs))
	}
}

// receive waits for count descriptors.
func receive(t *testing.T, s *xsk.Socket, count int) []xsk.Desc {
	t.Helper()
	var got []xsk.Desc
	for deadline := time.Now().Add(5 * time.Second); len(got) < count; {
		if time.Now().After(deadline) {
			stats, _ := s.Stats()
			t.Fatalf("received %d of %d descriptors, %+v", len(got), count, stats)
		}
		poll := []unix.PollFd{{Fd: int32(s.FD()), Events: unix.POLLIN}}
		_, _ = unix.Poll(poll, 100)
		descs := make([]xsk.Desc, 16)
		n := s.Receive(descs)
		got = append(got, descs[:n]...)
	}
	return got
}

// frame returns a frame of length bytes that names itself.
func frame(length, number int) []byte {
	f := make([]byte, length)
	copy(f, "\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x01\x88\xb5")
	for i := 14; i < length; i++ {
		f[i] = byte(i*7 + number)
	}
	return f
}

func TestSocketCarriesFramesBothWays(t *testing.T) {
	e := newEnds(t, 1500, xsk.Config{Mode: xsk.ModeCopy})
	for round, way := range []struct{ from, to *xsk.Socket }{{e.a, e.b}, {e.b, e.a}} {
		fill(t, e.umem, way.to, round*64, round*64+31)
		area := e.umem.Area()
		var descs []xsk.Desc
		for i := range 20 {
			addr := uint64((128+round*32+i)*e.umem.ChunkSize() + 100)
			n := copy(area[addr:], frame(60+i, i))
			descs = append(descs, xsk.Desc{Addr: addr, Len: uint32(n)})
		}
		if n := way.from.Transmit(descs); n != len(descs) {
			t.Fatalf("Transmit took %d", n)
		}
		for way.from.Pending() {
			if err := way.from.Kick(); err != nil {
				t.Fatal(err)
			}
		}
		for i, desc := range receive(t, way.to, len(descs)) {
			if got := area[desc.Addr : desc.Addr+uint64(desc.Len)]; !bytes.Equal(got, frame(60+i, i)) {
				t.Errorf("frame %d arrived as %x", i, got)
			}
		}
		completed := make([]uint64, 64)
		if n := way.from.Complete(completed); n != len(descs) || completed[0] != descs[0].Addr {
			t.Errorf("completed %d, first %#x, want %d, %#x", n, completed[0], len(descs), descs[0].Addr)
		}
		stats, err := way.to.Stats()
		if err != nil {
			t.Fatal(err)
		}
		if stats != (xsk.Stats{TxRingEmptyDescs: stats.TxRingEmptyDescs}) {
			t.Errorf("unexpected losses: %+v", stats)
		}
	}
}

func TestSocketFallsBackToCopy(t *testing.T) {
	e := newEnds(t, 1500, xsk.Config{Mode: xsk.ModePrefer, MultiBuffer: true})
	if e.a.ZeroCopy() {
		t.Error("a veth claims zero copy")
	}
	if !e.a.MultiBuffer() || !e.b.MultiBuffer() {
		t.Error("no multi-buffer")
	}
}

func TestZeroCopyRefused(t *testing.T) {
	ns := nslab.NewNamespace(t)
	veth := ns.NewVeth(t, 1, 1500)
	umem, err := xsk.NewUMEM(xsk.UMEMConfig{Chunks: 16, ChunkSize: 2048})
	if err != nil {
		t.Fatal(err)
	}
	ns.Do(t, func() {
		if s, err := xsk.Open(umem, xsk.Config{Interface: veth.A.Index, Mode: xsk.ModeZeroCopy}); err == nil {
			t.Error("zero copy on a veth was accepted")
			s.Close()
		}
	})
	if err := umem.Close(); err != nil {
		t.Error("after a failed Open:", err)
	}
}

func TestMultiBuffer(t *testing.T) {
	e := newEnds(t, 9000, xsk.Config{MultiBuffer: true})
	fill(t, e.umem, e.b, 0, 31)
	want := frame(9014, 3)
	area := e.umem.Area()
	var descs []xsk.Desc
	for rest, chunk := want, 128; len(rest) > 0; chunk++ {
		addr := uint64(chunk * e.umem.ChunkSize())
		n := copy(area[addr:addr+uint64(e.umem.ChunkSize())], rest)
		rest = rest[n:]
		desc := xsk.Desc{Addr: addr, Len: uint32(n)}
		if len(rest) > 0 {
			desc.Options = xsk.PacketContinued
		}
		descs = append(descs, desc)
	}
	e.a.Transmit(descs)
	if err := e.a.Kick(); err != nil {
		t.Fatal(err)
	}
	var got []byte
	for more := true; more; {
		for _, desc := range receive(t, e.b, 1) {
			got = append(got, area[desc.Addr:desc.Addr+uint64(desc.Len)]...)
			more = desc.Options&xsk.PacketContinued != 0
		}
	}
	if !bytes.Equal(got, want) {
		t.Errorf("arrived with %d bytes, want %d", len(got), len(want))
	}
}

func TestStatsCountWantOfChunks(t *testing.T) {
	e := newEnds(t, 1500, xsk.Config{})
	area := e.umem.Area()
	n := copy(area[128*4096:], frame(60, 1))
	e.a.Transmit([]xsk.Desc{{Addr: 128 * 4096, Len: uint32(n)}})
	if err := e.a.Kick(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		stats, err := e.b.Stats()
		if err != nil {
			t.Fatal(err)
		}
		if stats.RxFillRingEmpty > 0 || stats.RxDropped > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no loss was counted: %+v", stats)
		}
	}
}

func TestInvalidConfig(t *testing.T) {
	for _, config := range []xsk.UMEMConfig{
		{Chunks: 16, ChunkSize: 1024}, {Chunks: 16, ChunkSize: 3000}, {Chunks: 16, ChunkSize: 8192},
		{Chunks: 0, ChunkSize: 2048}, {Chunks: 16, ChunkSize: 2048, Headroom: 2048}, {Chunks: 16, ChunkSize: 2048, Headroom: -1},
	} {
		if umem, err := xsk.NewUMEM(config); err == nil || umem != nil {
			t.Errorf("%+v: %v, %v", config, umem, err)
		}
	}
	umem, err := xsk.NewUMEM(xsk.UMEMConfig{Chunks: 16, ChunkSize: 2048})
	if err != nil {
		t.Fatal(err)
	}
	defer umem.Close()
	for _, config := range []xsk.Config{{RxSize: 3}, {TxSize: -4}, {Interface: 1 << 20}} {
		if s, err := xsk.Open(umem, config); err == nil || s != nil {
			t.Errorf("%+v: %v, %v", config, s, err)
		}
	}
}

func TestUMEMIsNotReleasedUnderSockets(t *testing.T) {
	e := newEnds(t, 1500, xsk.Config{})
	if err := e.umem.Close(); err == nil {
		t.Fatal("Close released memory in use")
	}
	if got := fmt.Sprint(e.a.Queue(), e.umem.Chunks()); got != "0 256" {
		t.Error(got)
	}
}

func TestTransferDoesNotAllocate(t *testing.T) {
	e := newEnds(t, 1500, xsk.Config{})
	fill(t, e.umem, e.b, 0, 31)
	copy(e.umem.Area()[128*4096:], frame(60, 1))
	descs, addrs := make([]xsk.Desc, 1), make([]uint64, 16)
	allocations := testing.AllocsPerRun(100, func() {
		descs[0] = xsk.Desc{Addr: 128 * 4096, Len: 60}
		e.a.Transmit(descs)
		_ = e.a.Kick()
		for e.b.Receive(descs) == 0 {
		}
		addrs[0] = descs[0].Addr
		e.b.Fill(addrs[:1])
		e.a.Complete(addrs)
	})
	if allocations != 0 {
		t.Errorf("%v allocations for a packet", allocations)
	}
}
