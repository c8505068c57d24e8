package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"strings"

	"github.com/bsdnet/bsdnet/route/api"
)

const arpUsage = `usage: arp [-n] [-i interface] hostname
       arp [-n] [-i interface] -a
       arp -d hostname [pub]
       arp -d [-i interface] -a
       arp -s hostname ether_addr [temp] [reject | blackhole] [pub [only]]
       arp -S hostname ether_addr [temp] [reject | blackhole] [pub [only]]
       arp -f filename`

// arpCommand is a parsed command line of arp(8).
type arpCommand struct {
	function rune // 0: show one, 'd', 's', 'S', 'f'
	all      bool
	numeric  bool
	json     bool
	ifname   string
	args     []string
}

func parseArp(args []string) (arpCommand, error) {
	var cmd arpCommand
	args, cmd.json = cutJSON(args)
	usage := &usageError{code: 1, usage: arpUsage}
	flags, err := getopt(args, "andfsSi:")
	if err != nil {
		usage.text = err.Error()
		return cmd, usage
	}
	for _, f := range flags.options {
		switch f.option {
		case 'a':
			cmd.all = true
		case 'n':
			cmd.numeric = true
		case 'i':
			cmd.ifname = f.value
		default:
			if cmd.function != 0 {
				return cmd, usage
			}
			cmd.function = f.option
		}
	}
	cmd.args = flags.rest
	if cmd.ifname != "" && cmd.function != 0 && (cmd.function != 'd' || !cmd.all) {
		return cmd, &usageError{code: 1, text: "-i not applicable to this operation"}
	}
	n := len(cmd.args)
	switch cmd.function {
	case 0, 'd':
		pub := cmd.function == 'd' && n == 2 && cmd.args[1] == "pub"
		if cmd.all && n != 0 || !cmd.all && n != 1 && !pub {
			return cmd, usage
		}
	case 's', 'S':
		if n < 2 || n > 6 {
			return cmd, usage
		}
	case 'f':
		if n != 1 {
			return cmd, usage
		}
	}
	return cmd, nil
}

// Arp runs arp(8) with the arguments that follow its name, and returns its
// exit code.
func Arp(ctx context.Context, env *Env, args []string) int {
	cmd, err := parseArp(args)
	if err != nil {
		return env.report("arp", err)
	}
	a := arpRun{Env: env, arpCommand: cmd}
	switch cmd.function {
	case 'd':
		if cmd.all {
			return a.deleteAll(ctx)
		}
		return a.delete(ctx, cmd.args[0], "")
	case 's':
		return a.set(ctx, cmd.args)
	case 'S':
		a.delete(ctx, cmd.args[0], "")
		return a.set(ctx, cmd.args)
	case 'f':
		return a.file(ctx, cmd.args[0])
	}
	if cmd.all {
		return a.show(ctx, "")
	}
	return a.show(ctx, cmd.args[0])
}

type arpRun struct {
	*Env
	arpCommand
}

// address reads a host, warning where it is none.
func (a *arpRun) address(host string) (netip.Addr, bool) {
	if addr, ok := inetAton(host); ok {
		return addr, true
	}
	if addrs := a.host(host, api.Inet); len(addrs) > 0 {
		return addrs[0], true
	}
	a.warn("arp", "%s: Unknown host", host)
	return netip.Addr{}, false
}

func (a *arpRun) fail(err error) int {
	a.warn("arp", "%v", err)
	return 1
}

type arpDocument struct {
	Version string `json:"__version"`
	Arp     struct {
		Cache []arpRow `json:"arp-cache"`
	} `json:"arp"`
}

// arpRow has the field names of arp --libxo.
type arpRow struct {
	Hostname   string `json:"hostname"`
	Addr       string `json:"ip-address"`
	Lladdr     string `json:"mac-address,omitempty"`
	Incomplete bool   `json:"incomplete,omitempty"`
	Interface  string `json:"interface"`
	Permanent  bool   `json:"permanent,omitempty"`
	Expires    int    `json:"expires,omitempty"` // seconds
	Expired    bool   `json:"expired,omitempty"`
	Published  bool   `json:"published,omitempty"`
	Type       string `json:"type,omitempty"`
}

// show prints the entry of a host, or all.
func (a *arpRun) show(ctx context.Context, host string) int {
	filter := api.NeighbourFilter{Family: api.Inet, Interface: a.ifname}
	if host != "" {
		addr, ok := a.address(host)
		if !ok {
			return 1
		}
		filter.Addr = addr
	}
	neighbours, err := a.Backend.Neighbours(ctx, filter)
	if err != nil {
		return a.fail(err)
	}
	doc := arpDocument{Version: "1"}
	doc.Arp.Cache = []arpRow{}
	for _, n := range neighbours {
		row := a.row(n)
		doc.Arp.Cache = append(doc.Arp.Cache, row)
		if !a.json {
			a.printf("%s\n", row)
		}
	}
	if a.json {
		if code := a.printJSON(doc); code != 0 {
			return code
		}
	}
	if host == "" || len(neighbours) > 0 {
		return 0
	}
	if !a.json {
		a.printf("%s (%s) -- no entry", host, filter.Addr)
		if a.ifname != "" {
			a.printf(" on %s", a.ifname)
		}
		a.printf("\n")
	}
	return 1
}

