package loader

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/vishvananda/netlink"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/internal/lab"
)

// The router under test:
//
//	em0  192.0.2.1/24     2001:db8::1/64      02:00:00:00:00:10
//	em1  198.51.100.1/24  2001:db8:1::1/64    02:00:00:00:00:11
//	vlan5 on em1, a logical interface         02:00:00:00:00:12
//
// with routes 203.0.113.0/24 and 2001:db8:2::/48 via .2 / ::2 on em1.
type router struct {
	host *lab.Host
	dp   *Datapath
	cfg  *Config
	slot map[string]uint32
	idx  map[string]int
	t    testing.TB
}

const (
	nhLocal = iota + 1
	nhConnected0
	nhConnected1
	nhGateway
	nhBlackhole
	nhReject
	nhUnowned
	nhBroadcast1
	nhBroadcast0
	nhGatewayUnresolved
	nhHairpin
	nhVlan
	nhSmall
)

var (
	em0MAC  = net.HardwareAddr{2, 0, 0, 0, 0, 0x10}
	em1MAC  = net.HardwareAddr{2, 0, 0, 0, 0, 0x11}
	vlanMAC = net.HardwareAddr{2, 0, 0, 0, 0, 0x12}
	hostMAC = net.HardwareAddr{2, 0, 0, 0, 0, 0x20}
	nextMAC = net.HardwareAddr{2, 0, 0, 0, 0, 0x21}
)

func newRouter(t testing.TB) *router {
	t.Helper()
	r := &router{t: t, host: lab.MustHost(t, "router"), slot: make(map[string]uint32), idx: make(map[string]int)}
	dir := lab.MountBPF(t)
	err := r.host.Do(func() error {
		for _, name := range []string{"em0", "em1"} {
			if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name + "peer"}); err != nil {
				return err
			}
			for _, end := range []string{name, name + "peer"} {
				// Nothing but the test's own packets may move a counter.
				if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+end+"/disable_ipv6", []byte("1"), 0); err != nil {
					return err
				}
				link, err := netlink.LinkByName(end)
				if err != nil {
					return err
				}
				if err := netlink.LinkSetUp(link); err != nil {
					return err
				}
				r.idx[end] = link.Attrs().Index
			}
		}
		var err error
		if r.dp, err = Open(dir, Sizes{}); err != nil {
			return err
		}
		if r.cfg, err = NewConfig(r.dp); err != nil {
			return err
		}
		// A test run takes only interfaces with a program as its input.
		for _, name := range []string{"em0", "em1", "em0peer", "em1peer"} {
			if err := r.dp.attachXDP(r.idx[name], "xdp", "ether_input"); err != nil {
				return err
			}
		}
		return r.fill()
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.cfg.Close(); r.dp.Close() })
	return r
}

