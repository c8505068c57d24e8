package route

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netns"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/ifnet"
	"github.com/bsdnet/bsdnet/route/api"
)

// Interfaces is what the Table asks of the model of interfaces; *ifnet.Table
// is one.
type Interfaces interface {
	ByIndex(index int) (*ifnet.Ifnet, bool)
	ByName(name string) (*ifnet.Ifnet, bool)
	BySlot(slot uint32) (*ifnet.Ifnet, bool)
	All() []*ifnet.Ifnet
	Subscribe(notify func(ifnet.Event)) (cancel func())
}

// Options tune a Table. The zero value is good.
type Options struct {
	// Netns is the network namespace to mirror; nil is the one of the
	// calling thread.
	Netns *netns.NsHandle

	// Log gets what goes wrong and repairs itself; nil is slog's default.
	Log *slog.Logger

	// ReceiveBuffer is the size in bytes of the buffer for notifications of
	// rtnetlink. 0 is 64 MiB, enough for 100,000 routes changed at once; the
	// kernel takes memory only for what is queued.
	ReceiveBuffer int

	// Audit is how often the whole state of the kernel is compared with the
	// mirror. 0 is one minute; it grows with the table, see auditShare.
	Audit time.Duration

	// HostDown is how long packets to a neighbour that did not answer are
	// dropped before the next one makes the kernel try again. 0 is 3 seconds,
	// as long as one round of the kernel's probes.
	HostDown time.Duration
}

const (
	defaultReceiveBuffer = 64 << 20
	defaultAudit         = time.Minute
	defaultHostDown      = 3 * time.Second

	// auditShare bounds the time spent on audits to one part in so many.
	auditShare = 100

	// settle is how long after a link went down or an address went away the
	// routes are read again: Linux deletes IPv4 routes over them without a
	// notification, after it has told of the link.
	settle    = 30 * time.Millisecond
	settleMax = 300 * time.Millisecond
)

// Stats count what the Table has done since it was started.
type Stats struct {
	Routes     int    `json:"routes"`               // prefixes in the RIB
	Forwarding int    `json:"forwarding"`           // routes in the maps
	Inet       Algo   `json:"inet"`                 // how IPv4 destinations are looked up
	Inet6      Algo   `json:"inet6"`                // and IPv6 ones
	Nexthops   int    `json:"nexthops"`             // next hops in the maps
	Neighbours int    `json:"neighbours"`           // entries in arp and nd6
	Unmirrored int    `json:"unmirrored"`           // routes of bsdnet that Linux does not hold
	MirrorLag  string `json:"mirror_lag,omitempty"` // how long some have been waiting to be put into Linux
	Resyncs    uint64 `json:"resyncs"`              // dumps of the kernel's state
	Overflows  uint64 `json:"overflows"`            // times the kernel dropped notifications
	Repairs    uint64 `json:"repairs"`              // differences that only a dump showed
	Skipped    uint64 `json:"skipped"`              // messages of rtnetlink that made no sense
	MapErrors  uint64 `json:"map_errors"`           // writes to the maps that failed
	Refused    uint64 `json:"refused"`              // neighbour requests that the kernel or the queue refused
	BadRedirs  uint64 `json:"bad_redirs"`           // redirects not accepted
	Dynamic    uint64 `json:"dynamic"`              // routes made by redirects
	NewGateway uint64 `json:"new_gateways"`         // routes changed by redirects
}

