package netisr

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Config describes a netisr. The zero value of a field means its default.
type Config struct {
	Threads           int      // net.isr.maxthreads; default: one for each CPU that the process may use
	BindThreads       bool     // net.isr.bindthreads: thread i runs on the i-th CPU of CPUs only
	CPUs              []int    // default: those that the process may use
	Dispatch          Dispatch // net.isr.dispatch; default direct
	DefaultQueueLimit int      // net.isr.defaultqlimit; default 256 packets
	MaxQueueLimit     int      // net.isr.maxqlimit; default 10240 packets
	RollupLimit       int      // packets handled before rollups run; default 32
	Clock             Clock    // default [SystemClock]
}

const (
	maxThreads       = 128
	defaultQLimit    = 256
	defaultMaxQLimit = 10240
	defaultRollup    = 32
)

// Netisr is a set of threads. Its methods may be called concurrently, on any
// goroutine that is not a netisr thread unless they say otherwise.
type Netisr struct {
	config    Config
	pool      *Pool
	threads   []*Thread
	dispatch  atomic.Int32
	protocols [MaxProtocols]atomic.Pointer[Protocol]
	rollups   atomic.Pointer[[]rollup]

	mu      sync.Mutex // protocols, rollups, started
	started bool
	barrier sync.Mutex
	running sync.WaitGroup
}

// New makes the threads and gives queue i to thread i modulo their number.
// There may not be more threads than queues unless there are no queues at all.
// Nothing runs before [Netisr.Start].
func New(config Config, pool *Pool, queues []Queue) (*Netisr, error) {
	if err := config.complete(); err != nil {
		return nil, fmt.Errorf("make netisr: %w", err)
	}
	if len(queues) > 0 && config.Threads > len(queues) {
		config.Threads = len(queues)
	}
	n := &Netisr{config: config, pool: pool}
	n.dispatch.Store(int32(config.Dispatch))
	n.rollups.Store(&[]rollup{})
	for id := range config.Threads {
		t, err := newThread(n, id, config.CPUs[id%len(config.CPUs)])
		if err != nil {
			return nil, errors.Join(fmt.Errorf("make netisr thread %d: %w", id, err), n.release())
		}
		n.threads = append(n.threads, t)
	}
	for i, queue := range queues {
		t := n.threads[i%len(n.threads)]
		t.queues = append(t.queues, queue)
	}
	if fake, ok := config.Clock.(interface{ onAdvance(func()) }); ok {
		fake.onAdvance(n.wake)
	}
	return n, nil
}

// complete puts in the defaults and checks the rest.
func (c *Config) complete() error {
	if len(c.CPUs) == 0 {
		var set unix.CPUSet
		if err := unix.SchedGetaffinity(0, &set); err != nil {
			return fmt.Errorf("get CPUs: %w", err)
		}
		for cpu := range len(set) * 64 {
			if set.IsSet(cpu) {
				c.CPUs = append(c.CPUs, cpu)
			}
		}
	}
	if c.Threads == 0 {
		c.Threads = min(len(c.CPUs), maxThreads)
	}
	if c.Dispatch == DispatchDefault {
		c.Dispatch = DispatchDirect
	}
	if c.DefaultQueueLimit == 0 {
		c.DefaultQueueLimit = defaultQLimit
	}
	if c.MaxQueueLimit == 0 {
		c.MaxQueueLimit = defaultMaxQLimit
	}
	if c.RollupLimit == 0 {
		c.RollupLimit = defaultRollup
	}
	if c.Clock == nil {
		c.Clock = SystemClock
	}
	switch {
	case c.Threads < 0 || c.Threads > maxThreads:
		return fmt.Errorf("%d threads are not from 1 to %d: %w", c.Threads, maxThreads, ErrInvalid)
	case c.Dispatch < DispatchDeferred || c.Dispatch > DispatchDirect:
		return fmt.Errorf("dispatch policy %d: %w", c.Dispatch, ErrInvalid)
	case c.MaxQueueLimit < 0 || c.MaxQueueLimit > math.MaxInt32/2:
		return fmt.Errorf("maximum queue limit %d: %w", c.MaxQueueLimit, ErrInvalid)
	case c.DefaultQueueLimit < 0 || c.DefaultQueueLimit > c.MaxQueueLimit:
		return fmt.Errorf("default queue limit %d is not from 1 to %d: %w", c.DefaultQueueLimit, c.MaxQueueLimit, ErrInvalid)
	case c.RollupLimit < 0:
		return fmt.Errorf("rollup limit %d: %w", c.RollupLimit, ErrInvalid)
	}
	return nil
}

// Start runs the threads. It fails when a thread cannot be bound to its CPU;
// then none runs.
func (n *Netisr) Start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.started {
		return fmt.Errorf("start netisr: already started: %w", ErrInvalid)
	}
	n.started = true
	ready := make(chan error, len(n.threads))
	for _, t := range n.threads {
		n.running.Go(func() {
			runtime.LockOSThread()
			// Never unlocked: a bound thread must not serve other goroutines.
			if n.config.BindThreads {
				if err := bindThread(t.cpu); err != nil {
					ready <- fmt.Errorf("bind thread %d to CPU %d: %w", t.id, t.cpu, err)
					return
				}
			}
			ready <- nil
			t.run()
		})
	}
	var failed error
	for range n.threads {
		failed = errors.Join(failed, <-ready)
	}
	if failed != nil {
		return errors.Join(fmt.Errorf("start netisr: %w", failed), n.stop())
	}
	return nil
}

