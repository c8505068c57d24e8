package difftest

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/loader"
	"github.com/bsdnet/bsdnet/pf/conf"
	"github.com/bsdnet/bsdnet/pf/reference"
)

// trial is one ruleset at work in one build and in the reference.
type trial struct {
	*router
	build    loader.Build
	text     string
	slots    map[*conf.Rule][]uint32 // counters of each rule
	tags     []string                // by number
	trees    bool                    // the data path looks rules up in trees
	firewall *reference.Firewall
	began    time.Time
	advanced time.Duration
	elapsed  time.Duration    // stands still while a packet is on its way
	choices  []netip.AddrPort // of the data path for the packet in hand
	history  []string
	failed   bool
}

// manyRules is a number of rules whose counters take long to read.
const manyRules = 30

// trial implements reference.Environment.

func (x *trial) Exists(name string) bool         { _, ok := x.slot[name]; return ok }
func (x *trial) Loopback(string) bool            { return false }
func (x *trial) InGroup(name, group string) bool { return inGroup(name, group) }
func (x *trial) Now() time.Duration              { return x.advanced + x.elapsed }

func (x *trial) Addresses(name string, modifiers conf.Modifier) []conf.TablePrefix {
	return hostAddresses(name, modifiers)
}

// Chosen returns what the data path chose, one translation after the other.
func (x *trial) Chosen() (netip.AddrPort, bool) {
	if len(x.choices) == 0 {
		return netip.AddrPort{}, false
	}
	chosen := x.choices[0]
	x.choices = x.choices[1:]
	return chosen, true
}

func (x *trial) Route(ip netip.Addr) (string, bool, bool) {
	iface := routeOf(ip)
	return iface, isLocal(ip), iface != "" || isLocal(ip)
}

// begin puts a ruleset in force and empties counters and states.
func (r *router) begin(build loader.Build, text string) *trial {
	rs, err := conf.Load("test", bytes.NewReader([]byte(text)), conf.Config{Interfaces: interfaceTable})
	if err != nil {
		r.Fatalf("%v\n%s", err, text)
	}
	if _, err := r.engine.Load(rs); err != nil {
		r.Fatalf("%v\n%s", err, text)
	}
	r.counted = r.reasons()
	x := &trial{router: r, build: build, text: text, slots: map[*conf.Rule][]uint32{nil: {0}}, began: time.Now()}
	x.firewall = reference.New(rs, x)
	_, program := r.engine.Rules()
	x.tags = program.Tags
	x.trees = program.Trees > 0
	for _, rule := range program.Rules {
		// A binat rule is two in the program that count as one.
		if !slices.Contains(x.slots[rule.Rule], rule.Counters) {
			x.slots[rule.Rule] = append(x.slots[rule.Rule], rule.Counters)
		}
	}
	zero := make([]bpf.PFRuleCounters, ebpf.MustPossibleCPU())
	for _, slots := range x.slots {
		for _, slot := range slots {
			if err := errors.Join(r.dp.Maps["pf_rule_counts"].Put(slot, zero), r.dp.Maps["pf_rule_states"].Put(slot, uint64(0))); err != nil {
				r.Fatal(err)
			}
		}
	}
	return x
}

// end compares counters once more and frees the states that are left.
func (x *trial) end() {
	x.compareCounters()
	x.clearStates()
}

// fail reports a difference, once, with all that led to it.
func (x *trial) fail(format string, args ...any) {
	if x.failed {
		return
	}
	x.failed = true
	var b bytes.Buffer
	for _, line := range x.history {
		b.WriteString("\n  ")
		b.WriteString(line)
	}
	x.Errorf("%s: %s\nrules:\n%s\npackets:%s", x.build, fmt.Sprintf(format, args...), x.text, b.String())
}

// advance lets time pass: the stamps of the states move back.
func (x *trial) advance(d time.Duration) {
	ticks := uint32(d.Seconds() * float64(x.hertz))
	for _, s := range x.firewall.States() {
		if slot, ok := x.primary(s); ok {
			x.states.Values[slot].Expire -= ticks
			x.states.Values[slot].Creation -= ticks
		}
	}
	if x.head.Values[0].SrcNodes > 0 {
		for i := range x.nodes.Values {
			x.nodes.Values[i].Expire -= ticks
		}
	}
	x.advanced += d
}

