package route

import (
	"errors"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/ifnet"
)

// kernelBatch is what one receive gave: events, or the news that the kernel
// dropped some.
type kernelBatch struct {
	events   []kernelEvent
	overflow bool
}

// retryReceive is how long to wait before subscribing again when that fails.
const retryReceive = time.Second

// receive passes notifications to follow until the Table is closed. When the
// kernel dropped some it starts over with a new socket, because what is still
// queued in the old one is older than the dump that follows.
func (t *Table) receive(sub subscription) {
	for sub != nil {
		err := t.receiveFrom(sub)
		sub.close()
		select {
		case <-t.stop:
			return
		default:
		}
		if !errors.Is(err, unix.ENOBUFS) {
			t.log.Warn("following Linux failed, starting over", "error", err)
		}
		for sub = nil; sub == nil; {
			if sub, err = t.kernel.subscribe(t.options.ReceiveBuffer); err == nil {
				break
			}
			t.log.Warn("following Linux failed, trying again", "error", err)
			select {
			case <-t.stop:
				return
			case <-time.After(retryReceive):
			}
		}
		select {
		case t.events <- kernelBatch{overflow: true}:
		case <-t.stop:
		}
	}
}

func (t *Table) receiveFrom(sub subscription) error {
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-t.stop:
			sub.close() // wakes receive
		case <-done:
		}
	}()
	for {
		events, err := sub.receive()
		if err != nil {
			return err
		}
		if len(events) == 0 {
			continue
		}
		select {
		case t.events <- kernelBatch{events: events}:
		case <-t.stop:
			return errClosed
		}
	}
}

// follow keeps everything up to date until the Table is closed. It is the
// only one who takes notifications, so they are applied in their order.
func (t *Table) follow() {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	audit := time.NewTimer(t.options.Audit)
	defer audit.Stop()
	var resync <-chan time.Time
	var asked time.Time // when the pending resync was first asked for
	for {
		select {
		case <-t.stop:
			return
		case batch := <-t.events:
			t.takeBatches(batch)
		case <-t.links.wake:
			t.takeInterfaces(t.links.take())
		case after := <-t.resync:
			if resync == nil {
				asked = time.Now()
			}
			// A later event puts it off, but not for ever.
			resync = time.After(max(0, min(after, time.Until(asked.Add(settleMax)))))
		case <-resync:
			resync = nil
			audit.Reset(t.audit())
		case <-audit.C:
			audit.Reset(t.audit())
		case <-second.C:
			t.tick()
		}
	}
}

// audit compares with the kernel and returns when to do so again.
func (t *Table) audit() time.Duration {
	began := t.now()
	if err := t.compare(); err != nil {
		t.log.Warn("comparing with Linux failed", "error", err)
	}
	return max(t.options.Audit, auditShare*t.now().Sub(began))
}

// askResync asks for a comparison after a while.
func (t *Table) askResync(after time.Duration) {
	select {
	case t.resync <- after:
	default: // enough are asked for
	}
}

// batchMax bounds the notifications that are applied at once, and with them
// the time that the Table is locked.
const batchMax = 4096

// takeBatches applies a batch and all that wait behind it.
func (t *Table) takeBatches(batch kernelBatch) {
	overflow := t.takeKernel(batch)
	if overflow {
		t.mu.Lock()
		t.stats.Overflows++
		t.mu.Unlock()
		t.audit()
	}
}

func (t *Table) takeKernel(batch kernelBatch) (overflow bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.flush()
	for taken := 0; ; {
		if batch.overflow {
			return true
		}
		for i := range batch.events {
			t.takeEvent(&batch.events[i])
		}
		taken += len(batch.events)
		if taken >= batchMax {
			return false
		}
		select {
		case batch = <-t.events:
		default:
			return false
		}
	}
}

// takeEvent applies one notification. The caller flushes.
func (t *Table) takeEvent(e *kernelEvent) {
	switch {
	case e.neighbour != nil:
		t.mapError(t.neighbours.update(*e.neighbour, e.deleted))
		if slot, ok := t.slotOf(e.neighbour.ifindex); ok {
			key := neighbourKey{slot, e.neighbour.addr}
			if _, inUse := t.neighbours.gateways[key]; inUse {
				t.keepGateway(key)
			}
		}
	case e.route != nil:
		// What bsdnet itself did in Linux is in the RIB before Linux tells.
		if e.port == t.kernel.routePort() && e.port != 0 {
			return
		}
		p, ok := importPath(*e.route)
		if !ok {
			return
		}
		if !e.deleted {
			t.rib.importRoute(e.route.dst, p, e.flags&unix.NLM_F_REPLACE != 0)
			return
		}
		own := t.rib.withdraw(e.route.dst, p)
		switch {
		case own == nil:
		case e.port == 0:
			own.mirrored = false // flushed with its interface: put back later
		default:
			t.rib.remove(e.route.dst, own) // somebody took it out of Linux
		}
	}
}

