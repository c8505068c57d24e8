package route

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/bsdnet/bsdnet/route/fibalgo"
)

// fib is the forwarding table: the routes of the data path with their next
// hops. The caller locks.
type fib struct {
	path     dataPath
	nexthops *nexthopTable
	routes   map[netip.Prefix]*nexthop
	lengths  [2][129]int    // number of routes by prefix length; IPv4, IPv6
	count    [2]int         // number of routes
	forced   [2]*algorithm  // set by hand, nil: by size
	strange  []netip.Prefix // taken over with a next hop that makes no sense
	held     []*nexthop     // by the compiled tables of a daemon before this one
}

func newFib(path dataPath, now func() time.Time) *fib {
	return &fib{
		path:     path,
		nexthops: newNexthopTable(path, now),
		routes:   make(map[netip.Prefix]*nexthop),
	}
}

// adopt reads what a previous daemon left in the maps.
func (f *fib) adopt() error {
	for _, inet := range []bool{true, false} {
		if _, known := f.path.plan(inet); !known {
			f.hold()
			break
		}
	}
	return f.path.routes(func(dst netip.Prefix, number uint32) {
		if number == 0 || number >= f.path.nexthops() {
			f.strange = append(f.strange, dst)
			return
		}
		f.note(dst, f.nexthops.adopt(number))
	})
}

// hold keeps all next hops as they are, since compiled tables that cannot be
// read back may lead to any of them.
func (f *fib) hold() {
	for number := uint32(1); number < f.path.nexthops(); number++ {
		if f.path.nexthop(number).Flags != 0 {
			f.held = append(f.held, f.nexthops.adopt(number))
		}
	}
}

// letGo ends hold when no such table is left.
func (f *fib) letGo() {
	for _, inet := range []bool{true, false} {
		if _, known := f.path.plan(inet); !known {
			return
		}
	}
	for _, nh := range f.held {
		f.nexthops.release(nh)
	}
	f.held = nil
}

// note enters what has been written, nil for what has been deleted, and returns
// what was there.
func (f *fib) note(dst netip.Prefix, nh *nexthop) (old *nexthop) {
	old = f.routes[dst]
	family := familyIndex(dst.Addr())
	switch {
	case nh == nil && old != nil:
		delete(f.routes, dst)
		f.lengths[family][dst.Bits()]--
		f.count[family]--
		return old
	case nh == nil:
		return nil
	case old == nil:
		f.lengths[family][dst.Bits()]++
		f.count[family]++
	}
	f.routes[dst] = nh
	return old
}

// fibChange asks for one route: to be set to a next hop, or deleted.
type fibChange struct {
	dst    netip.Prefix
	key    nexthopKey
	delete bool
}

// commit carries out changes. All routes are set before any is deleted, so
// that traffic that moves from one prefix to another of the same batch finds
// a way at any moment. What fails stays as it was and is reported.
func (f *fib) commit(changes []fibChange) error {
	var errs []error
	writes := make([]routeWrite, 0, len(changes))
	hops := make([]*nexthop, 0, len(changes))
	var grow [2]int
	for _, c := range changes {
		old := f.routes[c.dst]
		if c.delete {
			if old != nil {
				grow[familyIndex(c.dst.Addr())]--
			}
			continue
		}
		if old != nil && old.key == c.key && f.nexthops.byKey[c.key] == old {
			continue
		}
		nh, err := f.nexthops.acquire(c.key)
		if err != nil {
			errs = append(errs, fmt.Errorf("set route to %s: %w", c.dst, err))
			continue
		}
		if old == nil {
			grow[familyIndex(c.dst.Addr())]++
		}
		writes = append(writes, routeWrite{c.dst, nh.number})
		hops = append(hops, nh)
	}
	for family := range f.count {
		if f.recompile(family, f.count[family]+grow[family], len(writes)) {
			var err error
			writes, hops, err = f.compileWith(family, f.choose(family, f.count[family]+grow[family]), writes, hops, changes)
			errs = append(errs, err)
		}
	}
	errs = append(errs, f.set(writes, hops), f.delete(changes))
	return errors.Join(errs...)
}

// load adds routes to next hops, all or none; a key of zero is no route. Where
// they are many, the table is made anew and put in place at once.
func (f *fib) load(all []loading, keys []nexthopKey) error {
	var grow [2]int
	for _, l := range all {
		grow[familyIndex(l.dst.Addr())]++
	}
	f.routes = grown(f.routes, len(all))
	hops := make([]*nexthop, len(all))
	olds := make([]*nexthop, len(all))
	undo := func(n int) {
		for i := range n {
			if hops[i] != nil {
				f.note(all[i].dst, olds[i])
				f.nexthops.release(hops[i])
			}
		}
	}
	for i, l := range all {
		if keys[i] == (nexthopKey{}) {
			continue
		}
		nh, err := f.nexthops.acquire(keys[i])
		if err != nil {
			undo(i)
			return fmt.Errorf("set route to %s: %w", l.dst, err)
		}
		hops[i] = nh
		olds[i] = f.note(l.dst, nh)
	}
	for family := range grow {
		if grow[family] == 0 {
			continue
		}
		var err error
		if f.recompile(family, f.count[family], grow[family]) {
			_, _, err = f.compileWith(family, f.choose(family, f.count[family]), nil, nil, nil)
		} else {
			err = f.write(family, all, hops)
		}
		if err != nil {
			undo(len(all))
			return errors.Join(err, f.recover(family))
		}
	}
	for _, old := range olds {
		if old != nil {
			f.nexthops.release(old)
		}
	}
	return nil
}

