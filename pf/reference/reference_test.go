package reference

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/pf/conf"
)

// host is an environment with em0 (group inside) and em1 (group egress).
type host struct{ now time.Duration }

func (*host) Exists(name string) bool { return name == "em0" || name == "em1" }
func (*host) Loopback(string) bool    { return false }
func (*host) InGroup(name, group string) bool {
	return name == "em0" && group == "inside" || name == "em1" && group == "egress"
}
func (*host) Addresses(name string, _ conf.Modifier) []conf.TablePrefix {
	return []conf.TablePrefix{{Prefix: netip.MustParsePrefix(map[string]string{"em0": "192.0.2.1/32", "em1": "198.51.100.1/32"}[name])}}
}
func (*host) Chosen() (netip.AddrPort, bool) { return netip.AddrPort{}, false }
func (*host) Route(ip netip.Addr) (string, bool, bool) {
	return "em1", false, true
}
func (h *host) Now() time.Duration { return h.now }

func load(t *testing.T, text string) (*Firewall, *host) {
	t.Helper()
	table := &conf.InterfaceTable{}
	table.Add("em0").Groups = []string{"inside"}
	table.Add("em1").Groups = []string{"egress"}
	rs, err := conf.Load("test", strings.NewReader(text), conf.Config{Interfaces: table})
	if err != nil {
		t.Fatal(err)
	}
	h := &host{now: time.Hour}
	return New(rs, h), h
}

func packet(protocol uint8, src, dst string) Packet {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	p := Packet{Src: s.Addr(), Dst: d.Addr(), SrcPort: s.Port(), DstPort: d.Port(), Protocol: protocol, Length: 100}
	if protocol == TCP {
		p.TCP = TCPHeader{Flags: SYN, Seq: 1000, Window: 8192}
	}
	return p
}

func TestRules(t *testing.T) {
	udp := packet(UDP, "192.0.2.9:1000", "203.0.113.7:53")
	tests := []struct {
		name, rules string
		packet      Packet
		dir         conf.Direction
		iface       string
		pass        bool
		line        int // of the rule that decides, 0: the default
	}{
		{"no-rule-PASS", "", udp, conf.In, "em0", true, 0},
		{"last-match-decides-PASS", "block\npass\n", udp, conf.In, "em0", true, 2},
		{"quick-ends-BLOCK", "block quick\npass\n", udp, conf.In, "em0", false, 1},
		{"other-direction-PASS", "block out\n", udp, conf.In, "em0", true, 0},
		{"interface-BLOCK", "block on em0\n", udp, conf.In, "em0", false, 1},
		{"not-interface-PASS", "block on ! em0\n", udp, conf.In, "em0", true, 0},
		{"group-BLOCK", "block on inside\n", udp, conf.In, "em0", false, 1},
		{"dynamic-address-BLOCK", "block from any to ! (em1)\n", udp, conf.In, "em0", false, 1},
		{"range-BLOCK", "block inet from 192.0.2.8 - 192.0.2.9 to any\n", udp, conf.In, "em0", false, 1},
		{"port-inside-excludes-bounds-PASS", "block inet proto udp from any to any port 53 >< 60\n", udp, conf.In, "em0", true, 0},
		{"port-outside-BLOCK", "block inet proto udp from any to any port 54 <> 60\n", udp, conf.In, "em0", false, 1},
		{"table-longest-prefix-PASS", "table <t> { 192.0.2.0/24, ! 192.0.2.9 }\nblock from <t> to any\n", udp, conf.In, "em0", true, 0},
		{"anchor-BLOCK", "anchor \"a\" {\nblock\n}\n", udp, conf.In, "em0", false, 2},
		{"anchor-not-entered-PASS", "anchor \"a\" out {\nblock\n}\n", udp, conf.In, "em0", true, 0},
		{"after-anchor-PASS", "anchor \"a\" {\nblock\n}\npass\n", udp, conf.In, "em0", true, 4},
		{"anchor-quick-BLOCK", "anchor \"a\" quick {\nblock\n}\npass\n", udp, conf.In, "em0", false, 2},
		{"anchor-quick-without-match-PASS", "anchor \"a\" quick {\nblock on em1\n}\npass\n", udp, conf.In, "em0", true, 4},
		{"wildcard-BLOCK", "anchor \"a\" proto 99 {\nanchor \"x\" {\nblock\n}\n}\nanchor \"a/*\"\n", udp, conf.In, "em0", false, 3},
		{"tagged-BLOCK", "match tag RED\nblock tagged RED\n", udp, conf.In, "em0", false, 2},
		{"not-tagged-PASS", "match tag RED\nblock ! tagged RED\n", udp, conf.In, "em0", true, 0},
		{"flags-PASS", "block proto tcp flags A/A\n", packet(TCP, "192.0.2.9:1000", "203.0.113.7:80"), conf.In, "em0", true, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f, _ := load(t, test.rules)
			d := f.Test(test.packet, test.dir, test.iface)
			line := 0
			if d.Rule != nil {
				line = d.Rule.Pos.Line
			}
			if d.Pass != test.pass || line != test.line {
				t.Errorf("pass %v by line %d, want %v by %d", d.Pass, line, test.pass, test.line)
			}
		})
	}
}