func (r *router) fill() error {
	mirror, err := NewIfnetMirror(r.dp, 0)
	if err != nil {
		return err
	}
	defer mirror.Close()
	put := func(name string, index int, mac net.HardwareAddr, entry bpf.Ifnet) error {
		slot := uint32(index) % bpf.IfnetSlots
		r.slot[name] = slot
		entry.IfIndex, entry.Lladdr, entry.IfMtu = uint32(index), [6]uint8(mac), 1500
		entry.IfFlags |= bpf.IfnetOwned | bpf.IfnetUp | bpf.IfnetXDPXmit
		if entry.L2Len == 0 {
			entry.Parent, entry.TxPort, entry.TxIfindex, entry.L2Len = slot, slot, uint32(index), 14
		}
		if entry.IfFlags&bpf.IfnetVlan == 0 {
			if err := mirror.SetPort(slot, index); err != nil {
				return err
			}
		}
		return mirror.PutIfnet(slot, &entry)
	}
	if err := put("em0", r.idx["em0"], em0MAC, bpf.Ifnet{}); err != nil {
		return err
	}
	if err := put("em1", r.idx["em1"], em1MAC, bpf.Ifnet{}); err != nil {
		return err
	}
	em1 := r.slot["em1"]
	vlan := bpf.Ifnet{
		IfFlags: bpf.IfnetVlan, Parent: em1, TxPort: em1, TxIfindex: uint32(r.idx["em1"]),
		L2Len: 18, VlanTci: 5, VlanProto: swap16(0x8100),
	}
	if err := put("vlan5", 5000, vlanMAC, vlan); err != nil {
		return err
	}
	if err := r.dp.Maps["vlan"].Put(bpf.VlanKey{Parent: em1, Proto: swap16(0x8100), Vid: 5}, r.slot["vlan5"]); err != nil {
		return err
	}

	em0 := r.slot["em0"]
	valid := uint16(bpf.NeighbourValid)
	hops := map[uint32]bpf.Nexthop{
		nhLocal:             {Flags: bpf.NexthopUp | bpf.NexthopLocal},
		nhConnected0:        {Flags: bpf.NexthopUp, Ifslot: em0},
		nhConnected1:        {Flags: bpf.NexthopUp, Ifslot: em1},
		nhGateway:           {Flags: bpf.NexthopUp | bpf.NexthopGateway, Ifslot: em1, Lladdr: [6]uint8(nextMAC), State: valid},
		nhBlackhole:         {Flags: bpf.NexthopUp | bpf.NexthopBlackhole},
		nhReject:            {Flags: bpf.NexthopUp | bpf.NexthopReject},
		nhUnowned:           {Flags: bpf.NexthopUp | bpf.NexthopUnowned},
		nhBroadcast1:        {Flags: bpf.NexthopUp | bpf.NexthopBroadcast, Ifslot: em1},
		nhBroadcast0:        {Flags: bpf.NexthopUp | bpf.NexthopBroadcast, Ifslot: em0},
		nhGatewayUnresolved: {Flags: bpf.NexthopUp | bpf.NexthopGateway, Ifslot: em1},
		nhHairpin:           {Flags: bpf.NexthopUp | bpf.NexthopGateway, Ifslot: em0, Lladdr: [6]uint8(nextMAC), State: valid},
		nhVlan:              {Flags: bpf.NexthopUp | bpf.NexthopGateway, Ifslot: r.slot["vlan5"], Lladdr: [6]uint8(nextMAC), State: valid},
		nhSmall:             {Flags: bpf.NexthopUp | bpf.NexthopGateway, Ifslot: em1, Mtu: 1280, Lladdr: [6]uint8(nextMAC), State: valid},
	}
	for number, hop := range hops {
		if err := r.dp.Maps["nexthop"].Put(number, hop); err != nil {
			return err
		}
	}
	routes := map[string]uint32{
		"192.0.2.1/32": nhLocal, "198.51.100.1/32": nhLocal, "192.0.2.0/24": nhConnected0, "198.51.100.0/24": nhConnected1,
		"203.0.113.0/24": nhGateway, "10.1.0.0/16": nhBlackhole, "10.2.0.0/16": nhReject, "10.3.0.0/16": nhUnowned,
		"198.51.100.255/32": nhBroadcast1, "192.0.2.255/32": nhBroadcast0, "10.4.0.0/16": nhGatewayUnresolved,
		"10.5.0.0/16": nhHairpin, "10.6.0.0/16": nhVlan, "10.7.0.0/16": nhSmall,
		"2001:db8::1/128": nhLocal, "2001:db8:1::1/128": nhLocal, "2001:db8::/64": nhConnected0, "2001:db8:1::/64": nhConnected1,
		"2001:db8:2::/48": nhGateway, "2001:db8:a1::/48": nhBlackhole, "2001:db8:a2::/48": nhReject, "2001:db8:a3::/48": nhUnowned,
		"2001:db8:a4::/48": nhGatewayUnresolved, "2001:db8:a5::/48": nhHairpin, "2001:db8:a6::/48": nhVlan, "2001:db8:a7::/48": nhSmall,
	}
	for text, number := range routes {
		if err := r.route(netip.MustParsePrefix(text), number); err != nil {
			return err
		}
	}
	if err := r.dp.Maps["arp"].Put(bpf.ARPKey{Ifslot: em1, Addr: netip.MustParseAddr("198.51.100.2").As4()}, bpf.Llentry{Lladdr: [6]uint8(nextMAC), State: valid}); err != nil {
		return err
	}
	if err := r.dp.Maps["nd6"].Put(bpf.Nd6Key{Ifslot: em1, Addr: netip.MustParseAddr("2001:db8:1::2").As16()}, bpf.Llentry{Lladdr: [6]uint8(nextMAC), State: valid}); err != nil {
		return err
	}
	return r.cfg.Commit(func(c *bpf.Config) error {
		c.Flags = bpf.ConfigIpforwarding | bpf.ConfigIp6forwarding | bpf.ConfigSendredirects | bpf.ConfigSend6redirects
		c.Netisr, c.NetisrIfindex = uint32(r.slot["em0"]), uint32(r.idx["em0peer"])
		return nil
	})
}

