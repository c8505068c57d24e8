package route

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gaissmai/bart"

	"github.com/bsdnet/bsdnet/route/api"
	"github.com/bsdnet/bsdnet/route/fibalgo"
)

// agree compares what the data path's maps say with what bart says of the
// routes that the Table lists, for addresses in and around them.
func (l *lab) agree(table *Table, inet bool, n int) {
	l.t.Helper()
	oracle := new(bart.Table[uint32])
	var routes []netip.Prefix
	table.mu.Lock()
	for dst, nh := range table.fib.routes {
		if dst.Addr().Is4() == inet {
			oracle.Insert(dst, nh.number)
			routes = append(routes, dst)
		}
	}
	table.mu.Unlock()
	r := rand.New(rand.NewPCG(7, 8))
	for range n {
		p := routes[r.IntN(len(routes))]
		b := p.Addr().AsSlice()
		for i := range b {
			if i*8 >= p.Bits() {
				b[i] = byte(r.Uint32())
			}
		}
		addr, _ := netip.AddrFromSlice(b)
		want, _ := oracle.Lookup(addr)
		if got, _ := table.Lookup(addr); got != want {
			l.t.Fatalf("%s: Lookup says next hop %d, want %d", addr, got, want)
		}
		if n < 1000 { // each opens the maps as another process would
			if got, _ := lookupMap(l.t, l.maps, addr); got != want {
				l.t.Fatalf("%s: the maps say next hop %d, want %d", addr, got, want)
			}
		}
	}
}

// The algorithm goes by the size of the table, and by what is set; what an
// earlier daemon compiled is used until there is another.
func TestAlgo(t *testing.T) {
	l := newLab(t)
	table := l.start()
	algo := func(family api.Family, want string) {
		t.Helper()
		if got := table.Algo(family); got.Name != want {
			t.Fatalf("algorithm %+v, want %s", got, want)
		}
	}
	algo(api.Inet, "lpm_trie")
	routes := fibalgo.Internet(rand.New(rand.NewPCG(5, 6)), 3000, true)
	var add, del strings.Builder
	for i, p := range routes {
		fmt.Fprintf(&add, "route add %s via 192.0.2.%d\n", p, 2+i%16)
		if i >= 100 {
			fmt.Fprintf(&del, "route del %s\n", p)
		}
	}
	add.WriteString("route add default via 192.0.2.99\n")
	for i, p := range fibalgo.Internet(rand.New(rand.NewPCG(5, 6)), 2000, false) {
		fmt.Fprintf(&add, "route add %s via 2001:db8:1::%d\n", p, 2+i%16)
	}
	l.batch(add.String())
	within(t, 10*time.Second, "all routes are there", func() bool {
		return table.Algo(api.Inet).Routes >= 3000 && table.Algo(api.Inet6).Routes >= 2000
	})
	algo(api.Inet, "dxr")
	algo(api.Inet6, "dxr6")
	for _, name := range []string{"", "dir24_8", "lpm_trie", "dxr"} {
		if name != "" {
			if err := table.SetAlgo(api.Inet, name); err != nil {
				t.Fatal(err)
			}
			algo(api.Inet, name)
		}
		l.agree(table, true, 300)
		l.agree(table, true, 20_000)
	}
	for _, name := range []string{"", "mtrie6", "lpm_trie", "dxr6"} {
		if name != "" {
			if err := table.SetAlgo(api.Inet6, name); err != nil {
				t.Fatal(err)
			}
			algo(api.Inet6, name)
		}
		l.agree(table, false, 300)
		l.agree(table, false, 20_000)
	}
	if err := table.SetAlgo(api.Inet, "bsearch4"); err == nil {
		t.Error("an algorithm that is not there was set")
	}
	// The next daemon.
	before, _ := lookupMap(t, l.maps, routes[0].Addr())
	table.Close()
	if got, ok := lookupMap(t, l.maps, routes[0].Addr()); !ok || got != before {
		t.Fatalf("next hop %d without a daemon, %d before", got, before)
	}
	table = l.start()
	algo(api.Inet, "dxr")
	algo(api.Inet6, "dxr6")
	l.agree(table, true, 300)
	l.agree(table, false, 300)
	l.batch(del.String())
	within(t, 10*time.Second, "routes are gone", func() bool { return table.Algo(api.Inet).Routes < 200 })
	algo(api.Inet, "lpm_trie")
	l.agree(table, true, 300)
	if s := table.Stats(); s.MapErrors != 0 {
		t.Errorf("stats: %+v", s)
	}
}
