package command

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bsdnet/bsdnet/errno"
	"github.com/bsdnet/bsdnet/ifnet/api"
)

var update = flag.Bool("update", false, "write the golden files anew")

// fake is a machine of three interfaces that notes what it is asked for.
type fake struct {
	api.Backend // what no test asks for
	all         []api.Interface
	asked       []string
	fail        map[string]error // by request
}

func newFake() *fake {
	prefix := netip.MustParsePrefix
	address := func(text string) api.Address {
		return api.Address{Prefix: prefix(text), Pltime: api.Infinite, Vltime: api.Infinite}
	}
	lan, old := address("192.0.2.1/24"), address("2001:db8::1/64")
	lan.Broadcast = netip.MustParseAddr("192.0.2.255")
	old.Flags, old.Pltime, old.Vltime = api.In6Deprecated|api.In6Autoconf, 0, 3600
	far := address("10.9.0.1/32")
	far.Destination = netip.MustParseAddr("10.9.0.2")
	ethernet := api.IffBroadcast | api.IffSimplex | api.IffMulticast
	return &fake{fail: make(map[string]error), all: []api.Interface{
		{
			Name: "lo0", Index: 1, MTU: 16384, Flags: api.IffUp | api.IffLoopback | api.IffRunning | api.IffMulticast,
			Addresses: []api.Address{address("127.0.0.1/8"), address("::1/128"), address("fe80::1/64")}, Groups: []string{"lo"},
			Nd6: api.Nd6Performnud | api.Nd6AutoLinklocal,
		},
		{
			Name: "em0", Index: 2, MTU: 1500, Metric: 3, Flags: ethernet | api.IffUp | api.IffRunning, Lladdr: "02:00:5e:00:53:01",
			HwAddr: "02:00:5e:00:53:02", Description: "uplink, room 3", Capabilities: api.IfcapRxcsum | api.IfcapTxcsum | api.IfcapLRO,
			Enabled: api.IfcapRxcsum, Addresses: []api.Address{lan, old, address("fe80::5eff:fe00:5301/64")}, Groups: []string{"wan"},
			Media: &api.Media{Current: "Ethernet autoselect", Active: "1000baseT <full-duplex>", Status: "active"},
			Nd6:   api.Nd6Performnud | api.Nd6AcceptRtadv | api.Nd6AutoLinklocal,
		},
		{
			Name: "vlan5", Index: 3, MTU: 1500, Flags: ethernet, Lladdr: "02:00:5e:00:53:01", Groups: []string{"vlan"},
			Vlan:  &api.Vlan{Parent: "em0", Tag: 5, Proto: api.Vlan8021AD, PCP: 6},
			Media: &api.Media{Current: "Ethernet autoselect", Status: "no carrier"},
		},
		{
			Name: "tun0", Index: 4, MTU: 1500, Flags: api.IffUp | api.IffPointopoint | api.IffRunning | api.IffMulticast,
			Addresses: []api.Address{far}, Groups: []string{"tun"}, OpenedBy: 4711,
		},
		{Name: "vlan6", Index: 5, MTU: 1500, Flags: ethernet, Groups: []string{"vlan"}, Vlan: &api.Vlan{Proto: api.Vlan8021Q}},
	}}
}

func (f *fake) note(request string, r any) error {
	f.asked = append(f.asked, fmt.Sprintf("%s %+v", request, r))
	return f.fail[request]
}

func (f *fake) Interfaces(_ context.Context, r api.Name) ([]api.Interface, error) {
	if r.Name == "" {
		return slices.Clone(f.all), nil
	}
	for _, i := range f.all {
		if i.Name == r.Name {
			return []api.Interface{i}, nil
		}
	}
	return nil, errno.ENXIO
}

func (f *fake) Create(_ context.Context, r []api.CreateRequest) ([]string, error) {
	text := "create " + r[0].Name
	if r[0].Vlan != nil {
		text += fmt.Sprintf(" %+v", *r[0].Vlan)
	}
	f.asked = append(f.asked, text)
	name := r[0].Name
	if strings.TrimRight(name, "0123456789") == name {
		name += "7"
	}
	f.all = append(f.all, api.Interface{Name: name})
	return []string{name}, f.fail["create"]
}

func (f *fake) Destroy(_ context.Context, r []api.Name) error { return f.note("destroy", r) }
func (f *fake) Cloners(context.Context) ([]string, error) {
	return []string{"epair", "tap", "tun", "vlan"}, nil
}
func (f *fake) AddAddress(_ context.Context, r api.AddressRequest) error {
	text := fmt.Sprintf("add %s %s", r.Name, r.Prefix)
	if r.Broadcast.IsValid() {
		text += " broadcast " + r.Broadcast.String()
	}
	if r.Destination.IsValid() {
		text += " to " + r.Destination.String()
	}
	f.asked = append(f.asked, text)
	return f.fail["add"]
}
func (f *fake) DeleteAddress(_ context.Context, r api.AddressRequest) error {
	f.asked = append(f.asked, fmt.Sprintf("delete %s %s", r.Name, r.Prefix))
	return f.fail["delete"]
}
func (f *fake) SetFlags(_ context.Context, r api.FlagsRequest) error { return f.note("flags", r) }
func (f *fake) SetMTU(_ context.Context, r api.NumberRequest) error  { return f.note("mtu", r) }
func (f *fake) SetDescription(_ context.Context, r api.TextRequest) error {
	return f.note("description", r)
}
func (f *fake) SetName(_ context.Context, r api.TextRequest) error   { return f.note("name", r) }
func (f *fake) SetLladdr(_ context.Context, r api.TextRequest) error { return f.note("lladdr", r) }
func (f *fake) AddGroup(_ context.Context, r api.TextRequest) error  { return f.note("group", r) }
func (f *fake) SetMedia(_ context.Context, r api.MediaRequest) error {
	text := r.Subtype
	if r.Full != nil {
		text += fmt.Sprint(" full ", *r.Full)
	}
	f.note("media", text)
	return nil
}