// TestHandshake follows the states of the peers and their timers.
func TestHandshake(t *testing.T) {
	f, _ := load(t, "pass\n")
	steps := []struct {
		server   bool
		flags    uint8
		seq, ack uint32
		data     int
		peers    [2]uint8
		timeout  conf.Timeout
	}{
		{false, SYN, 1000, 0, 0, [2]uint8{SynSent, Closed}, conf.TimeoutTCPFirst},
		{true, SYN | ACK, 5000, 1001, 0, [2]uint8{Established, SynSent}, conf.TimeoutTCPOpening},
		{false, ACK, 1001, 5001, 0, [2]uint8{Established, Established}, conf.TimeoutTCPEstablished},
		{false, ACK | PUSH, 1001, 5001, 50, [2]uint8{Established, Established}, conf.TimeoutTCPEstablished},
		{false, ACK | FIN, 1051, 5001, 0, [2]uint8{Closing, Established}, conf.TimeoutTCPClosing},
		{true, ACK | FIN, 5001, 1052, 0, [2]uint8{FinWait2, Closing}, conf.TimeoutTCPFinWait},
		{false, ACK, 1052, 5002, 0, [2]uint8{FinWait2, FinWait2}, conf.TimeoutTCPClosed},
	}
	for i, step := range steps {
		p, dir := packet(TCP, "192.0.2.9:1000", "203.0.113.7:80"), conf.In
		if step.server {
			p, dir = packet(TCP, "203.0.113.7:80", "192.0.2.9:1000"), conf.Out
		}
		p.TCP = TCPHeader{Flags: step.flags, Seq: step.seq, Ack: step.ack, Window: 8192, Data: step.data}
		d := f.Test(p, dir, "em0")
		if !d.Pass || d.State == nil {
			t.Fatalf("step %d: %+v", i, d)
		}
		if peers := [2]uint8{d.State.Peers[0].State, d.State.Peers[1].State}; peers != step.peers || d.State.Timeout != step.timeout {
			t.Errorf("step %d: peers %v timeout %v, want %v %v", i, peers, d.State.Timeout, step.peers, step.timeout)
		}
	}
}

// TestReset wants a reset with a guessed sequence number to be dropped.
func TestReset(t *testing.T) {
	for seq, pass := range map[uint32]bool{5001: true, 5002: true, 5000: true, 5003: false, 5100: false, 4000: false} {
		f, _ := load(t, "pass\n")
		p := packet(TCP, "192.0.2.9:1000", "203.0.113.7:80")
		f.Test(p, conf.In, "em0")
		reply := packet(TCP, "203.0.113.7:80", "192.0.2.9:1000")
		reply.TCP = TCPHeader{Flags: SYN | ACK, Seq: 5000, Ack: 1001, Window: 8192}
		f.Test(reply, conf.Out, "em0")
		reply.TCP = TCPHeader{Flags: RST, Seq: seq}
		if d := f.Test(reply, conf.Out, "em0"); d.Pass != pass {
			t.Errorf("reset with %d: pass %v, want %v", seq, d.Pass, pass)
		}
	}
}

