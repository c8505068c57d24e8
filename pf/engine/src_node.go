package engine

import (
	"errors"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/bsdnet/bsdnet/bpf"
)

// srcNodes are the source nodes that the data path and the daemon share: slots
// that are changed by atomics of their tags alone. Functions in pf_src_node.h
// do the same.
type srcNodes struct {
	slots *bpf.Array[bpf.PFSrcNode]
	// held are the nodes of states, by the slot of the state.
	held *bpf.Array[bpf.PFStateNodes]
	head *bpf.PFStateHead
	now  func() uint32 // jiffies
	// dead is for how many looks at all slots dead ones may be left.
	dead atomic.Int32
}

func openSrcNodes(maps Maps, head *bpf.PFStateHead, now func() uint32) (*srcNodes, error) {
	n := &srcNodes{head: head, now: now}
	n.dead.Store(deadLooks) // of an earlier daemon
	var err error
	if n.slots, err = bpf.MapArray[bpf.PFSrcNode](maps.SrcNodes); err != nil {
		return nil, err
	}
	if n.held, err = bpf.MapArray[bpf.PFStateNodes](maps.StateNodes); err != nil {
		return nil, errors.Join(err, n.slots.Close())
	}
	return n, nil
}

func (n *srcNodes) close() error { return errors.Join(n.slots.Close(), n.held.Close()) }

// srcNodeTag takes the tag of a node apart.
func srcNodeTag(tag uint64) (kind, states uint32) {
	return uint32(tag >> bpf.PFSrcNodeKind), uint32(tag << 4 >> 4 >> bpf.PFSrcNodeStates)
}

// drop makes a state that is over hold no nodes any more; they live on for as
// many jiffies as track says.
func (n *srcNodes) drop(slot uint32, s *bpf.PFState, track uint32) {
	for i := range n.held.Values[slot].Node {
		held := atomic.SwapUint32(&n.held.Values[slot].Node[i], 0)
		if held == 0 || held > uint32(len(n.slots.Values)) {
			continue
		}
		node := &n.slots.Values[held-1]
		for way := range node.Packets {
			atomic.AddUint64(&node.Packets[way], uint64(s.Packets[way]))
			atomic.AddUint64(&node.Bytes[way], s.Bytes[way])
		}
		atomic.StoreUint32(&node.Expire, n.now()+track)
		atomic.AddUint64(&node.Tag, ^uint64(1<<bpf.PFSrcNodeStates-1))
	}
}

// over reports whether a node that no state holds is past its time.
func over(node *bpf.PFSrcNode, now uint32) bool {
	return int32(now-atomic.LoadUint32(&node.Expire)) >= 0
}

// purge frees the nodes in a range of slots that are over.
func (n *srcNodes) purge(from, to int) {
	if atomic.LoadUint64(&n.head.SrcNodes) == 0 && n.dead.Load() <= 0 {
		return
	}
	now := n.now()
	for i := from; i < to; i++ {
		node := &n.slots.Values[i]
		tag := atomic.LoadUint64(&node.Tag)
		kind, states := srcNodeTag(tag)
		switch {
		case kind == bpf.PFSrcNodeDead && states > 0:
			n.dead.Store(deadLooks)
		case kind == bpf.PFSrcNodeDead:
			atomic.CompareAndSwapUint64(&node.Tag, tag, 0)
		case kind == bpf.PFSrcNodeLive && states == 0 && over(node, now):
			if atomic.CompareAndSwapUint64(&node.Tag, tag, 0) {
				atomic.AddUint64(&n.head.SrcNodes, ^uint64(0))
			}
		}
	}
	if to == len(n.slots.Values) {
		n.dead.Add(-1)
	}
}

// deadLooks are two, since a node may die behind the look that is going on.
const deadLooks = 2

// kill makes the live nodes that match be found no more and returns how many.
func (n *srcNodes) kill(match func(*bpf.PFSrcNode) bool) (killed int) {
	if atomic.LoadUint64(&n.head.SrcNodes) == 0 {
		return 0
	}
	for i := range n.slots.Values {
		node := &n.slots.Values[i]
		for {
			tag := atomic.LoadUint64(&node.Tag)
			if kind, _ := srcNodeTag(tag); kind != bpf.PFSrcNodeLive || !match(node) {
				break
			}
			dead := tag&^(0xf<<bpf.PFSrcNodeKind) | uint64(bpf.PFSrcNodeDead)<<bpf.PFSrcNodeKind
			if atomic.CompareAndSwapUint64(&node.Tag, tag, dead) {
				atomic.AddUint64(&n.head.SrcNodes, ^uint64(0))
				killed++
				break
			}
		}
	}
	if killed > 0 {
		n.dead.Store(deadLooks)
	}
	return killed
}

// live calls f with the nodes that are found, and how many states each has.
func (n *srcNodes) live(f func(slot int, node *bpf.PFSrcNode, states uint32)) {
	if atomic.LoadUint64(&n.head.SrcNodes) == 0 {
		return
	}
	now := n.now()
	for i := range n.slots.Values {
		node := &n.slots.Values[i]
		kind, states := srcNodeTag(atomic.LoadUint64(&node.Tag))
		if kind == bpf.PFSrcNodeLive && (states > 0 || !over(node, now)) {
			f(i, node, states)
		}
	}
}

// SrcNode is a source node, read at one moment.
type SrcNode struct {
	Addr netip.Addr
	// Redirect is the address that sticky-address chose.
	Redirect netip.Addr
	States   uint32
	Age      time.Duration
	Expires  time.Duration // if it has no states
	// Packets and Bytes are those of its states, both ways.
	Packets, Bytes uint64
	Rule           uint32 // slot of its counters
}

