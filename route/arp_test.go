package route

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/route/api"
)

// Entries set and deleted here are the kernel's, and reach the maps.
func TestArp(t *testing.T) {
	l := newLab(t)
	table := l.start()
	ctx := t.Context()
	em0, _ := l.interfaces.ByName("em0")
	set := func(req api.NeighbourRequest) error { return table.NeighbourSet(ctx, req) }
	if err := set(api.NeighbourRequest{Addr: mustAddr("192.0.2.9"), Lladdr: "02:00:00:00:00:09"}); err != nil {
		t.Fatal(err)
	}
	key := bpf.ARPKey{Ifslot: em0.Slot, Addr: [4]byte{192, 0, 2, 9}}
	var ll bpf.Llentry
	within(t, 100*time.Millisecond, "entry in the map", func() bool { return l.maps.Arp.Lookup(&key, &ll) == nil })
	if err := set(api.NeighbourRequest{Addr: mustAddr("2001:db8:1::9"), Lladdr: "02:00:00:00:00:09", Temporary: true}); err != nil {
		t.Error(err)
	}
	if err := set(api.NeighbourRequest{Addr: mustAddr("10.9.9.9"), Lladdr: "02:00:00:00:00:09"}); !errors.Is(err, api.ENETUNREACH) {
		t.Errorf("neighbour on no link: %v", err)
	}
	if err := set(api.NeighbourRequest{Addr: mustAddr("192.0.2.10"), Lladdr: "auto", Published: true}); err != nil {
		t.Error(err)
	}
	if err := set(api.NeighbourRequest{Addr: mustAddr("192.0.2.11"), Lladdr: "02:00:00:00:00:09", Published: true}); !errors.Is(err, api.EOPNOTSUPP) {
		t.Errorf("published with another address: %v", err)
	}
	if out := l.ip("neigh show proxy"); !strings.Contains(out, "192.0.2.10 dev em0") {
		t.Errorf("Linux: %s", out)
	}
	var list []api.Neighbour
	within(t, time.Second, "entries listed", func() bool {
		var err error
		if list, err = table.Neighbours(ctx, api.NeighbourFilter{Interface: "em0"}); err != nil {
			t.Fatal(err)
		}
		return len(list) >= 6
	})
	var got []string
	for _, n := range list {
		words := []string{n.Addr.String(), string(n.State), n.Iftype}
		for _, w := range []struct {
			set  bool
			word string
		}{{n.Permanent, "permanent"}, {n.Published, "published"}, {n.Local, "local"}} {
			if w.set {
				words = append(words, w.word)
			}
		}
		got = append(got, strings.Join(words, " "))
	}
	want := []string{
		"192.0.2.1 R ethernet permanent local",
		"192.0.2.9 R ethernet permanent",
		"192.0.2.10 R ethernet permanent published",
		"2001:db8:1::1 R ethernet permanent local",
		"2001:db8:1::9 R ethernet",
		"fe80::1 R ethernet permanent local",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, addr := range []string{"192.0.2.9", "192.0.2.10", "2001:db8:1::9"} {
		if err := table.NeighbourDelete(ctx, api.NeighbourFilter{Addr: mustAddr(addr)}); err != nil {
			t.Errorf("delete %s: %v", addr, err)
		}
	}
	if err := table.NeighbourDelete(ctx, api.NeighbourFilter{Addr: mustAddr("192.0.2.77")}); !errors.Is(err, api.ENOENT) {
		t.Errorf("delete what is not there: %v", err)
	}
	within(t, 100*time.Millisecond, "entry gone from the map", func() bool { return l.maps.Arp.Lookup(&key, &ll) != nil })
	if out := l.ip("neigh show proxy"); strings.TrimSpace(out) != "" {
		t.Errorf("Linux: %s", out)
	}
}

func TestNd6Lists(t *testing.T) {
	l := newLab(t)
	table := l.start()
	l.ip("route add default via fe80::2 dev em0 proto ra metric 1024")
	l.want("2001:4860::1", "gateway fe80::2 on em0 default")
	routers, err := table.Nd6Routers(t.Context())
	if err != nil || len(routers) != 1 || routers[0].Addr != mustAddr("fe80::2") || routers[0].Interface != "em0" {
		t.Errorf("routers %+v, %v", routers, err)
	}
	prefixes, err := table.Nd6Prefixes(t.Context())
	if err != nil || len(prefixes) != 4 {
		t.Errorf("prefixes %+v, %v", prefixes, err)
	}
}