// settle moves time on while any state is so near its end that the two clocks
// might disagree.
func (x *trial) settle() {
	near := func(s *reference.State) bool {
		// On its way the packet may end a state and make two.
		for more := -1; more <= 2; more++ {
			left := x.firewall.Lifetime(s, len(x.firewall.States())+more) - (x.Now() - s.Last)
			if left > -500*time.Millisecond && left < 500*time.Millisecond {
				return true
			}
		}
		return false
	}
	nodeNear := func(n *reference.SourceNode) bool {
		left := n.Ends - x.Now()
		return n.States == 0 && left < 500*time.Millisecond
	}
	for range 200 {
		if !slices.ContainsFunc(x.firewall.States(), near) && !slices.ContainsFunc(x.firewall.SourceNodes(), nodeNear) {
			return
		}
		x.advance(1100 * time.Millisecond)
	}
}

// outcome is what becomes of a packet.
type outcome struct {
	reason bpf.Reason
	out    *wire  // nil if it is gone
	iface  string // where it left
}

// send gives a packet to both and compares. Packets of the host itself go out
// of iface, others come in. It returns what became of it.
func (x *trial) send(w wire, iface string, host bool) outcome {
	if x.failed {
		return outcome{}
	}
	w.finish()
	x.elapsed = time.Since(x.began)
	x.settle()
	x.history = append(x.history, describe(&w, iface, host))
	x.clearDescriptions()
	program := "ether_input"
	if host {
		program = "if_output"
	}
	reason, out := x.run(x.build, program, iface, w.ip())
	x.choices = x.chosen()
	want := x.expect(w, iface, host)
	if reason != want.reason {
		x.fail("left as %v, want %v", reason, want.reason)
		return want
	}
	if want.out != nil {
		x.comparePacket(out, want.out)
	}
	if len(x.slots) < manyRules || len(x.history)%10 == 0 {
		x.compareCounters()
	}
	x.compareStates()
	return want
}

// expect asks the reference.
func (x *trial) expect(w wire, iface string, host bool) outcome {
	w.ReceivedOn = ""
	if !host {
		w.ReceivedOn = iface
	}
	if host {
		d := x.firewall.Test(w.Packet, conf.Out, iface)
		w.Packet = d.Packet
		if d.Pass {
			return outcome{reason: bpf.ReasonOutput, out: &w, iface: iface}
		}
		return outcome{reason: blocked(d, &w)}
	}
	d := x.firewall.Test(w.Packet, conf.In, iface)
	w.Packet = d.Packet
	if !d.Pass {
		return outcome{reason: blocked(d, &w)}
	}
	if isLocal(w.Dst) {
		return outcome{reason: bpf.ReasonLocal, out: &w}
	}
	switch {
	case w.Options && w.Src.Is4():
		return outcome{reason: bpf.ReasonNetisrOptions}
	case w.TTL <= 1:
		return outcome{reason: bpf.ReasonNetisrTTL}
	}
	leave := routeOf(w.Dst)
	w.TTL--
	d = x.firewall.Test(w.Packet, conf.Out, leave)
	w.Packet = d.Packet
	if !d.Pass {
		return outcome{reason: blocked(d, &w)}
	}
	reason := bpf.ReasonForward
	if w.Dst.Is6() {
		reason = bpf.ReasonForward6
	}
	return outcome{reason: reason, out: &w, iface: leave}
}

func blocked(d reference.Decision, w *wire) bpf.Reason {
	switch d.Reason {
	case reference.Short:
		return bpf.ReasonPFShort
	case reference.Normalize:
		return bpf.ReasonPFNormalize
	case reference.StateMismatch:
		return bpf.ReasonPFState
	case reference.StateInsert, reference.StateLimit:
		if d.Answer != conf.ReturnNone {
			return bpf.ReasonNetisrHook
		}
		return bpf.ReasonPFLimit
	case reference.Fragment:
		return bpf.ReasonPFFragment
	case reference.Reassemble:
		return bpf.ReasonNetisrReassemble
	case reference.Untranslated:
		return bpf.ReasonPFTranslate
	}
	if d.Answer != conf.ReturnNone && w.Offset == 0 {
		return bpf.ReasonNetisrHook
	}
	return bpf.ReasonPFBlock
}

func (x *trial) comparePacket(out []byte, want *wire) {
	got, err := parse(out)
	if err != nil {
		x.fail("packet out %x: %v", out, err)
		return
	}
	expected := *want
	if want.Quoted != nil {
		if !x.compareQuoted(got, want) {
			return
		}
		got.Payload, expected.Payload = nil, nil
	}
	expected.Tag, expected.ReceivedOn, expected.Quoted = "", "", nil
	if describe(got, "", false) != describe(&expected, "", false) || !bytes.Equal(got.Payload, expected.Payload) {
		x.fail("packet out is\n  %s\nwant\n  %s", describe(got, "", false), describe(&expected, "", false))
	}
}

