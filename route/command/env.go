// Package command holds the front ends of route(8), netstat -r, arp(8) and
// ndp(8), with FreeBSD's grammar, output and exit codes. It parses arguments
// into the requests of package api and prints the answers; it knows neither
// the kernel nor the control socket.
package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/bsdnet/bsdnet/route/api"
)

// Exit codes of sysexits(3) that the commands use.
const (
	exitUsage   = 64
	exitDataerr = 65
	exitNohost  = 68
	exitOserr   = 71
	exitNoperm  = 77
)

// Resolver turns names into addresses and back.
type Resolver interface {
	Host(name string) ([]netip.Addr, error) // addresses of a host
	Addr(addr netip.Addr) (string, bool)    // name of an address
}

// Env is what a command runs in.
type Env struct {
	Backend        api.Backend
	Stdout, Stderr io.Writer
	Root           bool             // may alter tables
	Resolver       Resolver         // nil: addresses only
	Domain         string           // of this host; cut from names
	Now            func() time.Time // nil: time.Now
	Open           func(name string) (io.ReadCloser, error)
	// Socket opens a routing socket of FreeBSD; a read gives one message.
	Socket func(ctx context.Context) (io.ReadCloser, error)
	// IndexToName returns the name of the interface with an index; may be nil.
	IndexToName func(index int) (string, bool)
}

func (e *Env) now() time.Time {
	if e.Now != nil {
		return e.Now()
	}
	return time.Now()
}

func (e *Env) printf(format string, args ...any) { fmt.Fprintf(e.Stdout, format, args...) }

// warn prints a message as warnx(3) does.
func (e *Env) warn(command, format string, args ...any) {
	fmt.Fprintf(e.Stderr, command+": "+format+"\n", args...)
}

// printJSON prints a value as indented JSON.
func (e *Env) printJSON(v any) int {
	enc := json.NewEncoder(e.Stdout)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return 1
	}
	return 0
}

// usageError ends a command with a message and, if there is one, its usage.
type usageError struct {
	code  int
	text  string // without the command's name, may be empty
	usage string // printed after it, may be empty
}

func (e *usageError) Error() string {
	if e.text == "" {
		return e.usage
	}
	return e.text
}

// report prints an error and returns the exit code.
func (e *Env) report(command string, err error) int {
	var usage *usageError
	if errors.As(err, &usage) {
		if usage.text != "" {
			e.warn(command, "%s", usage.text)
		}
		if usage.usage != "" {
			fmt.Fprintln(e.Stderr, usage.usage)
		}
		return usage.code
	}
	e.warn(command, "%v", err)
	return 1
}

// cutJSON takes --json, and libxo's spellings of it, out of the arguments.
func cutJSON(args []string) (rest []string, asJSON bool) {
	for i := 0; i < len(args); i++ {
		switch args[i] {
		case "--json", "--libxo=json", "--libxo:J":
			asJSON = true
		case "--libxo":
			if i+1 < len(args) && strings.HasPrefix(args[i+1], "json") {
				asJSON = true
				i++
				continue
			}
			rest = append(rest, args[i])
		default:
			rest = append(rest, args[i])
		}
	}
	return rest, asJSON
}

// name returns the name of an address, without the domain of this host.
func (e *Env) name(a netip.Addr) (string, bool) {
	if e.Resolver == nil {
		return "", false
	}
	name, ok := e.Resolver.Addr(a)
	if !ok {
		return "", false
	}
	if host, rest, cut := strings.Cut(name, "."); cut && e.Domain != "" && rest == e.Domain {
		return host, true
	}
	return name, true
}

// host returns the addresses of a host in a family.
func (e *Env) host(name string, family api.Family) []netip.Addr {
	if e == nil || e.Resolver == nil {
		return nil
	}
	addrs, err := e.Resolver.Host(name)
	if err != nil {
		return nil
	}
	var fit []netip.Addr
	for _, a := range addrs {
		if family.Has(a.Unmap()) {
			fit = append(fit, a.Unmap())
		}
	}
	return fit
}

// NetResolver is the Resolver of the system. It asks for no more names once a
// server did not answer in time, as arp(8) does: a table of a thousand
// addresses would take as many times the limit.
type NetResolver struct {
	Context  context.Context
	resolver net.Resolver
	silent   bool
}

// nameLimit is how long the name of an address is waited for.
const nameLimit = 2 * time.Second

// Host looks a name up.
func (r *NetResolver) Host(name string) ([]netip.Addr, error) {
	return r.resolver.LookupNetIP(r.Context, "ip", name)
}

// Addr looks an address up.
func (r *NetResolver) Addr(addr netip.Addr) (string, bool) {
	if r.silent {
		return "", false
	}
	ctx, cancel := context.WithTimeout(r.Context, nameLimit)
	defer cancel()
	names, err := r.resolver.LookupAddr(ctx, addr.WithZone("").String())
	var failure *net.DNSError
	if errors.As(err, &failure) && (failure.IsTimeout || failure.IsTemporary) {
		r.silent = true
	}
	if err != nil || len(names) == 0 {
		return "", false
	}
	return strings.TrimSuffix(names[0], "."), true
}

// scoped adds the zone of an interface to a link-local address.
func scoped(a netip.Addr, ifname string) netip.Addr {
	if a.Is6() && a.Zone() == "" && ifname != "" && (a.IsLinkLocalUnicast() || a.IsLinkLocalMulticast()) {
		return a.WithZone(ifname)
	}
	return a
}

// mask returns the netmask of a prefix as an address.
func mask(p netip.Prefix) netip.Addr {
	b := make([]byte, p.Addr().BitLen()/8)
	copy(b, net.CIDRMask(p.Bits(), p.Addr().BitLen()))
	a, _ := netip.AddrFromSlice(b)
	return a
}
