package route

import (
	"net/netip"
	"slices"
)

// node is a prefix of the RIB with the ways to it, best first.
type node struct {
	dst   netip.Prefix
	paths []*path
	told  *told // what subscribers believe, nil: no route
}

// rib holds every path. The caller locks.
type rib struct {
	nodes   map[netip.Prefix]*node
	lengths [2][129]int // number of nodes by prefix length; IPv4, IPv6
	order   uint64
	dirty   map[netip.Prefix]struct{} // changed since the last flush
}

func newRib() *rib {
	return &rib{nodes: make(map[netip.Prefix]*node), dirty: make(map[netip.Prefix]struct{})}
}

func familyIndex(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// insert adds a path.
func (r *rib) insert(dst netip.Prefix, p *path) {
	n, ok := r.nodes[dst]
	if !ok {
		n = &node{dst: dst}
		r.adopt(n)
	}
	if p.order == 0 {
		r.order++
		p.order = r.order
	}
	at, _ := slices.BinarySearchFunc(n.paths, p, rank)
	n.paths = slices.Insert(n.paths, at, p)
	r.dirty[dst] = struct{}{}
}

// adopt enters a node.
func (r *rib) adopt(n *node) {
	r.nodes[n.dst] = n
	r.lengths[familyIndex(n.dst.Addr())][n.dst.Bits()]++
}

// remove takes a path out.
func (r *rib) remove(dst netip.Prefix, p *path) {
	n, ok := r.nodes[dst]
	if !ok {
		return
	}
	at := slices.Index(n.paths, p)
	if at < 0 {
		return
	}
	n.paths = slices.Delete(n.paths, at, at+1)
	r.dirty[dst] = struct{}{}
}

// replace puts a path in the place of another, with its order.
func (r *rib) replace(dst netip.Prefix, old, p *path) {
	r.remove(dst, old)
	p.order = old.order
	r.insert(dst, p)
}

// drop forgets a node that has no paths and that nobody believes in.
func (r *rib) drop(n *node) {
	if len(n.paths) == 0 && n.told == nil && r.nodes[n.dst] == n {
		delete(r.nodes, n.dst)
		r.lengths[familyIndex(n.dst.Addr())][n.dst.Bits()]--
	}
}

// find returns the first path to a prefix that match accepts.
func (r *rib) find(dst netip.Prefix, match func(*path) bool) *path {
	n, ok := r.nodes[dst]
	if !ok {
		return nil
	}
	if i := slices.IndexFunc(n.paths, match); i >= 0 {
		return n.paths[i]
	}
	return nil
}

// lookup returns the longest prefix that holds an address and that accept
// accepts.
func (r *rib) lookup(addr netip.Addr, accept func(*node) bool) (*node, bool) {
	lengths := &r.lengths[familyIndex(addr)]
	for bits := addr.BitLen(); bits >= 0; bits-- {
		if lengths[bits] == 0 {
			continue
		}
		dst, err := addr.WithZone("").Prefix(bits)
		if err != nil {
			return nil, false
		}
		if n, ok := r.nodes[dst]; ok && accept(n) {
			return n, true
		}
	}
	return nil, false
}

// each calls yield for every path; yield may remove the path it is given.
func (r *rib) each(yield func(dst netip.Prefix, p *path)) {
	for dst, n := range r.nodes {
		for i := len(n.paths) - 1; i >= 0; i-- {
			yield(dst, n.paths[i])
		}
	}
}

// importRoute enters a route that Linux tells of; replace says that it took the
// place of one of the same destination and metric.
func (r *rib) importRoute(dst netip.Prefix, p *path, replace bool) {
	same := r.find(dst, func(q *path) bool {
		return imported(q) && sameSlot(p, q) && q.protocol == p.protocol && q.linux == p.linux &&
			sameHops(p.hops, q.hops)
	})
	if same != nil {
		p.hops = inOrder(same.hops, p.hops)
		same.seen, same.mirrored = p.seen, p.mirrored
		if same.owner == ownerBSD {
			// The RIB is the truth for what Linux does not know: flags, metrics.
			if !slices.Equal(same.hops, p.hops) {
				same.hops = p.hops
				r.dirty[dst] = struct{}{}
			}
			return
		}
		if same.metrics != p.metrics || same.prefsrc != p.prefsrc || !slices.Equal(same.hops, p.hops) {
			r.replace(dst, same, p)
		}
		return
	}
	old := r.find(dst, func(q *path) bool {
		if !imported(q) || !sameSlot(p, q) {
			return false
		}
		// A multipath route of IPv6 grows by messages that hold all its hops.
		return replace || dst.Addr().Is6() && len(p.hops) > len(q.hops) && q.protocol == p.protocol && subset(q.hops, p.hops)
	})
	if old != nil {
		p.hops = inOrder(old.hops, p.hops)
		r.replace(dst, old, p)
		return
	}
	r.insert(dst, p)
}

// withdraw removes a route that Linux deleted. It returns the path when that
// was one of bsdnet's, which stays.
func (r *rib) withdraw(dst netip.Prefix, p *path) (own *path) {
	match := r.find(dst, func(q *path) bool {
		return imported(q) && sameSlot(p, q) && q.linux == p.linux && q.protocol == p.protocol && sameHops(p.hops, q.hops)
	})
	if match == nil && dst.Addr().Is6() {
		// One hop of a multipath route.
		whole := r.find(dst, func(q *path) bool {
			return imported(q) && sameSlot(p, q) && len(q.hops) > len(p.hops) && subset(p.hops, q.hops)
		})
		if whole != nil {
			rest := *whole
			rest.hops = slices.DeleteFunc(slices.Clone(whole.hops), func(h linuxHop) bool {
				return subset([]linuxHop{h}, p.hops)
			})
			r.replace(dst, whole, &rest)
			return nil
		}
	}
	if match == nil {
		return nil
	}
	if match.owner == ownerBSD {
		return match
	}
	r.remove(dst, match)
	return nil
}

// imported reports whether Linux can tell about a path.
func imported(p *path) bool { return p.owner == ownerLinux || p.owner == ownerBSD }

// sameSlot reports whether Linux would take two paths to one prefix for
// replacements of each other.
func sameSlot(a, b *path) bool {
	return a.table == b.table && a.priority == b.priority && a.tos == b.tos
}
