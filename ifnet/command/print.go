package command

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"

	"github.com/bsdnet/bsdnet/ifnet/api"
)

// format is what -f asks for; empty: the default.
type format struct{ inet, inet6, ether string }

var formats = map[string][]string{
	"addr": {"default", "fqdn", "host", "numeric"}, "ether": {"colon", "dash", "default"},
	"inet": {"cidr", "default", "dotted", "hex"}, "inet6": {"cidr", "default", "numeric"},
}

func (f *format) parse(stderr io.Writer, text string) {
	for _, pair := range strings.Split(text, ",") {
		if pair == "" {
			continue
		}
		kind, word, _ := strings.Cut(pair, ":")
		known := false
		for _, w := range formats[kind] {
			known = known || w == word
		}
		if !known {
			fmt.Fprintf(stderr, "ifconfig: Skipping invalid format specification: %s\n", pair)
			continue
		}
		switch kind {
		case "inet":
			f.inet = word
		case "inet6":
			f.inet6 = word
		case "ether":
			f.ether = word
		}
	}
}

// print prints an interface in the layout of FreeBSD's ifconfig.
func (e *Env) print(i api.Interface, f family, o options) {
	p := func(format string, args ...any) { fmt.Fprintf(e.Stdout, format, args...) }
	p("%s: flags=%s metric %d mtu %d\n", i.Name, i.Flags, i.Metric, i.MTU)
	if i.Description != "" {
		p("\tdescription: %s\n", i.Description)
	}
	if i.Enabled != 0 {
		p("\toptions=%s\n", i.Enabled)
	}
	if o.media && i.Capabilities != 0 {
		p("\tcapabilities=%s\n", i.Capabilities)
	}
	if i.Lladdr != "" && (f == unspec || f == link) {
		p("\tether %s\n", o.format.lladdr(i.Lladdr))
		if i.HwAddr != "" {
			p("\thwaddr %s\n", o.format.lladdr(i.HwAddr))
		}
	}
	e.printTunnel(i.Tunnel)
	for _, a := range i.Addresses {
		switch is4 := a.Prefix.Addr().Is4(); {
		case is4 && (f == unspec || f == inet):
			p("\t%s\n", o.format.inetLine(a))
		case !is4 && (f == unspec || f == inet6):
			p("\t%s\n", o.format.inet6Line(i, a, o.lifetimes))
		}
	}
	if f != unspec {
		return
	}
	if len(i.Groups) > 0 {
		p("\tgroups: %s\n", strings.Join(i.Groups, " "))
	}
	if v := i.Vlan; v != nil {
		parent := v.Parent
		if parent == "" {
			parent = "<none>"
		}
		p("\tvlan: %d vlanproto: %s vlanpcp: %d parent interface: %s\n", v.Tag, protoName(v.Proto), v.PCP, parent)
	}
	if i.Wg != nil {
		e.printWg(i.Wg, o)
	}
	e.printTunnelOptions(i)
	if m := i.Media; m != nil {
		p("\tmedia: %s", m.Current)
		if m.Active != "" {
			p(" (%s)", m.Active)
		}
		p("\n\tstatus: %s\n", m.Status)
		if o.media && len(m.All) > 0 {
			p("\tsupported media:\n")
			for _, media := range m.All {
				p("\t\tmedia %s\n", media)
			}
		}
	}
	if i.Nd6 != 0 {
		p("\tnd6 options=%s\n", i.Nd6)
	}
	if i.OpenedBy != 0 {
		p("\tOpened by PID %d\n", i.OpenedBy)
	}
}

func (f format) lladdr(text string) string {
	if f.ether == "dash" {
		return strings.ReplaceAll(text, ":", "-")
	}
	return text
}

func (f format) inetLine(a api.Address) string {
	var b strings.Builder
	fmt.Fprintf(&b, "inet %s", a.Prefix.Addr())
	if f.inet == "cidr" {
		fmt.Fprintf(&b, "/%d", a.Prefix.Bits())
	}
	if a.Destination.IsValid() {
		fmt.Fprintf(&b, " --> %s", a.Destination)
	}
	mask := net.CIDRMask(a.Prefix.Bits(), 32)
	switch f.inet {
	case "cidr":
	case "dotted":
		fmt.Fprintf(&b, " netmask %s", net.IP(mask))
	default:
		fmt.Fprintf(&b, " netmask 0x%s", mask)
	}
	if a.Broadcast.IsValid() {
		fmt.Fprintf(&b, " broadcast %s", a.Broadcast)
	}
	return b.String()
}

// in6Words are the words for flags of an address, in the order of the BSDs.
var in6Words = []struct {
	flag api.In6Flags
	word string
}{
	{api.In6Anycast, "anycast"}, {api.In6Tentative, "tentative"}, {api.In6Duplicated, "duplicated"}, {api.In6Detached, "detached"},
	{api.In6Deprecated, "deprecated"}, {api.In6Autoconf, "autoconf"}, {api.In6Temporary, "temporary"},
}

func (f format) inet6Line(i api.Interface, a api.Address, lifetimes bool) string {
	var b strings.Builder
	zone := func(addr netip.Addr) netip.Addr {
		if addr.IsLinkLocalUnicast() {
			return addr.WithZone(i.Name)
		}
		return addr
	}
	fmt.Fprintf(&b, "inet6 %s", zone(a.Prefix.Addr()))
	if f.inet6 == "cidr" {
		fmt.Fprintf(&b, "/%d", a.Prefix.Bits())
	}
	if a.Destination.IsValid() {
		fmt.Fprintf(&b, " --> %s", zone(a.Destination))
	}
	if f.inet6 != "cidr" {
		fmt.Fprintf(&b, " prefixlen %d", a.Prefix.Bits())
	}
	for _, w := range in6Words {
		if a.Flags&w.flag != 0 {
			b.WriteString(" " + w.word)
		}
	}
	if a.Prefix.Addr().IsLinkLocalUnicast() {
		fmt.Fprintf(&b, " scopeid 0x%x", i.Index)
	}
	if lifetimes {
		fmt.Fprintf(&b, " pltime %s vltime %s", seconds(a.Pltime), seconds(a.Vltime))
	}
	return b.String()
}

func seconds(n uint32) string {
	if n == api.Infinite {
		return "infty"
	}
	return fmt.Sprint(n)
}

func protoName(proto uint16) string {
	if proto == api.Vlan8021AD {
		return "802.1ad"
	}
	return "802.1q"
}
