package pfctl

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/bsdnet/bsdnet/pf/audit"
)

// datagram is one of UDP from the Ethernet of em0; it is a second after the
// one before.
type datagram struct {
	src, dst string
	port     layers.UDPPort
}

func captured(t *testing.T, packets ...datagram) string {
	t.Helper()
	var file bytes.Buffer
	w := pcapgo.NewWriter(&file)
	if err := w.WriteFileHeader(65535, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	for i, p := range packets {
		ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.ParseIP(p.src), DstIP: net.ParseIP(p.dst)}
		u := &layers.UDP{SrcPort: 4000, DstPort: p.port}
		if p.port < 100 {
			u.SrcPort, u.DstPort = p.port, 4000
		}
		buffer := gopacket.NewSerializeBuffer()
		err := errors.Join(u.SetNetworkLayerForChecksum(ip), gopacket.SerializeLayers(buffer,
			gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
			&layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: layers.EthernetTypeIPv4}, ip, u))
		info := gopacket.CaptureInfo{Timestamp: time.Unix(int64(i), 0), CaptureLength: len(buffer.Bytes()), Length: len(buffer.Bytes())}
		if err = errors.Join(err, w.WritePacket(info, buffer.Bytes())); err != nil {
			t.Fatal(err)
		}
	}
	return file.String()
}

// A capture is judged without an instance, states and directions included.
func TestTry(t *testing.T) {
	files := map[string]string{
		"new":     "table <inside> { 192.0.2.0/24 }\nblock all\npass in proto udp from <inside> to port 15001\npass out proto udp to port 15002 no state\nanchor \"a\"\nload anchor \"a\" from \"anchor\"\n",
		"anchor":  "pass in proto udp to port 15003 no state\n",
		"old":     "block all\npass in proto udp to port 15001 no state\npass out proto udp to port 15002\n",
		"ifaddrs": "em0 192.0.2.1/24\n",
		"pcap": captured(t,
			datagram{"192.0.2.9", "203.0.113.1", 15001}, // in; a state by new
			datagram{"203.0.113.1", "192.0.2.9", 53},    // out; nobody's, old blocks it as new does
			datagram{"192.0.2.1", "192.0.2.9", 15002},   // the host's own, out
			datagram{"192.0.2.9", "192.0.2.1", 15003},   // in, by the anchor
			datagram{"203.0.113.7", "192.0.2.1", 15001}, // not from inside
		),
	}
	const want = `new since Thu Jan  1 00:00:00 1970, 4s
packets judged: 5, not judged: 0
  passed by both 2, blocked by both 1
  passed by old, blocked by new: 1
  blocked by old, passed by new: 1

would be blocked:
  1 packet in on em0, the last 203.0.113.7:4000 > 192.0.2.1:15001 udp
    now old:2: @1 pass in proto udp from any to any port = 15001 no state
    new new:2: @0 block drop all

would be passed:
  1 packet in on em0, the last 192.0.2.9:4000 > 192.0.2.1:15003 udp
    now old:1: @0 block drop all
    new anchor:1: a @0 pass in proto udp from any to any port = 15003 no state

by line of new:
  new:2: @0 block drop all
    [ Packets: 2          Bytes: 56           Differ: 1          ]
  new:3: @1 pass in proto udp from <inside> to any port = 15001 keep state
    [ Packets: 1          Bytes: 28           Differ: 0          ]
  new:4: @2 pass out proto udp from any to any port = 15002 no state
    [ Packets: 1          Bytes: 28           Differ: 0          ]
  anchor:1: a @0 pass in proto udp from any to any port = 15003 no state
    [ Packets: 1          Bytes: 28           Differ: 1          ]
`
	run := func(args string) (string, string, int) { return call{args: args, files: files}.run() }
	t.Setenv("TZ", "UTC")
	out, errs, status := run("--try new --against old --pcap pcap --ifaddrs ifaddrs -i em0")
	if diff := cmp.Diff(want, out); diff != "" || errs != "" || status != exitDiffers {
		t.Errorf("status %d, want %d; %s\n%s", status, exitDiffers, errs, diff)
	}
	out, errs, status = run("--try old --pcap pcap --ifaddrs ifaddrs -i em0")
	if status != 0 || errs != "" || !strings.Contains(out, "  passed 3, blocked 2\n") {
		t.Errorf("alone: status %d: %s%s", status, out, errs)
	}
	out, _, status = run("--try old --against old --pcap pcap --ifaddrs ifaddrs -i em0 --json")
	var report audit.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil || status != 0 || report.Judged != 5 || report.WouldBlock+report.WouldPass != 0 {
		t.Errorf("the same twice: status %d, %v: %+v", status, err, report)
	}
}

// What goes wrong is said, with the packet or the line.
func TestTryRefused(t *testing.T) {
	files := map[string]string{
		"good": "pass\n", "bad": "pass\nnonsense\n", "beyond": "pass in proto tcp to port 80 synproxy state\n",
		"pcap": captured(t, datagram{"192.0.2.9", "203.0.113.1", 15001}, datagram{"192.0.2.9", "203.0.113.1", 15001}), "text": "this is no capture\n",
	}
	files["cut"] = files["pcap"][:len(files["pcap"])-3]
	for _, test := range []struct{ args, want string }{
		{"--try good", "pfctl: --try needs a capture: --pcap\n"},
		{"--pcap pcap -f good", "pfctl: --pcap and --against go with --try\n"},
		{"--try good --pcap pcap -f good", "pfctl: --try and --audit change nothing and go with no option that does\n"},
		{"--try good --pcap pcap --audit good", "pfctl: --try and --audit are different things\n"},
		{"--try good --pcap none -i em0", "pfctl: none: No such file or directory\n"},
		{"--try good --pcap text -i em0", "pfctl: text: not a capture: "},
		{"--try good --pcap pcap", "pfctl: pcap: packet 1: the capture does not say on which interface: -i\n"},
		{"--try good --pcap cut -i em0", "pfctl: cut: packet 2: the file ends in the middle of a packet\n"},
		{"--try bad --pcap pcap -i em0", "bad:2: syntax error\n"},
		{"--try beyond --pcap pcap -i em0", "pfctl: beyond:1: synproxy state is not enforced yet\n"},
		{"--audit good", "pfctl: no bsdnet instance here\n"},
	} {
		_, errs, status := call{args: test.args, files: files}.run()
		if !strings.HasPrefix(errs, test.want) || status == 0 || status == exitDiffers {
			t.Errorf("pfctl %s: status %d: %q, want %q", test.args, status, errs, test.want)
		}
	}
}