func (r *router) route(prefix netip.Prefix, number uint32) error {
	if prefix.Addr().Is4() {
		return r.dp.Maps["rt_inet"].Put(bpf.RtKey{Prefixlen: uint32(32 + prefix.Bits()), Dst: prefix.Addr().As4()}, number)
	}
	return r.dp.Maps["rt_inet6"].Put(bpf.RtKey6{Prefixlen: uint32(32 + prefix.Bits()), Dst: prefix.Addr().As16()}, number)
}

func swap16(v uint16) uint16 { return v<<8 | v>>8 }

// reasons returns the counters that are not zero.
func (r *router) reasons() map[bpf.Reason]uint64 {
	counts := make(map[bpf.Reason]uint64)
	for reason := range bpf.Reason(bpf.Reasons) {
		var perCPU []uint64
		if err := r.dp.Maps["reasons"].Lookup(uint32(reason), &perCPU); err != nil {
			r.t.Fatal(err)
		}
		for _, n := range perCPU {
			if n > 0 {
				counts[reason] += n
			}
		}
	}
	return counts
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

// run gives a frame to ether_input of a build.
func (r *router) run(build Build, input string, frame []byte) (verdict uint32, out []byte) {
	r.t.Helper()
	err := r.host.Do(func() error {
		options := &ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+256)}
		if build == XDP {
			options.Context = &xdpmd{DataEnd: uint32(len(frame)), IngressIfindex: uint32(r.idx[input])}
		} else {
			options.Context = &skbuff{Ifindex: uint32(r.idx[input])}
		}
		var err error
		verdict, err = r.dp.Programs[build]["ether_input"].Run(options)
		out = options.DataOut
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return verdict, out
}

// verdicts of the two builds
var verdictNumber = map[Build]map[string]uint32{
	XDP: {"drop": 1, "pass": 2, "redirect": 4},
	TC:  {"drop": 2, "pass": 0xffffffff, "redirect": 7},
}

type packet struct {
	dst, src   net.HardwareAddr
	tags       []uint16 // vlan numbers, outermost first; |0x8000: 802.1ad
	from, to   string
	ttl        uint8
	df         bool
	payload    int
	options    bool // IPv4 option, IPv6 hop-by-hop
	mangle     func([]byte)
	etherType  layers.EthernetType
	fragOffset uint16
	mf         bool
}

func (p packet) bytes(t testing.TB) []byte {
	t.Helper()
	if p.dst == nil {
		p.dst = em0MAC
	}
	if p.src == nil {
		p.src = hostMAC
	}
	if p.ttl == 0 {
		p.ttl = 64
	}
	if p.payload == 0 {
		p.payload = 24 // no frame so short that it would be padded
	}
	from := netip.MustParseAddr(p.from)
	udp := &layers.UDP{SrcPort: 1000, DstPort: 2000}
	var network gopacket.SerializableLayer
	var stack []gopacket.SerializableLayer
	kind := layers.EthernetTypeIPv4
	if from.Is4() {
		ip := &layers.IPv4{Version: 4, TTL: p.ttl, Protocol: layers.IPProtocolUDP, SrcIP: from.AsSlice(), DstIP: netip.MustParseAddr(p.to).AsSlice(), FragOffset: p.fragOffset}
		if p.df {
			ip.Flags |= layers.IPv4DontFragment
		}
		if p.mf {
			ip.Flags |= layers.IPv4MoreFragments
		}
		if p.options {
			ip.Options = []layers.IPv4Option{{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}}
		}
		_ = udp.SetNetworkLayerForChecksum(ip)
		network = ip
		stack = []gopacket.SerializableLayer{network, udp}
	} else {
		kind = layers.EthernetTypeIPv6
		ip := &layers.IPv6{Version: 6, HopLimit: p.ttl, NextHeader: layers.IPProtocolUDP, SrcIP: from.AsSlice(), DstIP: netip.MustParseAddr(p.to).AsSlice()}
		_ = udp.SetNetworkLayerForChecksum(ip)
		stack = []gopacket.SerializableLayer{ip, udp}
		if p.options {
			hop := &layers.IPv6HopByHop{}
			hop.NextHeader = layers.IPProtocolUDP
			hop.Options = append(hop.Options, &layers.IPv6HopByHopOption{OptionType: 5, OptionLength: 2, OptionData: []byte{0, 0}},
				&layers.IPv6HopByHopOption{OptionType: 1})
			ip.NextHeader = layers.IPProtocolIPv6HopByHop
			stack = []gopacket.SerializableLayer{ip, hop, udp}
		}
	}
	if p.etherType != 0 {
		kind = p.etherType
	}
	eth := &layers.Ethernet{DstMAC: p.dst, SrcMAC: p.src, EthernetType: kind}
	all := []gopacket.SerializableLayer{eth}
	for i, tag := range p.tags {
		outer := layers.EthernetTypeDot1Q
		if tag&0x8000 != 0 {
			outer = layers.EthernetTypeQinQ
		}
		if i == 0 {
			eth.EthernetType = outer
		} else {
			all[i].(*layers.Dot1Q).Type = outer
		}
		all = append(all, &layers.Dot1Q{VLANIdentifier: tag & 0xfff, Type: kind})
	}
	all = append(all, stack...)
	all = append(all, gopacket.Payload(bytes.Repeat([]byte{0xa5}, p.payload)))
	buffer := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...); err != nil {
		t.Fatal(err)
	}
	frame := bytes.Clone(buffer.Bytes())
	if p.mangle != nil {
		p.mangle(frame)
	}
	return frame
}

