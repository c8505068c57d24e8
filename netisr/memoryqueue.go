package netisr

import (
	"sync"

	"golang.org/x/sys/unix"
)

// MemoryQueue is a queue without a device: what is put into it a thread
// receives, what a thread transmits can be taken out. It is for tests and
// simulations; any goroutine may put and take.
type MemoryQueue struct {
	mu    sync.Mutex
	event int
	in    [][]byte
	out   [][]byte
	limit int // of out, 0 for none
}

// NewMemoryQueue returns a queue that keeps at most limit transmitted packets,
// or any number if limit is 0, and refuses more.
func NewMemoryQueue(limit int) (*MemoryQueue, error) {
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, err
	}
	return &MemoryQueue{event: event, limit: limit}, nil
}

// Put makes a thread receive a copy of data: header and frame.
func (q *MemoryQueue) Put(data []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.in = append(q.in, append([]byte(nil), data...))
	_, _ = unix.Write(q.event, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

// Take returns what was transmitted since the last call: headers and frames.
func (q *MemoryQueue) Take() [][]byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := q.out
	q.out = nil
	return out
}

// Receive implements [Queue].
func (q *MemoryQueue) Receive(cache *Cache, burst []*Packet) (count int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.in) > 0 && count < len(burst) {
		data := q.in[0]
		p := cache.Get(max(len(data)-headerLen, 0))
		if p == nil {
			break
		}
		q.in = q.in[1:]
		p.end = p.start + copy(p.memory[p.start:], data)
		burst[count] = p
		count++
	}
	if len(q.in) == 0 {
		var drained [8]byte
		_, _ = unix.Read(q.event, drained[:])
	}
	return count
}

// Transmit implements [Queue].
func (q *MemoryQueue) Transmit(cache *Cache, burst []*Packet) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, p := range burst {
		if q.limit > 0 && len(q.out) >= q.limit {
			return i
		}
		q.out = append(q.out, append([]byte(nil), p.memory[p.start:p.end]...))
		cache.Put(p)
	}
	return len(burst)
}

// Flush implements [Queue].
func (q *MemoryQueue) Flush() (bool, error) { return false, nil }

// FD implements [Queue].
func (q *MemoryQueue) FD() int { return q.event }

// Close implements [Queue].
func (q *MemoryQueue) Close() error { return unix.Close(q.event) }
