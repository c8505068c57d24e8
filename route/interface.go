package route

import (
	"encoding/binary"
	"math"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/ifnet"
	"github.com/bsdnet/bsdnet/route/api"
)

// addrPath is one path that follows from an address of an interface.
type addrPath struct {
	dst  netip.Prefix
	kind kind
}

// builtins enters what holds on every host, whatever its interfaces: the
// loopback networks, groups, and the limited broadcast address, which
// belongs to no interface (slot 0).
func (t *Table) builtins() {
	for _, b := range []struct {
		dst  string
		kind kind
	}{
		{"127.0.0.0/8", kindLocal},
		{"::1/128", kindLocal},
		{"224.0.0.0/4", kindMulticast},
		{"ff00::/8", kindMulticast},
		{"255.255.255.255/32", kindBroadcast},
	} {
		dst := netip.MustParsePrefix(b.dst)
		p := &path{owner: ownerBuiltin, kind: b.kind, priority: math.MaxUint32}
		p.finishFlags(dst)
		t.rib.insert(dst, p)
	}
}

// addrPaths returns what follows from the addresses of an interface: each is
// local, and so is the broadcast address of its network.
func addrPaths(ifp *ifnet.Ifnet) map[addrPath]struct{} {
	paths := make(map[addrPath]struct{})
	for _, a := range ifp.Addrs {
		addr := a.Prefix.Addr().WithZone("")
		if !addr.IsValid() {
			continue
		}
		paths[addrPath{netip.PrefixFrom(addr, addr.BitLen()), kindLocal}] = struct{}{}
		if !addr.Is4() || ifp.Loopback || ifp.PointToPoint {
			continue
		}
		brd := a.Broadcast
		if !brd.IsValid() && a.Prefix.Bits() <= 30 {
			brd = lastAddr(a.Prefix)
		}
		if brd.IsValid() {
			paths[addrPath{netip.PrefixFrom(brd, 32), kindBroadcast}] = struct{}{}
		}
	}
	return paths
}

// lastAddr returns the last address of an IPv4 prefix.
func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	word := binary.BigEndian.Uint32(b[:]) | uint32(uint64(1)<<(32-p.Bits())-1)
	binary.BigEndian.PutUint32(b[:], word)
	return netip.AddrFrom4(b)
}

// syncAddrs brings the paths of an interface's addresses up to date.
func (t *Table) syncAddrs(index int) {
	var wanted map[addrPath]struct{}
	if ifp, ok := t.interfaces.ByIndex(index); ok {
		wanted = addrPaths(ifp)
	}
	have := t.addrs[index]
	if have == nil {
		have = make(map[addrPath]*path)
		t.addrs[index] = have
	}
	for key := range wanted {
		if have[key] != nil {
			continue
		}
		p := &path{
			owner:    ownerInterface,
			kind:     key.kind,
			protocol: unix.RTPROT_KERNEL,
			hops:     []linuxHop{{ifindex: index, weight: 1}},
		}
		p.finishFlags(key.dst)
		have[key] = p
		t.rib.insert(key.dst, p)
	}
	for key, p := range have {
		if _, ok := wanted[key]; !ok {
			t.rib.remove(key.dst, p)
			delete(have, key)
		}
	}
	if len(have) == 0 {
		delete(t.addrs, index)
	}
}

// ifflags returns the IFF_* of an interface.
func ifflags(ifp *ifnet.Ifnet) api.Ifflags {
	var flags api.Ifflags
	for _, f := range []struct {
		set  bool
		flag api.Ifflags
	}{
		{ifp.Up, api.IffUp},
		{ifp.Broadcast, api.IffBroadcast | api.IffSimplex},
		{ifp.Loopback, api.IffLoopback},
		{ifp.PointToPoint, api.IffPointopoint},
		{ifp.Up && ifp.Running, api.IffRunning},
		{ifp.NoARP, api.IffNoarp},
		{ifp.Promisc, api.IffPromisc},
		{ifp.Multicast, api.IffMulticast},
	} {
		if f.set {
			flags |= f.flag
		}
	}
	return flags
}

// publishInterface tells subscribers what happened to an interface.
func (t *Table) publishInterface(e ifnet.Event) {
	m := api.Message{
		Time:      t.now(),
		Link:      LinkOf(e.If),
		Ifflags:   ifflags(e.If),
		LinkState: api.LinkDown,
		Mtu:       e.If.MTU,
	}
	if e.If.Running {
		m.LinkState = api.LinkUp
	}
	switch e.Kind {
	case ifnet.Attach:
		m.Type = api.RTMIfannounce
	case ifnet.Detach:
		m.Type, m.Departure = api.RTMIfannounce, true
	case ifnet.Link, ifnet.Rename:
		m.Type = api.RTMIfinfo
	case ifnet.AddressAdd, ifnet.AddressDelete:
		m.Type = api.RTMNewaddr
		if e.Kind == ifnet.AddressDelete {
			m.Type = api.RTMDeladdr
		}
		m.Addr, m.Brd = e.Addr.Prefix, e.Addr.Broadcast
		if e.Addr.Peer.IsValid() {
			m.Brd = e.Addr.Peer // RTAX_BRD of a point-to-point link
		}
	default:
		return
	}
	t.hub.Publish(m)
}

// told is what subscribers believe of a prefix.
type told struct {
	flags   api.Flags
	gateway netip.Addr
	ifindex int
	mtu     uint64
}

// tell publishes how the route to a prefix differs from what was told of it
// before, and forgets nodes that are no more.
func (t *Table) tell(n *node, c choice, ok bool) {
	defer t.rib.drop(n)
	was := n.told
	n.told = nil
	if ok && c.path.shown(n.dst) {
		now := toldOf(c)
		n.told = &now
	}
	t.publishChange(n.dst, was, n.told)
}

// toldOf is what subscribers believe of a choice.
func toldOf(c choice) told {
	now := told{flags: c.path.flags, mtu: c.path.metrics.Mtu}
	if c.hop != nil {
		now.gateway, now.ifindex = c.hop.gateway, c.hop.ifindex
	}
	return now
}

// publishChange publishes what subscribers are to believe of a prefix now.
func (t *Table) publishChange(dst netip.Prefix, was, now *told) {
	if t.quiet || !t.hub.Listening() || t.asker.sender.Socket != 0 && t.asker.dst == dst {
		return // nobody is to know, or the answer will tell
	}
	m := api.Message{Time: t.now(), Dst: dst}
	believe := now
	switch {
	case was == nil && now == nil:
		return
	case was == nil:
		m.Type = api.RTMAdd
	case now == nil:
		m.Type, believe = api.RTMDelete, was
	case *was != *now:
		m.Type = api.RTMChange
	default:
		return
	}
	m.Flags = believe.flags | api.Done
	m.Gateway = believe.gateway
	m.Metrics.Mtu = believe.mtu
	m.Pid, m.Seq = t.asker.pid, t.asker.seq
	if believe.mtu != 0 {
		m.Inits = api.RTVMtu
	}
	if ifp, ok := t.interfaces.ByIndex(believe.ifindex); ok {
		m.Link = LinkOf(ifp)
	} else {
		m.Link = api.Link{Index: believe.ifindex}
	}
	t.hub.Publish(m)
}
