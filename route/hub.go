package route

import (
	"sync"
	"sync/atomic"

	"github.com/bsdnet/bsdnet/route/api"
)

// Subscription is a stream of routing messages. A listener that does not keep
// up loses messages, its own and nobody else's.
type Subscription struct {
	C       <-chan *api.Message // closed by Close and when the Table closes; not to be changed
	c       chan *api.Message
	dropped atomic.Uint64
	muted   atomic.Bool
	hub     *Hub
}

// Mute makes a subscription get nothing for a while: nobody would hear it.
func (s *Subscription) Mute(muted bool) { s.muted.Store(muted) }

// Dropped returns how many messages the listener has lost.
func (s *Subscription) Dropped() uint64 { return s.dropped.Load() }

// Close ends the subscription.
func (s *Subscription) Close() { s.hub.remove(s) }

// Hub passes messages to subscriptions. Its methods may be called concurrently.
type Hub struct {
	mu   sync.Mutex
	subs map[*Subscription]struct{}
	done bool
}

// NewHub returns a hub without subscriptions.
func NewHub() *Hub { return &Hub{subs: make(map[*Subscription]struct{})} }

// Subscribe returns a stream of all messages from now on, with room for as
// many as the listener may lag behind.
func (h *Hub) Subscribe(buffer int) *Subscription {
	c := make(chan *api.Message, buffer)
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

func (h *Hub) remove(s *Subscription) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.subs[s]; ok {
		delete(h.subs, s)
		close(s.c)
	}
}

// Publish tells the subscribers of something that the Table has no part in.
func (t *Table) Publish(m api.Message) { t.hub.Publish(m) }

// Listening reports whether anybody would hear a message.
func (h *Hub) Listening() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.subs {
		if !s.muted.Load() {
			return true
		}
	}
	return false
}

// Publish passes a message on. It never blocks.
func (h *Hub) Publish(m api.Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.subs {
		if s.muted.Load() {
			continue
		}
		select {
		case s.c <- &m:
		default:
			s.dropped.Add(1)
		}
	}
}

// Close ends all subscriptions.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.done = true
	for s := range h.subs {
		delete(h.subs, s)
		close(s.c)
	}
}
