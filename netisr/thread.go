package netisr

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// burstSize packets at a time go through a thread.
const burstSize = 64

// Thread is one netisr thread. Its methods are for handlers, timers and calls
// that run on it, and for nobody else.
type Thread struct {
	netisr *Netisr
	id     int
	cpu    int
	queues []Queue
	cache  *Cache
	port   port
	timers timerHeap
	now    time.Duration

	input    [burstSize]*Packet
	work     [burstSize]*Packet
	output   [burstSize]*Packet
	queued   int // packets in output
	handled  [MaxProtocols]WorkCounters
	calls    []func(*Thread)
	unrolled int  // packets handled since rollups ran
	again    bool // the first queue has something to flush

	event    int // eventfd
	poll     []unix.PollFd
	sleeping atomic.Bool
	stopping atomic.Bool

	counters threadCounters
}

// threadCounters are what a thread counts beside its protocols.
type threadCounters struct {
	received, transmitted, outputDrops, badHeader, noProtocol, requeued, errors atomic.Uint64
}

func newThread(n *Netisr, id, cpu int) (*Thread, error) {
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("make eventfd: %w", err)
	}
	return &Thread{netisr: n, id: id, cpu: cpu, cache: n.pool.NewCache(), event: event, now: n.config.Clock.Now()}, nil
}

// ID returns the thread's number, from 0 on.
func (t *Thread) ID() int { return t.id }

// Netisr returns the set that the thread belongs to.
func (t *Thread) Netisr() *Netisr { return t.netisr }

// Now returns the time at which the batch in hand began.
func (t *Thread) Now() time.Duration { return t.now }

// Alloc returns an empty packet with room for a frame of length bytes, or nil
// when there is no memory.
func (t *Thread) Alloc(length int) *Packet { return t.cache.Get(length) }

// Free ends the ownership of a packet.
func (t *Thread) Free(p *Packet) { t.cache.Put(p) }

// Transmit sends a packet back into the data path at the end of the batch, or
// drops and counts it when the queue is full. The header's Resume says where
// it goes on.
func (t *Thread) Transmit(p *Packet) {
	p.Next = nil
	t.output[t.queued] = p
	t.queued++
	if t.queued == len(t.output) {
		t.push()
	}
}

// push gives the packets in output to the first queue: all queues of the
// device lead to the same place.
func (t *Thread) push() {
	batch := t.output[:t.queued]
	if len(batch) == 0 {
		return
	}
	sent := 0
	if len(t.queues) > 0 {
		queue := t.queues[0]
		sent = queue.Transmit(t.cache, batch)
		if sent < len(batch) {
			t.flushQueue(queue)
			sent += queue.Transmit(t.cache, batch[sent:])
		}
	}
	t.again = t.again || sent > 0
	t.counters.transmitted.Add(uint64(sent))
	if dropped := batch[sent:]; len(dropped) > 0 {
		t.counters.outputDrops.Add(uint64(len(dropped)))
		for _, p := range dropped {
			t.Free(p)
		}
	}
	clear(batch)
	t.queued = 0
}

func (t *Thread) flushQueue(queue Queue) {
	again, err := queue.Flush()
	if err != nil {
		t.counters.errors.Add(1)
	}
	t.again = t.again || again
}

// flush ends a batch: rollups, counters, transmission.
func (t *Thread) flush() {
	t.rollup()
	for number := range t.handled {
		if t.handled[number] != (WorkCounters{}) {
			t.port.count(number, t.handled[number])
			t.handled[number] = WorkCounters{}
		}
	}
	t.push()
	if t.again && len(t.queues) > 0 {
		t.again = false
		t.flushQueue(t.queues[0])
	}
}

func (t *Thread) rollup() {
	if t.unrolled == 0 {
		return
	}
	t.unrolled = 0
	for _, rollup := range *t.netisr.rollups.Load() {
		rollup.run(t)
	}
}

// run is the thread.
func (t *Thread) run() {
	t.prepare()
	for !t.stopping.Load() {
		if t.Step() == 0 {
			t.sleep()
		}
	}
	// Handle what was sent before the port closed.
	for t.Step() > 0 && !t.port.idle() {
	}
}

// Step does one round of everything that waits and returns how much that was.
// It is what the thread runs in a loop; a test that has not started the
// threads may call it instead.
func (t *Thread) Step() (done int) {
	t.now = t.netisr.config.Clock.Now()
	for _, queue := range t.queues {
		n := queue.Receive(t.cache, t.input[:])
		if n > 0 {
			t.counters.received.Add(uint64(n))
			t.accept(t.input[:n])
			done += n
		}
	}
	done += t.drain()
	done += t.runCalls()
	done += t.runTimers()
	t.flush()
	return done
}

// accept checks packets that a queue received and dispatches them.
func (t *Thread) accept(burst []*Packet) {
	for i, p := range burst {
		burst[i] = nil
		if p.Check() != nil {
			t.counters.badHeader.Add(1)
			t.Free(p)
			continue
		}
		t.dispatch(protocolOf(p), p)
	}
}

