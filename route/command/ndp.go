package command

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/bsdnet/bsdnet/route/api"
)

const ndpUsage = `usage: ndp [-nt] hostname
       ndp [-nt] -a | -c | -p | -r
       ndp [-nt] -A wait
       ndp [-nt] -d hostname
       ndp [-nt] -f filename
       ndp [-nt] -s nodename etheraddr [temp] [proxy]`

// ndpCommand is a parsed command line of ndp(8).
type ndpCommand struct {
	mode    rune // 0: show one, 'a', 'c', 'd', 'f', 'p', 'r', 's'
	arg     string
	numeric bool
	stamp   bool // print the time before each entry
	json    bool
	repeat  time.Duration
	args    []string
}

func parseNdp(args []string) (ndpCommand, error) {
	var cmd ndpCommand
	args, cmd.json = cutJSON(args)
	usage := &usageError{code: 1, usage: ndpUsage}
	flags, err := getopt(args, "acd:f:Ii:nprstA:HPR")
	if err != nil {
		usage.text = err.Error()
		return cmd, usage
	}
	for _, f := range flags.options {
		switch f.option {
		case 'n':
			cmd.numeric = true
			continue
		case 't':
			cmd.stamp = true
			continue
		case 'I', 'i', 'H', 'P', 'R':
			// These set what the host's own IPv6 stack does.
			return cmd, &usageError{code: 1, text: fmt.Sprintf("-%c is not supported", f.option)}
		}
		if cmd.mode != 0 {
			return cmd, usage
		}
		cmd.mode, cmd.arg = f.option, f.value
		if f.option == 'A' {
			seconds, err := strconv.Atoi(f.value)
			if err != nil || seconds < 0 || seconds > 1<<20 {
				return cmd, usage
			}
			cmd.mode, cmd.repeat = 'a', time.Duration(seconds)*time.Second
		}
	}
	cmd.args = flags.rest
	n := len(cmd.args)
	switch cmd.mode {
	case 0:
		if n != 1 {
			return cmd, usage
		}
	case 's':
		if n < 2 || n > 4 {
			return cmd, usage
		}
	default:
		if n != 0 {
			return cmd, usage
		}
	}
	return cmd, nil
}

// Ndp runs ndp(8) with the arguments that follow its name, and returns its
// exit code.
func Ndp(ctx context.Context, env *Env, args []string) int {
	cmd, err := parseNdp(args)
	if err != nil {
		return env.report("ndp", err)
	}
	n := ndpRun{Env: env, ndpCommand: cmd}
	switch cmd.mode {
	case 'a':
		return n.show(ctx)
	case 'c':
		return n.clear(ctx)
	case 'd':
		return n.delete(ctx, cmd.arg, "")
	case 'f':
		return readEntries(env, "ndp", cmd.arg, func(args []string) int { return n.set(ctx, args) })
	case 'p':
		return n.prefixes(ctx)
	case 'r':
		return n.routers(ctx)
	case 's':
		return n.set(ctx, cmd.args)
	}
	return n.get(ctx, cmd.args[0])
}

type ndpRun struct {
	*Env
	ndpCommand
}

func (n *ndpRun) fail(err error) int {
	n.warn("ndp", "%v", err)
	return 1
}

func (n *ndpRun) address(host string) (netip.Addr, bool) {
	if addr, err := netip.ParseAddr(host); err == nil && addr.Is6() {
		return addr, true
	}
	if addrs := n.host(host, api.Inet6); len(addrs) > 0 {
		return addrs[0], true
	}
	n.warn("ndp", "%s: Name does not resolve", host)
	return netip.Addr{}, false
}

// The columns of ndp -a.
const (
	ndpAddrWidth   = 36
	ndpLladdrWidth = 17
	ndpIfWidth     = 6
)

type ndpDocument struct {
	Version string `json:"__version"`
	Ndp     struct {
		Cache    []ndpRow        `json:"neighbor-cache,omitempty"`
		Routers  []api.Nd6Router `json:"router-list,omitempty"`
		Prefixes []api.Nd6Prefix `json:"prefix-list,omitempty"`
	} `json:"ndp"`
}

