package netisr

import (
	"container/heap"
	"time"
)

// Timer calls a function on a thread when its time comes. It belongs to the
// thread that made it and is used on that thread only.
type Timer struct {
	thread *Thread
	when   time.Duration
	call   func(*Thread)
	place  int // in the thread's heap, -1 when not running
}

// NewTimer returns a timer that is not running. It must be called on the
// thread, or before the thread starts.
func (t *Thread) NewTimer(call func(*Thread)) *Timer {
	return &Timer{thread: t, call: call, place: -1}
}

// Reset makes the timer fire once, d from now, whether it is running or not.
func (m *Timer) Reset(d time.Duration) {
	m.when = m.thread.Now() + d
	if m.place >= 0 {
		heap.Fix(&m.thread.timers, m.place)
		return
	}
	heap.Push(&m.thread.timers, m)
}

// Stop makes the timer not fire.
func (m *Timer) Stop() {
	if m.place >= 0 {
		heap.Remove(&m.thread.timers, m.place)
	}
}

// timerHeap orders running timers by their time.
type timerHeap []*Timer

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].when < h[j].when }
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *timerHeap) Push(x any) {
	m := x.(*Timer)
	m.place = len(*h)
	*h = append(*h, m)
}

func (h *timerHeap) Pop() any {
	last := len(*h) - 1
	m := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	m.place = -1
	return m
}

// runTimers calls what is due and returns how many that were.
func (t *Thread) runTimers() (fired int) {
	for len(t.timers) > 0 && t.timers[0].when <= t.now {
		m := heap.Pop(&t.timers).(*Timer)
		m.call(t)
		fired++
	}
	return fired
}
