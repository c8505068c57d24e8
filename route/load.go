package route

import (
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"

	"github.com/bsdnet/bsdnet/route/api"
)

// LoadError says which of many routes is wrong.
type LoadError struct {
	Number int // of the route, from 1
	Dst    netip.Prefix
	Err    error
}

func (e *LoadError) Error() string { return fmt.Sprintf("route %d, %s: %v", e.Number, e.Dst, e.Err) }

func (e *LoadError) Unwrap() error { return e.Err }

// loading is one route on its way into the RIB.
type loading struct {
	dst netip.Prefix
	p   *path
}

// slab is how many entries Load makes at a time.
const slab = 512

// Load adds many routes at once, all or none: each must be one that RouteAdd
// would add to the table as it is. They are in the data path when Load
// returns; Linux gets them afterwards.
func (t *Table) Load(requests iter.Seq2[api.RouteRequest, error]) (int, error) {
	all, err := t.prepare(requests)
	if err != nil {
		return 0, fail(err)
	}
	if err := t.begin(); err != nil {
		return 0, err
	}
	defer t.end()
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.enter(all); err != nil {
		return 0, fail(err)
	}
	t.lacking = append(t.lacking, all...)
	t.wake()
	return len(all), nil
}

// prepare makes the paths of requests.
func (t *Table) prepare(requests iter.Seq2[api.RouteRequest, error]) ([]loading, error) {
	all := make([]loading, 0, slab)
	var paths []path
	last := make(map[netip.Addr]*path)
	for req, err := range requests {
		if err != nil {
			return nil, err
		}
		req.Dst = req.Dst.Masked()
		if len(paths) == 0 {
			paths = make([]path, slab)
		}
		// Most routes lead to few gateways. What is known of one holds for all
		// routes that say no more than it, and do not hold it themselves.
		like := last[req.Gateway]
		simple := req.Gateway.IsValid() && req.Interface == "" && req.Ifp == "" && !req.Ifa.IsValid() && req.Inits == 0 && req.Fib == 0 &&
			req.Flags&^(api.Static|api.Gateway|api.Host) == 0 && req.Dst.IsValid() && req.Dst.Addr().Is4() == req.Gateway.Is4() && !req.Dst.Contains(req.Gateway)
		if simple && like != nil {
			paths[0] = *like
			paths[0].finishFlags(req.Dst)
			all = append(all, loading{req.Dst, &paths[0]})
			paths = paths[1:]
			continue
		}
		t.mu.Lock()
		p, err := t.build(req)
		t.mu.Unlock()
		if err != nil {
			return nil, &LoadError{len(all) + 1, req.Dst, err}
		}
		if simple {
			last[req.Gateway] = p
		}
		all = append(all, loading{req.Dst, p})
	}
	return all, nil
}

// enter puts paths into the RIB and the FIB, all or none. The caller holds mu.
func (t *Table) enter(all []loading) error {
	t.rib.nodes = grown(t.rib.nodes, len(all))
	e := entering{t: t, keys: make([]nexthopKey, len(all)), known: make(map[*linuxHop]choice)}
	for i, l := range all {
		if !e.put(i, l) {
			e.undo(all[:i])
			return &LoadError{i + 1, l.dst, api.Errorf(api.EEXIST, "")}
		}
	}
	if err := t.fib.load(all, e.keys); err != nil {
		e.undo(all)
		return err
	}
	for _, l := range all {
		if l.p.metrics.Expire != 0 {
			t.expiring[l.dst] = l.p
		}
	}
	if t.hub.Listening() {
		for _, l := range all {
			t.publishChange(l.dst, nil, t.rib.nodes[l.dst].told)
		}
	}
	return nil
}

// entering is the way of many paths into the RIB.
type entering struct {
	t     *Table
	keys  []nexthopKey // of the paths; zero: not usable
	known map[*linuxHop]choice

	nodes []node // made in advance
	lists []*path
	tolds []told
}

// put enters one path; false if there is a route already.
func (e *entering) put(i int, l loading) bool {
	r := e.t.rib
	n, ok := r.nodes[l.dst]
	switch {
	case ok && slices.ContainsFunc(n.paths, func(p *path) bool { return p.shown(l.dst) }):
		return false
	case ok:
		r.insert(l.dst, l.p)
		delete(r.dirty, l.dst)
	default:
		if len(e.nodes) == 0 {
			e.nodes, e.lists = make([]node, slab), make([]*path, slab)
		}
		n, e.nodes = &e.nodes[0], e.nodes[1:]
		n.dst, n.paths, e.lists = l.dst, e.lists[:1:1], e.lists[1:]
		n.paths[0] = l.p
		r.order++
		l.p.order = r.order
		r.adopt(n)
	}
	if c, ok := e.choose(n, l.p); ok {
		e.keys[i] = c.key
		if len(e.tolds) == 0 {
			e.tolds = make([]told, slab)
		}
		n.told, e.tolds = &e.tolds[0], e.tolds[1:]
		*n.told = toldOf(c)
	}
	return true
}

// choose is that of the Table; what it says of one path holds for all that
// differ from it only in their destinations.
func (e *entering) choose(n *node, p *path) (choice, bool) {
	plain := len(n.paths) == 1 && p.kind == kindUnicast && len(p.hops) == 1 && p.metrics == (api.Metrics{}) &&
		p.flags&(api.Dynamic|api.Modified) == 0 && n.dst.Bits() > 0
	if !plain {
		return e.t.choose(n)
	}
	if c, ok := e.known[&p.hops[0]]; ok {
		c.path = p
		return c, true
	}
	c, ok := e.t.choose(n)
	if ok {
		e.known[&p.hops[0]] = c
	}
	return c, ok
}

// undo takes paths out again.
func (e *entering) undo(all []loading) {
	r := e.t.rib
	for _, l := range all {
		if n := r.nodes[l.dst]; n != nil {
			n.told = nil
			r.remove(l.dst, l.p)
			delete(r.dirty, l.dst)
			r.drop(n)
		}
	}
}

// grown returns a map with room for n more entries, if they are many.
func grown[K comparable, V any](m map[K]V, n int) map[K]V {
	if n < 1024 || n < len(m) {
		return m
	}
	larger := make(map[K]V, len(m)+n)
	maps.Copy(larger, m)
	return larger
}