// ndpRow has the field names of ndp --libxo.
type ndpRow struct {
	Addr      string `json:"address"`
	Lladdr    string `json:"mac-address"`
	Interface string `json:"interface"`
	Permanent bool   `json:"permanent,omitempty"`
	Expires   int    `json:"expires_sec,omitempty"`
	State     string `json:"neighbor-state"`
	Flags     string `json:"nd-flags"`
}

func (n *ndpRun) row(e api.Neighbour) ndpRow {
	addr := scoped(e.Addr, e.Interface.Name)
	row := ndpRow{
		Addr:      addr.String(),
		Lladdr:    e.Lladdr,
		Interface: e.Interface.Name,
		Permanent: e.Permanent,
		Expires:   e.Expire,
		State:     string(e.State),
	}
	if !n.numeric {
		if name, ok := n.name(addr); ok {
			row.Addr = name
		}
	}
	if row.Lladdr == "" {
		row.Lladdr = "(incomplete)"
	}
	if e.Router {
		row.Flags += "R"
	}
	if e.Published {
		row.Flags += "p"
	}
	return row
}

func (n *ndpRun) print(row ndpRow) {
	// A long address takes its room from the columns that follow.
	addr := max(len(row.Addr), ndpAddrWidth)
	lladdr := max(len(row.Lladdr), ndpAddrWidth+ndpLladdrWidth-addr)
	netif := max(len(row.Interface), ndpAddrWidth+ndpLladdrWidth+ndpIfWidth-addr-lladdr)
	expire := "expired"
	switch {
	case row.Permanent:
		expire = "permanent"
	case row.Expires > 0:
		expire = sec2str(row.Expires)
	}
	if n.stamp {
		n.printf("%s ", n.now().Format("15:04:05.000000"))
	}
	n.printf("%-*s %-*s %*s %-9.9s %s %s\n", addr, row.Addr, lladdr, row.Lladdr, netif, row.Interface, expire, row.State, row.Flags)
}

// sec2str formats seconds as ndp does: 1d2h3m4s.
func sec2str(total int) string {
	var b strings.Builder
	for _, unit := range []struct {
		value int
		name  string
	}{
		{total / 86400, "d"},
		{total / 3600 % 24, "h"},
		{total / 60 % 60, "m"},
	} {
		if unit.value > 0 || b.Len() > 0 {
			fmt.Fprintf(&b, "%d%s", unit.value, unit.name)
		}
	}
	fmt.Fprintf(&b, "%ds", total%60)
	return b.String()
}

// show prints the table, again and again with -A.
func (n *ndpRun) show(ctx context.Context) int {
	for {
		neighbours, err := n.Backend.Neighbours(ctx, api.NeighbourFilter{Family: api.Inet6})
		if err != nil {
			return n.fail(err)
		}
		if code := n.list(neighbours); code != 0 {
			return code
		}
		if n.repeat == 0 {
			return 0
		}
		n.printf("\n")
		select {
		case <-ctx.Done():
			return 0
		case <-time.After(n.repeat):
		}
	}
}

func (n *ndpRun) list(neighbours []api.Neighbour) int {
	doc := ndpDocument{Version: "1"}
	for _, e := range neighbours {
		doc.Ndp.Cache = append(doc.Ndp.Cache, n.row(e))
	}
	if n.json {
		return n.printJSON(doc)
	}
	if !n.stamp {
		n.printf("%-*s %-*s %*s %-9s %s %5s\n", ndpAddrWidth, "Neighbor", ndpLladdrWidth, "Linklayer Address",
			ndpIfWidth, "Netif", "Expire", "S", "Flags")
	}
	for _, row := range doc.Ndp.Cache {
		n.print(row)
	}
	return 0
}

