package route

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/route/api"
)

func add(dst, gateway string) api.RouteRequest {
	return api.RouteRequest{Dst: mustPrefix(dst), Gateway: mustAddr(gateway), Flags: api.Static}
}

// Routes of bsdnet reach the maps and Linux, change and go.
func TestRoutesReachLinux(t *testing.T) {
	l := newLab(t)
	table := l.start()
	ctx := context.Background()
	sub := table.Subscribe(64)
	defer sub.Close()

	e, err := table.RouteAdd(ctx, add("10.1.0.0/16", "192.0.2.2"))
	if err != nil {
		t.Fatal(err)
	}
	if e.Flags.Letters() != "UGS" || e.Interface.Name != "em0" || !e.Mirrored || e.Nexthop == 0 || e.Ifa != mustAddr("192.0.2.1") {
		t.Errorf("entry: %+v", e)
	}
	if got := l.says("10.1.0.1"); got != "gateway 192.0.2.2 on em0" {
		t.Errorf("data path: %s", got)
	}
	if out := l.ip("route show 10.1.0.0/16"); !strings.Contains(out, "via 192.0.2.2 dev em0 proto 181") {
		t.Errorf("Linux: %s", out)
	}
	if _, err := table.RouteAdd(ctx, add("10.1.0.0/16", "198.51.100.2")); !errors.Is(err, api.EEXIST) {
		t.Errorf("add twice: %v", err)
	}
	if _, err := table.RouteAdd(ctx, add("10.2.0.0/16", "172.16.0.1")); !errors.Is(err, api.ENETUNREACH) {
		t.Errorf("add with a far gateway: %v", err)
	}
	if _, err := table.RouteAdd(ctx, add("10.2.0.1/32", "10.2.0.1")); !errors.Is(err, api.EADDRINUSE) {
		t.Errorf("add by way of itself: %v", err)
	}
	if _, err := table.RouteAdd(ctx, add("192.0.2.0/24", "192.0.2.2")); !errors.Is(err, api.EEXIST) {
		t.Errorf("add a connected prefix: %v", err)
	}
	if _, err := table.RouteAdd(ctx, add("192.0.2.1/32", "192.0.2.2")); !errors.Is(err, api.EEXIST) {
		t.Errorf("add an own address: %v", err)
	}
	if _, err := table.RouteDelete(ctx, add("10.9.0.0/16", "192.0.2.2")); !errors.Is(err, api.ESRCH) {
		t.Errorf("delete what is not there: %v", err)
	}
	if _, err := table.RouteDelete(ctx, add("192.0.2.1/32", "")); !errors.Is(err, api.EADDRINUSE) {
		t.Errorf("delete an own address: %v", err)
	}

	change := add("10.1.0.0/16", "198.51.100.2")
	change.Metrics.Mtu, change.Inits = 1300, api.RTVMtu
	if _, err := table.RouteChange(ctx, change); err != nil {
		t.Fatal(err)
	}
	if got := l.says("10.1.0.1"); got != "gateway 198.51.100.2 on em1 mtu 1300" {
		t.Errorf("data path: %s", got)
	}
	if out := l.ip("route show 10.1.0.0/16"); !strings.Contains(out, "via 198.51.100.2 dev em1 proto 181 mtu 1300") || strings.Count(out, "\n") != 1 {
		t.Errorf("Linux: %s", out)
	}

	// By another interface, and back; the gateway stays.
	for _, name := range []string{"em0", "em1"} {
		move := api.RouteRequest{Dst: mustPrefix("10.1.0.0/16"), Ifp: name}
		if _, err := table.RouteChange(ctx, move); err != nil {
			t.Fatal(err)
		}
		if out := l.ip("route show 10.1.0.0/16"); !strings.Contains(out, "via 198.51.100.2 dev "+name) {
			t.Errorf("change -ifp %s: %s", name, out)
		}
	}

	blackhole := add("10.3.0.0/16", "127.0.0.1")
	blackhole.Flags |= api.Blackhole
	if e, err = table.RouteAdd(ctx, blackhole); err != nil || e.Flags.Letters() != "UGSB" || e.Gateway != mustAddr("127.0.0.1") {
		t.Errorf("blackhole: %+v, %v", e, err)
	}
	if got := l.says("10.3.0.1"); got != "blackhole" {
		t.Errorf("data path: %s", got)
	}
	reject := add("2001:db8:3::/48", "::1")
	reject.Flags |= api.Reject
	if e, err = table.RouteAdd(ctx, reject); err != nil || e.Flags.Letters() != "UGRS" {
		t.Errorf("reject: %+v, %v", e, err)
	}
	iface := api.RouteRequest{Dst: mustPrefix("10.4.0.0/16"), Interface: "em1", Flags: api.Static}
	if e, err = table.RouteAdd(ctx, iface); err != nil || e.Flags.Letters() != "US" {
		t.Errorf("interface route: %+v, %v", e, err)
	}
	// A gateway on the prefix of an interface route.
	if _, err = table.RouteAdd(ctx, add("10.5.0.0/16", "10.4.0.1")); err != nil {
		t.Error(err)
	}
	six := add("2001:db8:9::/48", "2001:db8:2::2")
	if _, err = table.RouteAdd(ctx, six); err != nil {
		t.Error(err)
	}
	scoped := add("2001:db8:a::/48", "fe80::2%em1")
	if _, err = table.RouteAdd(ctx, scoped); err != nil {
		t.Error(err)
	}
	if got := l.says("2001:db8:a::1"); got != "gateway fe80::2 on em1" {
		t.Errorf("data path: %s", got)
	}
	via6 := add("10.6.0.0/16", "2001:db8:2::2")
	if _, err = table.RouteAdd(ctx, via6); err != nil {
		t.Error(err)
	}
	if got := l.says("10.6.0.1"); got != "gateway 2001:db8:2::2 on em1" {
		t.Errorf("data path: %s", got)
	}
	missing := api.RouteRequest{Dst: mustPrefix("10.7.0.0/16"), Interface: "nosuch0"}
	if _, err = table.RouteAdd(ctx, missing); !errors.Is(err, api.ENXIO) || err.Error() != "interface 'nosuch0' does not exist" {
		t.Errorf("no such interface: %v", err)
	}

	// An audit finds nothing to repair: Linux and the RIB agree.
	if err := table.compare(); err != nil {
		t.Fatal(err)
	}
	if s := table.Stats(); s.Repairs != 0 || s.Unmirrored != 0 {
		t.Errorf("stats after an audit: %+v", s)
	}
	routes, err := table.Routes(ctx, api.RouteFilter{})
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[netip.Prefix]int)
	for _, r := range routes {
		seen[r.Dst]++
	}
	for dst, n := range seen {
		if n != 1 && !dst.Addr().IsLinkLocalUnicast() {
			t.Errorf("%s is listed %d times", dst, n)
		}
	}

	if e, err = table.RouteGet(ctx, api.RouteRequest{Dst: mustPrefix("10.1.2.3/32")}); err != nil || e.Dst != mustPrefix("10.1.0.0/16") {
		t.Errorf("get: %+v, %v", e, err)
	}
	if _, err = table.RouteGet(ctx, api.RouteRequest{Dst: mustPrefix("8.8.8.8/32")}); !errors.Is(err, api.ESRCH) {
		t.Errorf("get without a route: %v", err)
	}
	flushed, err := table.RouteFlush(ctx, api.RouteFilter{})
	if err != nil || len(flushed) != 7 {
		t.Errorf("flush: %d routes, %v", len(flushed), err)
	}
	if out := l.ip("route show proto 181"); strings.TrimSpace(out) != "10.4.0.0/16 dev em1 scope link" {
		t.Errorf("Linux after flush: %s", out)
	}
	if _, err := table.RouteDelete(ctx, api.RouteRequest{Dst: iface.Dst}); err != nil {
		t.Error(err)
	}
	if got := l.says("10.4.0.1"); got != "no route" {
		t.Errorf("data path: %s", got)
	}
	var adds, deletes int
	for len(sub.C) > 0 {
		switch m := <-sub.C; {
		case m.Flags&api.Llinfo != 0:
		case m.Type == api.RTMAdd:
			adds++
		case m.Type == api.RTMDelete:
			deletes++
		}
	}
	if adds != 8 || deletes != 8 {
		t.Errorf("%d RTM_ADD, %d RTM_DELETE, want 8 of each", adds, deletes)
	}
}

