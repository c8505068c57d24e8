package route

import "sync"

// queue hands values from whoever must not wait to a goroutine that takes
// them in order. It has no bound: what is put in is little and already told.
type queue[T any] struct {
	mu     sync.Mutex
	values []T
	wake   chan struct{} // holds one value while the queue may hold some
}

func newQueue[T any]() *queue[T] { return &queue[T]{wake: make(chan struct{}, 1)} }

func (q *queue[T]) put(v T) {
	q.mu.Lock()
	q.values = append(q.values, v)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take returns all values, oldest first.
func (q *queue[T]) take() []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	values := q.values
	q.values = nil
	return values
}
