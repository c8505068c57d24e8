package slowpath_test

import (
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/netisr"
	"github.com/bsdnet/bsdnet/netisr/inet"
	"github.com/bsdnet/bsdnet/netisr/slowpath"
)

func TestNewNeedsItsParts(t *testing.T) {
	if stack, err := slowpath.New(slowpath.Config{}); err == nil || stack != nil {
		t.Error("a stack of nothing")
	}
	w := newWorld(t, router())
	config := slowpath.Config{Netisr: w.netisr, Interfaces: w, Nexthops: w, Resolver: w, Sender: w}
	if stack, err := slowpath.New(config); err == nil || stack != nil {
		t.Error("a second stack on one netisr")
	}
}

// quietWorld is a world without memory, for several threads.
type quietWorld struct {
	world
	asked, sent atomic.Uint64
}

func (w *quietWorld) Resolve(uint32, netip.Addr) slowpath.Neighbour {
	w.asked.Add(1)
	return slowpath.NeighbourPending
}

func (w *quietWorld) Send([]byte, int) error {
	w.sent.Add(1)
	return nil
}

// TestThreads runs everything at once on several threads, for the race
// detector, and counts that no packet is lost.
func TestThreads(t *testing.T) {
	w := &quietWorld{world: world{nexthops: map[uint32]bpf.Nexthop{1: {Flags: bpf.NexthopUp, Ifslot: 2}}}}
	var err error
	if w.pool, err = netisr.NewPool(make([]byte, worldPackets*2048), 2048); err != nil {
		t.Fatal(err)
	}
	var queues []netisr.Queue
	var memory []*netisr.MemoryQueue
	const threads = 3
	for range threads {
		queue, err := netisr.NewMemoryQueue(0)
		if err != nil {
			t.Fatal(err)
		}
		queues, memory = append(queues, queue), append(memory, queue)
	}
	if w.netisr, err = netisr.New(netisr.Config{Threads: threads, Dispatch: netisr.DispatchHybrid}, w.pool, queues); err != nil {
		t.Fatal(err)
	}
	settings := router()
	settings.ICMPLimit, settings.ICMP6Rate = 0, 0
	stack, err := slowpath.New(slowpath.Config{Netisr: w.netisr, Interfaces: w, Nexthops: w, Resolver: w, Routes: w, Sender: w, Settings: settings})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.netisr.Start(); err != nil {
		t.Fatal(err)
	}
	const rounds = 300
	for i := range rounds {
		host := i % 20
		for _, test := range []struct {
			reason bpf.Reason
			packet []byte
		}{
			{bpf.ReasonNetisrARP, ip4("", 8, 19, host+1)},
			{bpf.ReasonNetisrTTL, ip4("", 8, 15, host+1)},
			{bpf.ReasonNetisrTTL, ip6(17, make([]byte, 8), 23, host+1)},
			{bpf.ReasonNetisrOptions, ip4("\x01\x01\x01\x01", 8, 15, host+1)},
		} {
			memory[i%threads].Put(w.data(bpf.NetisrHeader{Reason: uint32(test.reason)}, test.packet))
		}
		stack.NeighbourChanged(2, netip.AddrFrom4([4]byte{10, 0, 1, byte(host + 1)}), slowpath.NeighbourValid)
		settings.MaxTries = i%5 + 1
		stack.SetSettings(settings)
		_ = stack.Stats()
	}
	done := func() bool {
		stats := stack.Stats()
		return w.sent.Load() == 2*rounds && stats.IP.Forward == rounds && stats.ARP.Held+stats.ARP.Dropped >= rounds
	}
	for deadline := time.Now().Add(10 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%+v, %d sent", stack.Stats(), w.sent.Load())
		}
	}
	for host := range 20 {
		stack.NeighbourChanged(2, netip.AddrFrom4([4]byte{10, 0, 1, byte(host + 1)}), slowpath.NeighbourValid)
	}
	for deadline := time.Now().Add(10 * time.Second); stack.Stats().ARP.Holding > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%+v", stack.Stats())
		}
	}
	if err := w.netisr.Stop(); err != nil {
		t.Error(err)
	}
	if got := w.pool.Available(); got != worldPackets {
		t.Errorf("%d of %d packets came back", got, worldPackets)
	}
}

