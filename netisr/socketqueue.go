package netisr

import (
	"unsafe"

	"github.com/bsdnet/bsdnet/netisr/xsk"
)

const (
	// The kernel makes one socket buffer of a packet and gives it at most
	// MAX_SKB_FRAGS + 1 pieces.
	maxPieces = 18

	// headerAlign is what the fields of the header need.
	headerAlign = 4
)

// socketQueue makes a queue of an AF_XDP socket.
type socketQueue struct {
	socket *xsk.Socket
	pool   *Pool

	received [burstSize]xsk.Desc
	pieces   [burstSize + maxPieces]xsk.Desc
	addrs    [burstSize]uint64
	partial  *Packet // jumbo of which more is to come
	skipping bool    // the rest of a packet that had no memory
}

// Receive implements [Queue].
func (q *socketQueue) Receive(cache *Cache, burst []*Packet) (count int) {
	q.complete(cache)
	n := q.socket.Receive(q.received[:min(len(burst), len(q.received))])
	for _, desc := range q.received[:n] {
		if p := q.receive(cache, desc); p != nil {
			burst[count] = p
			count++
		}
	}
	q.fill(cache)
	return count
}

// receive makes a packet of one descriptor, or nil if it is not the last of
// its packet.
func (q *socketQueue) receive(cache *Cache, desc xsk.Desc) *Packet {
	p := q.pool.at(desc.Addr)
	more := desc.Options&xsk.PacketContinued != 0
	p.start = int(desc.Addr - p.addr)
	p.end = p.start + int(desc.Len)
	if !more && q.partial == nil && !q.skipping {
		p.align()
		return p
	}
	defer cache.Put(p)
	if q.partial == nil && !q.skipping {
		q.partial = q.pool.takeJumbo()
		if q.partial != nil {
			q.partial.reset(packetHeadroom)
			q.partial.end = q.partial.start
		}
		q.skipping = q.partial == nil
	}
	if whole := q.partial; whole != nil {
		piece := p.memory[p.start:p.end]
		if whole.end+len(piece) > len(whole.memory) {
			cache.Put(whole)
			q.partial, q.skipping = nil, true
		} else {
			whole.end += copy(whole.memory[whole.end:], piece)
		}
	}
	if more {
		return nil
	}
	whole := q.partial
	q.partial, q.skipping = nil, false
	return whole
}

// align moves the packet so that its header can be read in place. The kernel
// aligns what it copies; a driver with zero copy may not.
func (p *Packet) align() {
	if uintptr(unsafe.Pointer(&p.memory[p.start]))%headerAlign == 0 {
		return
	}
	start := p.start &^ (headerAlign - 1)
	p.end = start + copy(p.memory[start:], p.memory[p.start:p.end])
	p.start = start
}

// fill gives the kernel memory for packets to come, in batches.
func (q *socketQueue) fill(cache *Cache) {
	for q.socket.FillRoom() >= burstSize {
		n := 0
		for n < burstSize {
			p := cache.chunk()
			if p == nil {
				break
			}
			q.addrs[n] = p.addr
			n++
		}
		if n == 0 {
			return
		}
		q.socket.Fill(q.addrs[:n])
	}
	_ = q.socket.WakeReceive() // told again at the next batch
}

// complete takes back the memory of packets that were sent.
func (q *socketQueue) complete(cache *Cache) {
	for {
		n := q.socket.Complete(q.addrs[:])
		for _, addr := range q.addrs[:n] {
			cache.Put(q.pool.at(addr))
		}
		if n < len(q.addrs) {
			return
		}
	}
}

// Transmit implements [Queue].
func (q *socketQueue) Transmit(cache *Cache, burst []*Packet) int {
	q.complete(cache)
	room := q.socket.TransmitRoom()
	taken, descs := 0, 0
	for _, p := range burst {
		if p.jumbo {
			pieces, ok := q.split(cache, p, q.pieces[descs:], room-descs)
			if !ok {
				break
			}
			descs += pieces
		} else {
			if descs == room {
				break
			}
			q.pieces[descs] = xsk.Desc{Addr: p.addr + uint64(p.start), Len: uint32(p.end - p.start)}
			descs++
		}
		taken++
		if descs >= burstSize {
			q.socket.Transmit(q.pieces[:descs])
			room -= descs
			descs = 0
		}
	}
	q.socket.Transmit(q.pieces[:descs])
	return taken
}

// split copies a jumbo into chunks and describes them. It reports false, and
// keeps nothing, when room or memory are short or the kernel cannot take it;
// else it has freed the jumbo.
func (q *socketQueue) split(cache *Cache, p *Packet, descs []xsk.Desc, room int) (int, bool) {
	data := p.memory[p.start:p.end]
	size := 1 << q.pool.shift
	pieces := (len(data) + size - 1) / size
	if pieces > min(room, maxPieces) || pieces > 1 && !q.socket.MultiBuffer() {
		return 0, false
	}
	for i := range pieces {
		chunk := cache.chunk()
		if chunk == nil {
			for _, desc := range descs[:i] {
				cache.Put(q.pool.at(desc.Addr))
			}
			return 0, false
		}
		n := copy(chunk.memory, data)
		data = data[n:]
		descs[i] = xsk.Desc{Addr: chunk.addr, Len: uint32(n), Options: xsk.PacketContinued}
	}
	descs[pieces-1].Options = 0
	cache.Put(p)
	return pieces, true
}

// flushTries bounds the system calls for one batch; each sends 32 at least.
const flushTries = 4

// Flush implements [Queue].
func (q *socketQueue) Flush() (again bool, err error) {
	for range flushTries {
		if !q.socket.Pending() {
			return false, nil
		}
		if err := q.socket.Kick(); err != nil {
			return false, err
		}
	}
	return q.socket.Pending(), nil
}

// FD implements [Queue].
func (q *socketQueue) FD() int { return q.socket.FD() }

// Close implements [Queue].
func (q *socketQueue) Close() error { return q.socket.Close() }
