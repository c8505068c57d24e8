package difftest

import (
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/internal/lab"
	"github.com/bsdnet/bsdnet/loader"
	"github.com/bsdnet/bsdnet/pf/conf"
	"github.com/bsdnet/bsdnet/pf/engine"
)

// The router under test:
//
//	em0  192.0.2.1/24     2001:db8::1/64    group inside; routes 10.0.0.0/9, 2001:db8:a::/48
//	em1  198.51.100.1/24  2001:db8:1::1/64  group egress; default routes
const (
	inside  = "em0"
	outside = "em1"
)

var interfaceTable = &conf.InterfaceTable{Interfaces: []*conf.Interface{
	{Name: inside, Groups: []string{"inside"}, Addrs: addresses("192.0.2.1/24", "2001:db8::1/64")},
	{Name: outside, Groups: []string{"egress"}, Addrs: addresses("198.51.100.1/24", "2001:db8:1::1/64")},
}}

func addresses(list ...string) (addrs []conf.InterfaceAddr) {
	for _, text := range list {
		addrs = append(addrs, conf.InterfaceAddr{Prefix: netip.MustParsePrefix(text)})
	}
	return addrs
}

var routes = map[string]string{
	"192.0.2.0/24": inside, "10.0.0.0/9": inside, "0.0.0.0/0": outside,
	"2001:db8::/64": inside, "2001:db8:a::/48": inside, "::/0": outside,
}

var local = []netip.Addr{
	netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1"),
	netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8:1::1"),
}

func isLocal(ip netip.Addr) bool { return slices.Contains(local, ip) }

// routeOf returns the interface that a packet leaves by.
func routeOf(ip netip.Addr) string {
	best, out := -1, ""
	for text, iface := range routes {
		if p := netip.MustParsePrefix(text); p.Contains(ip) && p.Bits() > best {
			best, out = p.Bits(), iface
		}
	}
	return out
}

var (
	routerMAC = map[string][6]uint8{inside: {2, 0, 0, 0, 0, 0x10}, outside: {2, 0, 0, 0, 0, 0x11}}
	peerMAC   = [6]uint8{2, 0, 0, 0, 0, 0x20}
)

// router is the data path with pf linked, and the engine that loads it.
type router struct {
	testing.TB
	host    *lab.Host
	dp      *loader.Datapath
	config  *loader.Config
	engine  *engine.Engine
	index   map[string]int
	slot    map[string]uint32
	mirror  *loader.IfnetMirror
	states  *bpf.Array[bpf.PFState]
	entries *bpf.Array[bpf.PFStateBucket]
	head    *bpf.Array[bpf.PFStateHead]
	nodes   *bpf.Array[bpf.PFSrcNode]
	ticks   *ebpf.Program
	hertz   uint32

	counted []uint64 // reasons before the packet in hand
}

func newRouter(t testing.TB) *router {
	r := &router{TB: t, host: lab.MustHost(t, "pf"), index: make(map[string]int), slot: make(map[string]uint32)}
	dir := lab.MountBPF(t)
	if err := r.host.Do(func() error { return r.open(dir) }); err != nil {
		t.Fatal(err)
	}
	return r
}

// clearStates empties the table of states.
func (r *router) clearStates() {
	head := &r.head.Values[0]
	clear(r.states.Values[:head.Fresh])
	clear(r.entries.Values)
	head.Count, head.Free, head.Fresh = 0, 0, 0
	if head.SrcNodes > 0 {
		clear(r.nodes.Values)
		head.SrcNodes = 0
	}
}