// FuzzStack sends any packet for any reason. Whatever happens, what goes back
// and what is sent is well formed, and no packet is lost.
func FuzzStack(f *testing.F) {
	for reason := bpf.ReasonNetisrARP; reason < bpf.ReasonNetisrDown; reason++ {
		f.Add(uint32(reason), uint32(0), uint32(1), uint32(2), uint32(1), uint16(14), ip4("\x07\x07\x04\x00\x00\x00\x00\x44\x08\x05\x00\x00\x00\x00\x00", 1500))
		f.Add(uint32(reason), uint32(bpf.MHost), uint32(1), uint32(1), uint32(3), uint16(14), ip6(0, []byte{17, 0, 1, 4, 0, 0, 0, 0}))
	}
	settings := router()
	settings.ICMPLimit, settings.ICMP6Rate, settings.SourceRoute, settings.AcceptSourceRoute = 0, 0, true, true
	w := newWorld(f, settings)
	f.Fuzz(func(t *testing.T, reason, flags, rcvif, ifp, nexthop uint32, offset uint16, network []byte) {
		if len(network) > 9000 {
			return
		}
		data := w.data(bpf.NetisrHeader{Reason: reason, Flags: flags, Rcvif: rcvif, Ifp: ifp, Nexthop: nexthop}, network)
		data[40], data[41] = byte(offset), byte(offset>>8)
		w.queue.Put(data)
		w.clock.Advance(time.Second)
		w.step()
		w.asked = nil
		for _, message := range w.takeSent() {
			_, err4 := inet.Header4(message)
			if err4 != nil && inet.Header6(message) != nil {
				t.Errorf("sent %x", message)
			}
		}
		for _, back := range w.queue.Take() {
			if len(back) < int(bpf.NetisrHeaderLen) || back[45] == 0 || back[45] > byte(bpf.ResumeTunnelInput) {
				t.Errorf("went back: %x", back)
			}
		}
	})
}

// BenchmarkHandlers measures the handlers without sockets: one packet from
// receive to transmit.
func BenchmarkHandlers(b *testing.B) {
	for _, test := range []struct {
		name   string
		reason bpf.Reason
		packet []byte
	}{
		{"error", bpf.ReasonNetisrTTL, ip4("", 100)},
		{"error-6", bpf.ReasonNetisrTTL, ip6(17, make([]byte, 100))},
		{"options", bpf.ReasonNetisrOptions, ip4("\x01\x01\x01\x01", 8)},
		{"record-route", bpf.ReasonNetisrOptions, ip4("\x07\x07\x04\x00\x00\x00\x00\x00", 8)},
		{"hop-by-hop", bpf.ReasonNetisrOptions, ip6(0, []byte{17, 0, 1, 4, 0, 0, 0, 0})},
		{"fragment", bpf.ReasonNetisrFragment, ip4("", 1480)},
		{"redirect", bpf.ReasonNetisrRedirect, ip4("", 100)},
		{"unresolved", bpf.ReasonNetisrARP, ip4("", 100)},
	} {
		b.Run(test.name, func(b *testing.B) {
			settings := router()
			settings.ICMPLimit, settings.ICMP6Rate = 0, 0
			w := newAllocWorld(b, settings)
			data := w.data(bpf.NetisrHeader{Reason: uint32(test.reason)}, test.packet)
			thread := w.netisr.Thread(0)
			b.ReportAllocs()
			for b.Loop() {
				w.loop.put = data
				thread.Step()
			}
		})
	}
}
