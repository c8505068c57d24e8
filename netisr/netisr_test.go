package netisr_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/netisr"
)

// rig is a netisr without devices.
type rig struct {
	*netisr.Netisr
	pool   *netisr.Pool
	queues []*netisr.MemoryQueue
	clock  *netisr.FakeClock
}

const rigPackets = 4096

func newRig(tb testing.TB, threads int, config netisr.Config) *rig {
	tb.Helper()
	pool, err := netisr.NewPool(make([]byte, rigPackets*2048), 2048)
	if err != nil {
		tb.Fatal(err)
	}
	r := &rig{pool: pool, clock: new(netisr.FakeClock)}
	var queues []netisr.Queue
	for range threads {
		queue, err := netisr.NewMemoryQueue(0)
		if err != nil {
			tb.Fatal(err)
		}
		r.queues = append(r.queues, queue)
		queues = append(queues, queue)
	}
	config.Threads, config.Clock = threads, r.clock
	if r.Netisr, err = netisr.New(config, pool, queues); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := r.Stop(); err != nil {
			tb.Error(err)
		}
		if got := pool.Available(); got != rigPackets {
			tb.Errorf("%d of %d packets came back", got, rigPackets)
		}
	})
	return r
}

// eventually waits until a condition holds.
func eventually(tb testing.TB, what string, condition func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(5 * time.Second); !condition(); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(deadline) {
			tb.Fatal("never: " + what)
		}
	}
}

func ipPacket(source byte) []byte {
	return packet(bpf.NetisrHeader{Af: 4, L3Off: 14, IpLen: 40, Rcvif: uint32(source)},
		udpFrame([4]byte{10, 0, 0, source}, [4]byte{10, 0, 1, 1}, 1000, 2000, 40))
}

func register(tb testing.TB, n *netisr.Netisr, protocol netisr.Protocol) {
	tb.Helper()
	if err := n.Register(protocol); err != nil {
		tb.Fatal(err)
	}
}