func (f *fake) SetVlan(_ context.Context, r api.VlanRequest) error { return f.note("vlan", r) }

// calls are command lines, in groups of which each has a golden file.
var calls = map[string][]string{
	"show": {
		"", "em0", "em0 inet6", "em0 ether", "-m em0", "-L em0", "-f inet:cidr,inet6:cidr,ether:dash em0", "-f inet:dotted em0 inet",
		"-f inet:octal lo0 inet", "vlan5", "vlan6", "-l", "-l -u", "-d -l", "-l inet6", "-l ether", "-a inet", "-g vlan", "-a -G vlan inet", "-C",
	},
	"change": {
		"vlan create", "vlan9 create vlan 9 vlandev em0 vlanproto 802.1ad vlanpcp 2 10.0.9.1/24 up", "em0.9 create", "em0 10.0.0.1",
		"em0 inet 192.0.2.7 netmask 0xffffff00 broadcast 192.0.2.255 alias", "em0 inet 192.0.2.7/25 alias", "em0 delete", "em0 delete 192.0.2.1", "em0 inet6 delete 2001:db8::1",
		"em0 192.0.2.1 -alias", "em0 inet6 2001:db8:1:: prefixlen 64 eui64", "tun0 10.9.0.1 10.9.0.3 netmask 255.255.255.255",
		"em0 mtu 1400 down name wan0", "em0 description spare", "em0 -description", "em0 ether 02-00-5e-00-53-09", "em0 promisc -arp",
		"vlan5 vlan 6 vlandev em0", "vlan5 -vlandev", "vlan5 destroy",
	},
	"errors": {
		"em9", "em9 up", "-l -a", "-C em0", "-x", "-g", "em0 mtu", "em0 mtu x", "em0 10.0.0.256", "em0 10.0.0.1/33", "em0 netmask 255.0.255.0",
		"em0 inet 10.0.0.1 netmask 255.0.255.0", "em0 inet6 10.0.0.1", "em0 group a1", "em0 group a234567890123456", "em0 ether 02:00",
		"a2345678901234567 create", "vlan1 create vlan 70000 vlandev em0", "vlan1 create vlan x vlandev em0", "vlan1 create vlan 6",
		"vlan5 vlanproto 802.1x", "em0 media coax", "em0 mediaopt loop", "em0 vlan 5 vlandev em0", "em0 broadcast 10.0.0.255",
	},
}

// Every call with what it printed on both streams, its exit code, and what it
// asked for. The layout is that of FreeBSD's ifconfig.
func TestGolden(t *testing.T) {
	for group, lines := range calls {
		t.Run(group, func(t *testing.T) {
			var got bytes.Buffer
			for _, line := range lines {
				f := newFake()
				var out, errs bytes.Buffer
				status := Ifconfig(context.Background(), &Env{Backend: f, Stdout: &out, Stderr: &errs}, strings.Fields(line))
				fmt.Fprintf(&got, "# ifconfig %s\n%s", line, &out)
				for _, text := range strings.SplitAfter(errs.String(), "\n") {
					if text != "" {
						fmt.Fprintf(&got, "2> %s", text)
					}
				}
				if status != 0 {
					fmt.Fprintf(&got, "exit %d\n", status)
				}
				for _, request := range f.asked {
					fmt.Fprintf(&got, "-> %s\n", request)
				}
			}
			path := filepath.Join("testdata", group+".golden")
			if *update {
				if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("%s differs:\n%s", path, got.String())
			}
		})
	}
}

// Errors of requests are told with the request's name and end with 1.
func TestRequestErrors(t *testing.T) {
	for _, c := range []struct {
		line, request string
		err           error
		want          string
	}{
		{"vlan5 create", "create", errno.EEXIST, "interface vlan5 already exists"},
		{"foo0 create", "create", errno.EINVAL, "SIOCIFCREATE2 (foo0): Invalid argument"},
		{"em0 destroy", "destroy", errno.EINVAL, "SIOCIFDESTROY: Invalid argument"},
		{"em0 mtu 9", "mtu", errno.EINVAL, "ioctl SIOCSIFMTU (set mtu): Invalid argument"},
		{"em0 name lo0", "name", errno.EEXIST, "ioctl SIOCSIFNAME (set name): File exists"},
		{"em0 inet 10.0.0.1 -alias", "delete", errno.EADDRNOTAVAIL, "ioctl (SIOCDIFADDR): Can't assign requested address"},
		{"vlan5 vlan 9", "vlan", errno.EEXIST, "SIOCSETVLAN: File exists"},
	} {
		f := newFake()
		f.fail[c.request] = c.err
		var out, errs bytes.Buffer
		status := Ifconfig(context.Background(), &Env{Backend: f, Stdout: &out, Stderr: &errs}, strings.Fields(c.line))
		if status != 1 || out.Len() != 0 || errs.String() != "ifconfig: "+c.want+"\n" {
			t.Errorf("%s: status %d, %q, %q, want %q", c.line, status, out.String(), errs.String(), c.want)
		}
	}
}
