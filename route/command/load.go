package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"os"
	"strings"

	"github.com/bsdnet/bsdnet/route/api"
)

// lineError is what is wrong with a line of a file.
type lineError struct {
	code int
	text string
}

func (e *lineError) Error() string { return e.text }

// load adds the routes of a file, all or none: a route a line, in the words of
// "route add" with or without these, # before comments.
func (r *routeRun) load(ctx context.Context) int {
	loader, ok := r.Backend.(api.Loader)
	if !ok {
		r.warn("route", "no routes can be loaded here")
		return exitOserr
	}
	var lines []int // of the requests
	requests := r.requests(&lines)
	if r.debug || r.test {
		for _, err := range requests {
			if err != nil {
				return r.loadFailed(err)
			}
		}
		return 0
	}
	loaded, err := loader.RouteLoad(ctx, requests)
	if err != nil {
		return r.loadFailed(err)
	}
	if loaded.Error != nil {
		text := alterText(loaded.Error.Errno)
		if loaded.Error.Text != "" {
			text = loaded.Error.Text
		}
		r.warn("route", "%s:%d: %s", r.file, lines[loaded.Number-1], text)
		return 1
	}
	if !r.quiet {
		r.printf("load %s: %d routes\n", r.file, loaded.Routes)
	}
	return 0
}

func (r *routeRun) loadFailed(err error) int {
	r.warn("route", "%v", err)
	var line *lineError
	if errors.As(err, &line) {
		return line.code
	}
	return exitOserr
}

// requests reads the file and notes the line of each request.
func (r *routeRun) requests(lines *[]int) iter.Seq2[api.RouteRequest, error] {
	return func(yield func(api.RouteRequest, error) bool) {
		open := r.Open
		if open == nil {
			open = func(name string) (io.ReadCloser, error) { return os.Open(name) }
		}
		file, err := open(r.file)
		if err != nil {
			yield(api.RouteRequest{}, err)
			return
		}
		defer file.Close()
		scanner := bufio.NewScanner(file)
		for number := 1; scanner.Scan(); number++ {
			text, _, _ := strings.Cut(scanner.Text(), "#")
			words := strings.Fields(text)
			if len(words) == 0 {
				continue
			}
			q, err := r.request1(words)
			if err != nil {
				code := exitUsage
				var usage *usageError
				if errors.As(err, &usage) {
					code = usage.code
				}
				err = &lineError{code, fmt.Sprintf("%s:%d: %v", r.file, number, err)}
			}
			*lines = append(*lines, number)
			if !yield(q, err) || err != nil {
				return
			}
		}
		if err := scanner.Err(); err != nil {
			yield(api.RouteRequest{}, fmt.Errorf("%s: %w", r.file, err))
		}
	}
}

// request1 reads one line.
func (r *routeRun) request1(words []string) (api.RouteRequest, error) {
	if words[0] == "route" {
		words = words[1:]
	}
	if len(words) > 0 && words[0] == "add" {
		words = words[1:]
	}
	if len(words) == 2 {
		dst, err := netip.ParsePrefix(words[0])
		gateway, gatewayErr := netip.ParseAddr(words[1])
		if err == nil && gatewayErr == nil && gateway.Zone() == "" && dst.Addr().Is4() == gateway.Is4() {
			flags := api.Static | api.Gateway
			if dst.IsSingleIP() {
				flags |= api.Host
			}
			return api.RouteRequest{Dst: dst.Masked(), Gateway: gateway, Flags: flags}, nil
		}
	}
	args := []string{"add"}
	if r.family == api.Inet6 {
		args = []string{"-6", "add"}
	}
	cmd, err := parseRoute(r.Env, append(args, words...), r.now())
	return cmd.request, err
}