func TestRegister(t *testing.T) {
	r := newRig(t, 1, netisr.Config{MaxQueueLimit: 1000})
	handler := (*netisr.Thread).Free
	for _, test := range []struct {
		name     string
		protocol netisr.Protocol
		want     error
	}{
		{"ok", netisr.Protocol{Number: 1, Name: "ip", Handler: handler}, nil},
		{"taken", netisr.Protocol{Number: 1, Name: "other", Handler: handler}, netisr.ErrProtocolTaken},
		{"number-0", netisr.Protocol{Number: 0, Name: "x", Handler: handler}, netisr.ErrInvalid},
		{"number-16", netisr.Protocol{Number: 16, Name: "x", Handler: handler}, netisr.ErrInvalid},
		{"no-name", netisr.Protocol{Number: 2, Handler: handler}, netisr.ErrInvalid},
		{"no-handler", netisr.Protocol{Number: 2, Name: "x"}, netisr.ErrInvalid},
		{"limit-above-maximum", netisr.Protocol{Number: 2, Name: "x", Handler: handler, QueueLimit: 1001}, netisr.ErrInvalid},
		{"cpu-policy-without-function", netisr.Protocol{Number: 2, Name: "x", Handler: handler, Policy: netisr.PolicyCPU}, netisr.ErrInvalid},
		{"limit-at-maximum", netisr.Protocol{Number: 15, Name: "x", Handler: handler, QueueLimit: 1000}, nil},
	} {
		if err := r.Register(test.protocol); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
	if err := r.Unregister(1); err != nil {
		t.Error(err)
	}
	if err := r.Unregister(1); !errors.Is(err, netisr.ErrProtocolUnknown) {
		t.Error("unregister twice:", err)
	}
	register(t, r.Netisr, netisr.Protocol{Number: 1, Name: "ip", Handler: handler})
}

func TestQueueLimit(t *testing.T) {
	r := newRig(t, 1, netisr.Config{Dispatch: netisr.DispatchDeferred})
	register(t, r.Netisr, netisr.Protocol{Number: netisr.ProtocolIP, Name: "ip", Handler: (*netisr.Thread).Free})
	if limit, err := r.QueueLimit(1); limit != 256 || err != nil {
		t.Error(limit, err)
	}
	for limit, want := range map[int]error{0: netisr.ErrInvalid, 10241: netisr.ErrInvalid, 1: nil} {
		if err := r.SetQueueLimit(1, limit); !errors.Is(err, want) {
			t.Errorf("limit %d: %v", limit, err)
		}
	}
	if err := r.SetQueueLimit(2, 10); !errors.Is(err, netisr.ErrProtocolUnknown) {
		t.Error(err)
	}
	const offered = 10
	for range offered {
		r.queues[0].Put(ipPacket(1))
	}
	r.Thread(0).Step()
	work := r.Stats().Workstreams[0].Work[0]
	if work.Queued != 1 || work.QueueDrops != offered-1 || work.Handled != 1 || work.Watermark != 1 || work.Len != 0 {
		t.Errorf("%+v", work)
	}
	if drops, err := r.QueueDrops(1); drops != offered-1 || err != nil {
		t.Error(drops, err)
	}
	if err := r.ClearQueueDrops(1); err != nil {
		t.Error(err)
	}
	if drops, _ := r.QueueDrops(1); drops != 0 {
		t.Error("drops not cleared:", drops)
	}
	// A larger limit keeps what waits and its order.
	if err := r.SetQueueLimit(1, 300); err != nil {
		t.Error(err)
	}
}

func TestQueueReportsFull(t *testing.T) {
	r := newRig(t, 1, netisr.Config{})
	register(t, r.Netisr, netisr.Protocol{Number: netisr.ProtocolIP, Name: "ip", Handler: (*netisr.Thread).Free, QueueLimit: 2})
	thread := r.Thread(0)
	for i, want := range []error{nil, nil, netisr.ErrQueueFull} {
		p := thread.Alloc(54)
		p.SetFrame(ipPacket(1)[bpf.NetisrHeaderLen:])
		if err := r.Queue(netisr.ProtocolIP, p); !errors.Is(err, want) {
			t.Errorf("packet %d: %v, want %v", i, err, want)
		} else if err != nil {
			r.Free(p)
		}
	}
	p := thread.Alloc(10)
	if err := r.Queue(9, p); !errors.Is(err, netisr.ErrProtocolUnknown) {
		t.Error(err)
	}
	thread.Free(p)
	thread.Step()
}

func TestDispatch(t *testing.T) {
	hashed := func(id int) []byte { // a packet of the thread
		for source := byte(1); ; source++ {
			data := ipPacket(source)
			if hash, _ := netisr.FlowHash(data[bpf.NetisrHeaderLen+14:]); int(hash&127)%2 == id {
				return data
			}
		}
	}
	for _, test := range []struct {
		name           string
		dispatch       netisr.Dispatch
		protocol       netisr.Dispatch
		flow           int // thread that the flow belongs to; it arrives on thread 0
		handledOn      int
		direct, hybrid uint64
		queued         uint64
	}{
		{"direct-foreign", netisr.DispatchDirect, 0, 1, 0, 1, 0, 0},
		{"direct-own", netisr.DispatchDirect, 0, 0, 0, 1, 0, 0},
		{"hybrid-own", netisr.DispatchHybrid, 0, 0, 0, 0, 1, 0},
		{"hybrid-foreign", netisr.DispatchHybrid, 0, 1, 1, 0, 0, 1},
		{"deferred-own", netisr.DispatchDeferred, 0, 0, 0, 0, 0, 1},
		{"deferred-foreign", netisr.DispatchDeferred, 0, 1, 1, 0, 0, 1},
		{"protocol-overrides", netisr.DispatchDeferred, netisr.DispatchDirect, 1, 0, 1, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, 2, netisr.Config{Dispatch: test.dispatch})
			handledOn := -1
			register(t, r.Netisr, netisr.Protocol{
				Number: netisr.ProtocolIP, Name: "ip", Dispatch: test.protocol,
				Handler: func(th *netisr.Thread, p *netisr.Packet) { handledOn = th.ID(); th.Free(p) },
			})
			r.queues[0].Put(hashed(test.flow))
			r.Thread(0).Step()
			r.Thread(1).Step()
			if handledOn != test.handledOn {
				t.Errorf("handled on %d, want %d", handledOn, test.handledOn)
			}
			work := r.Stats().Workstreams[test.handledOn].Work[0].WorkCounters
			want := netisr.WorkCounters{Dispatched: test.direct, HybridDispatched: test.hybrid, Queued: test.queued, Handled: 1}
			if work != want {
				t.Errorf("%+v, want %+v", work, want)
			}
			if got := r.Stats().Workstreams[0].Requeued; got != uint64(test.handledOn) {
				t.Errorf("%d packets went to another thread", got)
			}
		})
	}
}

