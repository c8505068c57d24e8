// Package reass puts fragments of IP packets together again, as pf(4) does.
//
// What overlaps is decided by offset: the fragment that begins earlier keeps
// its bytes. In IPv6 any overlap drops the packet with all its fragments (RFC
// 5722). Memory is bounded by the number of fragments that are held, time by
// the age of a packet's first fragment, and the work for one packet by the
// number of fragments within each sixteenth of the largest packet.
package reass

import (
	"container/list"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// MaxPacket is the length of the largest packet in bytes.
	MaxPacket = 65535

	// A packet has at most regionLimit fragments that begin within regionSize
	// bytes.
	regionSize  = (MaxPacket + 1) / 16
	regionLimit = 64

	// flushPart of the packets held make room when the limit is reached.
	flushPart = 10
)

// Key names the packet that a fragment is of.
type Key struct {
	Src, Dst netip.Addr
	ID       uint32
	Protocol uint8 // IPv4; 0 in IPv6
	Out      bool  // met on its way out
}

// Fragment is one fragment.
type Fragment struct {
	Key
	Offset int  // bytes
	More   bool // is not the last
	// Header is the IP header with options, in IPv6 all headers before the
	// fragment header. That of the packet is the one of the first fragment.
	Header []byte
	// Next is the protocol behind the fragment header of IPv6.
	Next uint8
	// Link is the link header before it.
	Link []byte
	Data []byte
}

// Packet is one whole packet.
type Packet struct {
	Header, Link []byte
	Next         uint8
	Data         []byte // all behind the header
	// MaxLength is the length of the longest fragment with its header.
	MaxLength int
	ID        uint32
	// Fragments is the number of fragments that it was made of.
	Fragments int
}

// The reasons for which a fragment is dropped.
var (
	ErrEmpty     = errors.New("empty fragment")
	ErrAlignment = errors.New("length of a fragment is not a multiple of 8")
	ErrTooLong   = errors.New("fragment reaches beyond the largest packet")
	ErrOverlap   = errors.New("fragment overlaps")
	ErrEnd       = errors.New("fragments disagree on the end of the packet")
	ErrMany      = errors.New("too many fragments of one packet")
	ErrLimit     = errors.New("too many fragments")
)

// Table holds the fragments of packets that are not whole. Its methods may be
// called concurrently.
type Table struct {
	mu      sync.Mutex
	limit   int
	timeout time.Duration
	queues  map[Key]*queue
	byAge   list.List // of *queue, the oldest first
	held    int       // fragments
	expired uint64    // fragments of packets that did not become whole in time
}

// queue is a packet that is not whole.
type queue struct {
	Key
	since     time.Duration
	element   *list.Element
	entries   []entry // by offset, without overlap
	regions   [16]uint8
	maxLength int
	count     int
	first     Fragment // without data
	hasFirst  bool
}

type entry struct {
	offset int
	data   []byte
	more   bool
}

func (e *entry) end() int { return e.offset + len(e.data) }

// New returns a table that holds at most limit fragments, each for no longer
// than timeout.
func New(limit int, timeout time.Duration) *Table {
	t := &Table{queues: make(map[Key]*queue)}
	t.Configure(limit, timeout)
	return t
}

// Configure changes the limits. What is held beyond a lower one is dropped when
// the next fragment comes.
func (t *Table) Configure(limit int, timeout time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.limit, t.timeout = limit, timeout
}

// Held returns the number of fragments held, and of those dropped so far
// because their packets did not become whole in time.
func (t *Table) Held() (fragments int, expired uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.held, t.expired
}

