package route

import (
	"sync"
	"sync/atomic"

	"github.com/bsdnet/bsdnet/route/api"
)

// Subscription is a stream of routing messages. A listener that does not keep
// up loses messages, its own and nobody else's.
type Subscription struct {
	C       <-chan api.Message // closed by Close and when the Table closes
	c       chan api.Message
	dropped atomic.Uint64
	hub     *hub
}

// Dropped returns how many messages the listener has lost.
func (s *Subscription) Dropped() uint64 { return s.dropped.Load() }

// Close ends the subscription.
func (s *Subscription) Close() { s.hub.remove(s) }

// hub passes messages to the subscriptions.
type hub struct {
	mu   sync.Mutex
	subs map[*Subscription]struct{}
	done bool
}

func newHub() *hub { return &hub{subs: make(map[*Subscription]struct{})} }

func (h *hub) subscribe(buffer int) *Subscription {
	c := make(chan api.Message, buffer)
	s := &Subscription{C: c, c: c, hub: h}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.done {
		close(c)
		return s
	}
	h.subs[s] = struct{}{}
	return s
}

func (h *hub) remove(s *Subscription) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.subs[s]; ok {
		delete(h.subs, s)
		close(s.c)
	}
}

// publish never blocks.
func (h *hub) publish(m api.Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.subs {
		select {
		case s.c <- m:
		default:
			s.dropped.Add(1)
		}
	}
}

func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.done = true
	for s := range h.subs {
		delete(h.subs, s)
		close(s.c)
	}
}
