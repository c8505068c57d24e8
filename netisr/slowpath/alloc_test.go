package slowpath_test

import (
	"net/netip"
	"testing"
	"unsafe"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/netisr"
	"github.com/bsdnet/bsdnet/netisr/slowpath"
)

// loopQueue is a queue that does not allocate: it receives the same data
// again and again, and forgets what is transmitted.
type loopQueue struct {
	put      []byte
	received int
}

func (q *loopQueue) Receive(cache *netisr.Cache, burst []*netisr.Packet) int {
	if q.put == nil {
		return 0
	}
	p := cache.Get(len(q.put) - int(bpf.NetisrHeaderLen))
	*p.Header() = *(*bpf.NetisrHeader)(unsafe.Pointer(unsafe.SliceData(q.put)))
	copy(p.Frame(), q.put[bpf.NetisrHeaderLen:])
	p.Resize(len(q.put) - int(bpf.NetisrHeaderLen))
	q.put = nil
	q.received++
	burst[0] = p
	return 1
}

func (q *loopQueue) Transmit(cache *netisr.Cache, burst []*netisr.Packet) int {
	for _, p := range burst {
		cache.Put(p)
	}
	return len(burst)
}

func (q *loopQueue) Flush() (bool, error) { return false, nil }
func (q *loopQueue) FD() int              { return -1 }
func (q *loopQueue) Close() error         { return nil }

type allocWorld struct {
	world
	loop loopQueue
}

// Resolve does not remember what it was asked.
func (w *allocWorld) Resolve(uint32, netip.Addr) slowpath.Neighbour { return slowpath.NeighbourPending }

func newAllocWorld(tb testing.TB, settings slowpath.Settings) *allocWorld {
	tb.Helper()
	w := &allocWorld{world: world{nexthops: map[uint32]bpf.Nexthop{1: {Flags: bpf.NexthopUp, Ifslot: 2}}}}
	var err error
	if w.pool, err = netisr.NewPool(make([]byte, worldPackets*2048), 2048); err != nil {
		tb.Fatal(err)
	}
	w.netisr, err = netisr.New(netisr.Config{Threads: 1, Clock: &w.clock}, w.pool, []netisr.Queue{&w.loop})
	if err != nil {
		tb.Fatal(err)
	}
	if w.stack, err = slowpath.New(slowpath.Config{
		Netisr: w.netisr, Interfaces: w, Nexthops: w, Resolver: w, Routes: w, Sender: w, Settings: settings,
	}); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { w.netisr.Stop() })
	return w
}
