// Package command holds the front end of ifconfig(8), with FreeBSD's grammar,
// output and exit codes. It parses arguments into the requests of package api
// and prints the answers; it knows neither the kernel nor the control socket.
package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/bsdnet/bsdnet/errno"
	"github.com/bsdnet/bsdnet/ifnet/api"
)

// Env is what the command runs in.
type Env struct {
	Backend        api.Backend
	Stdout, Stderr io.Writer
	Format         string                                  // IFCONFIG_FORMAT of the environment
	Host           func(name string) ([]netip.Addr, error) // nil: addresses only
}

const usage = `usage: ifconfig [-f type:format] interface address_family
                [address [dest_address]] [parameters]
       ifconfig interface create
       ifconfig -a [-d] [-m] [-u] [-v] [-f type:format] [-G groupname] [-g groupname] [address_family]
       ifconfig -l [-d] [-u] [address_family]
       ifconfig [-d] [-m] [-u] [-v] [-f type:format] [interface]
       ifconfig -g groupname
       ifconfig -C`

// options are those of the command line.
type options struct {
	all, down, up, list, cloners, media, keys, lifetimes, verbose, json bool

	group, without string
	format         format
	rest           []string
}

// Ifconfig runs ifconfig with the arguments that follow the command's name,
// and returns its exit code.
func Ifconfig(ctx context.Context, env *Env, args []string) int {
	err := env.run(ctx, args)
	if err == nil {
		return 0
	}
	var wrong usageError
	switch {
	case errors.As(err, &wrong):
		fmt.Fprintln(env.Stderr, usage)
	default:
		fmt.Fprintf(env.Stderr, "ifconfig: %v\n", err)
	}
	return 1
}

type usageError struct{ error }

var errUsage = usageError{errors.New("usage")}

func (e *Env) run(ctx context.Context, args []string) error {
	o, err := e.parseOptions(args)
	if err != nil {
		return err
	}
	switch {
	case o.cloners:
		if o.all || o.list || len(o.rest) > 0 {
			return errUsage
		}
		names, err := e.Backend.Cloners(ctx)
		if err != nil {
			return err
		}
		if o.json {
			return e.json(names)
		}
		fmt.Fprintln(e.Stdout, strings.Join(names, " "))
		return nil
	case o.list && (o.all || o.media):
		return errUsage
	case o.group != "" && !o.all && !o.list && len(o.rest) == 0:
		return e.members(ctx, o)
	case o.all || o.list || len(o.rest) == 0:
		return e.showAll(ctx, o)
	case len(o.rest) == 1 || len(o.rest) == 2 && families[o.rest[1]] != 0:
		return e.show(ctx, o)
	}
	return e.change(ctx, o.rest[0], o.rest[1:])
}

// parseOptions takes the options off, in getopt(3)'s manner.
func (e *Env) parseOptions(args []string) (options, error) {
	var o options
	o.format.parse(e.Stderr, e.Format)
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		arg := args[0]
		args = args[1:]
		if arg == "--" {
			break
		}
		if arg == "--json" {
			o.json = true
			continue
		}
		for n, letter := range arg[1:] {
			flag := map[rune]*bool{
				'a': &o.all, 'd': &o.down, 'u': &o.up, 'l': &o.list, 'C': &o.cloners, 'm': &o.media, 'k': &o.keys,
				'L': &o.lifetimes, 'v': &o.verbose, 'n': new(bool),
			}[letter]
			if flag != nil {
				*flag = true
				continue
			}
			if !strings.ContainsRune("fgG", letter) {
				return o, errUsage
			}
			value := arg[n+2:]
			if value == "" {
				if len(args) == 0 {
					return o, errUsage
				}
				value, args = args[0], args[1:]
			}
			switch letter {
			case 'f':
				o.format.parse(e.Stderr, value)
			case 'g':
				o.group, o.without = value, ""
			case 'G':
				o.group, o.without = "", value
			}
			break
		}
	}
	o.rest = slices.Clone(args)
	o.rest = slices.DeleteFunc(o.rest, func(word string) bool {
		if word == "--json" {
			o.json = true
			return true
		}
		return false
	})
	return o, nil
}

// families are the words for address families.
var families = map[string]family{"inet": inet, "inet6": inet6, "link": link, "ether": link, "lladdr": link}

type family int

const (
	unspec family = iota
	inet
	inet6
	link
)

// chosen reports whether an interface is one that the options ask for.
func (o *options) chosen(i api.Interface, f family) bool {
	up := i.Flags&api.IffUp != 0
	if o.up && !up || o.down && up {
		return false
	}
	in := func(pattern string) bool {
		return slices.ContainsFunc(i.Groups, func(g string) bool { ok, _ := path.Match(pattern, g); return ok })
	}
	if o.group != "" && !in(o.group) || o.without != "" && in(o.without) {
		return false
	}
	switch f {
	case link:
		return i.Lladdr != ""
	case inet, inet6:
		return slices.ContainsFunc(i.Addresses, func(a api.Address) bool { return a.Prefix.Addr().Is4() == (f == inet) })
	}
	return true
}

func (o *options) family() (family, error) {
	if len(o.rest) == 0 {
		return unspec, nil
	}
	f, ok := families[o.rest[0]]
	if !ok || len(o.rest) > 1 {
		return 0, errUsage
	}
	return f, nil
}

func (e *Env) showAll(ctx context.Context, o options) error {
	f, err := o.family()
	if err != nil {
		return err
	}
	all, err := e.Backend.Interfaces(ctx, api.Name{Keys: o.keys})
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(i api.Interface) bool { return !o.chosen(i, f) })
	switch {
	case o.json:
		return e.json(all)
	case o.list:
		names := make([]string, len(all))
		for n, i := range all {
			names[n] = i.Name
		}
		fmt.Fprintln(e.Stdout, strings.Join(names, " "))
		return nil
	}
	for _, i := range all {
		e.print(i, f, o)
	}
	return nil
}

func (e *Env) show(ctx context.Context, o options) error {
	found, err := e.Backend.Interfaces(ctx, api.Name{Name: o.rest[0], Keys: o.keys})
	if errors.Is(err, errno.ENXIO) {
		return fmt.Errorf("interface %s does not exist", o.rest[0])
	}
	if err != nil {
		return err
	}
	if o.json {
		return e.json(found)
	}
	f := unspec
	if len(o.rest) == 2 {
		f = families[o.rest[1]]
	}
	for _, i := range found {
		e.print(i, f, o)
	}
	return nil
}

// members prints the names of the interfaces in a group.
func (e *Env) members(ctx context.Context, o options) error {
	all, err := e.Backend.Interfaces(ctx, api.Name{})
	if err != nil {
		return err
	}
	for _, i := range all {
		if slices.Contains(i.Groups, o.group) {
			fmt.Fprintln(e.Stdout, i.Name)
		}
	}
	return nil
}

func (e *Env) json(v any) error {
	encoder := json.NewEncoder(e.Stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}
