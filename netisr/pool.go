package netisr

import (
	"fmt"
	"math/bits"
	"sync"
)

const (
	// cacheBatch packets at a time move between the pool and a thread.
	cacheBatch = 64

	// Bytes before the header of a packet made here: room for link headers
	// to grow into, and the alignment of the header.
	packetHeadroom = 64

	// The largest IP packet, its link header with tags, and our header.
	jumboSize = packetHeadroom + 65535 + 64 + 128

	defaultJumbos = 64
)

// Pool is the memory of packets: an area divided into chunks of one size, and
// a few buffers for packets larger than a chunk. The area may be a UMEM. Its
// methods may be called concurrently; threads go through a [Cache].
type Pool struct {
	area    []byte
	shift   int
	packets []Packet
	jumbos  int // limit

	mu        sync.Mutex
	free      []*Packet
	freeJumbo []*Packet
	allocated int // jumbos made so far
}

// NewPool divides area into chunks of chunkSize bytes, a power of two of at
// least 2048. Bytes beyond the last whole chunk are not used.
func NewPool(area []byte, chunkSize int) (*Pool, error) {
	if chunkSize < 2048 || bits.OnesCount(uint(chunkSize)) != 1 {
		return nil, fmt.Errorf("make packet pool: chunk size %d is not a power of two from 2048 up", chunkSize)
	}
	count := len(area) / chunkSize
	pool := &Pool{
		area:    area,
		shift:   bits.TrailingZeros(uint(chunkSize)),
		packets: make([]Packet, count),
		free:    make([]*Packet, count),
		jumbos:  defaultJumbos,
	}
	for i := range pool.packets {
		p := &pool.packets[i]
		p.addr = uint64(i * chunkSize)
		p.memory = area[i*chunkSize : (i+1)*chunkSize : (i+1)*chunkSize]
		// The last to be taken first: low addresses stay hot.
		pool.free[count-1-i] = p
	}
	return pool, nil
}

// Available returns the number of chunks that nobody owns, not counting those
// in the caches of threads.
func (pool *Pool) Available() int {
	pool.mu.Lock()
	defer pool.mu.Unlock()
	return len(pool.free)
}

// at returns the packet of the chunk that holds an address of the area.
func (pool *Pool) at(addr uint64) *Packet { return &pool.packets[addr>>pool.shift] }

// take moves up to n packets into dst and returns it.
func (pool *Pool) take(dst []*Packet, n int) []*Packet {
	pool.mu.Lock()
	defer pool.mu.Unlock()
	n = min(n, len(pool.free))
	rest := len(pool.free) - n
	dst = append(dst, pool.free[rest:]...)
	pool.free = pool.free[:rest]
	return dst
}

// give takes packets back.
func (pool *Pool) give(packets []*Packet) {
	pool.mu.Lock()
	defer pool.mu.Unlock()
	pool.free = append(pool.free, packets...)
}

func (pool *Pool) takeJumbo() *Packet {
	pool.mu.Lock()
	defer pool.mu.Unlock()
	if n := len(pool.freeJumbo); n > 0 {
		p := pool.freeJumbo[n-1]
		pool.freeJumbo = pool.freeJumbo[:n-1]
		return p
	}
	if pool.allocated >= pool.jumbos {
		return nil
	}
	pool.allocated++
	return &Packet{memory: make([]byte, jumboSize), jumbo: true}
}

func (pool *Pool) giveJumbo(p *Packet) {
	pool.mu.Lock()
	defer pool.mu.Unlock()
	pool.freeJumbo = append(pool.freeJumbo, p)
}

// Cache is one thread's share of a pool. It is for one goroutine at a time.
type Cache struct {
	pool  *Pool
	stack []*Packet
}

// NewCache returns an empty cache of the pool.
func (pool *Pool) NewCache() *Cache {
	return &Cache{pool: pool, stack: make([]*Packet, 0, 2*cacheBatch)}
}

// Get returns an empty packet, whose header is zero but for its magic, with
// room for a frame of length bytes, or nil when there is no memory.
func (c *Cache) Get(length int) *Packet {
	var p *Packet
	if packetHeadroom+headerLen+length > 1<<c.pool.shift {
		if packetHeadroom+headerLen+length > jumboSize {
			return nil
		}
		p = c.pool.takeJumbo()
	} else {
		p = c.chunk()
	}
	if p != nil {
		p.reset(packetHeadroom)
	}
	return p
}

// chunk returns a packet that is a chunk, as it is.
func (c *Cache) chunk() *Packet {
	if len(c.stack) == 0 {
		c.stack = c.pool.take(c.stack, cacheBatch)
		if len(c.stack) == 0 {
			return nil
		}
	}
	p := c.stack[len(c.stack)-1]
	c.stack = c.stack[:len(c.stack)-1]
	return p
}

// Put ends the ownership of a packet.
func (c *Cache) Put(p *Packet) {
	p.Next = nil
	if p.jumbo {
		c.pool.giveJumbo(p)
		return
	}
	if len(c.stack) == cap(c.stack) {
		keep := len(c.stack) - cacheBatch
		c.pool.give(c.stack[keep:])
		c.stack = c.stack[:keep]
	}
	c.stack = append(c.stack, p)
}

// drain gives everything back to the pool.
func (c *Cache) drain() {
	c.pool.give(c.stack)
	c.stack = c.stack[:0]
}