// Table is the routing table of one instance. Its methods may be called
// concurrently, also before Start and after Close.
type Table struct {
	interfaces Interfaces
	options    Options
	log        *slog.Logger
	path       dataPath
	kernel     kernel
	resolver   *resolver
	hub        *Hub
	now        func() time.Time

	// command is held by whoever changes Linux together with the RIB, and
	// while a dump is taken over, so that a dump never undoes a change that
	// was made after it. It is locked before mu.
	command sync.Mutex

	mu         sync.Mutex
	rib        *rib
	fib        *fib
	neighbours *neighbourTable
	addrs      map[int]map[addrPath]*path // paths that follow from addresses, by interface
	notifies   map[int]func(NeighbourEvent)
	nextNotify int
	expiring   map[netip.Prefix]*path // paths of bsdnet that have a time
	dumps      uint64                 // number of the latest dump
	quiet      bool                   // publish nothing: the first fill
	asker      asker                  // whose request changes the RIB now
	closed     bool

	mirrorLimit int  // routes of bsdnet that Linux may hold at the most, see SetMirrorLimit
	mirrorFull  bool // it holds them

	loopbackIndex int // where loopback was found last
	stats         Stats

	links   *queue[ifnet.Event]    // events of interfaces: their source may not wait for mu
	tellers *queue[NeighbourEvent] // for those who subscribed: they may call the Table
	events  chan kernelBatch
	resync  chan time.Duration // asks for a dump after a while
	mirror  chan struct{}      // asks for a look at routes that Linux lacks
	scan    bool               // and to find them, under mu
	lacking []loading          // those that are known, under mu
	lagging time.Time          // since when there are some, under mu
	skipped atomic.Uint64
	stop    chan struct{}
	cancel  func()
	wg      sync.WaitGroup
	once    sync.Once
	started bool
}

// New returns a table over the maps of the data path. It changes nothing
// until Start.
func New(interfaces Interfaces, maps Maps, options Options) (*Table, error) {
	dp, err := newMapPath(maps)
	if err != nil {
		return nil, fmt.Errorf("make routing table: %w", err)
	}
	t := newTable(interfaces, dp, nil, options, time.Now)
	ns := netns.None()
	if options.Netns != nil {
		ns = *options.Netns
	}
	k, err := openRtnetlink(ns, &t.skipped)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make routing table: %w", err), dp.close())
	}
	t.setKernel(k)
	return t, nil
}

func newTable(interfaces Interfaces, dp dataPath, k kernel, options Options, now func() time.Time) *Table {
	if options.ReceiveBuffer == 0 {
		options.ReceiveBuffer = defaultReceiveBuffer
	}
	if options.Audit == 0 {
		options.Audit = defaultAudit
	}
	if options.HostDown == 0 {
		options.HostDown = defaultHostDown
	}
	if options.Log == nil {
		options.Log = slog.Default()
	}
	t := &Table{
		interfaces: interfaces,
		options:    options,
		log:        options.Log,
		path:       dp,
		hub:        NewHub(),
		now:        now,
		rib:        newRib(),
		fib:        newFib(dp, now),
		neighbours: newNeighbourTable(dp, now, options.HostDown),
		addrs:      make(map[int]map[addrPath]*path),
		notifies:   make(map[int]func(NeighbourEvent)),
		expiring:   make(map[netip.Prefix]*path),

		mirrorLimit: MirrorAll,
		links:       newQueue[ifnet.Event](),
		tellers:     newQueue[NeighbourEvent](),
		events:      make(chan kernelBatch, 256),
		resync:      make(chan time.Duration, 16),
		mirror:      make(chan struct{}, 1),
		stop:        make(chan struct{}),
	}
	t.neighbours.slotOf = t.slotOf
	t.neighbours.changed = t.neighbourChanged
	t.neighbours.notify = t.notifyNeighbour
	t.fib.nexthops.lladdr = t.gatewayLladdr
	t.fib.nexthops.watch = t.watchGateway
	if k != nil {
		t.setKernel(k)
	}
	return t
}

func (t *Table) setKernel(k kernel) {
	t.kernel = k
	t.resolver = newResolver(k, t.isStatic, t.resolveFailed)
}

// slotOf returns the slot of an interface whose neighbours the data path may
// need.
func (t *Table) slotOf(ifindex int) (uint32, bool) {
	ifp, ok := t.interfaces.ByIndex(ifindex)
	if !ok || !ifp.HasSlot {
		return 0, false
	}
	return ifp.Slot, true
}

