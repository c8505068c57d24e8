package netisr

import (
	"sync"
	"time"
)

// Clock tells a time that never goes back, since an arbitrary start.
type Clock interface {
	Now() time.Duration
}

// SystemClock is the monotonic clock of the system.
var SystemClock Clock = systemClock{time.Now()}

type systemClock struct{ start time.Time }

func (c systemClock) Now() time.Duration { return time.Since(c.start) }

// FakeClock is a clock for tests: it moves only when told. Threads that run
// by it wake up when it moves. The zero value is ready.
type FakeClock struct {
	mu    sync.Mutex
	now   time.Duration
	wakes []func()
}

// Now returns the time it was set to.
func (c *FakeClock) Now() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock forward.
func (c *FakeClock) Advance(d time.Duration) {
	c.mu.Lock()
	c.now += d
	wakes := c.wakes
	c.mu.Unlock()
	for _, wake := range wakes {
		wake()
	}
}

// onAdvance calls wake after every move from now on.
func (c *FakeClock) onAdvance(wake func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wakes = append(c.wakes, wake)
}