// Add takes a fragment, of which it keeps a copy. It returns the packet once it
// is whole, nil while it is not, and an error when the fragment was dropped,
// with lost the number of fragments that went with it.
func (t *Table) Add(now time.Duration, f Fragment) (whole *Packet, lost int, err error) {
	switch {
	case len(f.Data) == 0:
		return nil, 1, ErrEmpty
	case f.More && len(f.Data)%8 != 0:
		return nil, 1, ErrAlignment
	case f.Offset+len(f.Data) > MaxPacket:
		return nil, 1, ErrTooLong
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(now)
	if t.held >= t.limit {
		t.flush()
		if t.held >= t.limit {
			return nil, 1, ErrLimit
		}
	}
	q := t.queues[f.Key]
	if q == nil {
		q = &queue{Key: f.Key, since: now}
		q.element = t.byAge.PushBack(q)
		t.queues[f.Key] = q
	}
	before := len(q.entries)
	fatal, err := q.add(&f)
	t.held += len(q.entries) - before
	if fatal {
		lost = 1 + len(q.entries)
		t.remove(q)
		return nil, lost, err
	}
	if len(q.entries) == 0 {
		t.remove(q)
	}
	if err != nil {
		return nil, 1, err
	}
	if !q.complete() {
		return nil, 0, nil
	}
	t.remove(q)
	whole = q.packet()
	if len(whole.Header)+len(whole.Data) > MaxPacket {
		return nil, q.count, ErrTooLong
	}
	return whole, 0, nil
}

// Expire drops packets that have waited for too long.
func (t *Table) Expire(now time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(now)
}

func (t *Table) expire(now time.Duration) {
	for e := t.byAge.Front(); e != nil; e = t.byAge.Front() {
		q := e.Value.(*queue)
		if now-q.since < t.timeout {
			return
		}
		t.expired += uint64(len(q.entries))
		t.remove(q)
	}
}

// flush makes room by dropping the oldest packets.
func (t *Table) flush() {
	for n := len(t.queues)/flushPart + 1; n > 0 || t.held > t.limit; n-- {
		e := t.byAge.Front()
		if e == nil {
			return
		}
		q := e.Value.(*queue)
		t.expired += uint64(len(q.entries))
		t.remove(q)
	}
}

func (t *Table) remove(q *queue) {
	t.held -= len(q.entries)
	t.byAge.Remove(q.element)
	delete(t.queues, q.Key)
}

// add puts a fragment into its place. An error is fatal when no fragment of
// the packet is to be trusted.
func (q *queue) add(f *Fragment) (fatal bool, err error) {
	six := f.Src.Is6()
	begin, end := f.Offset, f.Offset+len(f.Data)
	if n := len(q.entries); n > 0 {
		last := &q.entries[n-1]
		switch total := last.end(); {
		case !f.More && end < total,
			!last.more && (end > total || end == total && f.More),
			last.more && end == total && !f.More:
			return true, ErrEnd
		}
	}
	at, _ := slices.BinarySearchFunc(q.entries, begin, func(e entry, offset int) int {
		if e.offset <= offset {
			return -1
		}
		return 1
	})
	if at > 0 {
		if cut := q.entries[at-1].end() - begin; cut > 0 {
			if six {
				return true, ErrOverlap
			}
			if cut >= len(f.Data) {
				return false, ErrOverlap
			}
			begin += cut
		}
	}
	behind := at
	for behind < len(q.entries) && q.entries[behind].offset < end {
		if six {
			return true, ErrOverlap
		}
		next := &q.entries[behind]
		if cut := end - next.offset; cut < len(next.data) {
			q.region(next.offset, -1)
			next.offset, next.data = next.offset+cut, next.data[cut:]
			q.region(next.offset, 1)
			break
		}
		q.region(next.offset, -1)
		behind++ // covered whole
	}
	if q.regions[begin/regionSize] >= regionLimit {
		q.entries = slices.Delete(q.entries, at, behind)
		return false, ErrMany
	}
	q.region(begin, 1)
	fresh := entry{offset: begin, data: slices.Clone(f.Data[begin-f.Offset:]), more: f.More}
	q.entries = slices.Replace(q.entries, at, behind, fresh)
	q.count++
	length := len(f.Header) + len(f.Data)
	if six {
		length += 8
	}
	q.maxLength = max(q.maxLength, length)
	if f.Offset == 0 && !q.hasFirst {
		q.first, q.hasFirst = *f, true
		q.first.Data, q.first.Header, q.first.Link = nil, slices.Clone(f.Header), slices.Clone(f.Link)
	}
	return false, nil
}

func (q *queue) region(offset, by int) { q.regions[offset/regionSize] += uint8(by) }

// complete reports whether the entries cover the packet from its beginning to
// its last fragment.
func (q *queue) complete() bool {
	at := 0
	for i := range q.entries {
		if q.entries[i].offset != at {
			return false
		}
		at = q.entries[i].end()
	}
	return q.hasFirst && !q.entries[len(q.entries)-1].more
}

func (q *queue) packet() *Packet {
	p := &Packet{Header: q.first.Header, Link: q.first.Link, Next: q.first.Next, MaxLength: q.maxLength, ID: q.ID, Fragments: q.count}
	last := &q.entries[len(q.entries)-1]
	p.Data = make([]byte, 0, last.end())
	for i := range q.entries {
		p.Data = append(p.Data, q.entries[i].data...)
	}
	return p
}