// compareQuoted compares what an ICMP error quotes, which may be cut short.
func (x *trial) compareQuoted(got, want *wire) bool {
	quoted := *want.About
	quoted.Packet = *want.Quoted
	expected, actual := quoted.ip(), bytes.Clone(got.Payload)
	header := len(expected) - len(quoted.upper())
	expected = expected[:min(len(expected), len(want.Payload))]
	if quoted.Protocol == reference.TCP && len(expected) >= header+18 && len(actual) >= header+18 {
		// The checksum of a quoted segment is of no use to anybody; it stays.
		copy(expected[header+16:], []byte{0, 0})
		copy(actual[header+16:], []byte{0, 0})
	}
	if !bytes.Equal(actual, expected) {
		x.fail("quoted packet is\n  %x\nwant\n  %x", actual, expected)
		return false
	}
	return true
}

func describe(w *wire, iface string, host bool) string {
	s := fmt.Sprintf("%s host=%v %v:%d -> %v:%d proto %d len %d ttl %d tos %#x df=%v fragment=%v/%d options=%v", iface, host,
		w.Src, w.SrcPort, w.Dst, w.DstPort, w.Protocol, w.Length, w.TTL, w.TOS, w.DF, w.Fragment, w.Offset, w.Options)
	switch w.Protocol {
	case reference.TCP:
		s += fmt.Sprintf(" %+v", w.TCP)
	case reference.ICMP, reference.ICMPv6:
		s += fmt.Sprintf(" %+v", w.ICMP)
	}
	if w.Quoted != nil {
		s += fmt.Sprintf(" quotes %v:%d -> %v:%d proto %d %+v %+v", w.Quoted.Src, w.Quoted.SrcPort, w.Quoted.Dst, w.Quoted.DstPort,
			w.Quoted.Protocol, w.Quoted.TCP, w.Quoted.ICMP)
	}
	return s
}

func (x *trial) descriptions() *ebpf.Map { return x.dp.Maps["pf_pd_"+string(x.build)] }

func (x *trial) clearDescriptions() {
	if err := x.descriptions().Put(uint32(0), make([]bpf.PFPdesc, ebpf.MustPossibleCPU())); err != nil {
		x.Fatal(err)
	}
}

// chosen reads what the data path chose for a packet on its way.
func (x *trial) chosen() (list []netip.AddrPort) {
	var perCPU []bpf.PFPdesc
	if err := x.descriptions().Lookup(uint32(0), &perCPU); err != nil {
		x.Fatal(err)
	}
	for _, pd := range perCPU {
		if pd.Choices > bpf.PFChoices {
			x.Fatalf("%d translations of one packet", pd.Choices)
		}
		for _, c := range pd.Choice[:pd.Choices] {
			addr := netip.AddrFrom16(c.Addr)
			if pd.Af == 4 {
				addr = netip.AddrFrom4([4]byte(c.Addr[:4]))
			}
			list = append(list, netip.AddrPortFrom(addr, swap16(c.Port)))
		}
	}
	return list
}

func swap16(v uint16) uint16 { return v<<8 | v>>8 }

func (x *trial) compareCounters() {
	var differ []string
	for rule, slots := range x.slots {
		if rule != nil && rule.Action == conf.Match {
			continue
		}
		var got bpf.PFRuleCounters
		for _, slot := range slots {
			c, err := x.engine.RuleCounters(slot)
			if err != nil {
				x.Fatal(err)
			}
			got.States += c.States
			for i := range got.Packets {
				got.Packets[i] += c.Packets[i]
				got.Bytes[i] += c.Bytes[i]
			}
		}
		want := x.firewall.Counts[rule]
		if want == nil {
			want = &reference.Counters{}
		}
		if got.Packets != want.Packets || got.Bytes != want.Bytes || got.States != want.States {
			name := "the default rule"
			if rule != nil {
				name = rule.Text(conf.FreeBSD, conf.FormatOptions{})
			}
			differ = append(differ, fmt.Sprintf("%q: %v packets %v bytes %d states, want %+v", name, got.Packets, got.Bytes, got.States, *want))
		}
	}
	if len(differ) > 0 {
		x.fail("counters are\n  %s", strings.Join(differ, "\n  "))
	}
}

