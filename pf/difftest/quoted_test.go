package difftest

import (
	"net/netip"
	"testing"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/loader"
	"github.com/bsdnet/bsdnet/pf/reference"
)

// An ICMPv6 error belongs to the state of the packet that it quotes, also
// behind extension headers, and what it quotes is translated back.
func TestQuotedExtensions(t *testing.T) {
	r := newRouter(t)
	for _, build := range []loader.Build{loader.XDP, loader.TC} {
		t.Run(string(build), func(t *testing.T) {
			r.TB = t
			x := r.begin(build, "match out on em1 inet6 from 2001:db8::/64 to any nat-to 2001:db8:1::100 port 3000\n"+
				"block\npass in on em0 allow-opts\npass out on em1 inet6 proto udp allow-opts\n")
			defer x.end()
			w := wire{Payload: make([]byte, 40)}
			w.TTL, w.Options = 64, true
			w.Src, w.Dst, w.Protocol = netip.MustParseAddr("2001:db8::9"), netip.MustParseAddr("2001:db8:2::7"), reference.UDP
			w.SrcPort, w.DstPort = 1000, 53
			sent := x.send(w, inside, false)
			if sent.out == nil || !sent.out.Options {
				t.Fatalf("packet with an extension header left as %v", sent.reason)
			}
			about := *sent.out
			about.QuotedBytes = 8
			got := x.send(quote(netip.MustParseAddr("2001:db8:2::fa"), 3, 0, &about), outside, false)
			if got.out == nil || x.firewall.Uses["icmp error translated"] == 0 {
				t.Errorf("error about it left as %v", got.reason)
			}
		})
	}
}

// A routing header of type 0, and a second one of whatever type, are refused
// whatever the rules say.
func TestRoutingHeader(t *testing.T) {
	r := newRouter(t)
	udp := []byte{0x03, 0xe8, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4}
	header := func(next, kind byte) []byte { return []byte{next, 2, kind, 1, 0, 0, 0, 0, 15: 1, 23: 1} }
	const routing, upper = 43, 17
	for _, build := range []loader.Build{loader.XDP, loader.TC} {
		t.Run(string(build), func(t *testing.T) {
			r.TB = t
			x := r.begin(build, "pass no state allow-opts\n")
			defer x.end()
			for _, c := range []struct {
				name    string
				headers []byte
				want    bpf.Reason
			}{
				{"type 0", header(upper, 0), bpf.ReasonPFBlock},
				{"type 2", header(upper, 2), bpf.ReasonForward6},
				{"type 4, twice", append(header(routing, 4), header(upper, 4)...), bpf.ReasonPFBlock},
			} {
				payload := append(c.headers, udp...)
				packet := []byte{0x60, 0, 0, 0, 0, byte(len(payload)), routing, 64}
				for _, ip := range []string{"2001:db8::9", "2001:db8:2::7"} {
					packet = append(packet, netip.MustParseAddr(ip).AsSlice()...)
				}
				r.counted = r.reasons()
				if got, _ := r.run(build, "ether_input", inside, append(packet, payload...)); got != c.want {
					t.Errorf("%s: left as %v, want %v", c.name, got, c.want)
				}
			}
			x.failed = true // the reference saw none of this
		})
	}
}