func (r *router) open(dir string) (err error) {
	if r.dp, err = loader.Open(dir, loader.Sizes{}); err != nil {
		return err
	}
	r.Cleanup(func() { r.dp.Close() })
	if r.config, err = loader.NewConfig(r.dp); err != nil {
		return err
	}
	r.Cleanup(func() { r.config.Close() })
	if r.mirror, err = loader.NewIfnetMirror(r.dp, 0); err != nil {
		return err
	}
	r.Cleanup(func() { r.mirror.Close() })
	for i, name := range []string{inside, outside} {
		if err := r.addInterface(name, uint32(i)); err != nil {
			return err
		}
	}
	if err := r.addRoutes(); err != nil {
		return err
	}
	if r.states, err = bpf.MapArray[bpf.PFState](r.dp.Maps["pf_states"]); err != nil {
		return err
	}
	r.Cleanup(func() { r.states.Close() })
	if r.entries, err = bpf.MapArray[bpf.PFStateBucket](r.dp.Maps["pf_state_index"]); err != nil {
		return err
	}
	r.Cleanup(func() { r.entries.Close() })
	if r.head, err = bpf.MapArray[bpf.PFStateHead](r.dp.Maps["pf_state_count"]); err != nil {
		return err
	}
	r.Cleanup(func() { r.head.Close() })
	if r.nodes, err = bpf.MapArray[bpf.PFSrcNode](r.dp.Maps["pf_src_nodes"]); err != nil {
		return err
	}
	r.Cleanup(func() { r.nodes.Close() })
	if err := r.startClock(); err != nil {
		return err
	}
	m := r.dp.Maps
	r.engine, err = engine.New(engine.Maps{
		Rulesets: m["pf_rulesets"], States: m["pf_states"], StateIndex: m["pf_state_index"], StateCount: m["pf_state_count"],
		RuleCounts: m["pf_rule_counts"], RuleEvals: m["pf_rule_evals"],
		Pools: m["pf_pools"], Ranges: m["pf_ranges"], Set: m["pf_set"], Stats: m["pf_stats"], IfCounts: m["pf_if_counts"], Table: m["pf_table"], Table6: m["pf_table6"],
		StateActions: m["pf_state_actions"], RuleStates: m["pf_rule_states"], SrcNodes: m["pf_src_nodes"], StateNodes: m["pf_state_nodes"],
		TableCounts: m["pf_table_counts"], EntryCounts: m["pf_entry_counts"],
	}, r.config, interfaces{r})
	if err != nil {
		return err
	}
	r.Cleanup(func() { r.engine.Close() })
	return r.config.Commit(func(c *bpf.Config) error {
		c.Flags = bpf.ConfigIpforwarding | bpf.ConfigIp6forwarding
		c.Netisr, c.NetisrIfindex = r.slot[inside], uint32(r.index[inside])
		for _, head := range []uint32{bpf.PfilInet, bpf.PfilInet6} {
			for dir := range c.Pfil[head] {
				c.Pfil[head][dir] = uint64(bpf.PFHookTest)
			}
		}
		return nil
	})
}

// addInterface makes a veth whose near end is an interface of the router.
func (r *router) addInterface(name string, group uint32) error {
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name + "peer"}); err != nil {
		return err
	}
	for _, end := range []string{name, name + "peer"} {
		// Nothing but the test's own packets may move a counter.
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+end+"/disable_ipv6", []byte("1"), 0); err != nil {
			return err
		}
		device, err := netlink.LinkByName(end)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(device); err != nil {
			return err
		}
		r.index[end] = device.Attrs().Index
		// A test run takes only interfaces with a program as its input.
		l, err := link.AttachXDP(link.XDPOptions{Program: r.dp.Programs[loader.XDP]["ether_input"], Interface: r.index[end], Flags: link.XDPDriverMode})
		if err != nil {
			return err
		}
		r.Cleanup(func() { l.Close() })
	}
	slot := uint32(r.index[name]) % bpf.IfnetSlots
	r.slot[name] = slot
	if err := r.mirror.SetPort(slot, r.index[name]); err != nil {
		return err
	}
	return r.mirror.PutIfnet(slot, &bpf.Ifnet{
		IfIndex: uint32(r.index[name]), IfFlags: bpf.IfnetOwned | bpf.IfnetUp | bpf.IfnetXDPXmit, IfMtu: 1500, Lladdr: routerMAC[name],
		Parent: slot, TxPort: slot, TxIfindex: uint32(r.index[name]), L2Len: 14, Groups: 1 << group,
	})
}

func (r *router) addRoutes() error {
	hops := map[string]uint32{"": 1, inside: 2, outside: 3}
	for name, number := range hops {
		hop := bpf.Nexthop{Flags: bpf.NexthopUp | bpf.NexthopLocal}
		if name != "" {
			hop = bpf.Nexthop{Flags: bpf.NexthopUp | bpf.NexthopGateway, Ifslot: r.slot[name], Lladdr: peerMAC, State: uint16(bpf.NeighbourValid)}
		}
		if err := r.dp.Maps["nexthop"].Put(number, hop); err != nil {
			return err
		}
	}
	add := func(p netip.Prefix, number uint32) error {
		if p.Addr().Is4() {
			return r.dp.Maps["rt_inet"].Put(bpf.RtKey{Prefixlen: uint32(32 + p.Bits()), Dst: p.Addr().As4()}, number)
		}
		return r.dp.Maps["rt_inet6"].Put(bpf.RtKey6{Prefixlen: uint32(32 + p.Bits()), Dst: p.Addr().As16()}, number)
	}
	for _, ip := range local {
		if err := add(netip.PrefixFrom(ip, ip.BitLen()), hops[""]); err != nil {
			return err
		}
	}
	for text, name := range routes {
		if err := add(netip.MustParsePrefix(text), hops[name]); err != nil {
			return err
		}
	}
	return nil
}

// startClock loads a program that reads the clock of the states.
func (r *router) startClock() (err error) {
	r.ticks, err = ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "jiffies", Type: ebpf.XDP, License: "Dual BSD/GPL",
		Instructions: asm.Instructions{asm.FnJiffies64.Call(), asm.Return()},
	})
	if err != nil {
		return err
	}
	r.Cleanup(func() { r.ticks.Close() })
	began, first := time.Now(), r.jiffies()
	time.Sleep(200 * time.Millisecond)
	rate := float64(r.jiffies()-first) / time.Since(began).Seconds()
	for _, hertz := range []uint32{100, 250, 300, 1000} {
		if rate > float64(hertz)*0.9 {
			r.hertz = hertz
		}
	}
	return nil
}