// SrcNodes returns the source nodes in the order of their addresses.
func (e *Engine) SrcNodes() []SrcNode {
	n := e.states.nodes
	index := make(map[uint32]int)
	list := []SrcNode{}
	now := e.clock.jiffies()
	n.live(func(slot int, node *bpf.PFSrcNode, states uint32) {
		index[uint32(slot)] = len(list)
		shown := SrcNode{
			Addr: nodeAddr(node, node.Addr), Redirect: nodeAddr(node, node.Raddr), States: states, Age: e.clock.duration(now - node.Creation),
			Packets: node.Packets[0] + node.Packets[1], Bytes: node.Bytes[0] + node.Bytes[1], Rule: node.Rule,
		}
		if left := int32(atomic.LoadUint32(&node.Expire) - now); states == 0 && left > 0 {
			shown.Expires = e.clock.duration(uint32(left))
		}
		list = append(list, shown)
	})
	if len(list) > 0 {
		e.addStates(list, index)
	}
	slices.SortStableFunc(list, func(a, b SrcNode) int { return a.Addr.Compare(b.Addr) })
	return list
}

// srcNodeCount is how many source nodes are found.
func (e *Engine) srcNodeCount() (count int) {
	e.states.nodes.live(func(int, *bpf.PFSrcNode, uint32) { count++ })
	return count
}

// addStates adds what live states count to the nodes that they hold.
func (e *Engine) addStates(list []SrcNode, index map[uint32]int) {
	slots := e.states.used()
	for i := range slots {
		s := &slots[i]
		if atomic.LoadUint64(&s.Tag)>>32 != uint64(bpf.PFStateLive) || uint32(s.Flags)&bpf.PFStateSrcNode == 0 {
			continue
		}
		for _, held := range e.states.nodes.held.Values[i].Node {
			if at, ok := index[held-1]; ok {
				list[at].Packets += uint64(s.Packets[0]) + uint64(s.Packets[1])
				list[at].Bytes += s.Bytes[0] + s.Bytes[1]
			}
		}
	}
}

func nodeAddr(node *bpf.PFSrcNode, b [16]uint8) netip.Addr {
	if node.Af == 4 {
		return netip.AddrFrom4([4]byte(b[:4]))
	}
	return netip.AddrFrom16(b)
}

// KillSrcNodes ends the source nodes that match and returns how many. States
// that hold them stay.
func (e *Engine) KillSrcNodes(match func(source, redirect netip.Addr) bool) int {
	return e.states.nodes.kill(func(n *bpf.PFSrcNode) bool { return match(nodeAddr(n, n.Addr), nodeAddr(n, n.Raddr)) })
}

// track is for how many jiffies the source nodes of a state outlive it.
func (e *Engine) track(slot uint32, s *bpf.PFState) uint32 {
	set := &e.settings.Values[0]
	if uint32(s.Flags)&bpf.PFStateActions != 0 {
		set = &e.settings.Values[e.actions.Values[slot].Timeouts%uint16(bpf.PFSettingsMax)]
	}
	return atomic.LoadUint32(&set.SrcTrack)
}

// checkSticky ends the source nodes of a translation whose addresses it has no
// longer.
func (e *Engine) checkSticky(pool *bpf.PFPool) {
	if uint32(pool.Flags)&bpf.PFPoolSticky == 0 {
		return
	}
	kind := bpf.PFSnRDR
	if uint32(pool.Flags)&bpf.PFPoolSource != 0 {
		kind = bpf.PFSnNAT
	}
	has := [2]func(netip.Addr) bool{}
	for family := range has {
		has[family] = rangesContain(e.ranges.at(atomic.LoadUint64(&pool.Ranges[family])), family == 1)
	}
	e.states.nodes.kill(func(n *bpf.PFSrcNode) bool {
		if n.Rule != pool.Rule || uint32(n.Type) != kind {
			return false
		}
		redirect := nodeAddr(n, n.Raddr)
		if redirect.Is4() {
			return !has[0](redirect)
		}
		return !has[1](redirect)
	})
}

// rangesContain returns what tells whether an address is in a pool.
func rangesContain(ranges []bpf.PFRange, six bool) func(netip.Addr) bool {
	spans := make([]span, len(ranges))
	begin := uint64(0)
	for i, r := range ranges {
		first := netip.AddrFrom16(r.Addr)
		if !six {
			first = netip.AddrFrom4([4]byte(r.Addr[:4]))
		}
		// The network of bitmask, or a run of others, whichever is longer.
		spans[i] = span{first, lastAddr(netip.PrefixFrom(first, int(r.Bits)))}
		if last := addrAdd(first, r.End-begin-1); last.Compare(spans[i].last) > 0 {
			spans[i].last = last
		}
		begin = r.End
	}
	slices.SortFunc(spans, func(a, b span) int { return a.first.Compare(b.first) })
	return func(a netip.Addr) bool {
		at, found := slices.BinarySearchFunc(spans, a, func(s span, a netip.Addr) int { return s.first.Compare(a) })
		if found {
			return true
		}
		// Prefixes nest in each other, so one that begins earlier may hold it.
		return slices.ContainsFunc(spans[:at], func(s span) bool { return a.Compare(s.last) <= 0 })
	}
}

// addrAdd returns the address that follows another by so many.
func addrAdd(a netip.Addr, n uint64) netip.Addr {
	b := a.AsSlice()
	for i := len(b) - 1; i >= 0 && n > 0; i-- {
		n += uint64(b[i])
		b[i] = byte(n)
		n >>= 8
	}
	sum, _ := netip.AddrFromSlice(b)
	return sum
}
