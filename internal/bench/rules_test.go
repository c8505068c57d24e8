//go:build bench

package bench

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/internal/lab"
)

// judge is a router that judges the packets of a trace, in one way.
type judge struct {
	name string
	*station
	trace *Flow
	count uint32 // packets of a round
}

// TestBenchRules sends the packets of a published set of rules, none of which
// has a state, through pf and through what Linux has for the same rules. That
// each passes exactly the packets that a walk of the rules passes shows that
// they do the same, and that none is lost.
func TestBenchRules(t *testing.T) {
	bsdnet, err := lab.Binary()
	if err != nil {
		t.Fatal(err)
	}
	const length = 1 << 13
	for _, set := range []string{"acl1_10k", "fw1_10k"} {
		path := filepath.Join(fixtures, set+".gz")
		if _, err := os.Stat(path); err != nil {
			t.Skip("no ClassBench sets beside the project")
		}
		filters, err := ReadClassBench(path)
		if err != nil {
			t.Fatal(err)
		}
		keys := Trace(filters, length)
		file := func(name, text string) string {
			path := filepath.Join(t.TempDir(), name)
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}
		linux := func(line *lab.Line) {
			line.Router.MustRun(t, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.em0.rp_filter=0")
		}
		judges := []*judge{
			{name: "pf", count: 1 << 18, station: newStation(t, "pf", func(line *lab.Line) {
				load(t, line.Router, "--mode", "xdp")
				line.Router.MustRun(t, bsdnet, "pfctl", "-q", "-e", "-f", file("pf.conf", PFConf(filters, false)))
			})},
			{name: "no filter", count: 1 << 18, station: newStation(t, "none", func(line *lab.Line) { load(t, line.Router, "--mode", "xdp") })},
			{name: "nft maps", count: 1 << 17, station: newStation(t, "maps", func(line *lab.Line) {
				linux(line)
				line.Router.MustRun(t, "nft", "-f", file("maps.nft", NFTMaps(filters)))
			})},
			{name: "nft linear", count: 1 << 11, station: newStation(t, "linear", func(line *lab.Line) {
				linux(line)
				line.Router.MustRun(t, "nft", "-f", file("linear.nft", NFTLinear(filters)))
			})},
		}
		legacy := &judge{name: "iptables-legacy", count: 1 << 11}
		legacyWorks := false
		legacy.station = newStation(t, "legacy", func(line *lab.Line) {
			linux(line)
			_, err := line.Router.Run("iptables-legacy-restore", file("iptables", IPTables(filters)))
			legacyWorks = err == nil
			if err != nil {
				fmt.Println("bench rules: iptables-legacy does not work here:", err)
			}
		})
		if legacyWorks {
			judges = append(judges, legacy)
		}
		for _, j := range judges {
			j.line.Router.MustRun(t, "ip", "route", "replace", "default", "via", "198.51.100.2")
			dst, err := j.line.Router.Lladdr("em0")
			if err != nil {
				t.Fatal(err)
			}
			headers := make([][]byte, length)
			for i, k := range keys {
				headers[i] = header(dst, net.HardwareAddr{2, 0, 0, 0, 0, 9}, k)
			}
			if j.trace, err = NewTrace(j.line.Left, "em0", headers); err != nil {
				t.Fatal(err)
			}
			defer j.trace.Close()
		}
		time.Sleep(500 * time.Millisecond)
		if err := Pin(0); err != nil {
			t.Fatal(err)
		}
		passes := func(count uint32) (n uint64) {
			for i := range count {
				if Verdict(filters, keys[i%length]) {
					n++
				}
			}
			return n
		}
		costs := make(map[string][]float64)
		const rounds = 5
		want := make(map[uint32]uint64)
		for _, j := range judges {
			j.count = j.count / length * length
			if j.count == 0 {
				j.count = length
			}
			if _, ok := want[j.count]; !ok {
				whole := passes(length)
				want[j.count] = whole * uint64(j.count/length)
			}
		}
		for range rounds {
			for _, j := range judges {
				each, arrived, err := Cost(j.trace, j.sink, j.count)
				if err != nil {
					t.Fatal(err)
				}
				// The sink counts what neighbours ask each other, too.
				if extra := int64(arrived) - int64(want[j.count]); (extra < 0 || extra > 8) && j.name != "no filter" {
					t.Errorf("%s %s: %d of %d packets pass, want %d", set, j.name, arrived, j.count, want[j.count])
				}
				costs[j.name] = append(costs[j.name], float64(each.Nanoseconds()))
			}
		}
		base := median(costs["no filter"])
		for _, j := range judges {
			fmt.Printf("bench rules %s %-16s %8.0f ns a packet, generator included\n", set, j.name, median(costs[j.name]))
		}
		ours := median(costs["pf"])
		fmt.Printf("bench rules %s pf adds %.0f ns to forwarding\n", set, ours-base)
		for name, goal := range map[string]float64{"nft maps": 1, "nft linear": 200, "iptables-legacy": 80} {
			if len(costs[name]) == 0 {
				continue
			}
			got := median(costs[name]) / ours
			fmt.Printf("bench rules %s %s over pf: %.1f (goal %.0f)\n", set, name, got, goal)
			if got < goal {
				t.Errorf("%s: %s over pf %.1f, goal %.0f", set, name, got, goal)
			}
		}
	}
}

// TestBenchReload loads ten thousand rules again and again under traffic that
// both rulesets pass: none of it may be lost.
func TestBenchReload(t *testing.T) {
	bsdnet, err := lab.Binary()
	if err != nil {
		t.Fatal(err)
	}
	filters, err := ReadClassBench(filepath.Join(fixtures, "acl1_10k.gz"))
	if err != nil {
		t.Skip("no ClassBench sets beside the project")
	}
	var paths []string
	for _, last := range []string{"pass quick inet proto udp from 192.0.2.2 to 198.51.100.2 no state\n", "pass in quick inet proto udp from 192.0.2.2 no state\npass out quick inet proto udp no state\n"} {
		path := filepath.Join(t.TempDir(), "pf.conf")
		if err := os.WriteFile(path, []byte("set ruleset-optimization none\n"+last+PFConf(filters, false)[len("set ruleset-optimization none\n"):]), 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	s := newStation(t, "reload", func(line *lab.Line) {
		load(t, line.Router, "--mode", "xdp")
		line.Router.MustRun(t, bsdnet, "pfctl", "-q", "-e", "-f", paths[0])
	})
	stop := make(chan struct{})
	sent := make(chan uint64, 1)
	before, err := s.sink.Count()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		n := uint64(0)
		for {
			select {
			case <-stop:
				sent <- n
				return
			default:
			}
			if err := s.flow["inet"].SendCount(1 << 12); err != nil {
				t.Error(err)
			}
			n += 1 << 12
			time.Sleep(time.Millisecond) // the other half of the CPU is the loader's
		}
	}()
	var times []float64
	for i := range 12 {
		start := time.Now()
		s.line.Router.MustRun(t, bsdnet, "pfctl", "-q", "-f", paths[(i+1)%2])
		times = append(times, float64(time.Since(start).Milliseconds()))
	}
	close(stop)
	n := <-sent
	time.Sleep(10 * time.Millisecond)
	after, err := s.sink.Count()
	if err != nil {
		t.Fatal(err)
	}
	lost := max(0, int64(n)-int64(after-before)) // neighbours' frames are counted, too
	fmt.Printf("bench reload of %d rules: %.0f ms (median of %d; goal 150), %d packets sent, %d lost\n", len(filters), median(times), len(times), n, lost)
	if lost > 0 {
		t.Errorf("%d of %d packets lost; the router says\n%s", lost, n, s.line.Router.MustRun(t, bsdnet, "netstat", "-s"))
	}
	if median(times) > 150 {
		t.Errorf("reload takes %.0f ms", median(times))
	}
}
