package rtsock

import "sync"

// defaultBuffer is how many bytes of messages a socket holds for a program that
// does not read; net.raw.recvspace of a BSD is 8 kB, too little for a burst.
const (
	defaultBuffer = 512 << 10
	maxBuffer     = 8 << 20
)

// buffer is the receive buffer of a socket. What does not fit is lost, and that
// something was lost is told in its place.
type buffer struct {
	mu      sync.Mutex
	ready   *sync.Cond // there are packets, or it is closed
	space   *sync.Cond // packets were taken, or it is closed
	packets [][]byte
	size    int // bytes in packets
	limit   int
	dropped uint64 // lost since the program was told
	tell    bool   // SO_RERROR: tell of it
	notice  func(lost uint64) []byte
	closed  bool

	delivered, lost uint64
}

func newBuffer(notice func(lost uint64) []byte) *buffer {
	b := &buffer{limit: defaultBuffer, tell: true, notice: notice}
	b.ready, b.space = sync.NewCond(&b.mu), sync.NewCond(&b.mu)
	return b
}

// put adds packets, which nobody changes from then on. Those that find no room
// are lost.
func (b *buffer) put(packets ...[]byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	for _, packet := range packets {
		if b.size+len(packet) > b.limit {
			b.dropped++
			b.lost++
			continue
		}
		b.tellLost()
		b.add(packet)
		b.delivered++
	}
}

func (b *buffer) add(packet []byte) {
	if len(b.packets) == 0 {
		b.ready.Signal()
	}
	b.packets = append(b.packets, packet)
	b.size += len(packet)
}

func (b *buffer) tellLost() {
	if b.dropped == 0 {
		return
	}
	if b.tell {
		b.add(b.notice(b.dropped))
	}
	b.dropped = 0
}

// take waits for packets and returns all of them, at most n, in spare's memory
// if it has room. It returns none when the buffer is closed.
func (b *buffer) take(spare [][]byte, n int) [][]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.packets) == 0 && !b.closed {
		if b.dropped > 0 && b.tell {
			b.tellLost()
			break
		}
		b.ready.Wait()
	}
	if b.closed {
		return nil
	}
	n = min(n, len(b.packets))
	spare = append(spare[:0], b.packets[:n]...)
	for _, packet := range spare {
		b.size -= len(packet)
	}
	b.packets = b.packets[n:]
	if len(b.packets) == 0 {
		b.packets = nil
	}
	b.space.Broadcast()
	return spare
}

// close ends the waiting of take, for good.
func (b *buffer) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.packets = nil
	b.ready.Broadcast()
	b.space.Broadcast()
}

func (b *buffer) setLimit(limit int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limit = limit
}

func (b *buffer) setTell(tell bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tell = tell
}

func (b *buffer) state() (queued int, delivered, lost uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.size, b.delivered, b.lost
}

// miss counts messages that were lost before they came here.
func (b *buffer) miss(n uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dropped += n
	b.lost += n
	b.ready.Signal()
}

// putAnyway adds a packet even where there is no room: an answer that the
// program waits for. It waits while other such answers fill the buffer.
func (b *buffer) putAnyway(packet []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.size > b.limit && !b.closed {
		b.space.Wait()
	}
	if !b.closed {
		b.add(packet)
		b.delivered++
	}
}