// A route of somebody else can be changed and deleted; what somebody else
// does to a route of bsdnet is respected.
func TestForeignRoutes(t *testing.T) {
	l := newLab(t)
	table := l.start()
	ctx := context.Background()
	l.ip("route add default via 192.0.2.2 metric 100 proto dhcp")
	l.want("8.8.8.8", "gateway 192.0.2.2 on em0 default")
	if _, err := table.RouteAdd(ctx, add("0.0.0.0/0", "198.51.100.2")); !errors.Is(err, api.EEXIST) {
		t.Errorf("add: %v", err)
	}
	if e, err := table.RouteChange(ctx, add("0.0.0.0/0", "198.51.100.2")); err != nil || e.Origin != "bsdnet" {
		t.Errorf("change: %+v, %v", e, err)
	}
	l.want("8.8.8.8", "gateway 198.51.100.2 on em1 default")
	if out := l.ip("route show default"); !strings.Contains(out, "via 198.51.100.2 dev em1 proto 181 metric 100") || strings.Count(out, "\n") != 1 {
		t.Errorf("Linux: %s", out)
	}
	if _, err := table.RouteDelete(ctx, add("0.0.0.0/0", "192.0.2.2")); !errors.Is(err, api.ESRCH) {
		t.Errorf("delete with another gateway: %v", err)
	}
	if _, err := table.RouteDelete(ctx, api.RouteRequest{Dst: mustPrefix("0.0.0.0/0")}); err != nil {
		t.Error(err)
	}
	l.want("8.8.8.8", "no route")
	l.ip("route add 10.1.0.0/16 via 192.0.2.2 proto bgp")
	l.want("10.1.0.1", "gateway 192.0.2.2 on em0")
	if e, err := table.RouteDelete(ctx, api.RouteRequest{Dst: mustPrefix("10.1.0.0/16")}); err != nil || e.Flags.Letters() != "UG1" || e.Origin != "bgp" {
		t.Errorf("delete a route of BGP: %+v, %v", e, err)
	}
	if out := l.ip("route show 10.1.0.0/16"); out != "" {
		t.Errorf("Linux: %s", out)
	}
	for _, foreign := range []string{
		"10.8.0.0/16 via 192.0.2.2 src 192.0.2.1 mtu 1400 metric 7",
		"10.9.0.0/16 nexthop via 192.0.2.2 weight 2 nexthop via 198.51.100.2",
		"prohibit 10.10.0.0/16",
		"2001:db8:8::/48 via 2001:db8:1::2 metric 50 mtu 1400",
		"2001:db8:9::/48 nexthop via 2001:db8:1::2 nexthop via 2001:db8:2::2",
		"unreachable 2001:db8:a::/48",
	} {
		dst := mustPrefix(strings.Fields(strings.TrimPrefix(strings.TrimPrefix(foreign, "prohibit "), "unreachable "))[0])
		l.ip("route add " + foreign)
		within(t, 100*time.Millisecond, foreign, func() bool {
			_, err := table.RouteGet(ctx, api.RouteRequest{Dst: dst, Exact: true})
			return err == nil
		})
		if _, err := table.RouteDelete(ctx, api.RouteRequest{Dst: dst}); err != nil {
			t.Errorf("delete %s: %v", foreign, err)
		}
		if err := table.compare(); err != nil {
			t.Error(err)
		}
		if _, err := table.RouteGet(ctx, api.RouteRequest{Dst: dst, Exact: true}); !errors.Is(err, api.ESRCH) {
			t.Errorf("%s is still in Linux", foreign)
		}
	}
	// A connected prefix may be deleted too.
	if _, err := table.RouteDelete(ctx, api.RouteRequest{Dst: mustPrefix("192.0.2.0/24")}); err != nil {
		t.Error(err)
	}
	if out := l.ip("route show 192.0.2.0/24"); out != "" {
		t.Errorf("Linux: %s", out)
	}
	if _, err := table.RouteAdd(ctx, add("10.2.0.0/16", "198.51.100.2")); err != nil {
		t.Fatal(err)
	}
	l.ip("route del 10.2.0.0/16")
	l.want("10.2.0.1", "no route")
	if s := table.Stats(); s.Unmirrored != 0 {
		t.Errorf("stats: %+v", s)
	}
}

