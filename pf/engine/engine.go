// Package engine is pf while it runs: it puts rulesets into the data path,
// keeps tables and translation addresses up to date, reads and purges states.
package engine

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/pf/conf"
	"github.com/bsdnet/bsdnet/pf/program"
)

// Names of the hooks of pf(4) as pfilctl shows them.
const (
	HookInet  = "pf:default"
	HookInet6 = "pf:default6"
)

// Maps are the maps of the data path that pf owns. The loader makes and pins
// them.
type Maps struct {
	Rulesets   *ebpf.Map
	States     *ebpf.Map
	StateIndex *ebpf.Map
	StateCount *ebpf.Map
	RuleCounts *ebpf.Map
	RuleEvals  *ebpf.Map
	Pools      *ebpf.Map
	Ranges     *ebpf.Map
	Set        *ebpf.Map
	Stats      *ebpf.Map
	IfCounts   *ebpf.Map
	Table      *ebpf.Map
	Table6     *ebpf.Map
	// Counters of tables and of their addresses.
	TableCounts *ebpf.Map
	EntryCounts *ebpf.Map
	// What is done to the packets of states, and how many each rule has.
	StateActions *ebpf.Map
	RuleStates   *ebpf.Map
	// Source nodes, and those that states hold.
	SrcNodes   *ebpf.Map
	StateNodes *ebpf.Map
}

// Configuration puts a ruleset in force together with the rest of the data
// path's configuration; *loader.Config is one.
type Configuration interface {
	Active() bpf.Config
	Commit(change func(*bpf.Config) error) error
}

// Interfaces is what pf asks of the host's interfaces.
type Interfaces interface {
	Slot(name string) (uint32, bool)
	Group(name string) (uint32, bool)
	// Members are the slots of an interface, of a group's, or with "all" of all.
	Members(name string) []uint32
	// Addresses of an interface or of a group's, as modifiers select them.
	Addresses(name string, modifiers conf.Modifier) []conf.TablePrefix
	// SetSkip says which interfaces and groups pf does not filter.
	SetSkip(names []string) error
}

// Engine is pf of one instance. Its methods may be called concurrently.
type Engine struct {
	maps       Maps
	config     Configuration
	interfaces Interfaces
	states     *stateTable
	head       *bpf.Array[bpf.PFStateHead]
	pools      *bpf.Array[bpf.PFPool]
	ranges     *rangeSpace
	settings   *bpf.Array[bpf.PFSettings]
	actions    *bpf.Array[bpf.PFActions]
	clock      *clock
	interval   atomic.Uint32 // seconds between looks at all states

	mu        sync.Mutex
	ruleset   *conf.Ruleset
	program   *program.Program
	counters  map[program.Identity]uint32 // slots of pf_rule_counts
	free      []uint32                    // slots given up
	nextSlot  uint32
	nextTable uint32
	nextEntry uint32 // number given last to the counters of an address
	tables    map[string]*table
	timeouts  ownTimeouts
	fragments Fragments
	since     time.Time // when it was enabled or disabled
	// cleared is when the counters of interfaces were, by slot.
	cleared map[uint32]time.Time
}

