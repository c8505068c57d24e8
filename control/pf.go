package control

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/ifnet"
	"github.com/bsdnet/bsdnet/pf/conf"
	"github.com/bsdnet/bsdnet/pf/engine"
	"github.com/bsdnet/bsdnet/pfil"
	"github.com/bsdnet/bsdnet/route/api"
)

// filter is pf of an instance.
type filter struct {
	daemon  *Daemon
	engine  *engine.Engine
	log     *engine.Log
	dialect conf.Dialect
	cancel  func()
	mu      sync.Mutex  // one load, enable or disable at a time
	sources []*PFSource // of the ruleset in force, to load it again
	boot    bootState
	counted map[uint32]int // indexes of the interfaces whose packets count, by slot
	audit   *auditor
}

func startFilter(ctx context.Context, d *Daemon) (*filter, error) {
	f := &filter{daemon: d, counted: make(map[uint32]int)}
	for _, ifp := range d.ifnet.All() {
		if ifp.HasSlot {
			f.counted[ifp.Slot] = ifp.Index // counting goes on
		}
	}
	m := d.dp.Maps
	var err error
	f.engine, err = engine.New(engine.Maps{
		Rulesets: m["pf_rulesets"], States: m["pf_states"], StateIndex: m["pf_state_index"], StateCount: m["pf_state_count"],
		RuleCounts: m["pf_rule_counts"], RuleEvals: m["pf_rule_evals"],
		Pools: m["pf_pools"], Ranges: m["pf_ranges"], Set: m["pf_set"], Stats: m["pf_stats"], IfCounts: m["pf_if_counts"], Table: m["pf_table"], Table6: m["pf_table6"],
		StateActions: m["pf_state_actions"], RuleStates: m["pf_rule_states"], SrcNodes: m["pf_src_nodes"], StateNodes: m["pf_state_nodes"],
		TableCounts: m["pf_table_counts"], EntryCounts: m["pf_entry_counts"],
	}, d.config, f)
	if err != nil {
		return nil, fmt.Errorf("open pf: %w", err)
	}
	f.engine.SetFragments(d.slow.stack)
	d.slow.pf.Store(f.engine)
	for _, hook := range []pfil.Hook{
		{Name: engine.HookInet, Type: pfil.Inet, Slot: bpf.PFHookTest},
		{Name: engine.HookInet6, Type: pfil.Inet6, Slot: bpf.PFHookTest},
	} {
		if err := d.pfil.Register(hook); err != nil {
			return nil, errors.Join(err, f.engine.Close())
		}
	}
	if f.log, err = f.engine.ReadLog(ctx, m["pf_log"], f.interfaceName); err != nil {
		return nil, errors.Join(err, f.engine.Close())
	}
	if err := f.startAuditor(ctx); err != nil {
		return nil, errors.Join(err, f.engine.Close())
	}
	go f.engine.Purge(ctx)
	changed := make(chan struct{}, 1)
	f.cancel = d.ifnet.Subscribe(func(ifnet.Event) {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	go f.follow(ctx, changed)
	return f, f.restore()
}

// setDialect makes the instance speak a dialect, unless rules of another are
// in force; "" changes nothing.
func (f *filter) setDialect(name string) error {
	if name == "" {
		return nil
	}
	dialect, err := conf.ParseDialect(name)
	if err != nil {
		return fmt.Errorf("pf_dialect: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, p := f.engine.Rules(); p != nil && len(p.Rules) > 0 && f.dialect != dialect {
		return fmt.Errorf("pf_dialect is %s, but rules of %s are in force: flush them first (pfctl -F rules)", dialect, f.dialect)
	}
	f.dialect = dialect
	return nil
}

// follow keeps rules and translations true to the interfaces that they name.
func (f *filter) follow(ctx context.Context, changed <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
		time.Sleep(20 * time.Millisecond) // events come in bursts
		f.mu.Lock()
		err := errors.Join(f.clearNew(), f.engine.AddressesChanged(), f.engine.Reload())
		f.mu.Unlock()
		if err != nil && ctx.Err() == nil {
			f.daemon.log.Error("pf out of step with interfaces", "err", err)
		}
	}
}

func (f *filter) close() {
	if f == nil {
		return
	}
	f.cancel()
	if err := f.engine.Close(); err != nil {
		f.daemon.log.Error("close pf", "err", err)
	}
}

// Slot implements engine.Interfaces.
func (f *filter) Slot(name string) (uint32, bool) {
	ifp, ok := f.daemon.ifnet.ByName(name)
	if !ok || !ifp.HasSlot {
		return 0, false
	}
	return ifp.Slot, true
}

// Group implements engine.Interfaces.
func (f *filter) Group(name string) (uint32, bool) { return f.daemon.ifnet.Group(name) }

// Members implements engine.Interfaces.
func (f *filter) Members(name string) []uint32 {
	var slots []uint32
	for _, ifp := range f.daemon.ifnet.All() {
		if ifp.HasSlot && (ifp.Name == name || ifp.InGroup(name) || name == "all") {
			slots = append(slots, ifp.Slot)
		}
	}
	return slots
}

// clearNew has the counters of interfaces that have come begin at zero.
func (f *filter) clearNew() error {
	var errs []error
	for _, ifp := range f.daemon.ifnet.All() {
		if !ifp.HasSlot {
			continue
		}
		if index, known := f.counted[ifp.Slot]; known && index == ifp.Index {
			continue
		}
		errs = append(errs, f.engine.ClearSlot(ifp.Slot))
		f.counted[ifp.Slot] = ifp.Index
	}
	return errors.Join(errs...)
}

// SetSkip implements engine.Interfaces.
func (f *filter) SetSkip(names []string) error {
	f.daemon.ifnet.SetSkip(names)
	return nil
}

// Addresses implements engine.Interfaces: those of one interface, or of all of
// a group.
func (f *filter) Addresses(name string, modifiers conf.Modifier) []conf.TablePrefix {
	var prefixes []conf.TablePrefix
	for _, ifp := range f.daemon.ifnet.All() {
		if ifp.Name != name && !ifp.InGroup(name) {
			continue
		}
		seen := make(map[bool]bool) // a first address of each family
		for _, addr := range ifp.Addrs {
			is4 := addr.Prefix.Addr().Is4()
			if modifiers&conf.ModNoAlias != 0 && seen[is4] {
				continue
			}
			seen[is4] = true
			p, ok := selected(addr, modifiers)
			if ok {
				prefixes = append(prefixes, conf.TablePrefix{Prefix: p})
			}
		}
	}
	return prefixes
}

// selected is what a modifier makes of an address.
func selected(addr ifnet.Addr, modifiers conf.Modifier) (netip.Prefix, bool) {
	ip := addr.Prefix.Addr()
	switch {
	case modifiers&conf.ModNetwork != 0:
		return addr.Prefix.Masked(), true
	case modifiers&conf.ModBroadcast != 0:
		ip = addr.Broadcast
	case modifiers&conf.ModPeer != 0:
		ip = addr.Peer
	}
	if !ip.IsValid() {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(ip, ip.BitLen()), true
}

// interfaceTable is the interface table that rulesets are read with.
func (f *filter) interfaceTable() *conf.InterfaceTable {
	table := &conf.InterfaceTable{}
	for _, ifp := range f.daemon.ifnet.All() {
		entry := table.Add(ifp.Name)
		entry.MTU, entry.Loopback = ifp.MTU, ifp.Loopback
		entry.Groups = append(entry.Groups, ifp.Groups...)
		for _, addr := range ifp.Addrs {
			entry.Addrs = append(entry.Addrs, conf.InterfaceAddr{Prefix: addr.Prefix, Broadcast: addr.Broadcast, Peer: addr.Peer})
		}
	}
	return table
}

// updateEgress makes the interfaces of the default routes the members of the
// group egress.
func (f *filter) updateEgress() {
	var indexes []int
	for _, family := range []api.Family{api.Inet, api.Inet6} {
		number, ok := f.daemon.route.DefaultNexthop(family)
		if !ok {
			continue
		}
		var hop bpf.Nexthop
		if f.daemon.dp.Maps["nexthop"].Lookup(number, &hop) != nil || hop.Flags&bpf.NexthopDefault == 0 {
			continue
		}
		if ifp, ok := f.daemon.ifnet.BySlot(hop.Ifslot); ok {
			indexes = append(indexes, ifp.Index)
		}
	}
	f.daemon.ifnet.SetGroup("egress", indexes)
}

// enabled reports whether the hook is linked.
func (f *filter) enabled() bool {
	for _, head := range f.daemon.pfil.Heads(nil) {
		for _, name := range head.In {
			if name == engine.HookInet {
				return true
			}
		}
	}
	return false
}

// setEnabled links the hook to both families in both directions, or takes it off.
func (f *filter) setEnabled(on bool) error {
	var errs []error
	for hook, head := range map[string]string{engine.HookInet: pfil.Inet, engine.HookInet6: pfil.Inet6} {
		for _, direction := range []pfil.Direction{pfil.In, pfil.Out} {
			var err error
			if on {
				err = f.daemon.pfil.Attach(hook, head, direction)
			} else {
				err = f.daemon.pfil.Unlink(hook, head, direction)
			}
			if !errors.Is(err, pfil.ErrExists) && !errors.Is(err, pfil.ErrNotFound) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}
