package command

import (
	"context"
	"errors"
	"net/netip"
	"strings"

	"github.com/bsdnet/bsdnet/route/api"
)

// Route runs route(8) with the arguments that follow its name, and returns
// its exit code.
func Route(ctx context.Context, env *Env, args []string) int {
	cmd, err := parseRoute(env, args, env.now())
	if err != nil {
		return env.report("route", err)
	}
	r := routeRun{Env: env, routeCommand: cmd}
	switch cmd.command {
	case "get":
		return r.get(ctx)
	case "show":
		if cmd.request.Dst.IsValid() {
			return r.get(ctx)
		}
		return r.show(ctx)
	case "monitor":
		return r.monitor(ctx)
	}
	if !env.Root && !cmd.debug && !cmd.test {
		env.warn("route", "must be root to alter routing table")
		return exitNoperm
	}
	switch cmd.command {
	case "flush":
		return r.flush(ctx)
	case "load":
		return r.load(ctx)
	}
	return r.alter(ctx)
}

// routeRun is one run of route(8).
type routeRun struct {
	*Env
	routeCommand
}

// alter adds, changes or deletes a route and says so.
func (r *routeRun) alter(ctx context.Context) int {
	if r.verbose {
		r.printRequest()
	}
	attempts := 1
	var err error
	if !r.debug && !r.test {
		err = r.ask(ctx)
		// A gateway given by name may have several addresses.
		for len(r.alternatives) > 0 && (errors.Is(err, api.ENETUNREACH) || errors.Is(err, api.ESRCH)) {
			r.request.Gateway, r.alternatives = r.alternatives[0], r.alternatives[1:]
			attempts++
			err = r.ask(ctx)
		}
	}
	if errors.Is(err, api.ENXIO) {
		r.warn("route", "%v", err)
		return exitDataerr
	}
	var failed *api.Error
	if err != nil && !errors.As(err, &failed) {
		r.warn("route", "%v", err)
		return exitOserr
	}
	if err != nil {
		r.explain(failed)
	}
	if !r.quiet {
		kind := "net"
		if r.isHost {
			kind = "host"
		}
		r.printf("%s %s %s", r.command, kind, r.shownDest())
		if r.gateway != "" {
			r.printf(": gateway %s", r.gateway)
			if attempts > 1 && err == nil {
				r.printf(" (%s)", r.request.Gateway)
			}
		}
		if err != nil {
			r.printf(" fib 0: %s", alterText(failed.Errno))
		}
		r.printf("\n")
	}
	if err != nil {
		return 1
	}
	return 0
}

// shownDest is the destination as typed; of IPv4, BSD's route prints it without
// the length of the prefix.
func (r *routeRun) shownDest() string {
	if strings.Contains(r.dest, ":") {
		return r.dest
	}
	dest, _, _ := strings.Cut(r.dest, "/")
	return dest
}

func (r *routeRun) ask(ctx context.Context) error {
	var err error
	switch r.command {
	case "add":
		_, err = r.Backend.RouteAdd(ctx, r.request)
	case "change":
		_, err = r.Backend.RouteChange(ctx, r.request)
	default:
		_, err = r.Backend.RouteDelete(ctx, r.request)
	}
	return err
}

// explain prints what a write to the routing socket would have said.
func (r *routeRun) explain(err *api.Error) {
	switch {
	case err.Errno == api.EEXIST:
	case err.Errno == api.ESRCH:
		r.warn("route", "route has not been found")
	case err.Text != "":
		r.warn("route", "%s", err.Text)
	default:
		r.warn("route", "writing to routing socket: %v", err.Errno)
	}
}

// alterText is what route(8) calls an error of a change.
func alterText(errno api.Errno) string {
	switch errno {
	case api.ESRCH:
		return "not in table"
	case api.EBUSY:
		return "entry in use"
	case api.ENOBUFS:
		return "not enough memory"
	case api.EADDRINUSE:
		return "gateway uses the same route"
	case api.EEXIST:
		return "route already in table"
	}
	return errno.Error()
}

// get looks a destination up and prints the route.
func (r *routeRun) get(ctx context.Context) int {
	if r.verbose && !r.json {
		r.printRequest()
	}
	if r.debug || r.test {
		return 0
	}
	e, err := r.Backend.RouteGet(ctx, r.request)
	var failed *api.Error
	if err != nil && !errors.As(err, &failed) {
		r.warn("route", "%v", err)
		return exitOserr
	}
	if err != nil {
		r.explain(failed)
		return 1
	}
	if r.json {
		return r.printJSON(e)
	}
	r.printGet(e)
	return 0
}

// show prints the table.
func (r *routeRun) show(ctx context.Context) int {
	entries, err := r.Backend.Routes(ctx, api.RouteFilter{Family: r.family})
	if err != nil {
		return r.report("route", err)
	}
	t := tablePrinter{Env: r.Env, numeric: r.numeric}
	if r.json {
		return r.printJSON(t.document(entries))
	}
	t.print(entries)
	return 0
}

// flush deletes the routes through gateways and prints them.
func (r *routeRun) flush(ctx context.Context) int {
	if r.debug || r.test {
		return 0
	}
	flushed, err := r.Backend.RouteFlush(ctx, api.RouteFilter{Family: r.family})
	if r.verbose && !r.quiet {
		r.printf("Examining routing table from sysctl\n")
	}
	if r.json {
		if code := r.printJSON(flushed); code != 0 {
			return code
		}
	}
	for _, e := range flushed {
		if r.quiet || r.json {
			continue
		}
		dst := r.netname(e.Dst.Addr())
		if e.Dst.IsSingleIP() {
			dst = r.routename(e.Dst.Addr())
		}
		r.printf("%-20.20s %-20.20s -fib %-3d done\n", dst, r.routename(scoped(e.Gateway, e.Interface.Name)), e.Fib)
	}
	if err != nil {
		return r.report("route", err)
	}
	return 0
}

// netname returns the name of a network: as many octets as are not 0.
func (r *routeRun) netname(a netip.Addr) string {
	if !a.Is4() {
		return a.String()
	}
	value := value4(a)
	if value == 0 {
		return "default"
	}
	text := a.String()
	for octets := 1; octets < 4; octets++ {
		if value<<(8*octets) == 0 {
			return firstOctets(text, octets)
		}
	}
	return text
}

func firstOctets(text string, n int) string {
	for i, c := range text {
		if c == '.' {
			if n--; n == 0 {
				return text[:i]
			}
		}
	}
	return text
}