// New opens pf over the maps of a data path.
func New(maps Maps, config Configuration, interfaces Interfaces) (*Engine, error) {
	e := &Engine{maps: maps, config: config, interfaces: interfaces,
		counters: make(map[program.Identity]uint32), tables: make(map[string]*table), nextSlot: 1, since: time.Now(), cleared: make(map[uint32]time.Time)}
	var err error
	if e.clock, err = newClock(); err != nil {
		return nil, err
	}
	if e.head, err = bpf.MapArray[bpf.PFStateHead](maps.StateCount); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	if e.pools, err = bpf.MapArray[bpf.PFPool](maps.Pools); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	ranges, err := bpf.MapArray[bpf.PFRange](maps.Ranges)
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	e.ranges = newRangeSpace(ranges, e.pools.Values)
	if e.settings, err = bpf.MapArray[bpf.PFSettings](maps.Set); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	if e.actions, err = bpf.MapArray[bpf.PFActions](maps.StateActions); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	nodes, err := openSrcNodes(maps, &e.head.Values[0], e.clock.jiffies)
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	if e.states, err = openStateTable(maps, &e.head.Values[0], nodes, e.track); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	e.timeouts = newOwnTimeouts(e.timeoutsInStates())
	if err := e.seed(); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// Close ends the mappings. What is loaded stays in force.
func (e *Engine) Close() error {
	errs := []error{e.clock.program.Close()}
	if e.states != nil {
		errs = append(errs, e.states.close())
	}
	if e.head != nil {
		errs = append(errs, e.head.Close())
	}
	if e.pools != nil {
		errs = append(errs, e.pools.Close())
	}
	if e.ranges != nil {
		errs = append(errs, e.ranges.array.Close())
	}
	if e.settings != nil {
		errs = append(errs, e.settings.Close())
	}
	if e.actions != nil {
		errs = append(errs, e.actions.Close())
	}
	return errors.Join(errs...)
}

// NotEnforcedError is a ruleset that cannot be loaded whole.
type NotEnforcedError struct{ Errs []error }

func (e *NotEnforcedError) Error() string   { return errors.Join(e.Errs...).Error() }
func (e *NotEnforcedError) Unwrap() []error { return e.Errs }

// environment lets the compiler ask for interfaces and counters.
type environment struct {
	*Engine
	used    map[program.Identity]bool
	given   *[]uint32 // slots that rules got just now, with what others counted there
	options *conf.Options
}

func (v environment) Slot(name string) (uint32, bool)  { return v.interfaces.Slot(name) }
func (v environment) Group(name string) (uint32, bool) { return v.interfaces.Group(name) }

// HasTable implements program.Environment.
func (v environment) HasTable(path string) bool {
	t, ok := v.tables[namedKey(path)]
	return ok && t.active
}

// Counters implements program.Environment: a rule that was loaded before
// keeps its slot, and so its counters.
func (v environment) Counters(identity program.Identity) (uint32, error) {
	v.used[identity] = true
	if slot, ok := v.counters[identity]; ok {
		return slot, nil
	}
	var slot uint32
	switch {
	case len(v.free) > 0:
		slot = v.free[len(v.free)-1]
		v.free = v.free[:len(v.free)-1]
	case v.nextSlot < bpf.PFRules:
		slot = v.nextSlot
		v.nextSlot++
	default:
		return 0, fmt.Errorf("more than %d rules", bpf.PFRules-1)
	}
	*v.given = append(*v.given, slot)
	v.counters[identity] = slot
	return slot, nil
}

// Load puts a ruleset in force, whole: a packet is judged by the old one or
// the new one. If it fails, the old one stays as it was.
func (e *Engine) Load(rs *conf.Ruleset) ([]program.Warning, error) {
	return e.LoadPart(rs, func(*conf.Table) bool { return true })
}

// LoadPart is Load of a ruleset that is new in parts only: tables that run
// keep their addresses unless renew says that their definition is new.
func (e *Engine) LoadPart(rs *conf.Ruleset, renew func(*conf.Table) bool) ([]program.Warning, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.load(rs, renew)
}

// keepTables renews no table.
func keepTables(*conf.Table) bool { return false }

func (e *Engine) load(rs *conf.Ruleset, renew func(*conf.Table) bool) ([]program.Warning, error) {
	env := environment{Engine: e, used: make(map[program.Identity]bool), given: new([]uint32), options: &rs.Options}
	compiled, errs := program.Compile(rs, env)
	if len(errs) > 0 {
		e.forget(env.used, false)
		return nil, &NotEnforcedError{errs}
	}
	if err := e.clearRules(*env.given); err != nil {
		e.forget(env.used, false)
		return nil, err
	}
	if n := len(compiled.Lines); n > int(bpf.PFRulesetLines) {
		e.forget(env.used, false)
		return nil, fmt.Errorf("load ruleset: %d lines, at most %d", n, bpf.PFRulesetLines)
	}
	if err := e.checkLimits(rs.Options); err != nil {
		e.forget(env.used, false)
		return nil, err
	}
	numbers, err := e.fillTables(compiled, rs.Options.Limits, renew)
	if err != nil {
		e.forget(env.used, false)
		return nil, err
	}
	poolBase, err := e.fillPools(compiled)
	if err != nil {
		return nil, err
	}
	lines, err := e.lines(compiled, numbers, poolBase)
	if err != nil {
		return nil, err
	}
	defer lines.Close()
	e.willNormalize(rs)
	err = e.config.Commit(func(c *bpf.Config) error {
		slot := (c.PfRuleset + 1) % bpf.ConfigSlots
		if err := e.maps.Rulesets.Put(slot, lines); err != nil {
			return fmt.Errorf("load ruleset: %w", err)
		}
		c.PfRuleset = slot
		return nil
	})
	if err != nil {
		if e.ruleset != nil {
			e.normalize(e.ruleset)
		}
		return nil, err
	}
	e.ruleset, e.program = rs, compiled
	e.apply(rs.Options)
	e.normalize(rs)
	e.checkPools()
	e.forget(env.used, true)
	if err := e.dropTables(compiled); err != nil {
		return compiled.Warnings, err
	}
	if err := e.interfaces.SetSkip(rs.Options.SkipOn); err != nil {
		return compiled.Warnings, err
	}
	return compiled.Warnings, nil
}

// Reload compiles the ruleset in force again, when interfaces came or went.
func (e *Engine) Reload() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ruleset == nil {
		return nil
	}
	_, err := e.load(e.ruleset, keepTables)
	return err
}