func (a *arpRun) row(n api.Neighbour) arpRow {
	row := arpRow{
		Hostname:   "?",
		Addr:       n.Addr.String(),
		Lladdr:     n.Lladdr,
		Incomplete: n.Lladdr == "",
		Interface:  n.Interface.Name,
		Permanent:  n.Permanent,
		Published:  n.Published,
		Type:       n.Iftype,
	}
	if !a.numeric {
		if name, ok := a.name(n.Addr); ok {
			row.Hostname = name
		}
	}
	switch {
	case n.Permanent:
	case n.Expire > 0:
		row.Expires = n.Expire
	default:
		row.Expired = true
	}
	return row
}

func (r arpRow) String() string {
	var b strings.Builder
	lladdr := r.Lladdr
	if r.Incomplete {
		lladdr = "(incomplete)"
	}
	fmt.Fprintf(&b, "%s (%s) at %s on %s", r.Hostname, r.Addr, lladdr, r.Interface)
	switch {
	case r.Permanent:
		b.WriteString(" permanent")
	case r.Expired:
		b.WriteString(" expired")
	default:
		fmt.Fprintf(&b, " expires in %d seconds", r.Expires)
	}
	if r.Published {
		b.WriteString(" published")
	}
	if r.Type != "" {
		fmt.Fprintf(&b, " [%s]", r.Type)
	}
	return b.String()
}

func (a *arpRun) delete(ctx context.Context, host, ifname string) int {
	addr, ok := a.address(host)
	if !ok {
		return 1
	}
	err := a.Backend.NeighbourDelete(ctx, api.NeighbourFilter{Family: api.Inet, Addr: addr, Interface: ifname})
	if errors.Is(err, api.ENOENT) {
		a.warn("arp", "delete: cannot locate %s", host)
		return 1
	}
	if err != nil {
		a.warn("arp", "delete %s: %v", host, err)
		return 1
	}
	a.printf("%s (%s) deleted\n", host, addr)
	return 0
}

// deleteAll deletes every entry but those of this host.
func (a *arpRun) deleteAll(ctx context.Context) int {
	neighbours, err := a.Backend.Neighbours(ctx, api.NeighbourFilter{Family: api.Inet, Interface: a.ifname})
	if err != nil {
		return a.fail(err)
	}
	code := 0
	for _, n := range neighbours {
		if !n.Local {
			code = max(code, a.delete(ctx, n.Addr.String(), n.Interface.Name))
		}
	}
	return code
}

// set makes an entry: host, link address, then words.
func (a *arpRun) set(ctx context.Context, args []string) int {
	req, err := a.parseSet(args)
	if err != nil {
		return a.report("arp", err)
	}
	addr, ok := a.address(args[0])
	if !ok {
		return 1
	}
	req.Addr = addr
	err = a.Backend.NeighbourSet(ctx, req)
	if errors.Is(err, api.ENETUNREACH) {
		a.warn("arp", "cannot intuit interface index and type for %s", args[0])
		return 1
	}
	if err != nil {
		a.warn("arp", "set %s: %v", args[0], err)
		return 1
	}
	return 0
}

func (a *arpRun) parseSet(args []string) (api.NeighbourRequest, error) {
	req := api.NeighbourRequest{Lladdr: args[1]}
	words := args[2:]
	for i, word := range words {
		switch word {
		case "temp":
			req.Temporary = true
		case "pub":
			req.Published = true
		case "only":
			if i == 0 || words[i-1] != "pub" {
				return req, &usageError{code: 1, text: "Invalid parameter 'only'", usage: arpUsage}
			}
		case "blackhole", "reject":
			return req, &usageError{code: 1, text: word + " is not supported"}
		default:
			return req, &usageError{code: 1, text: fmt.Sprintf("Invalid parameter '%s'", word), usage: arpUsage}
		}
	}
	if req.Published && req.Lladdr == "auto" {
		return req, nil
	}
	lladdr, ok := etherAton(req.Lladdr)
	if !ok {
		return req, &usageError{code: 1, text: fmt.Sprintf("invalid Ethernet address '%s'", req.Lladdr)}
	}
	req.Lladdr = lladdr
	return req, nil
}

// etherAton reads an Ethernet address as ether_aton(3) does, with one or two
// digits an octet.
func etherAton(s string) (string, bool) {
	words := strings.Split(s, ":")
	if len(words) != 6 {
		return "", false
	}
	for i, word := range words {
		if len(word) == 1 {
			words[i] = "0" + word
		}
	}
	lladdr, err := net.ParseMAC(strings.Join(words, ":"))
	if err != nil {
		return "", false
	}
	return lladdr.String(), true
}

// file makes the entries that a file lists, one a line.
func (a *arpRun) file(ctx context.Context, name string) int {
	return readEntries(a.Env, "arp", name, func(args []string) int { return a.set(ctx, args) })
}

// readEntries calls set with the words of each line of a file. Comments begin
// with #.
func readEntries(env *Env, command, name string, set func([]string) int) int {
	if env.Open == nil {
		env.warn(command, "cannot open %s", name)
		return 1
	}
	f, err := env.Open(name)
	if err != nil {
		var cause *fs.PathError
		if errors.As(err, &cause) {
			err = cause.Err
		}
		env.warn(command, "cannot open %s: %v", name, err)
		return 1
	}
	defer f.Close()
	code := 0
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
		case len(words) < 2:
			env.warn(command, "bad line: %s", line)
			code = 1
		default:
			code = max(code, set(words))
		}
	}
	if err := lines.Err(); err != nil {
		env.warn(command, "%s: %v", name, err)
		return 1
	}
	return code
}