// flows is how many packets went the short way.
func (r *router) flows() uint64 {
	status, err := r.engine.Status()
	if err != nil {
		r.Fatal(err)
	}
	return status.Flows
}

func (r *router) jiffies() uint32 {
	now, err := r.ticks.Run(&ebpf.RunOptions{Data: make([]byte, 64)})
	if err != nil {
		r.Fatal(err)
	}
	return now
}

// interfaces is the router's interfaces as the engine asks for them.
type interfaces struct{ r *router }

func (i interfaces) Slot(name string) (uint32, bool) { s, ok := i.r.slot[name]; return s, ok }

func (i interfaces) Group(name string) (uint32, bool) {
	for n, iface := range interfaceTable.Interfaces {
		if slices.Contains(iface.Groups, name) {
			return 1 << n, true
		}
	}
	return 0, false
}

func (i interfaces) Members(name string) []uint32 {
	if slot, ok := i.r.slot[name]; ok {
		return []uint32{slot}
	}
	return nil
}

func (i interfaces) Addresses(name string, modifiers conf.Modifier) []conf.TablePrefix {
	return hostAddresses(name, modifiers)
}

func (i interfaces) SetSkip(names []string) error {
	for name, slot := range i.r.slot {
		entry := bpf.Ifnet{}
		if err := i.r.dp.Maps["ifnet"].Lookup(slot, &entry); err != nil {
			return err
		}
		entry.IfFlags &^= bpf.IfnetPfskip
		if slices.ContainsFunc(names, func(n string) bool { return n == name || inGroup(name, n) }) {
			entry.IfFlags |= bpf.IfnetPfskip
		}
		if err := i.r.mirror.PutIfnet(slot, &entry); err != nil {
			return err
		}
	}
	return nil
}

func inGroup(name, group string) bool {
	for _, iface := range interfaceTable.Interfaces {
		if iface.Name == name {
			return slices.Contains(iface.Groups, group)
		}
	}
	return false
}

func hostAddresses(name string, modifiers conf.Modifier) (list []conf.TablePrefix) {
	for _, iface := range interfaceTable.Interfaces {
		if iface.Name != name && !slices.Contains(iface.Groups, name) {
			continue
		}
		for _, a := range iface.Addrs {
			p := netip.PrefixFrom(a.Prefix.Addr(), a.Prefix.Addr().BitLen())
			if modifiers&conf.ModNetwork != 0 {
				p = a.Prefix.Masked()
			}
			list = append(list, conf.TablePrefix{Prefix: p})
		}
	}
	return list
}

// skbuff is struct __sk_buff of linux/bpf.h as far as a test run reads it.
type skbuff struct {
	_       [40]byte
	Ifindex uint32
	_       [148]byte
}

type xdpmd struct {
	Data, DataEnd, DataMeta, IngressIfindex, RxQueueIndex, EgressIfindex uint32
}

// run gives an IP packet to a program of a build; it returns why it left and
// as what.
func (r *router) run(build loader.Build, program, iface string, ip []byte) (bpf.Reason, []byte) {
	mac := routerMAC[iface]
	frame := append(append(mac[:], peerMAC[:]...), 0x08, 0x00)
	if ip[0]>>4 == 6 {
		frame[12], frame[13] = 0x86, 0xdd
	}
	frame = append(frame, ip...)
	options := &ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+256)}
	if build == loader.XDP {
		options.Context = &xdpmd{DataEnd: uint32(len(frame)), IngressIfindex: uint32(r.index[iface])}
	} else {
		options.Context = &skbuff{Ifindex: uint32(r.index[iface])}
	}
	err := r.host.Do(func() error {
		_, err := r.dp.Programs[build][program].Run(options)
		return err
	})
	if err != nil {
		r.Fatal(err)
	}
	before, after := r.counted, r.reasons()
	r.counted = after
	left := -1
	for reason := range after {
		switch after[reason] - before[reason] {
		case 0:
		case 1:
			if left >= 0 {
				r.Fatalf("packet left as %v and %v", bpf.Reason(left), bpf.Reason(reason))
			}
			left = reason
		default:
			r.Fatalf("reason %v counted %d times", bpf.Reason(reason), after[reason]-before[reason])
		}
	}
	if left < 0 {
		r.Fatal("packet left without a reason")
	}
	return bpf.Reason(left), options.DataOut[14:]
}

func (r *router) reasons() []uint64 {
	counts := make([]uint64, bpf.Reasons)
	perCPU := make([]uint64, ebpf.MustPossibleCPU())
	for reason := range counts {
		if err := r.dp.Maps["reasons"].Lookup(uint32(reason), &perCPU); err != nil {
			r.Fatal(err)
		}
		for _, n := range perCPU {
			counts[reason] += n
		}
	}
	return counts
}
