package netisr

import "sync"

// port is the bounded message port of a thread: one queue of packets for each
// protocol, and functions to call. Anybody sends, the thread receives.
type port struct {
	mu      sync.Mutex
	queues  [MaxProtocols]workQueue
	waiting int // packets in all queues
	calls   []func(*Thread)
	closed  bool
}

// workQueue holds the packets of one protocol and its counters.
type workQueue struct {
	ring      []*Packet // its length is a power of two, at least limit
	head      uint32    // next to take
	tail      uint32    // next to put
	limit     int
	watermark int
	counters  WorkCounters
}

// WorkCounters count the packets of one protocol on one thread.
type WorkCounters struct {
	Dispatched       uint64 // handled at once, direct
	HybridDispatched uint64 // handled at once, hybrid
	QueueDrops       uint64
	Queued           uint64
	Handled          uint64
}

func (q *workQueue) len() int { return int(q.tail - q.head) }

// open makes a queue ready for limit packets, keeping what is in it.
func (o *port) open(number, limit int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	q := &o.queues[number]
	q.limit = limit
	size := 1
	for size < max(limit, q.len()) {
		size *= 2
	}
	if size <= len(q.ring) {
		return
	}
	ring := make([]*Packet, size)
	count := q.len()
	for i := range count {
		ring[i] = q.ring[(q.head+uint32(i))&uint32(len(q.ring)-1)]
	}
	q.ring, q.head, q.tail = ring, 0, uint32(count)
}

// shut empties a queue, and returns the packets as a list.
func (o *port) shut(number int) (list *Packet) {
	o.mu.Lock()
	defer o.mu.Unlock()
	q := &o.queues[number]
	for q.len() > 0 {
		p := q.take()
		p.Next = list
		list = p
		o.waiting--
	}
	*q = workQueue{}
	return list
}

func (q *workQueue) take() *Packet {
	place := q.head & uint32(len(q.ring)-1)
	p := q.ring[place]
	q.ring[place] = nil
	q.head++
	return p
}

// send queues a packet. It fails when the queue is full or was never opened,
// or the thread is gone; the packet is then still the caller's.
func (o *port) send(number int, p *Packet) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return ErrStopped
	}
	q := &o.queues[number]
	if q.len() >= q.limit {
		q.counters.QueueDrops++
		return ErrQueueFull
	}
	q.ring[q.tail&uint32(len(q.ring)-1)] = p
	q.tail++
	o.waiting++
	q.counters.Queued++
	q.watermark = max(q.watermark, q.len())
	return nil
}

// receive takes up to len(burst) packets of one protocol.
func (o *port) receive(number int, burst []*Packet) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	q := &o.queues[number]
	n := min(len(burst), q.len())
	for i := range n {
		burst[i] = q.take()
	}
	o.waiting -= n
	return n
}

// empty reports whether no packet waits for a protocol.
func (o *port) empty(number int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.queues[number].len() == 0
}

// idle reports whether nothing waits at all.
func (o *port) idle() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.waiting == 0 && len(o.calls) == 0
}

// count adds to the counters of a protocol; the thread does so once a batch.
func (o *port) count(number int, more WorkCounters) {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := &o.queues[number].counters
	c.Dispatched += more.Dispatched
	c.HybridDispatched += more.HybridDispatched
	c.Handled += more.Handled
}

// stats returns the state of one queue.
func (o *port) stats(number int) WorkStats {
	o.mu.Lock()
	defer o.mu.Unlock()
	q := &o.queues[number]
	return WorkStats{Protocol: number, Len: q.len(), Watermark: q.watermark, WorkCounters: q.counters}
}

func (o *port) clearDrops(number int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.queues[number].counters.QueueDrops = 0
}

// call queues a function for the thread.
func (o *port) call(f func(*Thread)) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return ErrStopped
	}
	o.calls = append(o.calls, f)
	return nil
}

// takeCalls exchanges the queued functions for an empty slice.
func (o *port) takeCalls(empty []func(*Thread)) []func(*Thread) {
	o.mu.Lock()
	defer o.mu.Unlock()
	calls := o.calls
	o.calls = empty
	return calls
}

// close makes every later send and call fail.
func (o *port) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
}