// Links go down and up, addresses and interfaces go, MTUs change.
func TestLinks(t *testing.T) {
	l := newLab(t)
	table := l.start()
	ctx := context.Background()
	for _, req := range []api.RouteRequest{
		add("10.1.0.0/16", "192.0.2.2"),
		add("2001:db8:9::/48", "2001:db8:1::2"),
	} {
		if _, err := table.RouteAdd(ctx, req); err != nil {
			t.Fatal(err)
		}
	}
	l.ip("route add 10.2.0.0/16 via 192.0.2.2")
	l.want("10.2.0.1", "gateway 192.0.2.2 on em0")

	l.ip("link set em0 down")
	for _, addr := range []string{"10.1.0.1", "10.2.0.1", "192.0.2.9", "2001:db8:9::1"} {
		l.want(addr, "no route")
	}
	l.want("192.0.2.1", "local on em0") // Linux answers for it on other interfaces
	within(t, time.Second, "silently deleted route leaves the RIB", func() bool {
		_, err := table.RouteGet(ctx, api.RouteRequest{Dst: mustPrefix("10.2.0.0/16"), Exact: true})
		return errors.Is(err, api.ESRCH)
	})
	// The route of bsdnet stays in the table, out of use.
	e, err := table.RouteGet(ctx, api.RouteRequest{Dst: mustPrefix("10.1.0.0/16"), Exact: true})
	if err != nil || e.Flags&api.Up != 0 || e.Mirrored {
		t.Errorf("route over a link that is down: %+v, %v", e, err)
	}
	l.ip("link set em0 up")
	l.want("192.0.2.9", "on em0")
	l.want("10.1.0.1", "gateway 192.0.2.2 on em0")
	within(t, time.Second, "route back in Linux", func() bool {
		return strings.Contains(l.ip("route show 10.1.0.0/16"), "proto 181")
	})
	if got := l.says("10.2.0.1"); got != "no route" {
		t.Errorf("route that Linux deleted: %s", got)
	}

	// The MTU of a route counts only below that of its interface.
	req := add("10.1.0.0/16", "192.0.2.2")
	req.Metrics.Mtu, req.Inits = 1400, api.RTVMtu
	if _, err := table.RouteChange(ctx, req); err != nil {
		t.Fatal(err)
	}
	l.want("10.1.0.1", "gateway 192.0.2.2 on em0 mtu 1400")
	l.ip("link set em0 mtu 1300")
	l.want("10.1.0.1", "gateway 192.0.2.2 on em0")
	l.ip("link set em0 mtu 1500")
	l.want("10.1.0.1", "gateway 192.0.2.2 on em0 mtu 1400")

	// Linux deletes routes whose source address goes, without a word.
	l.ip("addr add 192.0.2.17/24 dev em0")
	l.ip("route add 10.3.0.0/16 via 192.0.2.2 src 192.0.2.17")
	l.want("10.3.0.1", "gateway 192.0.2.2 on em0")
	l.ip("addr del 192.0.2.17/24 dev em0")
	within(t, time.Second, "route with a source address that is gone", func() bool { return l.says("10.3.0.1") == "no route" })

	l.ip("link del em0")
	l.want("10.1.0.1", "no route")
	l.want("192.0.2.1", "no route")
	within(t, time.Second, "route over a destroyed interface leaves the RIB", func() bool {
		_, err := table.RouteGet(ctx, api.RouteRequest{Dst: mustPrefix("10.1.0.0/16"), Exact: true})
		return errors.Is(err, api.ESRCH)
	})
}

