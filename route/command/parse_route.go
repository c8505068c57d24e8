package command

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/bsdnet/bsdnet/route/api"
)

const routeUsage = "usage: route [-46dnqtv] command [[modifiers] args]"

// routeCommand is a parsed command line of route(8).
type routeCommand struct {
	command                              string // as typed: "add", "delete", "del" ...
	numeric, quiet, verbose, test, debug bool
	json                                 bool
	family                               api.Family // given by -4, -6, -inet, -inet6
	request                              api.RouteRequest
	isHost                               bool         // else a net
	dest                                 string       // as typed
	gateway                              string       // as typed
	file                                 string       // of load
	alternatives                         []netip.Addr // further addresses of a gateway given by name
}

func badRoute(code int, format string, args ...any) error {
	return &usageError{code: code, text: fmt.Sprintf(format, args...)}
}

func badKeyword(word string) error {
	e := &usageError{code: exitUsage, usage: routeUsage}
	if word != "" {
		e.text = "bad keyword: " + word
	}
	return e
}

// notYet are the modifiers of FreeBSD and DragonFly that have no effect here.
// They are refused rather than ignored.
var notYet = map[string]int{ // number of arguments
	"link": 0, "sa": 0, "proxy": 0, "xresolve": 0, "sticky": 0, "nostick": 0,
	"cloning": 0, "llinfo": 0, "mpls": 0, "pop": 0,
	"genmask": 1, "push": 1, "swap": 1, "msl": 1, "iwmax": 1, "iw": 1, "metric": 1,
}

// routeParser collects what the arguments say, in their order, as route(8)
// does: the family in force when an address is met decides how it is read.
type routeParser struct {
	env      *Env
	now      time.Time
	cmd      routeCommand
	family   api.Family
	haveDst  bool
	haveGate bool
	iface    bool
	forceNet bool
	forceHst bool
	isHost   bool
	lock     bool // of the next metric
	lockrest bool // of all that follow
	dst      netip.Addr
	bits     int // from the destination itself, -1: none
	netmask  int // from -netmask, -prefixlen or the third argument, -1: none
}

// parseRoute parses the arguments of route(8), without the command's name.
// env resolves names; it may be nil.
func parseRoute(env *Env, args []string, now time.Time) (routeCommand, error) {
	p := &routeParser{env: env, now: now, bits: -1, netmask: -1}
	args, p.cmd.json = cutJSON(args)
	args, err := p.options(args)
	if err != nil {
		return routeCommand{}, err
	}
	if len(args) == 0 {
		return routeCommand{}, badKeyword("")
	}
	p.cmd.command = args[0]
	switch args[0] {
	case "add", "change", "delete", "del", "get":
		err = p.newroute(args[1:])
	case "show":
		// FreeBSD's show is get; without a destination it is the table, as
		// on the other BSDs.
		if p.showsTable(args[1:]) {
			p.cmd.family = p.family
			return p.cmd, nil
		}
		err = p.newroute(args[1:])
	case "flush", "monitor":
		err = p.flags(args[1:])
	case "load":
		if len(args) != 2 {
			return routeCommand{}, &usageError{code: exitUsage, usage: "usage: route [-qt] load file"}
		}
		p.cmd.file = args[1]
	default:
		err = badKeyword(args[0])
	}
	if err != nil {
		return routeCommand{}, err
	}
	p.cmd.family = p.family
	return p.cmd, nil
}

func (p *routeParser) options(args []string) ([]string, error) {
	for len(args) > 0 && strings.HasPrefix(args[0], "-") && args[0] != "-" {
		word := args[0][1:]
		args = args[1:]
		if word == "-" {
			break
		}
		for _, option := range word {
			switch option {
			case '4':
				p.family = api.Inet
			case '6':
				p.family = api.Inet6
			case 'n':
				p.cmd.numeric = true
			case 'q':
				p.cmd.quiet = true
			case 'v':
				p.cmd.verbose = true
			case 't':
				p.cmd.test = true
			case 'd':
				p.cmd.debug = true
			default:
				return nil, &usageError{code: exitUsage, text: fmt.Sprintf("illegal option -- %c", option), usage: routeUsage}
			}
		}
	}
	return args, nil
}

func (p *routeParser) showsTable(args []string) bool {
	for _, arg := range args {
		switch arg {
		case "-4", "-inet":
			p.family = api.Inet
		case "-6", "-inet6":
			p.family = api.Inet6
		default:
			return false
		}
	}
	return true
}