// TestNat follows a datagram out, its answer in, and an error about it.
func TestNat(t *testing.T) {
	f, h := load(t, "nat on em1 inet from any to any -> (em1) port 2000:2000\n")
	d := f.Test(packet(UDP, "192.0.2.9:1000", "203.0.113.7:53"), conf.Out, "em1")
	if d.Packet.Src != netip.MustParseAddr("198.51.100.1") || d.Packet.SrcPort != 2000 || !d.Created {
		t.Fatalf("out: %+v", d)
	}
	if other := f.Test(packet(UDP, "192.0.2.10:1000", "203.0.113.7:53"), conf.Out, "em1"); other.Pass || other.Reason != Untranslated {
		t.Errorf("no port is left: %+v", other)
	}
	answer := f.Test(packet(UDP, "203.0.113.7:53", "198.51.100.1:2000"), conf.In, "em1")
	if answer.Packet.Dst != netip.MustParseAddr("192.0.2.9") || answer.Packet.DstPort != 1000 {
		t.Errorf("in: %+v", answer.Packet)
	}
	quoted := d.Packet
	about := Packet{Src: netip.MustParseAddr("203.0.113.250"), Dst: quoted.Src, Protocol: ICMP, Length: 56, ICMP: ICMPHeader{Type: 11}, Quoted: &quoted}
	e := f.Test(about, conf.In, "em1")
	if e.Packet.Dst != netip.MustParseAddr("192.0.2.9") || e.Packet.Quoted.Src != e.Packet.Dst || e.Packet.Quoted.SrcPort != 1000 ||
		e.Packet.Src != about.Src {
		t.Errorf("error: %+v quotes %+v", e.Packet, e.Packet.Quoted)
	}
	h.now += time.Hour
	if late := f.Test(packet(UDP, "203.0.113.7:53", "198.51.100.1:2000"), conf.In, "em1"); late.State != nil {
		t.Errorf("after an hour: %+v", late)
	}
}

// TestRedirectPorts maps a range onto a shorter one.
func TestRedirectPorts(t *testing.T) {
	f, _ := load(t, "rdr on em1 inet proto tcp from any to any port 1000:1005 -> 192.0.2.9 port 80:82\n")
	var got []uint16
	for port := uint16(1000); port <= 1005; port++ {
		p := packet(TCP, "203.0.113.7:4000", "198.51.100.1:1")
		p.SrcPort += port
		p.DstPort = port
		got = append(got, f.Test(p, conf.In, "em1").Packet.DstPort)
	}
	if want := []uint16{80, 81, 82, 80, 81, 82}; !slices.Equal(got, want) {
		t.Errorf("ports %v, want %v", got, want)
	}
}

func TestICMP(t *testing.T) {
	echo := Packet{Src: netip.MustParseAddr("192.0.2.9"), Dst: netip.MustParseAddr("203.0.113.7"), Protocol: ICMP, Length: 84, ICMP: ICMPHeader{Type: 8, ID: 7}}
	reply := echo
	reply.Src, reply.Dst, reply.ICMP.Type = echo.Dst, echo.Src, 0
	f, _ := load(t, "block\npass inet proto icmp\n")
	if d := f.Test(reply, conf.Out, "em0"); d.Pass {
		t.Error("a reply that nobody asked for passed")
	}
	if d := f.Test(echo, conf.In, "em0"); !d.Created {
		t.Errorf("query: %+v", d)
	}
	if d := f.Test(reply, conf.Out, "em0"); !d.Pass || d.Created {
		t.Errorf("reply: %+v", d)
	}
}
