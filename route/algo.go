package route

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/bsdnet/bsdnet/route/api"
	"github.com/bsdnet/bsdnet/route/fibalgo"
)

// algorithm is a way to look routes of a family up, as net.route.algo has them.
type algorithm struct {
	name string
	plan *fibalgo.Plan // nil: the LPM trie
}

// algorithms of the families, smallest tables first; IPv4, IPv6.
var algorithms = [2][]*algorithm{
	{{"lpm_trie", nil}, {fibalgo.DXR.Name, fibalgo.DXR}, {fibalgo.DIR24_8.Name, fibalgo.DIR24_8}},
	{{"lpm_trie", nil}, {fibalgo.DXR6.Name, fibalgo.DXR6}, {fibalgo.MTrie6.Name, fibalgo.MTrie6}},
}

// From compileAt routes on a family is compiled, and from trieBelow down it goes
// back into the trie: the gap keeps a table that changes around them from going
// to and fro.
const (
	compileAt = 1024
	trieBelow = 256
)

// bulkWrites is the number of changes at once from which a table of no more
// than as many routes is compiled anew rather than changed.
const bulkWrites = 4096

// choose returns the algorithm for a number of routes.
func (f *fib) choose(family, n int) *algorithm {
	if f.forced[family] != nil {
		return f.forced[family]
	}
	plan, _ := f.path.plan(family == 0)
	if n < trieBelow || n < compileAt && plan == nil {
		return algorithms[family][0]
	}
	return algorithms[family][1]
}

// recompile reports whether a family should be compiled for n routes, of which
// some are to be written.
func (f *fib) recompile(family, n, writes int) bool {
	plan, known := f.path.plan(family == 0)
	return !known || plan != f.choose(family, n).plan || plan != nil && writes >= bulkWrites && writes >= f.count[family]
}

// compileWith makes the table of a family anew, with the writes and without
// what the changes delete, all at once. It returns the writes that are not of
// the family, or all when it fails.
func (f *fib) compileWith(family int, algo *algorithm, writes []routeWrite, hops []*nexthop, changes []fibChange) ([]routeWrite, []*nexthop, error) {
	type replaced struct {
		dst netip.Prefix
		old *nexthop
	}
	var undo []replaced
	var rest []routeWrite
	var restHops []*nexthop
	for i, w := range writes {
		if familyIndex(w.dst.Addr()) != family {
			rest, restHops = append(rest, w), append(restHops, hops[i])
			continue
		}
		undo = append(undo, replaced{w.dst, f.note(w.dst, hops[i])})
	}
	for _, c := range changes {
		if c.delete && familyIndex(c.dst.Addr()) == family {
			if old := f.note(c.dst, nil); old != nil {
				undo = append(undo, replaced{c.dst, old})
			}
		}
	}
	err := f.path.compile(family == 0, algo.plan, f.count[family], func(yield func(netip.Prefix, uint32) bool) {
		for dst, nh := range f.routes {
			if familyIndex(dst.Addr()) == family && !yield(dst, nh.number) {
				return
			}
		}
	})
	if err != nil {
		for _, u := range slices.Backward(undo) {
			f.note(u.dst, u.old)
		}
		return writes, hops, fmt.Errorf("compile routes by %s: %w", algo.name, err)
	}
	for _, u := range undo {
		if u.old != nil {
			f.nexthops.release(u.old)
		}
	}
	return rest, restHops, nil
}

// setAlgorithm looks a family up by an algorithm from now on, or by the one
// that its size asks for.
func (f *fib) setAlgorithm(family int, forced *algorithm) error {
	before := f.forced[family]
	f.forced[family] = forced
	algo := f.choose(family, f.count[family])
	if plan, known := f.path.plan(family == 0); known && plan == algo.plan {
		return nil
	}
	_, _, err := f.compileWith(family, algo, nil, nil, nil)
	if err != nil {
		f.forced[family] = before
	}
	return err
}

// AlgoAuto in place of the name of an algorithm leaves the choice to the size of
// the table.
const AlgoAuto = "auto"

// Algo is how the routes of a family are looked up.
type Algo struct {
	Name   string `json:"name"`
	Forced bool   `json:"forced,omitempty"`
	Routes int    `json:"routes"`
	Bytes  int    `json:"bytes"` // of memory, where the routes are compiled
}

// Algo returns how the routes of a family, Inet or Inet6, are looked up.
func (t *Table) Algo(family api.Family) Algo {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.fib.algo(indexOf(family))
}

func (f *fib) algo(family int) Algo {
	plan, _ := f.path.plan(family == 0)
	at := slices.IndexFunc(algorithms[family], func(a *algorithm) bool { return a.plan == plan })
	return Algo{Name: algorithms[family][at].name, Forced: f.forced[family] != nil, Routes: f.count[family], Bytes: f.path.memory(family == 0)}
}

// Algos returns the names of the algorithms for a family.
func Algos(family api.Family) []string {
	var names []string
	for _, a := range algorithms[indexOf(family)] {
		names = append(names, a.name)
	}
	return names
}

// SetAlgo looks the routes of a family up by an algorithm of [Algos] from now
// on; AlgoAuto goes by the size of the table. Packets meet the old table or
// the new one.
func (t *Table) SetAlgo(family api.Family, name string) error {
	index := indexOf(family)
	var forced *algorithm
	if name != AlgoAuto {
		at := slices.IndexFunc(algorithms[index], func(a *algorithm) bool { return a.name == name })
		if at < 0 {
			return fmt.Errorf("unknown algorithm '%s': %s or %s", name, strings.Join(Algos(family), ", "), AlgoAuto)
		}
		forced = algorithms[index][at]
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return errors.Join(errClosed)
	}
	return t.fib.setAlgorithm(index, forced)
}

func indexOf(family api.Family) int {
	if family == api.Inet6 {
		return 1
	}
	return 0
}

// Lookup returns the number of the next hop that the data path takes for an
// address.
func (t *Table) Lookup(addr netip.Addr) (number uint32, ok bool) {
	return t.path.lookup(addr.WithZone(""))
}

// DefaultNexthop returns the number of the next hop of a default route.
func (t *Table) DefaultNexthop(family api.Family) (number uint32, ok bool) {
	dst := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if family == api.Inet6 {
		dst = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	number = t.fib.number(dst)
	return number, number != 0
}
