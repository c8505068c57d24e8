//go:build bench

package bench

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/bpf/gen"
	"github.com/bsdnet/bsdnet/internal/lab"
	"github.com/bsdnet/bsdnet/route/fibalgo"
)

var (
	routesInet  = flag.Int("routes", 1_000_000, "IPv4 routes of TestBenchRoutes")
	routesInet6 = flag.Int("routes6", 200_000, "IPv6 routes of TestBenchRoutes")
)

// lookupBench runs chains of look-ups, each of which waits for the one before.
type lookupBench struct {
	objects gen.BenchObjects
	host    *lab.Host
	none    float64
}

// Numbers of enum bench_way and the length of a chain, of bpf/c/bench.bpf.c.
const (
	wayNone, wayInet, wayInet6, wayLinux, wayLinux6 = 0, 1, 2, 3, 4
	chain                                           = 64
)

// newLookupBench uses the maps of a router, which may be of no use to it.
func newLookupBench(t *testing.T, router *lab.Host, addrs []netip.Prefix) *lookupBench {
	t.Helper()
	b := &lookupBench{host: router}
	use := make(map[string]*ebpf.Map)
	for _, name := range []string{"rt_inet", "rt_inet6", "fibs", "fib_tables"} {
		m, err := ebpf.LoadPinnedMap(filepath.Join("/run/bsdnet/bpf", router.Name, "maps", name), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		use[name] = m
	}
	if err := gen.LoadBenchObjects(&b.objects, &ebpf.CollectionOptions{MapReplacements: use}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.objects.Close() })
	r := rand.New(rand.NewPCG(1, 1))
	for i := range b.objects.BenchAddrs.MaxEntries() {
		p := addrs[r.IntN(len(addrs))]
		a := p.Addr().As16()
		for at := p.Bits(); at < 128; at++ {
			a[at/8] |= byte(r.IntN(2)) << (7 - at%8)
		}
		if err := b.objects.BenchAddrs.Put(i, a); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// run is the time of one look-up in nanoseconds, the best of some rounds, less
// what the chain itself costs.
func (b *lookupBench) run(t *testing.T, host *lab.Host, way uint32, ifindex int) float64 {
	t.Helper()
	type state struct {
		X, Found     uint64
		Way, Ifindex uint32
	}
	measure := func(way uint32) float64 {
		best := time.Duration(0)
		for round := range 9 {
			if err := b.objects.Bench.Put(uint32(0), state{X: uint64(round), Way: way, Ifindex: uint32(ifindex)}); err != nil {
				t.Fatal(err)
			}
			_, d, err := b.objects.FibBench.Benchmark(make([]byte, 64), 3000, nil)
			if err != nil {
				t.Fatal(err)
			}
			if best == 0 || d < best {
				best = d
			}
		}
		var s state
		if err := b.objects.Bench.Lookup(uint32(0), &s); err != nil {
			t.Fatal(err)
		}
		if s.Found == 0 {
			t.Errorf("way %d found no route", way)
		}
		return float64(best) / chain
	}
	var ns float64
	if err := host.Do(func() error {
		if b.none == 0 {
			b.none = measure(wayNone)
		}
		ns = measure(way) - b.none
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return ns
}

// cpuTime is what children of this process have used.
func cpuTime() time.Duration {
	var usage unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_CHILDREN, &usage) // it cannot fail
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// TestBenchRoutes loads full tables into bsdnet and into Linux and looks
// random destinations up in both.
func TestBenchRoutes(t *testing.T) {
	line, err := lab.NewLine("routes")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { line.Close() })
	load(t, line.Router, "--mode", "xdp")
	bsdnet := mustBinary(t)
	line.Router.MustRun(t, bsdnet, "sysctl", "net.route.mirror_limit=0")
	r := rand.New(rand.NewPCG(2, 2))
	inet, inet6 := fibalgo.Internet(r, *routesInet, true), fibalgo.Internet(r, *routesInet6, false)
	var file, batch strings.Builder
	add := func(p netip.Prefix, gateway, linux string) {
		fmt.Fprintf(&file, "%s %s\n", p, gateway)
		fmt.Fprintf(&batch, "route add %s via %s\n", p, linux)
	}
	for i, p := range inet {
		add(p, fmt.Sprintf("198.51.100.%d", 2+i%200), fmt.Sprintf("192.0.2.%d", 3+i%200))
	}
	for i, p := range inet6 {
		add(p, fmt.Sprintf("2001:db8:1::%x", 2+i%200), fmt.Sprintf("2001:db8::%x", 3+i%200))
	}
	write := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	routes, commands := write("routes", file.String()), write("batch", batch.String())
	total := len(inet) + len(inet6)

	began := time.Now()
	line.Router.MustRun(t, bsdnet, "route", "load", routes)
	own := time.Since(began)
	line.Left.MustRun(t, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv6.route.max_size=2147483647")
	began, before := time.Now(), cpuTime()
	if out, err := line.Left.Command(t.Context(), "ip", "-batch", commands).CombinedOutput(); err != nil {
		t.Fatalf("ip -batch: %v: %s", err, out)
	}
	linux := time.Since(began)
	fmt.Printf("bench routes: %d loaded in %.2f s, by ip -batch into Linux in %.2f s (%.2f s of CPU): %.1f times faster\n",
		total, own.Seconds(), linux.Seconds(), (cpuTime() - before).Seconds(), linux.Seconds()/own.Seconds())
	began = time.Now()
	const changes = 50
	for i := range changes {
		line.Router.MustRun(t, bsdnet, "route", "-qn", "change", inet[i*7].String(), "198.51.100.250")
	}
	fmt.Printf("bench routes: one changed in %v, with the start of the command\n", (time.Since(began) / changes).Round(time.Microsecond))

	b := newLookupBench(t, line.Router, inet6)
	if err := Pin(0); err != nil {
		t.Fatal(err)
	}
	ifindex := 0
	if err := line.Left.Do(func() error {
		device, err := net.InterfaceByName("em0")
		if err == nil {
			ifindex = device.Index
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for _, family := range []struct {
		name       string
		algos      []string
		way, linux uint32
		goal       float64
	}{
		{"inet", []string{"dxr", "dir24_8", "lpm_trie"}, wayInet, wayLinux, 5},
		{"inet6", []string{"dxr6", "mtrie6", "lpm_trie"}, wayInet6, wayLinux6, 3},
	} {
		ns := make(map[string]float64)
		for _, algo := range family.algos {
			line.Router.MustRun(t, bsdnet, "sysctl", "net.route.algo."+family.name+".algo="+algo)
			ns[algo] = b.run(t, line.Router, family.way, 0)
			fmt.Printf("bench look-up of %s by %-8s %6.0f ns; %s\n", family.name, algo, ns[algo], memoryOf(line.Router.MustRun(t, bsdnet, "status"), family.name))
		}
		linux := b.run(t, line.Left, family.linux, ifindex)
		best := min(ns[family.algos[0]], ns[family.algos[1]])
		fmt.Printf("bench look-up of %s by bpf_fib_lookup %.0f ns: %.1f times the best, the trie %.1f times (goal %.0f)\n",
			family.name, linux, linux/best, ns["lpm_trie"]/best, family.goal)
		if ns["lpm_trie"]/best < family.goal {
			t.Errorf("%s: %.1f times faster than the trie, goal %.0f", family.name, ns["lpm_trie"]/best, family.goal)
		}
	}
}

// memoryOf takes the line about a family's table out of a status.
func memoryOf(status, family string) string {
	for line := range strings.Lines(status) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), family+" by "); ok {
			return rest
		}
	}
	return ""
}
