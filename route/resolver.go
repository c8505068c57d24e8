package route

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/bpf"
)

// neighbourJob asks the kernel something about a neighbour.
type neighbourJob struct {
	key       linkKey
	gateway   bool // keep it confirmed from now on
	unmanaged bool // no longer keep it confirmed
}

// resolver asks the kernel to resolve and confirm neighbours. The requests
// take the kernel's rtnl lock, which others may hold for long, so they are
// made by a goroutine of their own.
type resolver struct {
	kernel  kernel
	jobs    chan neighbourJob
	static  func(linkKey) bool // entered by hand: to be left alone
	failed  func(linkKey)      // told when the kernel refuses
	managed atomic.Bool        // the kernel knows NTF_EXT_MANAGED
	refused atomic.Uint64
	mu      sync.Mutex
	asked   map[linkKey]time.Time // resolutions under way
}

// resolverQueue is the number of requests that may wait. More would only be
// older when their turn comes.
const resolverQueue = 4096

func newResolver(k kernel, static func(linkKey) bool, failed func(linkKey)) *resolver {
	r := &resolver{
		kernel: k,
		jobs:   make(chan neighbourJob, resolverQueue),
		static: static,
		failed: failed,
		asked:  make(map[linkKey]time.Time),
	}
	r.managed.Store(true)
	return r
}

// run works until stop is closed.
func (r *resolver) run(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case job := <-r.jobs:
			// NTF_USE would turn an entry made by hand into an ordinary one.
			if r.static(job.key) {
				continue
			}
			if err := r.do(job); err != nil {
				r.refused.Add(1)
				r.failed(job.key)
			}
		}
	}
}

func (r *resolver) do(job neighbourJob) error {
	n := linuxNeighbour{ifindex: job.key.ifindex, addr: job.key.addr, flags: unix.NTF_USE}
	if job.unmanaged {
		// An administrative update without the flag takes it away.
		return r.kernel.neighbourSet(n, false)
	}
	if job.gateway && r.managed.Load() {
		n.flagsExt = ntfExtManaged
		err := r.kernel.neighbourSet(n, false)
		if err == nil {
			return nil
		}
		// Before Linux 5.16 the attribute is refused: NTF_USE again and again
		// does the same.
		n.flagsExt = 0
		if retry := r.kernel.neighbourSet(n, false); retry != nil {
			return err
		}
		r.managed.Store(false)
		return nil
	}
	return r.kernel.neighbourSet(n, false)
}

// submit queues a job; false says that too many wait.
func (r *resolver) submit(job neighbourJob) bool {
	select {
	case r.jobs <- job:
		return true
	default:
		r.refused.Add(1)
		return false
	}
}

// again reports whether the kernel should be asked for a neighbour now, and
// notes that it is.
func (r *resolver) again(key linkKey, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.asked[key]) < resolveAgain {
		return false
	}
	if len(r.asked) >= resolverQueue {
		for k, at := range r.asked {
			if now.Sub(at) >= resolveAgain {
				delete(r.asked, k)
			}
		}
	}
	r.asked[key] = now
	return true
}

// settled notes that a resolution is over, so that the next one may begin.
func (r *resolver) settled(key linkKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.asked, key)
}

// Resolve asks the kernel for the link address of a neighbour. It does not
// block. If the address is known already, as it can be when the answer came
// while the packet was on its way here, Resolve returns it. Else the answer
// comes as a [NeighbourEvent], so a packet should be held before Resolve is
// called. An error means that no event will come.
func (t *Table) Resolve(ifslot uint32, addr netip.Addr) (lladdr [6]byte, ok bool, err error) {
	addr = addr.WithZone("")
	ifp, ok := t.interfaces.BySlot(ifslot)
	if !ok {
		return lladdr, false, fmt.Errorf("resolve %s: no interface in slot %d", addr, ifslot)
	}
	key := neighbourKey{ifslot, addr}
	t.mu.Lock()
	ll, ok := t.neighbours.written[key]
	_, gateway := t.neighbours.gateways[key]
	t.mu.Unlock()
	if ok && ll.State == uint16(bpf.NeighbourValid) {
		return ll.Lladdr, true, nil
	}
	link := linkKey{ifp.Index, addr}
	if !t.resolver.again(link, t.now()) {
		return lladdr, false, nil
	}
	if !t.resolver.submit(neighbourJob{key: link, gateway: gateway}) {
		return lladdr, false, fmt.Errorf("resolve %s: too many requests are waiting", addr)
	}
	return lladdr, false, nil
}

// SubscribeNeighbours calls notify when a neighbour becomes valid, gets
// another link address, or fails to answer, in order and one at a time, after
// the maps have been changed. The returned function ends the subscription; a
// call under way may still come to its end.
func (t *Table) SubscribeNeighbours(notify func(NeighbourEvent)) (cancel func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	id := t.nextNotify
	t.nextNotify++
	t.notifies[id] = notify
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.notifies, id)
	}
}