func TestPolicies(t *testing.T) {
	for _, test := range []struct {
		name     string
		protocol netisr.Protocol
		data     []byte
		want     int
	}{
		{"source", netisr.Protocol{Policy: netisr.PolicySource}, ipPacket(7), 7 % 4},
		{"cpu", netisr.Protocol{Policy: netisr.PolicyCPU, CPU: func(*netisr.Packet) int { return 6 }}, ipPacket(1), 6 % 4},
		{"cpu-negative", netisr.Protocol{Policy: netisr.PolicyCPU, CPU: func(*netisr.Packet) int { return -1 }}, ipPacket(1), 3},
		{"own-flow", netisr.Protocol{Flow: func(*netisr.Packet) (uint32, bool) { return 130, true }}, ipPacket(1), 2},
		{"own-flow-unknown", netisr.Protocol{Flow: func(*netisr.Packet) (uint32, bool) { return 0, false }}, ipPacket(7), 7 % 4},
		{"cut-off", netisr.Protocol{}, packet(bpf.NetisrHeader{Af: 4, L3Off: 14, IpLen: 40, Rcvif: 7}, make([]byte, 20)), 7 % 4},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, 4, netisr.Config{Dispatch: netisr.DispatchDeferred})
			handledOn := -1
			test.protocol.Number, test.protocol.Name = netisr.ProtocolIP, "ip"
			test.protocol.Handler = func(th *netisr.Thread, p *netisr.Packet) { handledOn = th.ID(); th.Free(p) }
			register(t, r.Netisr, test.protocol)
			r.queues[0].Put(test.data)
			for id := range 4 {
				r.Thread(id).Step()
			}
			if handledOn != test.want {
				t.Errorf("handled on %d, want %d", handledOn, test.want)
			}
		})
	}
}

// ARP and unknown types belong to thread 0 (NIS-07), and bad headers to nobody.
func TestAccept(t *testing.T) {
	r := newRig(t, 2, netisr.Config{Dispatch: netisr.DispatchDeferred})
	var got []string
	for number, name := range map[int]string{netisr.ProtocolARP: "arp", netisr.ProtocolEther: "ether", netisr.ProtocolIPv6: "ip6"} {
		register(t, r.Netisr, netisr.Protocol{Number: number, Name: name, Handler: func(th *netisr.Thread, p *netisr.Packet) {
			got = append(got, name)
			th.Free(p)
		}})
	}
	arp := append(make([]byte, 12), 0x08, 0x06, 0, 0)
	r.queues[1].Put(packet(bpf.NetisrHeader{Rcvif: 1}, arp))
	r.queues[1].Put(packet(bpf.NetisrHeader{Rcvif: 1}, make([]byte, 60)))
	r.queues[1].Put(packet(bpf.NetisrHeader{Rcvif: 1}, nil))
	r.queues[1].Put(packet(bpf.NetisrHeader{Af: 4}, make([]byte, 60)))            // no such protocol
	r.queues[1].Put(packet(bpf.NetisrHeader{Af: 5}, make([]byte, 60)))            // no such family
	r.queues[1].Put(packet(bpf.NetisrHeader{Af: 4, L3Off: 61}, make([]byte, 60))) // outside
	r.queues[1].Put(make([]byte, 100))                                            // no magic
	r.queues[1].Put(packet(bpf.NetisrHeader{}, nil)[:55])                         // cut off
	r.Thread(1).Step()
	r.Thread(0).Step()
	if want := "arp ether ether"; strings.Join(got, " ") != want {
		t.Errorf("%v, want %s", got, want)
	}
	ws := r.Stats().Workstreams[1]
	if ws.Received != 8 || ws.BadHeader != 4 || ws.NoProtocol != 1 {
		t.Errorf("%+v", ws)
	}
}