// takeInterfaces applies what happened to interfaces.
func (t *Table) takeInterfaces(events []ifnet.Event) {
	if len(events) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.flush()
	changed := make(map[int]struct{})
	for _, e := range events {
		changed[e.If.Index] = struct{}{}
		t.publishInterface(e)
		down := e.Kind == ifnet.Detach || (e.Kind == ifnet.Link || e.Kind == ifnet.Rename) && !e.If.Up
		if down {
			t.linkGone(e.If.Index)
		}
		if down || e.Kind == ifnet.AddressDelete {
			t.askResync(settle)
		}
	}
	for index := range changed {
		t.syncAddrs(index)
		t.mapError(t.neighbours.interfaceChanged(index))
	}
	for key := range t.neighbours.gateways {
		t.keepGateway(key)
	}
	t.rib.each(func(dst netip.Prefix, p *path) {
		for _, hop := range p.hops {
			if _, ok := changed[hop.ifindex]; ok {
				t.rib.dirty[dst] = struct{}{}
			}
		}
		if p.owner == ownerBSD && !p.mirrored {
			t.wakeMirror()
		}
	})
}

// linkGone takes out the routes over an interface that is down or no more, as
// Linux does without telling of it. Those of bsdnet stay while the interface
// is only down. An interface that is up again by now is left to the dump.
func (t *Table) linkGone(index int) {
	ifp, there := t.interfaces.ByIndex(index)
	if there && ifp.Up {
		return
	}
	t.rib.each(func(dst netip.Prefix, p *path) {
		if p.table != unix.RT_TABLE_MAIN || !p.usesInterface(index) {
			return
		}
		// A multipath route lives while one of its interfaces does.
		for _, hop := range p.hops {
			if other, ok := t.interfaces.ByIndex(hop.ifindex); ok && other.Up {
				return
			}
		}
		switch {
		case there && p.owner == ownerBSD:
			p.mirrored = false
		case imported(p):
			t.rib.remove(dst, p)
		}
	})
}

// tick does what is due every second.
func (t *Table) tick() {
	if err := t.path.reclaim(); err != nil {
		t.log.Warn("reclaiming memory of routing tables failed", "error", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fib.nexthops.sweep()
	t.mapError(t.neighbours.expire())
	for key := range t.neighbours.gateways {
		t.keepGateway(key)
	}
	for _, key := range t.neighbours.unconfirmed(confirmBurst) {
		slot, _ := t.slotOf(key.ifindex)
		_, gateway := t.neighbours.gateways[neighbourKey{slot, key.addr}]
		t.resolver.submit(neighbourJob{key: key, gateway: gateway})
	}
	if len(t.expiring) > 0 {
		t.wake()
	}
}

// flush brings FIB and subscribers up to date with what changed in the RIB.
func (t *Table) flush() {
	if len(t.rib.dirty) == 0 {
		return
	}
	changes := make([]fibChange, 0, len(t.rib.dirty))
	type news struct {
		n  *node
		c  choice
		ok bool
	}
	told := make([]news, 0, len(t.rib.dirty))
	for dst := range t.rib.dirty {
		n, ok := t.rib.nodes[dst]
		if !ok {
			continue
		}
		c, ok := t.choose(n)
		changes = append(changes, fibChange{dst: dst, key: c.key, delete: !ok})
		told = append(told, news{n, c, ok})
	}
	clear(t.rib.dirty)
	t.mapError(t.fib.commit(changes))
	for _, news := range told {
		t.tell(news.n, news.c, news.ok)
	}
}

// mapError counts and logs a failed write to the maps. The next audit tries
// again.
func (t *Table) mapError(err error) {
	if err == nil {
		return
	}
	t.stats.MapErrors++
	t.log.Error("changing the maps failed", "error", err)
}

// wakeMirror asks for a search for routes that Linux lacks. The caller holds mu.
func (t *Table) wakeMirror() {
	t.scan = true
	t.wake()
}

// wake makes mirrorRoutes do what is due.
func (t *Table) wake() {
	select {
	case t.mirror <- struct{}{}:
	default:
	}
}