// fixSum makes the checksum of an IPv4 header behind 14 bytes right again.
func fixSum(frame []byte) {
	header := frame[14 : 14+int(frame[14]&15)*4]
	header[10], header[11] = 0, 0
	sum := uint32(0)
	for i := 0; i+1 < len(header); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(header[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(header[10:], ^uint16(sum))
}

type stageCase struct {
	name    string
	input   string // em0 unless set
	packet  packet
	verdict string
	reason  bpf.Reason
	out     *packet // what a redirected frame must be
	target  string  // where it must go
}

func stageCases() []stageCase {
	host, far := "192.0.2.9", "203.0.113.7"
	host6, far6 := "2001:db8::9", "2001:db8:2::7"
	bad := func(i int, v byte) func([]byte) {
		return func(f []byte) { f[i] = v; fixSum(f) }
	}
	return []stageCase{
		{name: "ipv4-gateway-FORWARD", packet: packet{from: host, to: far}, verdict: "redirect", reason: bpf.ReasonForward,
			out: &packet{dst: nextMAC, src: em1MAC, from: host, to: far, ttl: 63}, target: "em1"},
		{name: "ipv4-connected-FORWARD", packet: packet{from: host, to: "198.51.100.2"}, verdict: "redirect", reason: bpf.ReasonForward,
			out: &packet{dst: nextMAC, src: em1MAC, from: host, to: "198.51.100.2", ttl: 63}, target: "em1"},
		{name: "ipv4-ttl2-FORWARD", packet: packet{from: host, to: far, ttl: 2}, verdict: "redirect", reason: bpf.ReasonForward,
			out: &packet{dst: nextMAC, src: em1MAC, from: host, to: far, ttl: 1}, target: "em1"},
		{name: "ipv4-fragment-FORWARD", packet: packet{from: host, to: far, fragOffset: 10}, verdict: "redirect", reason: bpf.ReasonForward,
			out: &packet{dst: nextMAC, src: em1MAC, from: host, to: far, ttl: 63, fragOffset: 10}, target: "em1"},
		{name: "ipv4-into-vlan-FORWARD", packet: packet{from: host, to: "10.6.0.1"}, verdict: "redirect", reason: bpf.ReasonForward,
			out: &packet{dst: nextMAC, src: vlanMAC, tags: []uint16{5}, from: host, to: "10.6.0.1", ttl: 63}, target: "em1"},
		{name: "ipv4-from-vlan-FORWARD", input: "em1", packet: packet{dst: vlanMAC, tags: []uint16{5}, from: "10.6.0.9", to: "10.5.0.1"}, verdict: "redirect", reason: bpf.ReasonForward,
			out: &packet{dst: nextMAC, src: em0MAC, from: "10.6.0.9", to: "10.5.0.1", ttl: 63}, target: "em0"},
		{name: "ipv4-priority-tag-FORWARD", packet: packet{tags: []uint16{0}, from: host, to: far}, verdict: "redirect", reason: bpf.ReasonForward,
			out: &packet{dst: nextMAC, src: em1MAC, from: host, to: far, ttl: 63}, target: "em1"},
		{name: "ipv4-unclaimed-vlan-PASS", packet: packet{tags: []uint16{9}, from: host, to: far}, verdict: "pass", reason: bpf.ReasonNoproto},
		{name: "ipv4-qinq-unclaimed-PASS", packet: packet{tags: []uint16{0x8009, 7}, from: host, to: far}, verdict: "pass", reason: bpf.ReasonNoproto},
		{name: "ipv4-vlan-wrong-MAC-DROP", input: "em1", packet: packet{dst: em0MAC, tags: []uint16{5}, from: host, to: far}, verdict: "drop", reason: bpf.ReasonEtherOtherhost},
		{name: "ipv4-own-address-PASS", packet: packet{from: host, to: "192.0.2.1"}, verdict: "pass", reason: bpf.ReasonLocal},
		{name: "ipv4-other-own-address-PASS", packet: packet{from: host, to: "198.51.100.1"}, verdict: "pass", reason: bpf.ReasonLocal},
		{name: "ipv4-multicast-PASS", packet: packet{dst: net.HardwareAddr{1, 0, 0x5e, 0, 0, 1}, from: host, to: "224.0.0.1"}, verdict: "pass", reason: bpf.ReasonMulticast},
		{name: "ipv4-limited-broadcast-PASS", packet: packet{dst: bytes.Repeat([]byte{0xff}, 6), from: "0.0.0.0", to: "255.255.255.255"}, verdict: "pass", reason: bpf.ReasonBroadcast},
		{name: "ipv4-directed-broadcast-here-PASS", packet: packet{from: host, to: "192.0.2.255"}, verdict: "pass", reason: bpf.ReasonBroadcast},
		{name: "ipv4-directed-broadcast-there-DROP", packet: packet{from: host, to: "198.51.100.255"}, verdict: "drop", reason: bpf.ReasonIPCantforward},
		{name: "ipv4-unicast-in-link-broadcast-DROP", packet: packet{dst: bytes.Repeat([]byte{0xff}, 6), from: host, to: far}, verdict: "drop", reason: bpf.ReasonIPCantforward},
		{name: "ipv4-unowned-route-PASS", packet: packet{from: host, to: "10.3.0.1"}, verdict: "pass", reason: bpf.ReasonUnowned},
		{name: "ipv4-blackhole-DROP", packet: packet{from: host, to: "10.1.0.1"}, verdict: "drop", reason: bpf.ReasonIPBlackhole},
		{name: "ipv4-reject-NETISR", packet: packet{from: host, to: "10.2.0.1"}, verdict: "redirect", reason: bpf.ReasonNetisrReject},
		{name: "ipv4-no-route-NETISR", packet: packet{from: host, to: "100.64.0.1"}, verdict: "redirect", reason: bpf.ReasonNetisrNoroute},
		{name: "ipv4-unresolved-gateway-NETISR", packet: packet{from: host, to: "10.4.0.1"}, verdict: "redirect", reason: bpf.ReasonNetisrARP},
		{name: "ipv4-unresolved-host-NETISR", packet: packet{from: host, to: "198.51.100.77"}, verdict: "redirect", reason: bpf.ReasonNetisrARP},
		{name: "ipv4-ttl1-NETISR", packet: packet{from: host, to: far, ttl: 1}, verdict: "redirect", reason: bpf.ReasonNetisrTTL},
		{name: "ipv4-options-NETISR", packet: packet{from: host, to: far, options: true}, verdict: "redirect", reason: bpf.ReasonNetisrOptions},
		{name: "ipv4-options-local-PASS", packet: packet{from: host, to: "192.0.2.1", options: true}, verdict: "pass", reason: bpf.ReasonLocal},
		{name: "ipv4-too-big-NETISR", packet: packet{from: host, to: "10.7.0.1", payload: 1300}, verdict: "redirect", reason: bpf.ReasonNetisrFragment},
		{name: "ipv4-too-big-DF-NETISR", packet: packet{from: host, to: "10.7.0.1", payload: 1300, df: true}, verdict: "redirect", reason: bpf.ReasonNetisrToobig},
		{name: "ipv4-just-fits-FORWARD", packet: packet{from: host, to: "10.7.0.1", payload: 1252}, verdict: "redirect", reason: bpf.ReasonForward,
			out: &packet{dst: nextMAC, src: em1MAC, from: host, to: "10.7.0.1", payload: 1252, ttl: 63}, target: "em1"},
		{name: "ipv4-linklocal-source-DROP", packet: packet{from: "169.254.1.1", to: far}, verdict: "drop", reason: bpf.ReasonIPCantforward},
		{name: "ipv4-zero-source-DROP", packet: packet{from: "0.0.0.0", to: far}, verdict: "drop", reason: bpf.ReasonIPCantforward},
		{name: "ipv4-loopback-source-DROP", packet: packet{from: "127.0.0.1", to: far}, verdict: "drop", reason: bpf.ReasonIPBadaddr},
		{name: "ipv4-loopback-destination-DROP", packet: packet{from: host, to: "127.0.0.1"}, verdict: "drop", reason: bpf.ReasonIPBadaddr},
		{name: "ipv4-multicast-source-DROP", packet: packet{from: "224.0.0.1", to: far}, verdict: "drop", reason: bpf.ReasonIPBadaddr},
		{name: "ipv4-class-e-source-DROP", packet: packet{from: "240.0.0.1", to: far}, verdict: "drop", reason: bpf.ReasonIPBadaddr},
		{name: "ipv4-class-e-destination-DROP", packet: packet{from: host, to: "240.0.0.1"}, verdict: "drop", reason: bpf.ReasonIPCantforward},
		{name: "ipv4-bad-checksum-DROP", packet: packet{from: host, to: far, mangle: func(f []byte) { f[24] ^= 0xff }}, verdict: "drop", reason: bpf.ReasonIPBadsum},
		{name: "ipv4-options-bad-checksum-DROP", packet: packet{from: host, to: far, options: true, mangle: func(f []byte) { f[36] ^= 0xff }}, verdict: "drop", reason: bpf.ReasonIPBadsum},
		{name: "ipv4-version-DROP", packet: packet{from: host, to: far, mangle: func(f []byte) { f[14] = 0x55 }}, verdict: "drop", reason: bpf.ReasonIPBadvers},
		{name: "ipv4-short-ihl-DROP", packet: packet{from: host, to: far, mangle: func(f []byte) { f[14] = 0x44 }}, verdict: "drop", reason: bpf.ReasonIPBadhlen},
		{name: "ipv4-long-ihl-DROP", packet: packet{from: host, to: far, mangle: func(f []byte) { f[14] = 0x4f }}, verdict: "drop", reason: bpf.ReasonIPBadhlen},
		{name: "ipv4-length-below-header-DROP", packet: packet{from: host, to: far, mangle: bad(17, 19)}, verdict: "drop", reason: bpf.ReasonIPBadlen},
		{name: "ipv4-length-beyond-frame-DROP", packet: packet{from: host, to: far, mangle: bad(16, 9)}, verdict: "drop", reason: bpf.ReasonIPTruncated},
		{name: "arp-PASS", packet: packet{from: host, to: far, etherType: layers.EthernetTypeARP}, verdict: "pass", reason: bpf.ReasonARP},
		{name: "lldp-PASS", packet: packet{from: host, to: far, etherType: layers.EthernetTypeLinkLayerDiscovery}, verdict: "pass", reason: bpf.ReasonNoproto},
		{name: "otherhost-DROP", packet: packet{dst: nextMAC, from: host, to: far}, verdict: "drop", reason: bpf.ReasonEtherOtherhost},
		{name: "group-source-DROP", packet: packet{src: net.HardwareAddr{3, 0, 0, 0, 0, 1}, from: host, to: far}, verdict: "drop", reason: bpf.ReasonEtherBadsrc},
		{name: "unknown-interface-PASS", input: "em0peer", packet: packet{from: host, to: far}, verdict: "pass", reason: bpf.ReasonNoproto},

		{name: "ipv6-gateway-FORWARD", packet: packet{from: host6, to: far6}, verdict: "redirect", reason: bpf.ReasonForward6,
			out: &packet{dst: nextMAC, src: em1MAC, from: host6, to: far6, ttl: 63}, target: "em1"},
		{name: "ipv6-connected-FORWARD", packet: packet{from: host6, to: "2001:db8:1::2"}, verdict: "redirect", reason: bpf.ReasonForward6,
			out: &packet{dst: nextMAC, src: em1MAC, from: host6, to: "2001:db8:1::2", ttl: 63}, target: "em1"},
		{name: "ipv6-into-vlan-FORWARD", packet: packet{from: host6, to: "2001:db8:a6::1"}, verdict: "redirect", reason: bpf.ReasonForward6,
			out: &packet{dst: nextMAC, src: vlanMAC, tags: []uint16{5}, from: host6, to: "2001:db8:a6::1", ttl: 63}, target: "em1"},
		{name: "ipv6-own-address-PASS", packet: packet{from: host6, to: "2001:db8::1"}, verdict: "pass", reason: bpf.ReasonLocal},
		{name: "ipv6-linklocal-PASS", packet: packet{from: "fe80::1", to: "fe80::2"}, verdict: "pass", reason: bpf.ReasonLocal},
		{name: "ipv6-multicast-PASS", packet: packet{dst: net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, from: "fe80::1", to: "ff02::1"}, verdict: "pass", reason: bpf.ReasonMulticast},
		{name: "ipv6-unowned-route-PASS", packet: packet{from: host6, to: "2001:db8:a3::1"}, verdict: "pass", reason: bpf.ReasonUnowned},
		{name: "ipv6-blackhole-DROP", packet: packet{from: host6, to: "2001:db8:a1::1"}, verdict: "drop", reason: bpf.ReasonIP6Blackhole},
		{name: "ipv6-reject-NETISR", packet: packet{from: host6, to: "2001:db8:a2::1"}, verdict: "redirect", reason: bpf.ReasonNetisrReject},
		{name: "ipv6-no-route-NETISR", packet: packet{from: host6, to: "2001:db9::1"}, verdict: "redirect", reason: bpf.ReasonNetisrNoroute},
		{name: "ipv6-unresolved-gateway-NETISR", packet: packet{from: host6, to: "2001:db8:a4::1"}, verdict: "redirect", reason: bpf.ReasonNetisrARP},
		{name: "ipv6-unresolved-host-NETISR", packet: packet{from: host6, to: "2001:db8:1::77"}, verdict: "redirect", reason: bpf.ReasonNetisrARP},
		{name: "ipv6-hop-limit1-NETISR", packet: packet{from: host6, to: far6, ttl: 1}, verdict: "redirect", reason: bpf.ReasonNetisrTTL},
		{name: "ipv6-hop-by-hop-NETISR", packet: packet{from: host6, to: far6, options: true}, verdict: "redirect", reason: bpf.ReasonNetisrOptions},
		{name: "ipv6-too-big-NETISR", packet: packet{from: host6, to: "2001:db8:a7::1", payload: 1300}, verdict: "redirect", reason: bpf.ReasonNetisrToobig},
		{name: "ipv6-linklocal-source-NETISR", packet: packet{from: "fe80::9", to: far6}, verdict: "redirect", reason: bpf.ReasonNetisrScope},
		{name: "ipv6-unspecified-source-DROP", packet: packet{from: "::", to: far6}, verdict: "drop", reason: bpf.ReasonIP6Cantforward},
		{name: "ipv6-multicast-source-DROP", packet: packet{from: "ff02::1", to: far6}, verdict: "drop", reason: bpf.ReasonIP6Badaddr},
		{name: "ipv6-loopback-source-DROP", packet: packet{from: "::1", to: far6}, verdict: "drop", reason: bpf.ReasonIP6Badaddr},
		{name: "ipv6-mapped-source-DROP", packet: packet{from: host6, to: far6, mangle: func(f []byte) {
			copy(f[22:], []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1})
		}}, verdict: "drop", reason: bpf.ReasonIP6Badaddr},
		{name: "ipv6-version-DROP", packet: packet{from: host6, to: far6, mangle: func(f []byte) { f[14] = 0x50 }}, verdict: "drop", reason: bpf.ReasonIP6Badvers},
		{name: "ipv6-length-beyond-frame-DROP", packet: packet{from: host6, to: far6, mangle: func(f []byte) { f[18] = 9 }}, verdict: "drop", reason: bpf.ReasonIP6Truncated},
	}
}

// TestStages gives each case to both builds and wants its verdict, its packet,
// its target, its reason, and no other counter moved.
func TestStages(t *testing.T) {
	r := newRouter(t)
	for _, build := range []Build{XDP, TC} {
		for _, c := range stageCases() {
			t.Run(fmt.Sprintf("%s/%s", build, c.name), func(t *testing.T) {
				r.t = t
				if c.input == "" {
					c.input = "em0"
				}
				before := r.reasons()
				r.forgetTarget(build)
				verdict, out := r.run(build, c.input, c.packet.bytes(t))
				if want := verdictNumber[build][c.verdict]; verdict != want {
					t.Errorf("verdict %d, want %d (%s)", verdict, want, c.verdict)
				}
				for reason, n := range r.reasons() {
					got, want := n-before[reason], uint64(0)
					if reason == c.reason {
						want = 1
					}
					if got != want {
						t.Errorf("reason %v counted %d times, want %d", reason, got, want)
					}
				}
				if r.reasons()[c.reason] == before[c.reason] {
					t.Errorf("reason %v not counted", c.reason)
				}
				if c.out != nil {
					if want := c.out.bytes(t); build == XDP && !bytes.Equal(out, want) {
						t.Errorf("packet out\n%x, want\n%x", out, want)
					} else if build == TC && !bytes.Equal(untag(out), untag(want)) {
						t.Errorf("packet out\n%x, want\n%x", out, want)
					}
				}
				if c.target != "" && r.target(build) != r.slot[c.target] {
					t.Errorf("redirected to slot %d, want %d (%s)", r.target(build), r.slot[c.target], c.target)
				}
			})
		}
	}
}

// untag takes the tag off: the TC build leaves the outermost in the
// descriptor, which a test run does not show.
func untag(frame []byte) []byte {
	if !(frame[12] == 0x81 && frame[13] == 0) {
		return frame
	}
	return append(bytes.Clone(frame[:12]), frame[16:]...)
}

// forgetTarget clears the packet contexts of all CPUs.
func (r *router) forgetTarget(build Build) {
	r.t.Helper()
	if err := r.dp.Maps["mbuf_"+string(build)].Put(uint32(0), make([]bpf.Mbuf, ebpf.MustPossibleCPU())); err != nil {
		r.t.Fatal(err)
	}
}

// target reads from the packet context where the last redirect went.
func (r *router) target(build Build) uint32 {
	var contexts []bpf.Mbuf
	if err := r.dp.Maps["mbuf_"+string(build)].Lookup(uint32(0), &contexts); err != nil {
		r.t.Fatal(err)
	}
	for _, m := range contexts {
		if m.Redirect != 0 {
			return m.Redirect
		}
	}
	return 0
}

// TestTruncation cuts every packet of the table at every length: nothing but
// a drop, a pass or the same way as the whole packet may come of it.
func TestTruncation(t *testing.T) {
	r := newRouter(t)
	for _, build := range []Build{XDP, TC} {
		for _, c := range stageCases() {
			if c.input != "" || c.packet.payload > 0 || c.reason == bpf.ReasonNoproto {
				continue
			}
			whole := c.packet.bytes(t)
			shortest := 15
			if build == TC {
				// A test run of TC takes no frame without a whole network header.
				shortest = 34
				if strings.Contains(c.packet.from, ":") {
					shortest = 54
				}
			}
			for n := shortest; n < len(whole); n++ {
				before := r.reasons()
				verdict, _ := r.run(build, "em0", whole[:n])
				after := r.reasons()
				if after[bpf.ReasonUnset] != before[bpf.ReasonUnset] || after[bpf.ReasonProtosw] != before[bpf.ReasonProtosw] {
					t.Fatalf("%s/%s cut to %d: left without a reason", build, c.name, n)
				}
				if verdict == verdictNumber[build]["redirect"] && n < len(whole) && c.verdict != "redirect" {
					t.Fatalf("%s/%s cut to %d bytes: redirected", build, c.name, n)
				}
			}
		}
	}
}