// write writes the routes of a family that have been noted.
func (f *fib) write(family int, all []loading, hops []*nexthop) error {
	var writes []routeWrite
	for i, l := range all {
		if hops[i] != nil && familyIndex(l.dst.Addr()) == family {
			writes = append(writes, routeWrite{l.dst, hops[i].number})
		}
	}
	_, err := f.path.setRoutes(writes)
	if errors.Is(err, fibalgo.ErrFull) {
		_, _, err = f.compileWith(family, f.choose(family, f.count[family]), nil, nil, nil)
	}
	return err
}

// recover makes the maps hold what is noted of a family, after a failure.
func (f *fib) recover(family int) error {
	_, _, err := f.compileWith(family, f.choose(family, f.count[family]), nil, nil, nil)
	return err
}

// set carries out the writes of a commit.
func (f *fib) set(writes []routeWrite, hops []*nexthop) error {
	var errs []error
	for len(writes) > 0 {
		n, err := f.path.setRoutes(writes)
		for i := range n {
			if old := f.note(writes[i].dst, hops[i]); old != nil {
				f.nexthops.release(old)
			}
		}
		writes, hops = writes[n:], hops[n:]
		switch {
		case errors.Is(err, fibalgo.ErrFull):
			family := familyIndex(writes[0].dst.Addr())
			if writes, hops, err = f.compileWith(family, f.choose(family, f.count[family]), writes, hops, nil); err != nil {
				// The rest of the family has no table to be written to.
				errs = append(errs, err)
				writes, hops = f.without(family, writes, hops)
			}
		case err != nil:
			errs = append(errs, err)
			f.nexthops.release(hops[0])
			writes, hops = writes[1:], hops[1:] // skip the one that failed
		}
	}
	return errors.Join(errs...)
}

// without gives the writes of a family up.
func (f *fib) without(family int, writes []routeWrite, hops []*nexthop) (rest []routeWrite, restHops []*nexthop) {
	for i, w := range writes {
		if familyIndex(w.dst.Addr()) == family {
			f.nexthops.release(hops[i])
			continue
		}
		rest, restHops = append(rest, w), append(restHops, hops[i])
	}
	return rest, restHops
}

// delete carries out the deletions of a commit.
func (f *fib) delete(changes []fibChange) error {
	var dsts []netip.Prefix
	var olds []*nexthop
	for _, c := range changes {
		if !c.delete {
			continue
		}
		if old := f.note(c.dst, nil); old != nil {
			dsts, olds = append(dsts, c.dst), append(olds, old)
		}
	}
	var errs []error
	for len(dsts) > 0 {
		n, err := f.path.deleteRoutes(dsts, f.cover)
		for _, old := range olds[:n] {
			f.nexthops.release(old)
		}
		dsts, olds = dsts[n:], olds[n:]
		if err == nil {
			continue
		}
		if errors.Is(err, fibalgo.ErrFull) {
			family := familyIndex(dsts[0].Addr())
			if _, _, err = f.compileWith(family, f.choose(family, f.count[family]), nil, nil, nil); err == nil {
				continue // those of the family are gone, and may be deleted again
			}
		}
		errs = append(errs, err)
		f.note(dsts[0], olds[0])
		dsts, olds = dsts[1:], olds[1:] // skip the one that failed
	}
	return errors.Join(errs...)
}

// cover returns the longest prefix that is shorter than dst and holds it, but
// for the default route, and its next hop.
func (f *fib) cover(dst netip.Prefix) (bits int, number uint32) {
	lengths := &f.lengths[familyIndex(dst.Addr())]
	for bits := dst.Bits() - 1; bits > 0; bits-- {
		if lengths[bits] == 0 {
			continue
		}
		shorter, err := dst.Addr().Prefix(bits)
		if err != nil {
			return 0, 0
		}
		if nh, ok := f.routes[shorter]; ok {
			return bits, nh.number
		}
	}
	return 0, 0
}

// reconcile makes the maps hold exactly the wanted routes: adds what is
// missing, changes what differs, then deletes what is stale. Routes that are
// right are not touched.
func (f *fib) reconcile(wanted map[netip.Prefix]nexthopKey) error {
	changes := make([]fibChange, 0, len(wanted))
	for dst, key := range wanted {
		changes = append(changes, fibChange{dst: dst, key: key})
	}
	for dst := range f.routes {
		if _, ok := wanted[dst]; !ok {
			changes = append(changes, fibChange{dst: dst, delete: true})
		}
	}
	errs := []error{f.commit(changes)}
	for _, dst := range f.strange {
		if _, ok := wanted[dst]; !ok {
			_, err := f.path.deleteRoutes([]netip.Prefix{dst}, f.cover)
			errs = append(errs, err)
		}
	}
	f.strange = nil
	f.letGo()
	return errors.Join(errs...)
}

// number returns the number of a route's next hop, 0 if it has none.
func (f *fib) number(dst netip.Prefix) uint32 {
	if nh, ok := f.routes[dst]; ok {
		return nh.number
	}
	return 0
}
