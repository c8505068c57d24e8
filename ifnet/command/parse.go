package command

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/bits"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/bsdnet/bsdnet/ifnet/api"
)

// line is what one call asks of one interface. All of it is parsed before any
// of it is done.
type line struct {
	env     *Env
	name    string
	create  bool
	destroy bool
	renamed string // new name, if there is one
	vlan    vlanWords
	wg      api.WgWords
	media   *api.MediaRequest
	steps   []step
	family  family
	address *address
	remove  bool // the next address is to go
	alias   bool
}

// vlanWords are the parameters of a vlan, each of which may be missing.
type vlanWords struct {
	tag, pcp int // -1: not said
	parent   string
	proto    uint16
	detach   bool
}

func (v vlanWords) said() bool { return v.tag >= 0 || v.pcp >= 0 || v.parent != "" || v.proto != 0 }

// step is one request, and the words for what failed.
type step struct {
	what string
	do   func(ctx context.Context, b api.Backend, name string) error
}

// address collects what is said of one address.
type address struct {
	request     api.AddressRequest
	addr        netip.Addr
	bits        int // -1: not said
	remove      bool
	alias       bool
	destination bool
	eui64       bool
	family      family
}

// parse reads the words after the interface's name.
func (e *Env) parse(name string, words []string) (*line, error) {
	l := &line{env: e, name: name, family: inet, vlan: vlanWords{tag: -1, pcp: -1}}
	if len(name) >= 16 {
		return nil, fmt.Errorf("%s: interface name too long", name)
	}
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		p, known := parameters[word]
		wgArguments, isWg := api.WgArguments(word)
		switch {
		case families[word] != 0 && !(families[word] == link && len(words) == 0):
			// alias or -alias before the family is about the address behind it.
			if l.address != nil {
				if err := l.finish(); err != nil {
					return nil, err
				}
				l.remove, l.alias = false, false
			}
			l.family = families[word]
		case known && p.words == 0:
			if err := p.set(l, ""); err != nil {
				return nil, err
			}
		case known:
			if len(words) < p.words {
				if p.words > 1 {
					return nil, fmt.Errorf("'%s' requires %d arguments", word, p.words)
				}
				return nil, fmt.Errorf("'%s' requires argument", word)
			}
			if err := p.set(l, strings.Join(words[:p.words], " ")); err != nil {
				return nil, err
			}
			words = words[p.words:]
		case isWg:
			if len(words) < wgArguments {
				return nil, fmt.Errorf("'%s' requires %s", word, arguments(wgArguments))
			}
			if err := l.wg.Set(word, words[:wgArguments]); err != nil {
				return nil, err
			}
			words = words[wgArguments:]
		default:
			if err := l.plain(word); err != nil {
				return nil, err
			}
		}
	}
	if err := l.finish(); err != nil {
		return nil, err
	}
	l.finishMedia()
	return l, l.finishWg()
}

// plain is a word that is no parameter: an address, or the far end of one.
func (l *line) plain(word string) error {
	if l.family == link {
		return l.lladdr(word)
	}
	addr, bits, err := l.lookup(word)
	if err != nil {
		return err
	}
	if a := l.address; a != nil && !a.destination && a.addr.IsValid() {
		a.request.Destination, a.destination = addr, true
		return nil
	}
	// "delete" before an address is about that address, not the first one.
	if l.address != nil {
		if err := l.finish(); err != nil {
			return err
		}
	}
	l.address = &address{addr: addr, bits: bits, remove: l.remove, alias: l.alias, family: l.family}
	l.remove = false
	return nil
}

func (l *line) lladdr(word string) error {
	mac, err := net.ParseMAC(strings.ReplaceAll(word, "-", ":"))
	if err != nil || len(mac) != 6 {
		return fmt.Errorf("malformed link-level address")
	}
	l.step("ioctl (SIOCSIFLLADDR)", func(ctx context.Context, b api.Backend, name string) error {
		return b.SetLladdr(ctx, api.TextRequest{Name: name, Value: mac.String()})
	})
	return nil
}

// lookup reads an address, with or without the length of its prefix.
func (l *line) lookup(word string) (netip.Addr, int, error) {
	text, length, cut := strings.Cut(word, "/")
	prefix := -1
	if cut {
		n, err := strconv.Atoi(length)
		if err != nil || n < 0 || l.family == inet && n > 32 || n > 128 {
			return netip.Addr{}, 0, fmt.Errorf("%s: bad value (width %s)", word, map[bool]string{true: "too large", false: "invalid"}[err == nil])
		}
		prefix = n
	}
	addr, err := netip.ParseAddr(text)
	if err != nil && l.env.Host != nil && !strings.ContainsAny(text, ":%") {
		if addrs, lookupErr := l.env.Host(text); lookupErr == nil {
			for _, a := range addrs {
				if a.Unmap().Is4() == (l.family == inet) {
					addr, err = a.Unmap(), nil
					break
				}
			}
		}
	}
	if err == nil && addr.Zone() != "" && addr.Zone() != l.name {
		return netip.Addr{}, 0, fmt.Errorf("%s: bad value (another interface's)", word)
	}
	if err != nil || addr.Is4() != (l.family == inet) {
		return netip.Addr{}, 0, fmt.Errorf("%s: bad value", word)
	}
	return addr, prefix, nil
}