func TestHandle(t *testing.T) {
	r := newRig(t, 1, netisr.Config{})
	seen := 0
	register(t, r.Netisr, netisr.Protocol{Number: netisr.ProtocolIGMP, Name: "igmp", Handler: func(th *netisr.Thread, p *netisr.Packet) { seen++; th.Free(p) }})
	thread := r.Thread(0)
	p := thread.Alloc(10)
	if err := thread.Handle(netisr.ProtocolIP, p); !errors.Is(err, netisr.ErrProtocolUnknown) {
		t.Error(err)
	}
	if err := thread.Handle(netisr.ProtocolIGMP, p); err != nil || seen != 1 {
		t.Error(err, seen)
	}
	thread.Step()
	if work := r.Stats().Workstreams[0].Work[0]; work.Dispatched != 1 || work.Handled != 1 {
		t.Errorf("%+v", work)
	}
}

func TestTransmitDropsWhenFull(t *testing.T) {
	pool, err := netisr.NewPool(make([]byte, 1024*2048), 2048)
	if err != nil {
		t.Fatal(err)
	}
	queue, err := netisr.NewMemoryQueue(100)
	if err != nil {
		t.Fatal(err)
	}
	n, err := netisr.New(netisr.Config{Threads: 1}, pool, []netisr.Queue{queue})
	if err != nil {
		t.Fatal(err)
	}
	register(t, n, netisr.Protocol{Number: netisr.ProtocolIP, Name: "ip", Handler: func(th *netisr.Thread, p *netisr.Packet) { th.Transmit(p) }})
	for range 150 {
		queue.Put(ipPacket(1))
	}
	for n.Thread(0).Step() > 0 {
	}
	ws := n.Stats().Workstreams[0]
	if ws.Transmitted != 100 || ws.OutputDrops != 50 || len(queue.Take()) != 100 {
		t.Errorf("%+v", ws)
	}
	if err := n.Stop(); err != nil {
		t.Error(err)
	}
	if pool.Available() != 1024 {
		t.Error("packets were lost")
	}
}

// flushQueue counts what was taken since the last flush.
type flushQueue struct {
	*netisr.MemoryQueue
	unflushed int
}

func (q *flushQueue) Transmit(cache *netisr.Cache, burst []*netisr.Packet) int {
	n := q.MemoryQueue.Transmit(cache, burst)
	q.unflushed += n
	return n
}

func (q *flushQueue) Flush() (bool, error) {
	q.unflushed = 0
	return false, nil
}

// However many packets a batch has, none stays in the queue unsent.
func TestEveryBatchIsFlushed(t *testing.T) {
	pool, _ := netisr.NewPool(make([]byte, 1024*2048), 2048)
	memory, err := netisr.NewMemoryQueue(0)
	if err != nil {
		t.Fatal(err)
	}
	queue := &flushQueue{MemoryQueue: memory}
	n, err := netisr.New(netisr.Config{Threads: 1}, pool, []netisr.Queue{queue})
	if err != nil {
		t.Fatal(err)
	}
	register(t, n, netisr.Protocol{Number: netisr.ProtocolIP, Name: "ip", Handler: func(th *netisr.Thread, p *netisr.Packet) { th.Transmit(p) }})
	for count := range 200 {
		for range count {
			memory.Put(ipPacket(1))
		}
		for n.Thread(0).Step() > 0 {
		}
		if got := len(memory.Take()); got != count || queue.unflushed != 0 {
			t.Errorf("%d packets: %d sent, %d unsent", count, got, queue.unflushed)
		}
	}
	if err := n.Stop(); err != nil {
		t.Error(err)
	}
}

func TestThreadsHandleAndStop(t *testing.T) {
	for _, dispatch := range []netisr.Dispatch{netisr.DispatchDirect, netisr.DispatchHybrid, netisr.DispatchDeferred} {
		t.Run(dispatch.String(), func(t *testing.T) {
			r := newRig(t, 3, netisr.Config{Dispatch: dispatch, BindThreads: true})
			var handled atomic.Int64
			register(t, r.Netisr, netisr.Protocol{
				Number: netisr.ProtocolIP, Name: "ip", QueueLimit: 10240,
				Handler: func(th *netisr.Thread, p *netisr.Packet) { handled.Add(1); th.Transmit(p) },
			})
			if err := r.Start(); err != nil {
				t.Fatal(err)
			}
			const count = 3000
			for i := range count {
				r.queues[i%3].Put(ipPacket(byte(i)))
				if i == count/2 { // changing the policy loses nothing
					if err := r.SetDispatch(netisr.DispatchHybrid); err != nil {
						t.Error(err)
					}
				}
			}
			eventually(t, "all packets handled", func() bool { return handled.Load() == count })
		})
	}
}