// gatewayLladdr returns what is known of the link address of a gateway. One
// on an interface without address resolution needs none.
func (t *Table) gatewayLladdr(key neighbourKey) bpf.Llentry {
	if ll, ok := t.neighbours.written[key]; ok {
		return ll
	}
	if ifp, ok := t.interfaces.BySlot(key.slot); ok && ifp.NoARP {
		return bpf.Llentry{State: uint16(bpf.NeighbourValid)}
	}
	return bpf.Llentry{}
}

// watchGateway notes that a gateway is or is no longer in use.
func (t *Table) watchGateway(key neighbourKey, inUse bool) {
	if inUse {
		t.neighbours.gateways[key] = struct{}{}
		t.keepGateway(key)
		return
	}
	delete(t.neighbours.gateways, key)
	ifp, ok := t.interfaces.BySlot(key.slot)
	if !ok {
		return
	}
	link := linkKey{ifp.Index, key.addr}
	if info := t.neighbours.known[link]; info != nil && info.flagsExt&ntfExtManaged != 0 && info.state&nudStatic == 0 {
		t.resolver.submit(neighbourJob{key: link, unmanaged: true})
	}
}

// keepGateway asks the kernel to keep a gateway in use confirmed, unless it
// does so already. Entries made by hand are left alone: a request would turn
// them into ordinary ones.
func (t *Table) keepGateway(key neighbourKey) {
	ifp, ok := t.interfaces.BySlot(key.slot)
	if !ok || !ifp.Up || ifp.NoARP || t.resolver == nil {
		return
	}
	link := linkKey{ifp.Index, key.addr}
	if info := t.neighbours.known[link]; info != nil {
		if info.state&nudStatic != 0 || info.flagsExt&ntfExtManaged != 0 {
			return
		}
		if !t.resolver.managed.Load() && info.state&nudUsable != 0 {
			return
		}
	}
	if t.resolver.again(link, t.now()) {
		t.resolver.submit(neighbourJob{key: link, gateway: true})
	}
}

// neighbourChanged follows a change of arp or nd6: in the next hops, and on
// the routing sockets, where FreeBSD shows neighbours as RTF_LLINFO routes.
func (t *Table) neighbourChanged(key neighbourKey, ll bpf.Llentry) {
	t.fib.nexthops.neighbourChanged(key, ll)
	ifp, ok := t.interfaces.BySlot(key.slot)
	if !ok || t.quiet {
		return
	}
	m := api.Message{
		Type:  api.RTMDelete,
		Time:  t.now(),
		Flags: api.Host | api.Done | api.Llinfo,
		Dst:   netip.PrefixFrom(key.addr, key.addr.BitLen()),
		Link:  api.Link{Index: ifp.Index, Name: ifp.Name, Type: ifp.Iftype()},
	}
	if ll.State == uint16(bpf.NeighbourValid) {
		m.Type = api.RTMAdd
		m.Flags |= api.Up
		m.Link.Lladdr = lladdrString(ll.Lladdr[:])
	}
	t.hub.Publish(m)
}

// isStatic reports whether a neighbour was entered by hand.
func (t *Table) isStatic(key linkKey) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	info := t.neighbours.known[key]
	return info != nil && info.state&nudStatic != 0
}

// notifyNeighbour passes an event on to those who wait for it.
func (t *Table) notifyNeighbour(event NeighbourEvent) {
	if ifp, ok := t.interfaces.BySlot(event.Ifslot); ok {
		t.resolver.settled(linkKey{ifp.Index, event.Addr})
	}
	if len(t.notifies) > 0 {
		t.tellers.put(event)
	}
}

// tellNeighbours calls the subscribers, outside of any lock, until the Table
// is closed.
func (t *Table) tellNeighbours() {
	for {
		select {
		case <-t.stop:
			return
		case <-t.tellers.wake:
		}
		t.mu.Lock()
		notifies := slices.Collect(maps.Values(t.notifies))
		t.mu.Unlock()
		for _, event := range t.tellers.take() {
			for _, notify := range notifies {
				notify(event)
			}
		}
	}
}

