package command

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/bsdnet/bsdnet/route/api"
)

const netstatRouteUsage = "usage: netstat -r [-46nW] [-F fibnum] [-f address_family]"

// NetstatRoutes runs netstat -r with the arguments that follow the command's
// name, and returns its exit code.
func NetstatRoutes(ctx context.Context, env *Env, args []string) int {
	opts, err := parseNetstat(args)
	if err != nil {
		return env.report("netstat", err)
	}
	entries, err := env.Backend.Routes(ctx, api.RouteFilter{Family: opts.family})
	if err != nil {
		return env.report("netstat", err)
	}
	t := tablePrinter{Env: env, numeric: opts.numeric, wide: opts.wide}
	if opts.json {
		return env.printJSON(t.document(entries))
	}
	t.print(entries)
	return 0
}

type netstatOptions struct {
	family              api.Family
	numeric, wide, json bool
}

func parseNetstat(args []string) (netstatOptions, error) {
	var opts netstatOptions
	args, opts.json = cutJSON(args)
	bad := func(format string, a ...any) (netstatOptions, error) {
		return opts, &usageError{code: 1, text: fmt.Sprintf(format, a...), usage: netstatRouteUsage}
	}
	routes := false
	flags, err := getopt(args, "46anrWF:f:")
	if err != nil {
		return bad("%v", err)
	}
	for _, f := range flags.options {
		switch f.option {
		case '4':
			opts.family = api.Inet
		case '6':
			opts.family = api.Inet6
		case 'n':
			opts.numeric = true
		case 'W':
			opts.wide = true
		case 'r':
			routes = true
		case 'F':
			if n, err := strconv.Atoi(f.value); err != nil || n != 0 {
				return opts, &usageError{code: exitUsage, text: f.value + ": invalid fib"}
			}
		case 'f':
			switch f.value {
			case "inet":
				opts.family = api.Inet
			case "inet6":
				opts.family = api.Inet6
			default:
				return opts, &usageError{code: 1, text: f.value + ": unknown address family"}
			}
		}
	}
	if !routes || len(flags.rest) > 0 {
		return bad("")
	}
	return opts, nil
}

// tablePrinter prints the routing table as netstat -r does.
type tablePrinter struct {
	*Env
	numeric, wide bool
}

// The columns are as wide as in FreeBSD's netstat.
func (t tablePrinter) widths(family api.Family) (dst, gateway, netif int) {
	dst, gateway, netif = 18, 18, 8
	if family == api.Inet6 && t.numeric {
		dst, gateway = 33, 29
	}
	if t.wide {
		netif = 10
	}
	return dst, gateway, netif
}

func familyName(family api.Family) string {
	if family == api.Inet6 {
		return "Internet6"
	}
	return "Internet"
}

func (t tablePrinter) print(entries []api.Rtentry) {
	t.printf("Routing tables\n")
	family := api.Unspec
	for _, e := range entries {
		if f := api.FamilyOf(e.Dst.Addr()); f != family {
			family = f
			t.heading(family)
		}
		t.row(family, e)
	}
}

func (t tablePrinter) heading(family api.Family) {
	dst, gateway, netif := t.widths(family)
	t.printf("\n%s:\n%-*s %-*s %-6s ", familyName(family), dst, "Destination", gateway, "Gateway", "Flags")
	if t.wide {
		t.printf("%6s %6s ", "Nhop#", "Mtu")
	}
	t.printf("%*s %6s\n", netif, "Netif", "Expire")
}

func (t tablePrinter) row(family api.Family, e api.Rtentry) {
	dst, gateway, netif := t.widths(family)
	t.printf("%s %s %-6s ", t.column(t.destination(e), dst), t.column(t.gateway(e), gateway), e.Flags.Letters())
	if t.wide {
		t.printf("%6d %6d ", e.Nexthop, e.Metrics.Mtu)
	}
	name := e.Interface.Name
	if name == "" {
		name = "---"
	}
	if t.wide {
		t.printf("%*s", netif, name)
	} else {
		t.printf("%*.*s", netif, netif, name)
	}
	if left := t.expire(e); left > 0 {
		t.printf(" %6d", left)
	}
	t.printf("\n")
}

// column pads an address; names are cut, numbers are not.
func (t tablePrinter) column(text string, width int) string {
	if !t.numeric && !t.wide {
		return fmt.Sprintf("%-*.*s", width, width, text)
	}
	return fmt.Sprintf("%-*s", width, text)
}

// expire returns the seconds that a route has left, 0 for one without a time.
func (t tablePrinter) expire(e api.Rtentry) int64 {
	if e.Metrics.Expire == 0 {
		return 0
	}
	return e.Metrics.Expire - t.now().Unix()
}

func (t tablePrinter) destination(e api.Rtentry) string {
	a := scoped(e.Dst.Addr(), cmp.Or(e.Zone, e.Interface.Name))
	if e.Flags&api.Host != 0 {
		return t.hostname(a)
	}
	if e.Dst.Bits() == 0 {
		return "default"
	}
	return fmt.Sprintf("%s/%d", a, e.Dst.Bits())
}

func (t tablePrinter) gateway(e api.Rtentry) string {
	if e.Gateway.IsValid() {
		return t.hostname(scoped(e.Gateway, e.Interface.Name))
	}
	return fmt.Sprintf("link#%d", e.Interface.Index)
}

func (t tablePrinter) hostname(a netip.Addr) string {
	if !t.numeric {
		if name, ok := t.name(a); ok {
			return name
		}
	}
	return a.String()
}

// The JSON document has the containers and the field names of netstat --libxo.
type routeDocument struct {
	Statistics struct {
		Information struct {
			Table struct {
				Families []routeFamily `json:"rt-family"`
			} `json:"route-table"`
		} `json:"route-information"`
	} `json:"statistics"`
}

type routeFamily struct {
	Name    string     `json:"address-family"`
	Entries []routeRow `json:"rt-entry"`
}

type routeRow struct {
	Destination string   `json:"destination"`
	Gateway     string   `json:"gateway"`
	Flags       string   `json:"flags"`
	FlagsPretty []string `json:"flags_pretty"`
	Weight      uint64   `json:"weight"`
	Nhop        uint32   `json:"nhop"`
	Mtu         uint64   `json:"mtu"`
	Interface   string   `json:"interface-name"`
	Expire      int64    `json:"expire-time,omitempty"` // seconds left
	Origin      string   `json:"origin"`
	Priority    uint32   `json:"priority"`
	Mirrored    bool     `json:"mirrored"`
}

func (t tablePrinter) document(entries []api.Rtentry) routeDocument {
	var doc routeDocument
	families := []routeFamily{}
	for _, e := range entries {
		name := familyName(api.FamilyOf(e.Dst.Addr()))
		if len(families) == 0 || families[len(families)-1].Name != name {
			families = append(families, routeFamily{Name: name})
		}
		last := &families[len(families)-1]
		last.Entries = append(last.Entries, routeRow{
			Destination: t.destination(e),
			Gateway:     t.gateway(e),
			Flags:       e.Flags.Letters(),
			FlagsPretty: e.Flags.Pretty(),
			Weight:      max(e.Metrics.Weight, 1),
			Nhop:        e.Nexthop,
			Mtu:         e.Metrics.Mtu,
			Interface:   e.Interface.Name,
			Expire:      t.expire(e),
			Origin:      e.Origin,
			Priority:    e.Priority,
			Mirrored:    e.Mirrored,
		})
	}
	doc.Statistics.Information.Table.Families = families
	return doc
}
