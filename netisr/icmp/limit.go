package icmp

import (
	"sync"
	"time"
)

// Limiter limits messages to a number per second of each type, as
// badport_bandlim of the BSDs does: seconds do not slide, a new one starts
// with the first message after the last has passed. The zero value is ready.
// It may be used concurrently.
type Limiter struct {
	mu      sync.Mutex
	windows [256]window
}

type window struct {
	start time.Duration
	count int
	used  bool
}

// Allow reports whether one more message of a type may be sent at a time.
// A limit of 0 or less is no limit.
func (l *Limiter) Allow(kind uint8, limit int, now time.Duration) bool {
	if limit <= 0 {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	w := &l.windows[kind]
	if !w.used || now-w.start >= time.Second {
		*w = window{start: now, used: true}
	}
	w.count++
	return w.count <= limit
}

// Bucket is a token bucket (RFC 4443, 2.4 f). The zero value is full. It may
// be used concurrently.
type Bucket struct {
	mu    sync.Mutex
	spent float64 // tokens missing
	last  time.Duration
}

// Allow takes a token at a time, if there is one. The bucket fills with rate
// tokens a second up to burst. A rate of 0 or less is no limit.
func (b *Bucket) Allow(rate, burst int, now time.Duration) bool {
	if rate <= 0 {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if now > b.last {
		b.spent = max(b.spent-(now-b.last).Seconds()*float64(rate), 0)
		b.last = now
	}
	if b.spent+1 > float64(burst) {
		return false
	}
	b.spent++
	return true
}