// forget gives up counters: after a success those of rules that are no more,
// after a failure those of rules that never were.
func (e *Engine) forget(used map[program.Identity]bool, loaded bool) {
	if !loaded {
		used = e.inForce()
	}
	var counting map[uint32]bool
	for identity, slot := range e.counters {
		if used[identity] {
			continue
		}
		if counting == nil {
			counting = e.inStates()
		}
		if !counting[slot] {
			delete(e.counters, identity)
			e.free = append(e.free, slot)
		}
	}
}

// inForce returns the rules of the program in force.
func (e *Engine) inForce() map[program.Identity]bool {
	rules := make(map[program.Identity]bool)
	if e.program != nil {
		for _, r := range e.program.Rules {
			rules[r.Identity] = true
		}
	}
	return rules
}

// inStates returns the slots that states still count for and source nodes
// name; they must not become another rule's.
func (e *Engine) inStates() map[uint32]bool {
	slots := make(map[uint32]bool)
	used := e.states.used()
	for i := range used {
		s := &used[i]
		if atomic.LoadUint64(&s.Tag)>>32 == uint64(bpf.PFStateLive) {
			slots[s.Rule], slots[s.Translation] = true, true
		}
	}
	e.states.nodes.live(func(_ int, n *bpf.PFSrcNode, _ uint32) { slots[n.Rule] = true })
	return slots
}

// lines makes the array map of a program. Tables and pools get the numbers
// that they have in the data path.
func (e *Engine) lines(p *program.Program, numbers map[uint32]uint32, poolBase uint16) (*ebpf.Map, error) {
	m, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: "pf_ruleset", Type: ebpf.Array, KeySize: 4, ValueSize: 64, MaxEntries: uint32(len(p.Lines)), Flags: innerMap,
	})
	if err != nil {
		return nil, fmt.Errorf("load ruleset of %d lines: %w", len(p.Lines), err)
	}
	lines := make([]program.Line, len(p.Lines))
	copy(lines, p.Lines)
	for _, list := range p.Ranges {
		for i := list.First; i < list.First+list.Count; i++ {
			r := (*bpf.PFRule)(unsafe.Pointer(&lines[i]))
			if n := bigEndian(r.Saddr); r.Flags&bpf.PfrSrcTable != 0 && n < bpf.PFTableNoroute {
				r.Saddr = bigEndian(numbers[n])
			}
			if n := bigEndian(r.Daddr); r.Flags&bpf.PfrDstTable != 0 && n < bpf.PFTableNoroute {
				r.Daddr = bigEndian(numbers[n])
			}
			if r.Pool != 0 {
				r.Pool += poolBase
			}
		}
	}
	keys := make([]uint32, len(lines))
	for i := range keys {
		keys[i] = uint32(i)
	}
	if _, err := m.BatchUpdate(keys, lines, nil); err != nil {
		m.Close()
		return nil, fmt.Errorf("load ruleset of %d lines: %w", len(lines), err)
	}
	return m, nil
}

