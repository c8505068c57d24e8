package rc

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bsdnet/bsdnet/rcconf"
)

// BuildHostname makes a plan of the hostname.if(5) files and the mygate(5) of a
// folder, /etc on OpenBSD. Forwarding is said by sysctl.conf.
func BuildHostname(dir string, settings []rcconf.Setting, host Host) (*Plan, error) {
	config, err := rcconf.Parse("", "")
	if err != nil {
		return nil, err
	}
	b := &builder{config: config, host: host, plan: &Plan{Names: make(map[string]string)}, used: make(map[string]bool)}
	files, err := filepath.Glob(filepath.Join(dir, "hostname.*"))
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	if len(files) == 0 {
		return nil, fmt.Errorf("%s: no hostname.if files", dir)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		b.hostnameIf(file, strings.TrimPrefix(filepath.Base(file), "hostname."), string(data))
	}
	b.checkVlans()
	b.mygate(filepath.Join(dir, "mygate"))
	b.forwarding(settings)
	return b.plan, errors.Join(b.errs...)
}

// cloners are the drivers whose interfaces are made by naming them.
var cloners = []string{"vlan", "tun", "tap", "lo", "epair", "wg", "gif", "gre"}

func (b *builder) hostnameIf(file, name, text string) {
	top := Position{file, 1}
	if err := checkName(name); err != nil {
		b.fail(top, "%v", err)
		return
	}
	ifp := &Interface{Name: name, Position: top}
	driver := strings.TrimRight(name, "0123456789")
	if driver != name && slices.Contains(cloners, driver) && name != "lo0" {
		b.plan.Clones = append(b.plan.Clones, &Clone{Name: name, Position: top})
	}
	for i, line := range strings.Split(text, "\n") {
		b.hostnameLine(ifp, Position{file, i + 1}, strings.TrimSpace(line))
	}
	b.duplicates(ifp)
	b.stack(ifp)
	b.plan.Interfaces = append(b.plan.Interfaces, ifp)
}

func (b *builder) hostnameLine(ifp *Interface, pos Position, line string) {
	if strings.HasPrefix(line, "!") {
		b.fail(pos, "%s: commands are not run here", line)
		return
	}
	words, err := splitQuoted(line)
	if err != nil {
		b.fail(pos, "%v", err)
		return
	}
	if len(words) == 0 {
		return
	}
	switch words[0] {
	case "dhcp":
		ifp.DHCP, words = DHCPOn, words[1:]
	case "nwid", "join", "wpakey", "rdomain":
		b.fail(pos, "%s: not there yet", words[0])
		return
	case "dest":
		if len(ifp.Addresses) == 0 || len(words) != 2 {
			b.fail(pos, "dest without an address")
			return
		}
		b.dest(ifp.Addresses[len(ifp.Addresses)-1], pos, words[1])
		return
	case "inet", "inet6":
		if words = b.hostnameAddress(ifp, words); words == nil {
			return
		}
	}
	err = parseIfconfig(ifp, pos, words, func(format string, args ...any) { b.warn(pos, format, args...) })
	if err != nil {
		b.errs = append(b.errs, err)
	}
}

// dest gives the address before it its far end.
func (b *builder) dest(a *Address, pos Position, word string) {
	peer, err := netip.ParseAddr(word)
	if err != nil || peer.Is4() != a.Prefix.Addr().Is4() {
		b.fail(pos, "dest %s: bad value", word)
		return
	}
	a.Peer = peer
}

// hostnameAddress makes the arguments of ifconfig(8) of a line that begins
// with a family: the mask or the length stands behind the address without a
// word, then the broadcast address. It returns nil if nothing is left.
func (b *builder) hostnameAddress(ifp *Interface, words []string) []string {
	family, rest := words[0], words[1:]
	if len(rest) > 0 && rest[0] == "autoconf" {
		if family == "inet" {
			ifp.DHCP = DHCPOn
		} else {
			ifp.AcceptRTAdv = true
		}
		return append([]string{}, rest[1:]...)
	}
	out := []string{family}
	if len(rest) > 0 && rest[0] == "alias" {
		rest = rest[1:]
	}
	if len(rest) == 0 {
		return out
	}
	out, rest = append(out, rest[0]), rest[1:]
	if len(rest) > 0 && family == "inet6" && isNumber(rest[0]) {
		out, rest = append(out, "prefixlen", rest[0]), rest[1:]
	}
	if len(rest) > 0 && family == "inet" {
		if _, ok := maskLength(rest[0]); ok || strings.HasPrefix(rest[0], "255.") || strings.HasPrefix(rest[0], "0x") {
			out, rest = append(out, "netmask", rest[0]), rest[1:]
			switch {
			case len(rest) > 0 && rest[0] == "NONE":
				rest = rest[1:]
			case len(rest) > 0 && strings.Count(rest[0], ".") == 3:
				out, rest = append(out, "broadcast", rest[0]), rest[1:]
			}
		}
	}
	return append(out, rest...)
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// splitQuoted splits a line at blanks outside of quotes; # begins a comment.
func splitQuoted(line string) ([]string, error) {
	var words []string
	word, quote, inWord := "", rune(0), false
	for _, c := range line {
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word += string(c)
		case c == '"' || c == '\'':
			quote, inWord = c, true
		case c == '#' && !inWord:
			return words, nil
		case c == ' ' || c == '\t':
			if inWord {
				words = append(words, word)
			}
			word, inWord = "", false
		default:
			word, inWord = word+string(c), true
		}
	}
	if quote != 0 {
		return nil, errors.New("unterminated quote")
	}
	if inWord {
		words = append(words, word)
	}
	return words, nil
}

// mygate takes the default routers, one a line.
func (b *builder) mygate(file string) {
	data, err := os.ReadFile(file)
	if err != nil {
		if !errors.Is(err, os.ErrNotExist) {
			b.errs = append(b.errs, err)
		}
		return
	}
	for i, line := range strings.Split(string(data), "\n") {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		family := "-inet"
		if strings.Contains(line, ":") {
			family = "-inet6"
		}
		pos := Position{file, i + 1}
		route, err := parseRoute(pos, []string{family, "default", line})
		if err != nil {
			b.fail(pos, "%v", err)
			continue
		}
		b.plan.Routes = append(b.plan.Routes, route)
	}
}
