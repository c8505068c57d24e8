package ifnet

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bsdnet/bsdnet/errno"
	"github.com/bsdnet/bsdnet/ifnet/api"
	"github.com/bsdnet/bsdnet/internal/lab"
)

// inHost runs requests inside a host of the lab, on the table of that host.
func inHost(t *testing.T, test func(i *Ioctl)) {
	t.Helper()
	host := lab.MustHost(t, "ioctl")
	host.MustRun(t, "ip", "link", "add", "em0", "type", "veth", "peer", "name", "em1")
	table := NewTable()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	if err := host.Do(func() error {
		if err := table.Follow(ctx, func(err error) { t.Error(err) }); err != nil {
			return err
		}
		i, err := NewIoctl(table, filepath.Join(t.TempDir(), "ifnet.json"), nil)
		if err != nil {
			return err
		}
		test(i)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func describe(t *testing.T, i *Ioctl, name string) api.Interface {
	t.Helper()
	all, err := i.Interfaces(t.Context(), api.Name{Name: name})
	if err != nil || len(all) != 1 {
		t.Fatalf("%s: %v, %d interfaces", name, err, len(all))
	}
	return all[0]
}

// Every request and its errno.
func TestRequests(t *testing.T) {
	inHost(t, func(i *Ioctl) {
		ctx := t.Context()
		number := func(f func(context.Context, api.NumberRequest) error, name string, value int) error {
			return f(ctx, api.NumberRequest{Name: name, Value: value})
		}
		text := func(f func(context.Context, api.TextRequest) error, name, value string) error {
			return f(ctx, api.TextRequest{Name: name, Value: value})
		}
		address := func(prefix string) error {
			return i.AddAddress(ctx, api.AddressRequest{Name: "em0", Prefix: netip.MustParsePrefix(prefix)})
		}
		_, missing := i.Interfaces(ctx, api.Name{Name: "em9"})
		_, clone := i.Create(ctx, []api.CreateRequest{{Name: "nothing"}})
		for _, c := range []struct {
			name string
			got  error
			want error
		}{
			{"list missing", missing, errno.ENXIO},
			{"no cloner", clone, errno.EINVAL},
			{"destroy what is no clone", i.Destroy(ctx, []api.Name{{Name: "em0"}}), errno.EINVAL},
			{"destroy missing", i.Destroy(ctx, []api.Name{{Name: "em9"}}), errno.ENXIO},
			{"mtu missing", number(i.SetMTU, "em9", 1500), errno.ENXIO},
			{"mtu 71", number(i.SetMTU, "em0", 71), errno.EINVAL},
			{"mtu 65536", number(i.SetMTU, "em0", 65536), errno.EINVAL},
			{"mtu 1400", number(i.SetMTU, "em0", 1400), nil},
			{"metric", number(i.SetMetric, "em0", 3), nil},
			{"description 1025", text(i.SetDescription, "em0", strings.Repeat("x", 1025)), errno.ENAMETOOLONG},
			{"description 1023", text(i.SetDescription, "em0", strings.Repeat("x", 1023)), nil},
			{"name empty", text(i.SetName, "em0", ""), errno.EINVAL},
			{"name long", text(i.SetName, "em0", "a234567890123456"), errno.ENAMETOOLONG},
			{"name taken", text(i.SetName, "em0", "em1"), errno.EEXIST},
			{"name slash", text(i.SetName, "em0", "a/b"), errno.EINVAL},
			{"address mapped", address("::ffff:192.0.2.1/64"), errno.EINVAL},
			{"address of all", address("255.255.255.255/32"), errno.EINVAL},
			{"lladdr group", text(i.SetLladdr, "em0", "01:00:5e:00:00:01"), errno.EINVAL},
			{"lladdr of lo0", text(i.SetLladdr, "lo0", "02:00:5e:00:53:01"), errno.EINVAL},
			{"lladdr", text(i.SetLladdr, "em0", "02:00:5e:00:53:01"), nil},
			{"group digit", text(i.AddGroup, "em0", "lan1"), errno.EINVAL},
			{"group", text(i.AddGroup, "em0", "lan"), nil},
			{"group twice", text(i.AddGroup, "em0", "lan"), errno.EEXIST},
			{"no group", text(i.DeleteGroup, "em0", "wan"), errno.ENOENT},
			{"vlan of what is none", i.SetVlan(ctx, api.VlanRequest{Name: "em0"}), errno.EINVAL},
		} {
			if !errors.Is(c.got, c.want) {
				t.Errorf("%s: %v, want %v", c.name, c.got, c.want)
			}
		}
		got := describe(t, i, "em0")
		if got.MTU != 1400 || got.Metric != 3 || len(got.Description) != 1023 || got.Lladdr != "02:00:5e:00:53:01" ||
			strings.Join(got.Groups, " ") != "lan" {
			t.Errorf("em0 is %+v", got)
		}
		if err := text(i.SetName, "em0", "wan"); err != nil {
			t.Fatal(err)
		}
		if got := describe(t, i, "wan"); got.Device != "em0" || got.Name != "wan" {
			t.Errorf("renamed: %+v", got)
		}
		// A daemon that comes after knows it all.
		again, err := NewIoctl(i.table, i.state.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := describe(t, again, "wan"); got.Metric != 3 || len(got.Description) != 1023 {
			t.Errorf("after a restart: %+v", got)
		}
	})
}

// Flags that a user may switch stick; those that are not his stay as they are.
func TestFlags(t *testing.T) {
	inHost(t, func(i *Ioctl) {
		for bit := range 20 {
			flag := api.Flags(1) << bit
			before := describe(t, i, "em0").Flags
			err := i.SetFlags(t.Context(), api.FlagsRequest{Name: "em0", Set: flag})
			after := describe(t, i, "em0").Flags
			changeable := flag&(api.IffUp|api.IffDebug|api.IffNoarp|api.IffLink0|api.IffLink1|api.IffLink2|api.IffPpromisc|api.IffStaticarp) != 0
			switch {
			case flag&api.IffMonitor != 0:
				if !errors.Is(err, errno.EOPNOTSUPP) {
					t.Errorf("%s: %v", flag, err)
				}
			case err != nil:
				t.Errorf("%s: %v", flag, err)
			case changeable && after&flag == 0:
				t.Errorf("%s does not stick", flag)
			case !changeable && (before^after)&flag != 0:
				t.Errorf("%s changed", flag)
			}
			if changeable {
				if err := i.SetFlags(t.Context(), api.FlagsRequest{Name: "em0", Clear: flag}); err != nil || describe(t, i, "em0").Flags&flag != 0 {
					t.Errorf("%s cannot be cleared: %v", flag, err)
				}
			}
		}
	})
}

// Addresses of both families, as aliases, with masks changed and deleted one
// by one.
func TestAddresses(t *testing.T) {
	inHost(t, func(i *Ioctl) {
		ctx := t.Context()
		add := func(prefix string) error {
			return i.AddAddress(ctx, api.AddressRequest{Name: "em0", Prefix: netip.MustParsePrefix(prefix)})
		}
		list := func() string {
			var words []string
			for _, a := range describe(t, i, "em0").Addresses {
				if !a.Prefix.Addr().IsLinkLocalUnicast() {
					words = append(words, a.Prefix.String())
				}
			}
			return strings.Join(words, " ")
		}
		for _, prefix := range []string{"192.0.2.1/24", "192.0.2.2/32", "192.0.2.3/24", "2001:db8::1/64", "2001:db8::2/64"} {
			if err := add(prefix); err != nil {
				t.Fatalf("%s: %v", prefix, err)
			}
		}
		em0 := describe(t, i, "em0")
		if em0.Flags&api.IffUp == 0 || em0.Addresses[0].Broadcast.String() != "192.0.2.255" {
			t.Errorf("em0 is %+v", em0)
		}
		if err := add("192.0.2.1/25"); err != nil {
			t.Fatal(err)
		}
		if got := list(); strings.Count(got, "192.0.2.1/") != 1 || !strings.Contains(got, "192.0.2.1/25") {
			t.Errorf("after another mask: %s", got)
		}
		remove := func(prefix string) error {
			return i.DeleteAddress(ctx, api.AddressRequest{Name: "em0", Prefix: netip.MustParsePrefix(prefix)})
		}
		if err := remove("192.0.2.3/32"); err != nil {
			t.Error(err)
		}
		if err := remove("192.0.2.9/32"); !errors.Is(err, errno.EADDRNOTAVAIL) {
			t.Errorf("delete what is not there: %v", err)
		}
		if err := i.DeleteAddress(ctx, api.AddressRequest{Name: "em0", Family: api.Inet6}); err != nil {
			t.Error(err)
		}
		if got := list(); strings.Contains(got, "192.0.2.3") || !strings.Contains(got, "192.0.2.2/32") || strings.Count(got, "2001:db8::") != 1 {
			t.Errorf("left: %s", got)
		}
		for _, c := range []struct {
			request api.AddressRequest
			want    error
		}{
			{api.AddressRequest{Prefix: netip.MustParsePrefix("224.0.0.1/4")}, errno.EINVAL},
			{api.AddressRequest{Prefix: netip.MustParsePrefix("127.0.0.2/8")}, errno.EINVAL},
			{api.AddressRequest{}, errno.EINVAL},
			{api.AddressRequest{Prefix: netip.MustParsePrefix("192.0.2.7/24"), Destination: netip.MustParseAddr("192.0.2.8")}, errno.EINVAL},
			{api.AddressRequest{Prefix: netip.MustParsePrefix("192.0.2.7/24"), Broadcast: netip.MustParseAddr("::1")}, errno.EAFNOSUPPORT},
		} {
			c.request.Name = "em0"
			if err := i.AddAddress(ctx, c.request); !errors.Is(err, c.want) {
				t.Errorf("%v: %v, want %v", c.request.Prefix, err, c.want)
			}
		}
	})
}