// flags parses the arguments of flush and monitor.
func (p *routeParser) flags(args []string) error {
	for i := 0; i < len(args); i++ {
		switch args[i] {
		case "-4", "-inet":
			p.family = api.Inet
		case "-6", "-inet6":
			p.family = api.Inet6
		case "-fib":
			i++
			if i == len(args) {
				return badKeyword("-fib")
			}
			if err := p.fib(args[i]); err != nil {
				return err
			}
		default:
			return badKeyword(args[i])
		}
	}
	return nil
}

// fib takes a list of routing tables: numbers and ranges of them, separated by
// commas. There is one table, so that no range has a beginning and an end.
func (p *routeParser) fib(arg string) error {
	if arg == "all" || arg == "default" {
		return nil
	}
	for _, word := range strings.Split(arg, ",") {
		if n, err := strconv.ParseInt(word, 0, 32); err != nil || n != 0 {
			return badRoute(exitUsage, "invalid fib number: %s", arg)
		}
	}
	return nil
}

func (p *routeParser) newroute(args []string) error {
	req := &p.cmd.request
	req.Flags = api.Static
	for i := 0; i < len(args); i++ {
		if args[i] == "" || args[i][0] != '-' {
			if err := p.positional(args[i]); err != nil {
				return err
			}
			continue
		}
		key := args[i][1:]
		if n, ok := notYet[key]; ok {
			if i+n >= len(args) {
				return badKeyword("")
			}
			return badRoute(exitUsage, "-%s is not supported", key)
		}
		arg := ""
		switch key {
		case "fib", "ifa", "ifp", "gateway", "dst", "netmask", "prefixlen",
			"mtu", "hopcount", "expire", "recvpipe", "sendpipe", "ssthresh", "rtt", "rttvar", "weight":
			i++
			if i == len(args) {
				return badKeyword("")
			}
			arg = args[i]
		}
		if err := p.modifier(key, arg); err != nil {
			return err
		}
	}
	return p.finish()
}

func (p *routeParser) modifier(key, arg string) error {
	req := &p.cmd.request
	switch key {
	case "4", "inet":
		p.family = api.Inet
	case "6", "inet6":
		p.family = api.Inet6
	case "iface", "interface":
		p.iface = true
	case "static":
		req.Flags |= api.Static
	case "nostatic":
		req.Flags &^= api.Static
	case "reject":
		req.Flags |= api.Reject
	case "blackhole":
		req.Flags |= api.Blackhole
	case "proto1":
		req.Flags |= api.Proto1
	case "proto2":
		req.Flags |= api.Proto2
	case "proto3":
		req.Flags |= api.Proto3
	case "host":
		p.forceHst = true
	case "net":
		p.forceNet = true
	case "fib":
		return p.fib(arg)
	case "ifp":
		req.Ifp = arg
	case "ifa":
		a, _, err := p.address(arg)
		req.Ifa = a
		return err
	case "gateway":
		return p.setGateway(arg)
	case "dst":
		return p.setDst(arg)
	case "netmask":
		p.forceNet = true
		return p.setNetmask(arg)
	case "prefixlen":
		return p.setPrefixlen(arg)
	case "lock":
		p.lock = true
	case "lockrest":
		p.lockrest = true
	case "mtu", "hopcount", "expire", "recvpipe", "sendpipe", "ssthresh", "rtt", "rttvar", "weight":
		return p.setMetric(key, arg)
	default:
		return badKeyword(key)
	}
	return nil
}

func (p *routeParser) positional(arg string) error {
	switch {
	case !p.haveDst:
		return p.setDst(arg)
	case !p.haveGate:
		return p.setGateway(arg)
	}
	p.forceNet = true
	return p.setNetmask(arg)
}