// innerMap is BPF_F_INNER_MAP.
const innerMap = 1 << 12

// bigEndian turns a word between the host's order and the network's.
func bigEndian(v uint32) uint32 {
	return v>>24 | v>>8&0xff00 | v<<8&0xff0000 | v<<24
}

// Rules returns the program in force; nil before the first load.
func (e *Engine) Rules() (*conf.Ruleset, *program.Program) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.ruleset, e.program
}

// RuleCounters are the counters of a rule, summed over the CPUs.
type RuleCounters struct {
	bpf.PFRuleCounters
	Evaluations uint64
}

// RuleCounters returns the counters in a slot.
func (e *Engine) RuleCounters(slot uint32) (sum RuleCounters, err error) {
	var perCPU []bpf.PFRuleCounters
	if err := e.maps.RuleCounts.Lookup(slot, &perCPU); err != nil {
		return sum, fmt.Errorf("read counters: %w", err)
	}
	var evaluations []uint64
	if err := e.maps.RuleEvals.Lookup(slot, &evaluations); err != nil {
		return sum, fmt.Errorf("read counters: %w", err)
	}
	for i, c := range perCPU {
		sum.Evaluations += evaluations[i]
		sum.States += c.States
		for i := range sum.Packets {
			sum.Packets[i] += c.Packets[i]
			sum.Bytes[i] += c.Bytes[i]
		}
	}
	return sum, nil
}

// clearRules sets the counters in slots to zero.
func (e *Engine) clearRules(slots []uint32) error {
	cpus := ebpf.MustPossibleCPU()
	for part := range slices.Chunk(slots, countersBatch) {
		_, err := e.maps.RuleCounts.BatchUpdate(part, make([]bpf.PFRuleCounters, cpus*len(part)), nil)
		if err == nil {
			_, err = e.maps.RuleEvals.BatchUpdate(part, make([]uint64, cpus*len(part)), nil)
		}
		if err != nil {
			return fmt.Errorf("clear counters: %w", err)
		}
	}
	return nil
}

// countersBatch is how many rules are cleared by one system call.
const countersBatch = 4096

// Status returns the counters of pf.
func (e *Engine) Status() (sum bpf.PFStatus, err error) {
	var perCPU []bpf.PFStatus
	if err := e.maps.Stats.Lookup(uint32(0), &perCPU); err != nil {
		return sum, fmt.Errorf("read status: %w", err)
	}
	const words = int(unsafe.Sizeof(sum)) / 8
	total := (*[words]uint64)(unsafe.Pointer(&sum))
	for i := range perCPU {
		for j, n := range (*[words]uint64)(unsafe.Pointer(&perCPU[i])) {
			total[j] += n
		}
	}
	return sum, nil
}

// Switched notes that pf is being enabled or disabled now.
func (e *Engine) Switched() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.since = time.Now()
}

// ClearStatus sets the counters of pf, and those of the interface of set
// loginterface, to zero.
func (e *Engine) ClearStatus() error {
	if err := e.maps.Stats.Put(uint32(0), make([]bpf.PFStatus, ebpf.MustPossibleCPU())); err != nil {
		return fmt.Errorf("clear status: %w", err)
	}
	return e.ClearInterface(e.options().LogInterface)
}