func TestCallBarrierPost(t *testing.T) {
	r := newRig(t, 2, netisr.Config{})
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	for id := range 2 {
		on := -1
		if err := r.Call(context.Background(), id, func(th *netisr.Thread) { on = th.ID() }); err != nil || on != id {
			t.Errorf("call to %d ran on %d: %v", id, on, err)
		}
	}
	var inside atomic.Int32
	release := make(chan struct{})
	go func() {
		_ = r.Barrier(func() {
			inside.Add(1)
			<-release
		})
	}()
	eventually(t, "barrier reached", func() bool { return inside.Load() == 1 })
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := r.Call(ctx, 0, func(*netisr.Thread) {}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error("a call got through the barrier:", err)
	}
	close(release)
	if err := r.Call(context.Background(), 1, func(*netisr.Thread) {}); err != nil {
		t.Error(err)
	}
	if err := r.Stop(); err != nil {
		t.Error(err)
	}
	if err := r.Call(context.Background(), 0, func(*netisr.Thread) {}); !errors.Is(err, netisr.ErrStopped) {
		t.Error("call after stop:", err)
	}
	if err := r.Barrier(func() {}); !errors.Is(err, netisr.ErrStopped) {
		t.Error("barrier after stop:", err)
	}
}

func TestTimers(t *testing.T) {
	r := newRig(t, 1, netisr.Config{})
	var fired []string
	thread := r.Thread(0)
	timer := func(name string, after time.Duration) *netisr.Timer {
		m := thread.NewTimer(func(*netisr.Thread) { fired = append(fired, name) })
		m.Reset(after)
		return m
	}
	timer("c", 3*time.Second)
	timer("a", time.Second)
	b := timer("b", 2*time.Second)
	stopped := timer("stopped", 2*time.Second)
	moved := timer("moved", time.Second)
	moved.Reset(4 * time.Second)
	stopped.Stop()
	stopped.Stop()
	for range 5 {
		r.clock.Advance(time.Second)
		thread.Step()
	}
	b.Reset(time.Second)
	r.clock.Advance(time.Second)
	thread.Step()
	if got := strings.Join(fired, " "); got != "a b c moved b" {
		t.Error(got)
	}
}

