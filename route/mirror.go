package route

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/bsdnet/bsdnet/route/api"
)

// MirrorAll is the limit of a mirror without one.
const MirrorAll = math.MaxInt32

// SetMirrorLimit sets how many of bsdnet's routes Linux may hold at the most;
// 0 turns the mirror off for those to come. Routes that Linux does not hold
// are forwarded by, but local sockets do not know them and the next daemon
// does not find them. What Linux holds already stays.
func (t *Table) SetMirrorLimit(limit int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mirrorLimit = limit
	t.mirrorFull = limit == 0
	t.wakeMirror()
}

// MirrorLimit returns the limit.
func (t *Table) MirrorLimit() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mirrorLimit
}

// mirrorRoutes puts routes of bsdnet into Linux that it lost with an interface
// or never had, and takes out those whose time is over, until the Table is
// closed.
func (t *Table) mirrorRoutes() {
	for {
		select {
		case <-t.stop:
			return
		case <-t.mirror:
		}
		t.expirePaths()
		t.putBack()
	}
}

// mirrorChunk is how many routes are put into Linux at a time, while nothing
// else can change it.
const mirrorChunk = 512

// putBack adds what Linux lacks and could have.
func (t *Table) putBack() {
	missing := t.missing()
	for chunk := range slices.Chunk(missing, mirrorChunk) {
		select {
		case <-t.stop:
			return
		default:
		}
		t.putChunk(chunk)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.lacking) == 0 {
		t.lagging = time.Time{}
	}
}

// missing returns the routes that Linux lacks and could have, those of
// interfaces first: gateways may be reached by them.
func (t *Table) missing() []loading {
	t.mu.Lock()
	defer t.mu.Unlock()
	missing := t.lacking
	t.lacking = nil
	if t.mirrorLimit == 0 {
		t.scan = false
		return nil
	}
	room := t.mirrorLimit
	if t.scan || t.mirrorLimit != MirrorAll {
		t.scan = false
		missing = nil
		t.rib.each(func(dst netip.Prefix, p *path) {
			switch {
			case p.owner != ownerBSD:
			case p.mirrored:
				room--
			default:
				missing = append(missing, loading{dst, p})
			}
		})
	}
	missing = slices.DeleteFunc(missing, func(l loading) bool {
		_, ok := t.usable(l.dst, l.p)
		return !ok
	})
	slices.SortStableFunc(missing, func(a, b loading) int {
		return cmp.Compare(a.p.flags&api.Gateway, b.p.flags&api.Gateway)
	})
	t.mirrorFull = len(missing) >= room && t.mirrorLimit != MirrorAll
	missing = missing[:max(0, min(len(missing), room))]
	if len(missing) > 0 && t.lagging.IsZero() {
		t.lagging = t.now()
	}
	return missing
}

// putChunk puts some routes into Linux, but for those that are no more.
func (t *Table) putChunk(chunk []loading) {
	t.command.Lock()
	defer t.command.Unlock()
	var still []loading
	var routes []linuxRoute
	t.mu.Lock()
	for _, l := range chunk {
		if n, ok := t.rib.nodes[l.dst]; ok && slices.Contains(n.paths, l.p) && !l.p.mirrored {
			still, routes = append(still, l), append(routes, l.p.export(l.dst))
		}
	}
	t.mu.Unlock()
	if len(routes) == 0 {
		return
	}
	errs := t.kernel.routeAdd(routes)
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, l := range still {
		l.p.mirrored = errs[i] == nil
		if errs[i] != nil && !l.p.warned {
			l.p.warned = true // it is tried again at every chance
			t.log.Warn("mirroring a route failed", "error", errs[i])
		}
	}
}