// timeouts are the names of the data path's timeouts.
var timeouts = map[uint32]conf.Timeout{
	bpf.PftmTCPFirstPacket:   conf.TimeoutTCPFirst,
	bpf.PftmTCPOpening:       conf.TimeoutTCPOpening,
	bpf.PftmTCPEstablished:   conf.TimeoutTCPEstablished,
	bpf.PftmTCPClosing:       conf.TimeoutTCPClosing,
	bpf.PftmTCPFinWait:       conf.TimeoutTCPFinWait,
	bpf.PftmTCPClosed:        conf.TimeoutTCPClosed,
	bpf.PftmUDPFirstPacket:   conf.TimeoutUDPFirst,
	bpf.PftmUDPSingle:        conf.TimeoutUDPSingle,
	bpf.PftmUDPMultiple:      conf.TimeoutUDPMultiple,
	bpf.PftmICMPFirstPacket:  conf.TimeoutICMPFirst,
	bpf.PftmICMPErrorReply:   conf.TimeoutICMPError,
	bpf.PftmOtherFirstPacket: conf.TimeoutOtherFirst,
	bpf.PftmOtherSingle:      conf.TimeoutOtherSingle,
	bpf.PftmOtherMultiple:    conf.TimeoutOtherMultiple,
}

func (x *trial) compareStates() {
	states := x.firewall.States()
	if n := x.head.Values[0].Count; n != uint64(len(states)) {
		x.fail("%d states, want %d", n, len(states))
		return
	}
	for _, s := range states {
		slot, ok := x.primary(s)
		if !ok {
			x.fail("state %v -> %v (%d) is missing", s.Wire, s.Stack, s.Protocol)
			return
		}
		x.compareState(&x.states.Values[slot], s)
	}
	x.compareNodes()
}