func TestTimerWakesThread(t *testing.T) {
	for _, clock := range []string{"fake", "system"} {
		t.Run(clock, func(t *testing.T) {
			pool, _ := netisr.NewPool(make([]byte, 64*2048), 2048)
			fake := new(netisr.FakeClock)
			config := netisr.Config{Threads: 1}
			if clock == "fake" {
				config.Clock = fake
			}
			n, err := netisr.New(config, pool, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer n.Stop()
			var fired atomic.Bool
			n.Thread(0).NewTimer(func(*netisr.Thread) { fired.Store(true) }).Reset(10 * time.Millisecond)
			if err := n.Start(); err != nil {
				t.Fatal(err)
			}
			if clock == "fake" {
				time.Sleep(20 * time.Millisecond)
				if fired.Load() {
					t.Error("fired before its time")
				}
				fake.Advance(10 * time.Millisecond)
			}
			eventually(t, "timer fired", fired.Load)
		})
	}
}

func TestRollups(t *testing.T) {
	r := newRig(t, 1, netisr.Config{RollupLimit: 10})
	var order []int
	register(t, r.Netisr, netisr.Protocol{Number: netisr.ProtocolIP, Name: "ip", Handler: (*netisr.Thread).Free})
	r.RegisterRollup(50, func(*netisr.Thread) { order = append(order, 50) })
	r.RegisterRollup(200, func(*netisr.Thread) { order = append(order, 200) })
	r.Thread(0).Step()
	if len(order) != 0 {
		t.Error("rollup without packets")
	}
	for range 25 {
		r.queues[0].Put(ipPacket(1))
	}
	r.Thread(0).Step()
	want := []int{200, 50, 200, 50, 200, 50}
	if len(order) != len(want) || order[0] != 200 || order[1] != 50 {
		t.Errorf("%v, want %v", order, want)
	}
}

func TestNewRefusesBadConfig(t *testing.T) {
	pool, _ := netisr.NewPool(make([]byte, 64*2048), 2048)
	for _, config := range []netisr.Config{
		{Threads: -1}, {Threads: 129}, {Dispatch: 9}, {DefaultQueueLimit: 20, MaxQueueLimit: 10}, {MaxQueueLimit: -1}, {RollupLimit: -1},
	} {
		if n, err := netisr.New(config, pool, nil); err == nil || n != nil {
			t.Errorf("%+v was accepted", config)
		}
	}
	if _, err := netisr.NewPool(nil, 1000); err == nil {
		t.Error("a chunk of 1000 bytes was accepted")
	}
}

func TestParseDispatch(t *testing.T) {
	for _, d := range []netisr.Dispatch{netisr.DispatchDefault, netisr.DispatchDeferred, netisr.DispatchHybrid, netisr.DispatchDirect} {
		if got, err := netisr.ParseDispatch(d.String()); got != d || err != nil {
			t.Errorf("%v: %v, %v", d, got, err)
		}
	}
	if _, err := netisr.ParseDispatch("fast"); err == nil {
		t.Error("fast is no policy")
	}
}

func TestFormat(t *testing.T) {
	stats := netisr.Stats{
		Threads: 2, MaxThreads: 2, DefaultQueueLimit: 256, MaxQueueLimit: 10240, Dispatch: "direct",
		Protocols: []netisr.ProtocolStats{
			{Name: "ip", Number: 1, QueueLimit: 256, Policy: "flow", Dispatch: "default", Flags: "---"},
			{Name: "ether", Number: 5, QueueLimit: 256, Policy: "source", Dispatch: "direct", Flags: "C-F"},
		},
		Workstreams: []netisr.WorkstreamStats{
			{ID: 0, CPU: 0, Work: []netisr.WorkStats{
				{Name: "ip", Watermark: 14, WorkCounters: netisr.WorkCounters{Dispatched: 1077903, Queued: 97896, Handled: 1175799}},
				{Name: "ether"},
			}},
			{ID: 1, CPU: 1, Work: []netisr.WorkStats{{Name: "ip", Len: 3}, {Name: "ether"}}},
		},
	}
	// The form is that of FreeBSD's netstat(1).
	const want = `Configuration:
Setting                        Current        Limit
Thread count                         2            2
Default queue limit                256        10240
Dispatch policy                 direct          n/a
Threads bound to CPUs         disabled          n/a

Protocols:
Name   Proto QLimit Policy Dispatch Flags
ip         1    256   flow  default   ---
ether      5    256 source   direct   C-F

Workstreams:
WSID CPU   Name     Len WMark   Disp'd  HDisp'd   QDrops   Queued  Handled
   0   0   ip         0    14  1077903        0        0    97896  1175799
   0   0   ether      0     0        0        0        0        0        0
   1   1   ip         3     0        0        0        0        0        0
   1   1   ether      0     0        0        0        0        0        0
`
	var out bytes.Buffer
	if err := stats.Format(&out); err != nil {
		t.Fatal(err)
	}
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func FuzzCheck(f *testing.F) {
	f.Add(ipPacket(1))
	pool, err := netisr.NewPool(make([]byte, 64*2048), 2048)
	if err != nil {
		f.Fatal(err)
	}
	queue, err := netisr.NewMemoryQueue(0)
	if err != nil {
		f.Fatal(err)
	}
	n, err := netisr.New(netisr.Config{Threads: 1}, pool, []netisr.Queue{queue})
	if err != nil {
		f.Fatal(err)
	}
	for number := 1; number < netisr.MaxProtocols; number++ {
		register(f, n, netisr.Protocol{Number: number, Name: "any", Dispatch: netisr.DispatchHybrid, Handler: func(th *netisr.Thread, p *netisr.Packet) {
			if len(p.Network()) > p.Len() || p.Check() != nil {
				f.Error("a packet that is not checked")
			}
			th.Free(p)
		}})
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 65535 {
			return
		}
		queue.Put(data)
		n.Thread(0).Step()
	})
}