func bindThread(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	return unix.SchedSetaffinity(0, &set)
}

// Stop ends the threads, after each has handled what waits in its port, and
// closes the queues. The pool's memory may be released afterwards. Packets
// that arrive later are the data path's to count.
func (n *Netisr) Stop() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stop()
}

func (n *Netisr) stop() error {
	for _, t := range n.threads {
		t.port.close()
		t.stopping.Store(true)
		t.wake()
	}
	n.running.Wait()
	return n.release()
}

// release closes what the threads own.
func (n *Netisr) release() error {
	var err error
	for _, t := range n.threads {
		err = errors.Join(err, t.release())
	}
	n.threads = slices.Clip(n.threads)
	return err
}

// Threads returns the number of threads.
func (n *Netisr) Threads() int { return len(n.threads) }

// Thread returns a thread, to prepare timers before it starts.
func (n *Netisr) Thread(id int) *Thread { return n.threads[id] }

// SetDispatch changes net.isr.dispatch. No packet is lost by it.
func (n *Netisr) SetDispatch(dispatch Dispatch) error {
	if dispatch < DispatchDeferred || dispatch > DispatchDirect {
		return fmt.Errorf("set dispatch policy to %v: %w", dispatch, ErrInvalid)
	}
	n.dispatch.Store(int32(dispatch))
	return nil
}

// Dispatch returns net.isr.dispatch.
func (n *Netisr) Dispatch() Dispatch { return Dispatch(n.dispatch.Load()) }

// Queue gives a packet to the thread that its protocol's policy chooses. When
// it fails, the packet is still the caller's. It may be called on any
// goroutine, a netisr thread included.
func (n *Netisr) Queue(number int, p *Packet) error {
	protocol, err := n.protocol(number)
	if err != nil {
		return fmt.Errorf("queue packet: %w", err)
	}
	t := n.threads[n.place(protocol, p)]
	if err := t.port.send(number, p); err != nil {
		return err // two sentinels, not wrapped: this is the way of every packet
	}
	t.wake()
	return nil
}

// Free ends the ownership of a packet off its thread. It may be called on any
// goroutine; on a netisr thread [Thread.Free] is cheaper.
func (n *Netisr) Free(p *Packet) {
	p.Next = nil
	if p.jumbo {
		n.pool.giveJumbo(p)
		return
	}
	n.pool.give([]*Packet{p})
}

// Post makes a thread call a function, soon, and returns at once. It may be
// called on any goroutine, a netisr thread included.
func (n *Netisr) Post(id int, call func(*Thread)) error {
	t := n.threads[id%len(n.threads)]
	if err := t.port.call(call); err != nil {
		return fmt.Errorf("call into netisr thread %d: %w", t.id, err)
	}
	t.wake()
	return nil
}

// Call makes a thread call a function and waits until it has, or until the
// context ends; the function may then still run later.
func (n *Netisr) Call(ctx context.Context, id int, call func(*Thread)) error {
	done := make(chan struct{})
	err := n.Post(id, func(t *Thread) {
		call(t)
		close(done)
	})
	if err != nil {
		return err
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("call into netisr thread %d: %w", id, ctx.Err())
	}
}

// Barrier stops every thread between two packets, runs the function, and lets
// them go on.
func (n *Netisr) Barrier(run func()) error {
	n.barrier.Lock()
	defer n.barrier.Unlock()
	release := make(chan struct{})
	defer close(release)
	arrived := make(chan struct{}, len(n.threads))
	for id := range n.threads {
		err := n.Post(id, func(*Thread) {
			arrived <- struct{}{}
			<-release
		})
		if err != nil {
			return err
		}
	}
	for range n.threads {
		<-arrived
	}
	run()
	return nil
}

// onAll calls a function on every thread and waits. Threads that do not run
// have it called here.
func (n *Netisr) onAll(call func(*Thread)) error {
	n.mu.Lock()
	started := n.started
	n.mu.Unlock()
	for id, t := range n.threads {
		if !started {
			call(t)
			continue
		}
		if err := n.Call(context.Background(), id, call); err != nil {
			return err
		}
	}
	return nil
}

func (n *Netisr) wake() {
	for _, t := range n.threads {
		t.wake()
	}
}

// place returns the number of the thread that a packet belongs to.
func (n *Netisr) place(protocol *Protocol, p *Packet) int {
	switch protocol.Policy {
	case PolicyCPU:
		return int(uint(protocol.CPU(p)) % uint(len(n.threads)))
	case PolicyFlow:
		if protocol.Flow != nil {
			if flow, ok := protocol.Flow(p); ok {
				return int(flow&hashMask) % len(n.threads)
			}
		} else if hash, ok := FlowHash(p.Network()); ok {
			return int(hash&hashMask) % len(n.threads)
		}
		if p.Header().Af == 0 {
			return 0 // ARP and unknown types stay together
		}
	}
	return int(p.Header().Rcvif) % len(n.threads)
}

// rollup is a function that threads run after a batch.
type rollup struct {
	priority int
	run      func(*Thread)
}

// RegisterRollup makes every thread run a function after each batch of
// packets, and after RollupLimit packets of a longer one. Of several, the one
// with the higher priority runs first.
func (n *Netisr) RegisterRollup(priority int, run func(*Thread)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	rollups := append(slices.Clone(*n.rollups.Load()), rollup{priority, run})
	slices.SortStableFunc(rollups, func(a, b rollup) int { return b.priority - a.priority })
	n.rollups.Store(&rollups)
}