// compareNodes compares source nodes: whose, what they got, and how many
// states hold them.
func (x *trial) compareNodes() {
	want := []string{}
	for _, n := range x.firewall.SourceNodes() {
		want = append(want, fmt.Sprintf("%v -> %v, %d states, of %v", n.Source, n.Redirect, n.States, x.slots[n.Rule]))
	}
	got := []string{}
	if len(want) > 0 || x.head.Values[0].SrcNodes > 0 {
		for _, n := range x.engine.SrcNodes() {
			got = append(got, fmt.Sprintf("%v -> %v, %d states, of %v", n.Addr, n.Redirect, n.States, x.slotsWith(n.Rule)))
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		x.fail("source nodes are\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// slotsWith returns the counters of the rule that has one of them.
func (x *trial) slotsWith(slot uint32) []uint32 {
	for _, slots := range x.slots {
		if slices.Contains(slots, slot) {
			return slots
		}
	}
	return nil
}

func (x *trial) compareState(got *bpf.PFState, want *reference.State) {
	type line struct {
		Peers            [2]uint8
		Low, High        [2]uint32
		Window           [2]uint16
		Scale            [2]uint8
		Timeout          conf.Timeout
		Packets          [2]uint64
		Bytes            [2]uint64
		Direction        conf.Direction
		Interface        uint32
		Sloppy, AllowOpt bool
		Tag              string
		Translated       bool
	}
	g := line{Peers: got.Peers, Low: got.Seqlo, High: got.Seqhi, Window: got.Win, Scale: got.Wscale, Timeout: timeouts[uint32(got.Timeout)],
		Packets: got.Packets, Bytes: got.Bytes, Direction: conf.In, Interface: got.Ifslot,
		Sloppy: got.Flags&uint8(bpf.PFStateSloppy) != 0, AllowOpt: got.Flags&uint8(bpf.PFStateAllowopts) != 0}
	if uint32(got.Direction) == bpf.PfilOut {
		g.Direction = conf.Out
	}
	if got.PacketTag != 0 {
		g.Tag = x.tags[got.PacketTag-1]
	}
	g.Translated = slices.Contains(x.slots[want.Translation], got.Translation) && want.Translation != nil
	w := line{Timeout: want.Timeout, Bytes: want.Bytes, Direction: want.Direction, Interface: x.ifslot(want), Sloppy: want.Sloppy, AllowOpt: want.AllowOptions,
		Tag: want.Tag, Translated: want.Translation != nil}
	for i, p := range want.Peers {
		w.Peers[i], w.Low[i], w.High[i], w.Window[i] = p.State, p.SeqLow, p.SeqHigh, p.Window
		if p.ScaleOffered {
			w.Scale[i] = 0x80 | p.Scale
		}
		w.Packets[i] = want.Packets[i]
	}
	if g != w {
		x.fail("state %v -> %v (%d) is\n  %+v\nwant\n  %+v", want.Wire, want.Stack, want.Protocol, g, w)
		return
	}
	idle := time.Duration(x.jiffies()-got.Expire) * time.Second / time.Duration(x.hertz)
	if off := idle - (x.Now() - want.Last); off < -700*time.Millisecond || off > 700*time.Millisecond {
		x.fail("state %v -> %v is idle for %v, want %v", want.Wire, want.Stack, idle, x.Now()-want.Last)
	}
	if !slices.Contains(x.slots[want.Rule], got.Rule) {
		x.fail("state %v -> %v is of rule %d, want %v", want.Wire, want.Stack, got.Rule, x.slots[want.Rule])
	}
}

// primary returns the slot of a state: that of the key of its first packet.
func (x *trial) primary(s *reference.State) (uint32, bool) {
	own, other := s.Wire, s.Stack
	if s.Direction == conf.Out {
		own, other = s.Stack, s.Wire
	}
	side, far := uint8(bpf.PFStateWire), uint8(bpf.PFStateStack)
	if s.Direction == conf.Out {
		side, far = far, side
	}
	ifslot := x.ifslot(s)
	slot, ok := x.lookup(own, s.Protocol, uint64(bpf.PFStateLive), side, ifslot)
	if !ok {
		return 0, false
	}
	if s.Translated() {
		alias, ok := x.lookup(other, s.Protocol, uint64(bpf.PFStateAlias), far, ifslot)
		if !ok || x.states.Values[alias].Peer != slot || x.states.Values[slot].Peer != alias {
			return 0, false
		}
	}
	return slot, true
}

// ifslot returns the interface that a state is bound to.
func (x *trial) ifslot(s *reference.State) uint32 {
	if s.Interface == "" {
		return bpf.IfnetSlots
	}
	return x.slot[s.Interface]
}

// lookup finds a key in the table of states, for packets of the sides in the
// flags on an interface; kind 0 is any.
func (x *trial) lookup(key reference.Key, protocol uint8, kind uint64, sides uint8, ifslot uint32) (uint32, bool) {
	addr := [2][16]uint8{bytesOf(key.Beyond.Addr()), bytesOf(key.Behind.Addr())}
	port := [2]uint16{swap16(key.Beyond.Port()), swap16(key.Behind.Port())}
	af := uint8(4)
	if key.Beyond.Addr().Is6() {
		af = 6
	}
	hash := x.hash(addr, port, protocol, af)
	for i := range 2 * bpf.PFBucketEntries {
		place := hash >> 1
		if i >= bpf.PFBucketEntries {
			place = hash * 0x9e3779b1 >> 7
		}
		entry := x.entries.Values[place&x.head.Values[0].Buckets].Entry[i%bpf.PFBucketEntries]
		if entry>>32 != uint64(hash) {
			continue
		}
		slot := uint32(entry) & bpf.PFStateSlot
		s := &x.states.Values[slot]
		if s.Addr == addr && s.Port == port && s.Proto == protocol && s.Af == af && s.Tag>>32 >= uint64(bpf.PFStateLive) &&
			(kind == 0 || s.Tag>>32 == kind) && s.Flags&sides == sides && s.Ifslot == ifslot {
			return slot, true
		}
	}
	return 0, false
}

// hash is pf_hash of the data path.
func (x *trial) hash(addr [2][16]uint8, port [2]uint16, protocol, af uint8) uint32 {
	word := func(b []byte) (v uint64) {
		for i := 7; i >= 0; i-- {
			v = v<<8 | uint64(b[i])
		}
		return v
	}
	mix := func(h, v uint64) uint64 {
		h = (h ^ v) * 0xff51afd7ed558ccd
		return h ^ h>>32
	}
	h := mix(x.head.Values[0].Seed, word(addr[0][:8]))
	h = mix(h, word(addr[1][:8]))
	if af == 6 {
		h = mix(h, word(addr[0][8:]))
		h = mix(h, word(addr[1][8:]))
	}
	h = mix(h, uint64(port[0])<<32|uint64(port[1])<<16|uint64(protocol)<<8|uint64(af))
	return uint32(h) | 1
}

func bytesOf(ip netip.Addr) (b [16]uint8) {
	copy(b[:], ip.AsSlice())
	return b
}