func (p *routeParser) setMetric(key, arg string) error {
	value, err := strconv.ParseInt(strings.TrimPrefix(arg, "+"), 0, 64)
	if err != nil || value < 0 && key != "expire" {
		return badRoute(exitUsage, "%s: Invalid argument", arg)
	}
	m := &p.cmd.request.Metrics
	metric := map[string]struct {
		bit   api.MetricBits
		value *uint64
	}{
		"mtu": {api.RTVMtu, &m.Mtu}, "hopcount": {api.RTVHopcount, &m.Hopcount}, "expire": {api.RTVExpire, nil},
		"recvpipe": {api.RTVRpipe, &m.Recvpipe}, "sendpipe": {api.RTVSpipe, &m.Sendpipe}, "ssthresh": {api.RTVSsthresh, &m.Ssthresh},
		"rtt": {api.RTVRtt, &m.Rtt}, "rttvar": {api.RTVRttvar, &m.Rttvar}, "weight": {api.RTVWeight, &m.Weight},
	}[key]
	if key == "mtu" && value > 1<<16 {
		return badRoute(exitUsage, "%s: Invalid argument", arg)
	}
	p.cmd.request.Inits |= metric.bit
	if p.lock || p.lockrest {
		m.Locks |= metric.bit
	}
	p.lock = false
	if metric.value != nil {
		*metric.value = uint64(value)
		return nil
	}
	// With a sign the time counts from now.
	if strings.HasPrefix(arg, "+") || strings.HasPrefix(arg, "-") {
		value += p.now.Unix()
	}
	m.Expire = value
	return nil
}

func (p *routeParser) setGateway(arg string) error {
	p.haveGate = true
	p.cmd.gateway = arg
	if p.iface {
		p.cmd.request.Interface = arg
		return nil
	}
	if arg == "default" {
		p.cmd.request.Gateway = unspecified(p.family)
		return nil
	}
	a, more, err := p.address(arg)
	p.cmd.request.Gateway, p.cmd.alternatives = a, more
	return err
}

func unspecified(family api.Family) netip.Addr {
	if family == api.Inet6 {
		return netip.IPv6Unspecified()
	}
	return netip.IPv4Unspecified()
}

// address reads a host address: in IPv4 with inet_aton(3)'s shortened forms,
// and in either family by name.
func (p *routeParser) address(arg string) (netip.Addr, []netip.Addr, error) {
	if p.family == api.Inet6 {
		if a, err := netip.ParseAddr(arg); err == nil && a.Is6() {
			return a, nil, nil
		}
		if addrs := p.env.host(arg, api.Inet6); len(addrs) > 0 {
			return addrs[0], addrs[1:], nil
		}
		return netip.Addr{}, nil, badRoute(exitOserr, "%s: Name does not resolve", arg)
	}
	if a, ok := inetAton(arg); ok {
		return a, nil, nil
	}
	if addrs := p.env.host(arg, api.Inet); len(addrs) > 0 {
		return addrs[0], addrs[1:], nil
	}
	return netip.Addr{}, nil, badRoute(exitNohost, "bad address: %s", arg)
}

func (p *routeParser) setNetmask(arg string) error {
	if arg == "default" {
		p.netmask = 0
		return nil
	}
	a, _, err := p.address(arg)
	if err != nil {
		return err
	}
	bits, ok := masklen(a)
	if !ok {
		return badRoute(exitUsage, "netmask %s is not contiguous", arg)
	}
	p.netmask = bits
	return nil
}

func (p *routeParser) setPrefixlen(arg string) error {
	longest := 32
	if p.family == api.Inet6 {
		longest = 128
	}
	bits, err := strconv.Atoi(arg)
	if err != nil || bits < 0 || bits > longest {
		return badRoute(exitUsage, "%s: invalid prefixlen", arg)
	}
	p.netmask = bits
	p.forceNet = bits < longest
	p.isHost = bits == longest
	return nil
}

// masklen returns the length of a contiguous mask.
func masklen(mask netip.Addr) (int, bool) {
	bits, ended := 0, false
	for _, octet := range mask.AsSlice() {
		for bit := 7; bit >= 0; bit-- {
			switch set := octet>>bit&1 == 1; {
			case set && ended:
				return 0, false
			case set:
				bits++
			default:
				ended = true
			}
		}
	}
	return bits, true
}

// finish puts the parts of the destination together.
func (p *routeParser) finish() error {
	if !p.haveDst {
		return &usageError{code: exitUsage, text: "destination parameter required", usage: routeUsage}
	}
	longest := p.dst.BitLen()
	bits := p.bits
	if p.netmask >= 0 {
		bits = p.netmask
	}
	if bits > longest {
		return badRoute(exitUsage, "destination and netmask family need to be the same")
	}
	if p.forceHst {
		p.isHost = true
	}
	if p.forceNet {
		p.isHost = false
	}
	p.cmd.isHost = p.isHost
	req := &p.cmd.request
	if p.isHost || bits < 0 {
		req.Dst = netip.PrefixFrom(p.dst.WithZone(""), longest)
	} else {
		req.Dst = netip.PrefixFrom(p.dst.WithZone(""), bits).Masked()
		req.Exact = true // of a get; the others are always exact
	}
	return nil
}
