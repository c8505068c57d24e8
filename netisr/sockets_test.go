package netisr_test

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/netisr"
	"github.com/bsdnet/bsdnet/netisr/internal/nslab"
)

// end is a netisr on one end of a veth pair that keeps what it receives.
type end struct {
	sockets *netisr.Sockets
	netisr  *netisr.Netisr
	mu      sync.Mutex
	got     []string // thread and data of each packet
}

func newEnd(t *testing.T, ns *nslab.Namespace, index, queues int, handler netisr.Handler) *end {
	t.Helper()
	e := new(end)
	ns.Do(t, func() {
		var err error
		if e.sockets, err = netisr.OpenSockets(netisr.SocketConfig{Interface: index, Queues: queues, RingSize: 256}); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		if err := e.sockets.Close(); err != nil {
			t.Error(err)
		}
	})
	var err error
	if e.netisr, err = netisr.New(netisr.Config{Threads: queues}, e.sockets.Pool(), e.sockets.Queues()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.netisr.Stop(); err != nil {
			t.Error(err)
		}
	})
	if handler == nil {
		handler = func(th *netisr.Thread, p *netisr.Packet) {
			e.mu.Lock()
			e.got = append(e.got, fmt.Sprint(th.ID(), p.Header().Resume, p.Header().Rcvif, " ", string(p.Frame())))
			e.mu.Unlock()
			th.Free(p)
		}
	}
	register(t, e.netisr, netisr.Protocol{Number: netisr.ProtocolIP, Name: "ip", Handler: handler})
	if err := e.netisr.Start(); err != nil {
		t.Fatal(err)
	}
	return e
}

// attach lets packets in.
func (e *end) attach(t *testing.T, l nslab.Veth, ns *nslab.Namespace, b bool) {
	t.Helper()
	sockets := nslab.NewSocketMap(t, len(e.sockets.Sockets()))
	for queue, socket := range e.sockets.Sockets() {
		if err := sockets.Put(uint32(queue), uint32(socket.FD())); err != nil {
			t.Fatal(err)
		}
	}
	iface := l.A
	if b {
		iface = l.B
	}
	ns.Attach(t, iface, nslab.NewRedirector(t, sockets))
}

// TestSocketsThereAndBack sends frames of every size from one netisr to
// another, on two queues, and compares what comes back.
func TestSocketsThereAndBack(t *testing.T) {
	ns := nslab.NewNamespace(t)
	veth := ns.NewVeth(t, 2, 9200)
	near := newEnd(t, ns, veth.B.Index, 2, func(th *netisr.Thread, p *netisr.Packet) {
		p.Header().Resume = uint8(bpf.ResumeForward)
		th.Transmit(p)
	})
	far := newEnd(t, ns, veth.A.Index, 2, nil)
	near.attach(t, veth, ns, true)
	far.attach(t, veth, ns, false)

	var want []string
	for id := range 2 {
		for _, length := range []int{28, 46, 1500, 1600, 1700, 1792, 3000, 9000} {
			frame := udpFrame([4]byte{10, 0, 0, byte(id)}, [4]byte{10, 0, 1, 1}, 1, 2, length)
			for i := 42; i < len(frame); i++ {
				frame[i] = byte(i * 7)
			}
			want = append(want, fmt.Sprint(id, bpf.ResumeForward, 40+id, " ", string(frame)))
			err := far.netisr.Post(id, func(th *netisr.Thread) {
				p := th.Alloc(len(frame))
				h := p.Header()
				h.Af, h.L3Off, h.IpLen, h.Rcvif = 4, 14, uint16(length), uint32(40+id)
				h.EtherDhost, h.EtherShost = [6]uint8{2, 0, 0, 0, 0, 2}, [6]uint8{2, 0, 0, 0, 0, 1}
				p.SetFrame(frame)
				th.Transmit(p)
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually(t, "all packets back", func() bool {
		far.mu.Lock()
		defer far.mu.Unlock()
		return len(far.got) >= len(want)
	})
	counts := map[string]int{}
	for _, packet := range want {
		counts[packet]++
	}
	for _, packet := range far.got {
		if counts[packet]--; counts[packet] < 0 {
			t.Errorf("unexpected packet of %d bytes: %.20q", len(packet), packet)
		}
	}
	for id, ws := range near.netisr.Stats().Workstreams {
		if ws.Received != 8 || ws.Transmitted != 8 || ws.OutputDrops+ws.BadHeader+ws.NoProtocol+ws.Errors != 0 {
			t.Errorf("thread %d: %+v", id, ws)
		}
	}
}

// TestSocketsSteadyState sends many packets through one thread, and counts
// what the whole process allocates meanwhile.
func TestSocketsSteadyState(t *testing.T) {
	window := nslab.NewWindow(t)
	l := newLab(t, 1, 1500, netisr.Config{Threads: 1}, netisr.SocketConfig{})
	count := uint64(0)
	register(t, l.netisr, netisr.Protocol{
		Number: netisr.ProtocolIP, Name: "ip",
		Handler: func(th *netisr.Thread, p *netisr.Packet) { count++; th.Transmit(p) },
	})
	l.netisr.RegisterRollup(0, func(*netisr.Thread) { atomic.StoreUint64(window.Handled(), count) })
	l.start(t)
	generator := nslab.Generator{Program: nslab.NewTransmitter(t, window, 256), Interface: l.veth.A}
	generator.Packet = packet(bpf.NetisrHeader{L3Off: 14, IpLen: 50, Af: 4}, udpFrame([4]byte{10, 0, 0, 1}, [4]byte{10, 0, 1, 1}, 1, 2, 50))
	l.ns.Do(t, func() {
		send := func() {
			if err := generator.Send(1000000); err != nil {
				t.Error(err)
			}
		}
		send()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		first := atomic.LoadUint64(window.Handled())
		send()
		runtime.ReadMemStats(&after)
		handled := atomic.LoadUint64(window.Handled()) - first
		if handled < 1000 {
			t.Errorf("only %d packets were handled", handled)
		}
		if allocations := after.Mallocs - before.Mallocs; allocations > handled/20 {
			t.Errorf("%d allocations for %d packets", allocations, handled)
		}
	})
	handled := func() uint64 { return atomic.LoadUint64(window.Handled()) }
	eventually(t, "all handled", func() bool { return handled() == atomic.LoadUint64(window.Sent()) })
	eventually(t, "all arrived", func() bool { return l.sent() == handled() })
	all, err := l.sockets.Stats()
	if err != nil {
		t.Error(err)
	}
	for _, stats := range all {
		if stats.RxDropped+stats.RxInvalidDescs+stats.TxInvalidDescs+stats.RxRingFull+stats.RxFillRingEmpty != 0 {
			t.Errorf("%+v", stats)
		}
	}
}