// protocolOf chooses the protocol of a packet that is checked.
func protocolOf(p *Packet) int {
	h := p.Header()
	switch h.Af {
	case 4:
		return ProtocolIP
	case 6:
		return ProtocolIPv6
	}
	frame := p.Frame()
	if len(frame) >= etherHdrLen && binary.BigEndian.Uint16(frame[12:]) == 0x0806 {
		return ProtocolARP
	}
	return ProtocolEther
}

// dispatch handles a packet here and now, or queues it, as the policy says.
func (t *Thread) dispatch(number int, p *Packet) {
	protocol := t.netisr.protocols[number].Load()
	if protocol == nil {
		t.counters.noProtocol.Add(1)
		t.Free(p)
		return
	}
	policy := protocol.Dispatch
	if policy == DispatchDefault {
		policy = t.netisr.Dispatch()
	}
	switch policy {
	case DispatchDirect:
		t.handled[number].Dispatched++
		t.handle(number, protocol, p)
		return
	case DispatchHybrid:
		if t.netisr.place(protocol, p) == t.id && t.port.empty(number) {
			t.handled[number].HybridDispatched++
			t.handle(number, protocol, p)
			return
		}
	}
	target := t.netisr.threads[t.netisr.place(protocol, p)]
	if err := target.port.send(number, p); err != nil {
		t.Free(p) // counted by the port
		return
	}
	if target != t {
		t.counters.requeued.Add(1)
		target.wake()
	}
}

// Handle gives a packet to another protocol here and now (netisr_handle). When
// it fails, the packet is still the caller's.
func (t *Thread) Handle(number int, p *Packet) error {
	protocol, err := t.netisr.protocol(number)
	if err != nil {
		return fmt.Errorf("handle packet: %w", err)
	}
	t.handled[number].Dispatched++
	t.handle(number, protocol, p)
	return nil
}

func (t *Thread) handle(number int, protocol *Protocol, p *Packet) {
	t.handled[number].Handled++
	t.unrolled++
	protocol.Handler(t, p)
	if t.unrolled >= t.netisr.config.RollupLimit {
		t.rollup()
	}
}

// drain handles a burst of each protocol from the port.
func (t *Thread) drain() (done int) {
	for number := range t.netisr.protocols {
		protocol := t.netisr.protocols[number].Load()
		if protocol == nil {
			continue
		}
		n := t.port.receive(number, t.work[:])
		for i, p := range t.work[:n] {
			t.work[i] = nil
			t.handle(number, protocol, p)
		}
		if n > 0 && n < len(t.work) && protocol.Drained != nil {
			protocol.Drained(t)
		}
		done += n
	}
	return done
}

func (t *Thread) runCalls() int {
	clear(t.calls)
	t.calls = t.port.takeCalls(t.calls[:0])
	for _, call := range t.calls {
		call(t)
	}
	return len(t.calls)
}

// prepare fills the poll set: the event descriptor first, then the queues.
func (t *Thread) prepare() {
	t.poll = append(t.poll[:0], unix.PollFd{Fd: int32(t.event), Events: unix.POLLIN})
	for _, queue := range t.queues {
		if fd := queue.FD(); fd >= 0 {
			t.poll = append(t.poll, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		}
	}
}

// sleep waits for packets, calls or the next timer. Whoever sends to the port
// looks at sleeping after sending; this looks at the port after setting
// sleeping; so one of the two sees the other.
func (t *Thread) sleep() {
	t.sleeping.Store(true)
	defer t.sleeping.Store(false)
	if !t.port.idle() || t.stopping.Load() {
		return
	}
	timeout := t.timeout()
	n, err := unix.Ppoll(t.poll, timeout, nil)
	if err != nil && !errors.Is(err, unix.EINTR) {
		t.counters.errors.Add(1)
	}
	if n > 0 && t.poll[0].Revents != 0 {
		var drained [8]byte
		_, _ = unix.Read(t.event, drained[:]) // it only makes the descriptor quiet
	}
}

// retryDelay is how long a full device is left alone.
const retryDelay = 100 * time.Microsecond

// timeout returns the time to the next timer, or nil for ever.
func (t *Thread) timeout() *unix.Timespec {
	if t.again {
		ts := unix.NsecToTimespec(int64(retryDelay))
		return &ts
	}
	if len(t.timers) == 0 {
		return nil
	}
	if _, fake := t.netisr.config.Clock.(*FakeClock); fake {
		return nil // moving the clock wakes the thread
	}
	ts := unix.NsecToTimespec(int64(max(t.timers[0].when-t.netisr.config.Clock.Now(), 0)))
	return &ts
}

// wake ends the thread's sleep. It may be called on any goroutine.
func (t *Thread) wake() {
	if !t.sleeping.Swap(false) {
		return
	}
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, _ = unix.Write(t.event, one[:]) // fails only when it is readable already
}

// release closes what the thread owns, after it has ended.
func (t *Thread) release() error {
	var err error
	for _, queue := range t.queues {
		err = errors.Join(err, queue.Close())
	}
	t.queues = nil
	for number := range MaxProtocols {
		for p := t.port.shut(number); p != nil; {
			next := p.Next
			t.Free(p)
			p = next
		}
	}
	t.cache.drain()
	if t.event >= 0 {
		err = errors.Join(err, unix.Close(t.event))
		t.event = -1
	}
	return err
}