func (n *ndpRun) get(ctx context.Context, host string) int {
	addr, ok := n.address(host)
	if !ok {
		return 1
	}
	neighbours, err := n.Backend.Neighbours(ctx, api.NeighbourFilter{Family: api.Inet6, Addr: addr})
	if err != nil {
		return n.fail(err)
	}
	if len(neighbours) == 0 {
		n.warn("ndp", "%s (%s) -- no entry", host, addr)
		return 1
	}
	return n.list(neighbours)
}

func (n *ndpRun) delete(ctx context.Context, host, ifname string) int {
	addr, ok := n.address(host)
	if !ok {
		return 1
	}
	err := n.Backend.NeighbourDelete(ctx, api.NeighbourFilter{Family: api.Inet6, Addr: addr, Interface: ifname})
	if errors.Is(err, api.ENOENT) {
		n.warn("ndp", "delete: cannot locate %s", host)
		return 1
	}
	if err != nil {
		n.warn("ndp", "delete %s: %v", host, err)
		return 1
	}
	n.printf("%s (%s) deleted\n", host, addr)
	return 0
}

// clear deletes every entry that was not made by hand.
func (n *ndpRun) clear(ctx context.Context) int {
	neighbours, err := n.Backend.Neighbours(ctx, api.NeighbourFilter{Family: api.Inet6})
	if err != nil {
		return n.fail(err)
	}
	code := 0
	for _, e := range neighbours {
		if !e.Permanent {
			code = max(code, n.delete(ctx, scoped(e.Addr, e.Interface.Name).String(), e.Interface.Name))
		}
	}
	return code
}

// set makes an entry: host, link address, then words.
func (n *ndpRun) set(ctx context.Context, args []string) int {
	addr, ok := n.address(args[0])
	if !ok {
		return 1
	}
	lladdr, ok := etherAton(args[1])
	if !ok {
		n.warn("ndp", "invalid Ethernet address '%s'", args[1])
		return 1
	}
	req := api.NeighbourRequest{Addr: addr, Lladdr: lladdr}
	for _, word := range args[2:] {
		switch word {
		case "temp":
			req.Temporary = true
		case "proxy":
			req.Published = true
		default:
			return n.report("ndp", &usageError{code: 1, text: fmt.Sprintf("Invalid parameter '%s'", word), usage: ndpUsage})
		}
	}
	err := n.Backend.NeighbourSet(ctx, req)
	if errors.Is(err, api.ENETUNREACH) {
		n.warn("ndp", "cannot intuit interface index and type for %s", args[0])
		return 1
	}
	if err != nil {
		n.warn("ndp", "set %s: %v", args[0], err)
		return 1
	}
	return 0
}

func (n *ndpRun) routers(ctx context.Context) int {
	routers, err := n.Backend.Nd6Routers(ctx)
	if err != nil {
		return n.fail(err)
	}
	if n.json {
		doc := ndpDocument{Version: "1"}
		doc.Ndp.Routers = routers
		return n.printJSON(doc)
	}
	for _, r := range routers {
		addr := scoped(r.Addr, r.Interface)
		name := addr.String()
		if !n.numeric {
			if host, ok := n.name(addr); ok {
				name = host
			}
		}
		n.printf("%s if=%s, flags=, pref=medium, expire=%s\n", name, r.Interface, expireText(r.Expire))
	}
	return 0
}

func expireText(seconds int) string {
	if seconds == 0 {
		return "Never"
	}
	return sec2str(seconds)
}

func (n *ndpRun) prefixes(ctx context.Context) int {
	prefixes, err := n.Backend.Nd6Prefixes(ctx)
	if err != nil {
		return n.fail(err)
	}
	if n.json {
		doc := ndpDocument{Version: "1"}
		doc.Ndp.Prefixes = prefixes
		return n.printJSON(doc)
	}
	for _, p := range prefixes {
		flags := "LAO"
		if p.Advertised {
			flags = "LO"
		}
		n.printf("%s/%d if=%s\n", scoped(p.Prefix.Addr(), p.Interface), p.Prefix.Bits(), p.Interface)
		n.printf("flags=%s vltime=infinity, pltime=infinity, expire=%s, ref=1\n", flags, expireText(p.Expire))
		n.printf("  No advertising router\n")
	}
	return 0
}