// of returns the address that a parameter is about.
func (l *line) of(parameter string) (*address, error) {
	if l.address == nil {
		return nil, fmt.Errorf("%s: no address given", parameter)
	}
	return l.address, nil
}

// finish makes a request of the address that has been read.
func (l *line) finish() error {
	a := l.address
	l.address = nil
	if a == nil {
		if l.remove {
			// -alias without an address: the first one.
			l.remove = false
			f := api.Inet
			if l.family == inet6 {
				f = api.Inet6
			}
			l.step("ioctl (SIOCDIFADDR)", func(ctx context.Context, b api.Backend, name string) error {
				return b.DeleteAddress(ctx, api.AddressRequest{Name: name, Family: f})
			})
		}
		return nil
	}
	l.remove = false
	if a.bits < 0 {
		a.bits = 64
		if a.family == inet {
			a.bits = classMask(a.addr)
		}
	}
	a.request.Prefix = netip.PrefixFrom(a.addr.WithZone(""), a.bits)
	l.steps = append(l.steps, a.steps()...)
	return nil
}

func (a *address) steps() []step {
	suffix := ""
	if a.family == inet6 {
		suffix = "_IN6"
	}
	if a.remove {
		return []step{{"ioctl (SIOCDIFADDR" + suffix + ")", func(ctx context.Context, b api.Backend, name string) error {
			a.request.Name = name
			return b.DeleteAddress(ctx, a.request)
		}}}
	}
	return []step{{"ioctl (SIOCAIFADDR" + suffix + ")", func(ctx context.Context, b api.Backend, name string) error {
		a.request.Name = name
		if a.eui64 {
			if err := a.interfaceID(ctx, b, name); err != nil {
				return err
			}
		}
		if a.family == inet && !a.alias {
			// What is set without alias takes the place of the first address.
			if err := replaceFirst(ctx, b, a.request); err != nil {
				return err
			}
		}
		return b.AddAddress(ctx, a.request)
	}}}
}

// replaceFirst deletes the first IPv4 address, unless it is the one to be set.
func replaceFirst(ctx context.Context, b api.Backend, r api.AddressRequest) error {
	found, err := b.Interfaces(ctx, api.Name{Name: r.Name})
	if err != nil || len(found) == 0 {
		return err
	}
	for _, have := range found[0].Addresses {
		if !have.Prefix.Addr().Is4() {
			continue
		}
		if have.Prefix.Addr() == r.Prefix.Addr() {
			return nil
		}
		return b.DeleteAddress(ctx, api.AddressRequest{Name: r.Name, Prefix: have.Prefix})
	}
	return nil
}

// interfaceID fills in the lower half by the link address (eui64).
func (a *address) interfaceID(ctx context.Context, b api.Backend, name string) error {
	found, err := b.Interfaces(ctx, api.Name{Name: name})
	if err != nil || len(found) == 0 {
		return err
	}
	mac, err := net.ParseMAC(found[0].Lladdr)
	if err != nil || len(mac) != 6 {
		return fmt.Errorf("could not determine link local address")
	}
	raw := a.addr.WithZone("").As16()
	copy(raw[8:], []byte{mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]})
	a.request.Prefix = netip.PrefixFrom(netip.AddrFrom16(raw), a.bits)
	return nil
}

func (l *line) step(what string, do func(ctx context.Context, b api.Backend, name string) error) {
	l.steps = append(l.steps, step{what, do})
}

// classMask is the length of the network part of an address by its class.
func classMask(a netip.Addr) int {
	switch first := a.As4()[0]; {
	case first < 128:
		return 8
	case first < 192:
		return 16
	}
	return 24
}

// netmask reads 0xffffff00, 255.255.255.0 or the number.
func netmask(word string) (int, error) {
	var mask uint32
	if addr, err := netip.ParseAddr(word); err == nil && addr.Is4() {
		raw := addr.As4()
		mask = binary.BigEndian.Uint32(raw[:])
	} else if n, err := strconv.ParseUint(word, 0, 32); err == nil {
		mask = uint32(n)
	} else {
		return 0, fmt.Errorf("%s: bad value", word)
	}
	ones := bits.LeadingZeros32(^mask)
	if mask != ^uint32(0)<<(32-ones) && !(ones == 0 && mask == 0) {
		return 0, fmt.Errorf("%s: bad value", word)
	}
	return ones, nil
}
