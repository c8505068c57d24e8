//go:build bench

package bench

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/bsdnet/bsdnet/internal/lab"
)

// station is one way for packets through a router: a generator, the router,
// a sink.
type station struct {
	name string
	line *lab.Line
	flow map[string]*Flow // by family
	sink *Sink
}

// newStation builds a line, makes its router forward as told by prepare, and
// puts a generator and a sink at its ends.
func newStation(t *testing.T, name string, prepare func(line *lab.Line)) *station {
	t.Helper()
	line, err := lab.NewLine(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := line.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &station{name: name, line: line, flow: make(map[string]*Flow)}
	// Frames that XDP sends into a veth are lost unless its other end polls.
	for _, device := range []string{"em0", "em1"} {
		if err := line.Router.Offloads(device, true, "gro"); err != nil {
			t.Fatal(err)
		}
	}
	if s.sink, err = NewSink(line.Right, "em0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.sink.Close() })
	prepare(line)
	lladdr := make(map[*lab.Host]map[string][]byte)
	for host, devices := range map[*lab.Host][]string{line.Left: {"em0"}, line.Router: {"em0"}, line.Right: {"em0"}} {
		lladdr[host] = make(map[string][]byte)
		for _, device := range devices {
			if lladdr[host][device], err = host.Lladdr(device); err != nil {
				t.Fatal(err)
			}
		}
	}
	right := fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", anys(lladdr[line.Right]["em0"])...)
	line.Router.MustRun(t, "ip", "neigh", "replace", "198.51.100.2", "lladdr", right, "dev", "em1", "nud", "permanent")
	line.Router.MustRun(t, "ip", "neigh", "replace", "2001:db8:1::2", "lladdr", right, "dev", "em1", "nud", "permanent")
	eth := &layers.Ethernet{SrcMAC: lladdr[line.Left]["em0"], DstMAC: lladdr[line.Router]["em0"]}
	for _, family := range []string{"inet", "inet6"} {
		if s.flow[family], err = NewFlow(line.Left, "em0", frame(t, eth, family)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.flow[family].Close() })
	}
	time.Sleep(300 * time.Millisecond)
	return s
}

func anys(b []byte) []any {
	out := make([]any, len(b))
	for i := range b {
		out[i] = b[i]
	}
	return out
}

// frame is 64 bytes of UDP, less the frame check sequence; the smallest that
// IPv6 allows.
func frame(t *testing.T, eth *layers.Ethernet, family string) []byte {
	t.Helper()
	udp := &layers.UDP{SrcPort: 1000, DstPort: 2000}
	var ip gopacket.SerializableLayer
	payload := 18
	if family == "inet" {
		eth.EthernetType = layers.EthernetTypeIPv4
		v4 := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: []byte{192, 0, 2, 2}, DstIP: []byte{198, 51, 100, 2}}
		udp.SetNetworkLayerForChecksum(v4)
		ip = v4
	} else {
		eth.EthernetType = layers.EthernetTypeIPv6
		v6 := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP,
			SrcIP: []byte{0x20, 1, 0xd, 0xb8, 15: 2}, DstIP: []byte{0x20, 1, 0xd, 0xb8, 0, 1, 15: 2}}
		udp.SetNetworkLayerForChecksum(v6)
		ip, payload = v6, 2
	}
	buffer := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, eth, ip, udp, gopacket.Payload(make([]byte, payload))); err != nil {
		t.Fatal(err)
	}
	return buffer.Bytes()
}

// load starts bsdnet in a router and turns forwarding on.
func load(t *testing.T, router *lab.Host, args ...string) {
	t.Helper()
	bsdnet, err := lab.Binary()
	if err != nil {
		t.Fatal(err)
	}
	router.MustRun(t, bsdnet, append([]string{"load", "-i", "em0", "-i", "em1"}, args...)...)
	t.Cleanup(func() { router.MustRun(t, bsdnet, "unload") })
	router.MustRun(t, bsdnet, "sysctl", "net.inet.ip.forwarding=1", "net.inet6.ip6.forwarding=1")
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// TestBenchForward compares forwarding of small packets with Linux's own:
// rounds of each in turn on one CPU, and the median of the rounds' ratios.
func TestBenchForward(t *testing.T) {
	linux := newStation(t, "linux", func(line *lab.Line) {
		line.Router.MustRun(t, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
	})
	xdp := newStation(t, "xdp", func(line *lab.Line) { load(t, line.Router, "--mode", "xdp") })
	tc := newStation(t, "tc", func(line *lab.Line) { load(t, line.Router, "--mode", "tc") })
	if err := Pin(0); err != nil {
		t.Fatal(err)
	}
	rates := make(map[string][]float64)
	const rounds, window = 7, 700 * time.Millisecond
	for range rounds {
		for _, family := range []string{"inet", "inet6"} {
			for _, s := range []*station{linux, xdp, tc} {
				rate, err := Rate(s.flow[family], s.sink, window)
				if err != nil {
					t.Fatal(err)
				}
				key := s.name + " " + family
				rates[key] = append(rates[key], rate)
			}
		}
	}
	ratio := func(a, b string) float64 {
		ratios := make([]float64, rounds)
		for i := range ratios {
			ratios[i] = rates[a][i] / rates[b][i]
		}
		return median(ratios)
	}
	for _, key := range []string{"linux inet", "linux inet6", "xdp inet", "xdp inet6", "tc inet", "tc inet6"} {
		fmt.Printf("bench forward %-12s %5.2f Mpps (median of %d, best %.2f)\n", key, median(rates[key])/1e6, rounds, slices.Max(rates[key])/1e6)
	}
	check := func(what string, got, want float64) {
		fmt.Printf("bench forward %s: %.2f (goal %.2f)\n", what, got, want)
		if got < want {
			t.Errorf("%s: %.2f, goal %.2f", what, got, want)
		}
	}
	check("XDP over Linux, IPv4", ratio("xdp inet", "linux inet"), 2.1)
	check("XDP IPv6 over IPv4", ratio("xdp inet6", "xdp inet"), 0.9)
}
