package route

import (
	"errors"
	"net/netip"
)

// readKernel reads all routes and neighbours of Linux.
func (t *Table) readKernel() ([]linuxRoute, []linuxNeighbour, error) {
	var routes []linuxRoute
	var neighbours []linuxNeighbour
	err := errors.Join(
		t.kernel.dumpRoutes(func(r linuxRoute) { routes = append(routes, r) }),
		t.kernel.dumpNeighbours(func(n linuxNeighbour) { neighbours = append(neighbours, n) }),
	)
	return routes, neighbours, err
}

// compare reads the state of Linux and repairs what differs in the mirror.
func (t *Table) compare() error {
	t.command.Lock()
	defer t.command.Unlock()
	routes, neighbours, err := t.readKernel()
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.flush()
	return t.takeDump(routes, neighbours)
}

// takeDump enters a dump of the kernel, and takes out what it does not have.
// The caller holds command and mu.
func (t *Table) takeDump(routes []linuxRoute, neighbours []linuxNeighbour) error {
	t.stats.Resyncs++
	t.dumps++
	before := len(t.rib.dirty)
	for _, r := range routes {
		p, ok := importPath(r)
		if !ok {
			continue
		}
		p.seen = t.dumps
		t.rib.importRoute(r.dst, p, false)
	}
	lacking := false
	t.rib.each(func(dst netip.Prefix, p *path) {
		if p.seen == t.dumps {
			return
		}
		switch p.owner {
		case ownerLinux:
			t.rib.remove(dst, p)
		case ownerBSD:
			p.mirrored = false
			lacking = true
		}
	})
	if lacking {
		t.wakeMirror()
	}
	if !t.quiet {
		t.stats.Repairs += uint64(len(t.rib.dirty) - before)
	}
	return t.neighbours.reconcile(neighbours)
}