// resolveFailed tells those who wait for a neighbour that the kernel refused
// to look for it.
func (t *Table) resolveFailed(key linkKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if slot, ok := t.slotOf(key.ifindex); ok {
		t.notifyNeighbour(NeighbourEvent{Ifslot: slot, Addr: key.addr})
	}
}

// Start takes over what a previous daemon left in the maps, reads the state
// of Linux, brings the maps up to date, and follows Linux from then on. The
// interfaces must be known by now. It returns when the maps are right.
func (t *Table) Start() error {
	t.mu.Lock()
	if t.started {
		t.mu.Unlock()
		return errors.New("start routing table: started already")
	}
	t.started = true
	t.mu.Unlock()

	sub, err := t.kernel.subscribe(t.options.ReceiveBuffer)
	if err != nil {
		return fmt.Errorf("start routing table: %w", err)
	}
	t.cancel = t.interfaces.Subscribe(t.links.put)
	if err := t.fill(); err != nil {
		sub.close()
		t.cancel()
		return fmt.Errorf("start routing table: %w", err)
	}
	t.wg.Go(func() { t.resolver.run(t.stop) })
	t.wg.Go(func() { t.receive(sub) })
	t.wg.Go(t.follow)
	t.wg.Go(t.mirrorRoutes)
	t.wg.Go(t.tellNeighbours)
	return nil
}

// fill makes the first image of everything.
func (t *Table) fill() error {
	t.command.Lock()
	defer t.command.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.quiet = true
	defer func() { t.quiet = false }()
	if err := errors.Join(t.fib.adopt(), t.neighbours.adopt()); err != nil {
		return err
	}
	t.builtins()
	for _, ifp := range t.interfaces.All() {
		t.syncAddrs(ifp.Index)
	}
	routes, neighbours, err := t.readKernel()
	if err != nil {
		return err
	}
	t.mapError(t.takeDump(routes, neighbours))
	wanted := make(map[netip.Prefix]nexthopKey, len(t.rib.nodes))
	for dst, n := range t.rib.nodes {
		c, ok := t.choose(n)
		if ok {
			wanted[dst] = c.key
		}
		t.tell(n, c, ok)
	}
	clear(t.rib.dirty)
	if err := t.fib.reconcile(wanted); err != nil {
		return err
	}
	// Next hops that were taken over may hold what was true of their gateways
	// when the previous daemon died.
	for key := range t.fib.nexthops.byGateway {
		t.fib.nexthops.neighbourChanged(key, t.gatewayLladdr(key))
		t.watchGateway(key, true)
	}
	return nil
}

// Close stops following Linux. The maps stay as they are: the data path goes
// on with them.
func (t *Table) Close() error {
	t.once.Do(func() {
		close(t.stop)
		if t.cancel != nil {
			t.cancel()
		}
	})
	t.wg.Wait()
	t.hub.Close()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	t.closed = true
	t.kernel.close()
	return t.path.close()
}

// Stats returns the counters.
func (t *Table) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.stats
	s.Routes = len(t.rib.nodes)
	s.Forwarding = len(t.fib.routes)
	s.Inet, s.Inet6 = t.fib.algo(0), t.fib.algo(1)
	s.Nexthops = len(t.fib.nexthops.byNumber)
	s.Neighbours = len(t.neighbours.written)
	s.Skipped = t.skipped.Load()
	if t.resolver != nil {
		s.Refused = t.resolver.refused.Load()
	}
	t.rib.each(func(_ netip.Prefix, p *path) {
		if p.owner == ownerBSD && !p.mirrored {
			s.Unmirrored++
		}
	})
	if !t.lagging.IsZero() {
		s.MirrorLag = t.now().Sub(t.lagging).Round(time.Millisecond).String()
	}
	return s
}
