package loader

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/bsdnet/bsdnet/bpf"
)

// grace is how long a packet can be on its way through the stages: no
// configuration is written to before it has been out of use for that long. A
// run of a stage chain takes a few microseconds and is not preempted.
const grace = 20 * time.Millisecond

// Config is the configuration that rules the data path. Its methods may be
// called concurrently.
type Config struct {
	mu      sync.Mutex
	array   *bpf.Array[bpf.Configuration]
	mapped  *bpf.Configuration
	flipped time.Time
}

// NewConfig maps the configuration of a data path into memory.
func NewConfig(dp *Datapath) (*Config, error) {
	array, err := bpf.MapArray[bpf.Configuration](dp.Maps["config"])
	if err != nil {
		return nil, err
	}
	return &Config{array: array, mapped: &array.Values[0]}, nil
}

// Close ends the mapping. The configuration stays in force.
func (c *Config) Close() error { return c.array.Close() }

// Active returns a copy of the ruling configuration.
func (c *Config) Active() bpf.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mapped.Slot[atomic.LoadUint64(&c.mapped.Active)%uint64(bpf.ConfigSlots)]
}

// FIBGeneration is the word by which the data path knows that the look-ups it
// remembers are fresh. It is to be increased, atomically, after every change.
func (c *Config) FIBGeneration() *uint64 { return &c.mapped.FibGeneration }

// Commit makes a new configuration out of the ruling one and puts it in force
// with one store: every packet is judged by the old one or the new one whole.
// When change fails, nothing has changed.
func (c *Config) Commit(change func(*bpf.Config) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	active := atomic.LoadUint64(&c.mapped.Active) % uint64(bpf.ConfigSlots)
	next := c.mapped.Slot[active]
	if err := change(&next); err != nil {
		return err
	}
	next.Generation++
	if wait := grace - time.Since(c.flipped); wait > 0 {
		time.Sleep(wait)
	}
	other := (active + 1) % uint64(bpf.ConfigSlots)
	c.mapped.Slot[other] = next
	atomic.StoreUint64(&c.mapped.Active, other)
	c.flipped = time.Now()
	return nil
}