// A route with a time goes when it is over.
func TestExpire(t *testing.T) {
	l := newLab(t)
	table := l.start()
	req := add("10.1.0.0/16", "192.0.2.2")
	req.Metrics.Expire, req.Inits = time.Now().Unix()+1, api.RTVExpire
	if _, err := table.RouteAdd(context.Background(), req); err != nil {
		t.Fatal(err)
	}
	within(t, 3*time.Second, "expired route", func() bool { return l.says("10.1.0.1") == "no route" })
	if out := l.ip("route show 10.1.0.0/16"); out != "" {
		t.Errorf("Linux: %s", out)
	}
}

// Redirects are taken from the gateway in use, and from nobody else.
func TestRedirect(t *testing.T) {
	l := newLab(t)
	table := l.start()
	ctx := context.Background()
	if _, err := table.RouteAdd(ctx, add("10.0.0.0/8", "192.0.2.2")); err != nil {
		t.Fatal(err)
	}
	em0, _ := l.interfaces.ByName("em0")
	em1, _ := l.interfaces.ByName("em1")
	for _, c := range []struct {
		name, dst, gateway, author string
		ifindex                    int
		want                       error
	}{
		{"other author", "10.1.1.1", "192.0.2.3", "192.0.2.9", em0.Index, api.EINVAL},
		{"other interface", "10.1.1.1", "192.0.2.3", "192.0.2.2", em1.Index, api.EINVAL},
		{"gateway elsewhere", "10.1.1.1", "198.51.100.2", "192.0.2.2", em0.Index, api.ENETUNREACH},
		{"gateway is this host", "10.1.1.1", "192.0.2.1", "192.0.2.2", em0.Index, api.EHOSTUNREACH},
		{"no route", "172.16.0.1", "192.0.2.3", "192.0.2.2", em0.Index, api.EHOSTUNREACH},
		{"accepted", "10.1.1.1", "192.0.2.3", "192.0.2.2", em0.Index, nil},
		{"changed", "10.1.1.1", "192.0.2.4", "192.0.2.3", em0.Index, nil},
	} {
		err := table.Redirect(mustAddr(c.dst), mustAddr(c.gateway), mustAddr(c.author), c.ifindex)
		if c.want == nil && err != nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	l.want("10.1.1.1", "gateway 192.0.2.4 on em0 dynamic")
	e, err := table.RouteGet(ctx, api.RouteRequest{Dst: mustPrefix("10.1.1.1/32")})
	if err != nil || e.Flags.Letters() != "UGHDM" {
		t.Errorf("entry: %+v, %v", e, err)
	}
	if s := table.Stats(); s.BadRedirs != 5 || s.Dynamic != 1 || s.NewGateway != 1 {
		t.Errorf("stats: %+v", s)
	}
}
