package route

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// fib is the forwarding table: the routes of the data path with their next
// hops. The caller locks.
type fib struct {
	path     dataPath
	nexthops *nexthopTable
	routes   map[netip.Prefix]*nexthop
	strange  []netip.Prefix // taken over with a next hop that makes no sense
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
	return f.path.routes(func(dst netip.Prefix, number uint32) {
		if number == 0 || number >= f.path.nexthops() {
			f.strange = append(f.strange, dst)
			return
		}
		f.routes[dst] = f.nexthops.adopt(number)
	})
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
	for _, c := range changes {
		if c.delete {
			continue
		}
		if old, ok := f.routes[c.dst]; ok && old.key == c.key && f.nexthops.byKey[c.key] == old {
			continue
		}
		nh, err := f.nexthops.acquire(c.key)
		if err != nil {
			errs = append(errs, fmt.Errorf("set route to %s: %w", c.dst, err))
			continue
		}
		writes = append(writes, routeWrite{c.dst, nh.number})
		hops = append(hops, nh)
	}
	for done := 0; done < len(writes); {
		n, err := f.path.setRoutes(writes[done:])
		for i := done; i < done+n; i++ {
			old := f.routes[writes[i].dst]
			f.routes[writes[i].dst] = hops[i]
			if old != nil {
				f.nexthops.release(old)
			}
		}
		done += n
		if err != nil {
			errs = append(errs, err)
			f.nexthops.release(hops[done])
			done++ // skip the one that failed
		}
	}
	for _, c := range changes {
		old, ok := f.routes[c.dst]
		if !c.delete || !ok {
			continue
		}
		if err := f.path.deleteRoute(c.dst); err != nil {
			errs = append(errs, err)
			continue
		}
		delete(f.routes, c.dst)
		f.nexthops.release(old)
	}
	return errors.Join(errs...)
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
			errs = append(errs, f.path.deleteRoute(dst))
		}
	}
	f.strange = nil
	return errors.Join(errs...)
}

// number returns the number of a route's next hop, 0 if it has none.
func (f *fib) number(dst netip.Prefix) uint32 {
	if nh, ok := f.routes[dst]; ok {
		return nh.number
	}
	return 0
}
