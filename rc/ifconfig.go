package rc

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	ifapi "github.com/bsdnet/bsdnet/ifnet/api"
)

// ifconfigParser reads the arguments that ifconfig(8) takes after the name of
// an interface.
type ifconfigParser struct {
	ifp    *Interface
	pos    Position
	words  []string
	family string // "inet", "inet6"; "" until one is given
	addr   *Address
	masked bool // the current address has its length
	warn   func(format string, args ...any)
}

// parseIfconfig takes arguments into an interface.
func parseIfconfig(ifp *Interface, pos Position, words []string, warn func(string, ...any)) error {
	p := &ifconfigParser{ifp: ifp, pos: pos, words: words, warn: warn}
	for len(p.words) > 0 {
		if err := p.next(); err != nil {
			return &Error{pos, err.Error()}
		}
	}
	return nil
}

func (p *ifconfigParser) pop() string {
	word := p.words[0]
	p.words = p.words[1:]
	return word
}

// argument takes the word after one that wants it.
func (p *ifconfigParser) argument(of string) (string, error) {
	if len(p.words) == 0 {
		return "", fmt.Errorf("'%s' requires argument", of)
	}
	return p.pop(), nil
}

// number takes a number in a range.
func (p *ifconfigParser) number(of string, low, high int) (int, error) {
	arg, err := p.argument(of)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(arg)
	if err != nil || n < low || n > high {
		return 0, fmt.Errorf("%s %s: want a number from %d to %d", of, arg, low, high)
	}
	return n, nil
}

// flagWords are those that only switch something; "-" before them switches it off.
var flagWords = []string{"arp", "promisc", "debug", "staticarp", "monitor", "link0", "link1", "link2"}

// capabilityWords are offloads, which stay as Linux has them.
var capabilityWords = []string{
	"rxcsum", "txcsum", "rxcsum6", "txcsum6", "tso", "tso4", "tso6", "lro", "rss", "polling", "npolling", "vlanmtu", "vlanhwtag",
	"vlanhwfilter", "vlanhwcsum", "vlanhwtso", "wol", "wol_magic", "wol_mcast", "wol_ucast", "toe",
}

// inet6Words are options of the family that Linux needs no telling.
var inet6Words = []string{"auto_linklocal", "-ifdisabled", "-no_radr", "no_radr", "-auto_linklocal", "-nud", "nud", "prefer_source", "-prefer_source", "defaultif"}

func (p *ifconfigParser) next() error {
	word := p.pop()
	plain := strings.TrimPrefix(word, "-")
	switch {
	case slices.Contains(flagWords, plain):
		if p.ifp.Flags == nil {
			p.ifp.Flags = make(map[string]bool)
		}
		p.ifp.Flags[plain] = word == plain
		return nil
	case slices.Contains(capabilityWords, plain):
		p.warn("%s: %s has no effect: offloads are as ethtool set them", p.ifp.Name, word)
		return nil
	case slices.Contains(inet6Words, word):
		return nil
	}
	if n, ok := ifapi.WgArguments(word); ok {
		if len(p.words) < n {
			return fmt.Errorf("'%s' requires argument", word)
		}
		arguments := p.words[:n]
		p.words = p.words[n:]
		return p.ifp.wg.Set(word, arguments)
	}
	if slices.Contains(tunnelWords, plain) {
		return p.tunnel(word)
	}
	switch word {
	case "inet", "inet6":
		p.family, p.addr = word, nil
	case "alias", "add", "anycast", "create", "plumb":
	case "up":
		p.ifp.Down = false
	case "down":
		p.ifp.Down = true
	case "accept_rtadv", "autoconf":
		p.ifp.AcceptRTAdv = true
	case "-accept_rtadv", "-autoconf":
		p.ifp.AcceptRTAdv = false
	case "netmask", "prefixlen":
		return p.length(word)
	case "broadcast":
		return p.broadcast()
	case "eui64":
		if p.addr == nil || !p.addr.Prefix.Addr().Is6() {
			return fmt.Errorf("eui64 without an inet6 address")
		}
		p.addr.EUI64 = true
	case "mtu":
		n, err := p.number(word, 72, 65535)
		p.ifp.MTU = n
		return err
	case "metric":
		n, err := p.number(word, 0, 1<<30)
		p.ifp.Metric = n
		return err
	case "ether", "link", "lladdr":
		return p.lladdr(word)
	case "description", "descr":
		arg, err := p.argument(word)
		p.ifp.Description = arg
		return err
	case "group":
		arg, err := p.argument(word)
		if err == nil && arg[len(arg)-1] >= '0' && arg[len(arg)-1] <= '9' {
			err = fmt.Errorf("group %s: group names may not end in a digit", arg)
		}
		p.ifp.Groups = append(p.ifp.Groups, arg)
		return err
	case "vlan", "vlandev", "vlanproto", "vlanpcp", "vnetid", "parent":
		return p.vlan(word)
	case "media":
		arg, err := p.argument(word)
		p.media().Subtype = arg
		return err
	case "mediaopt", "-mediaopt":
		return p.mediaOption(word)
	case "mode", "instance":
		arg, err := p.argument(word)
		p.warn("%s: %s %s has no effect: the link is as ethtool set it", p.ifp.Name, word, arg)
		return err
	default:
		return p.address(word)
	}
	return nil
}

func (p *ifconfigParser) media() *ifapi.MediaRequest {
	if p.ifp.Media == nil {
		p.ifp.Media = &ifapi.MediaRequest{}
	}
	return p.ifp.Media
}

func (p *ifconfigParser) mediaOption(word string) error {
	arg, err := p.argument(word)
	if err != nil {
		return err
	}
	full := arg == "full-duplex"
	if !full && arg != "half-duplex" {
		return fmt.Errorf("unknown Ethernet media option: %s", arg)
	}
	full = full == (word == "mediaopt")
	p.media().Full = &full
	return nil
}

func (p *ifconfigParser) lladdr(word string) error {
	arg, err := p.argument(word)
	if err != nil {
		return err
	}
	if arg == "random" {
		return fmt.Errorf("%s random: give the address", word)
	}
	mac, err := net.ParseMAC(arg)
	if err != nil || len(mac) != 6 {
		return fmt.Errorf("%s: malformed link-level address", arg)
	}
	p.ifp.Lladdr = mac.String()
	return nil
}

func (p *ifconfigParser) vlan(word string) error {
	if p.ifp.vlan == nil {
		p.ifp.vlan = &Vlan{}
	}
	v := p.ifp.vlan
	var err error
	switch word {
	case "vlan", "vnetid":
		v.ID, err = p.number(word, 1, 4094)
	case "vlandev", "parent":
		v.Parent, err = p.argument(word)
	case "vlanpcp":
		v.Priority, err = p.number(word, 0, 7)
	case "vlanproto":
		v.Protocol, err = p.argument(word)
		switch strings.ToLower(v.Protocol) {
		case "802.1q":
			v.Protocol = "802.1Q"
		case "802.1ad", "qinq":
			v.Protocol = "802.1ad"
		default:
			err = fmt.Errorf("vlanproto %s: want 802.1q or 802.1ad", v.Protocol)
		}
	}
	return err
}

// address takes a bare word: an address, or the far end of the one before.
func (p *ifconfigParser) address(word string) error {
	text, length, cut := strings.Cut(word, "/")
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return fmt.Errorf("%s: bad value", word)
	}
	if zone := ip.Zone(); zone != "" && zone != p.ifp.Name {
		return fmt.Errorf("%s: of another interface", word)
	}
	ip = ip.WithZone("")
	if p.family == "" {
		p.family = "inet"
		if ip.Is6() {
			p.family = "inet6"
		}
	}
	if ip.Is4() != (p.family == "inet") {
		return fmt.Errorf("%s: not an %s address", word, p.family)
	}
	if p.addr != nil && !cut && !p.addr.Peer.IsValid() && p.addr.Prefix.Addr().Is4() == ip.Is4() {
		p.addr.Peer = ip
		if !p.masked {
			p.addr.Prefix = netip.PrefixFrom(p.addr.Prefix.Addr(), ip.BitLen())
		}
		return nil
	}
	bits := defaultLength(ip)
	if cut {
		if bits, err = strconv.Atoi(length); err != nil || bits < 0 || bits > ip.BitLen() {
			return fmt.Errorf("%s: bad prefix length", word)
		}
	}
	p.addr, p.masked = &Address{Prefix: netip.PrefixFrom(ip, bits), Position: p.pos}, cut
	p.ifp.Addresses = append(p.ifp.Addresses, p.addr)
	return nil
}

// defaultLength is the length of an address without one: that of its class.
func defaultLength(ip netip.Addr) int {
	switch first := ip.AsSlice()[0]; {
	case ip.Is6():
		return 64
	case first < 128:
		return 8
	case first < 192:
		return 16
	default:
		return 24
	}
}

func (p *ifconfigParser) length(word string) error {
	arg, err := p.argument(word)
	if err != nil {
		return err
	}
	if p.addr == nil {
		return fmt.Errorf("%s without an address", word)
	}
	bits, ok := maskLength(arg)
	if word == "prefixlen" {
		bits, err = strconv.Atoi(arg)
		ok = err == nil
	}
	ip := p.addr.Prefix.Addr()
	if !ok || bits < 0 || bits > ip.BitLen() || word == "netmask" && ip.Is6() {
		return fmt.Errorf("%s %s: bad value", word, arg)
	}
	p.addr.Prefix, p.masked = netip.PrefixFrom(ip, bits), true
	return nil
}

// maskLength is the length of a netmask, dotted or in hexadecimal.
func maskLength(text string) (int, bool) {
	var mask net.IPMask
	if hex, ok := strings.CutPrefix(strings.ToLower(text), "0x"); ok {
		n, err := strconv.ParseUint(hex, 16, 32)
		if err != nil {
			return 0, false
		}
		mask = net.IPv4Mask(byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	} else {
		ip, err := netip.ParseAddr(text)
		if err != nil || !ip.Is4() {
			return 0, false
		}
		mask = ip.AsSlice()
	}
	ones, bits := mask.Size()
	return ones, bits == 32
}

func (p *ifconfigParser) broadcast() error {
	arg, err := p.argument("broadcast")
	if err != nil {
		return err
	}
	ip, err := netip.ParseAddr(arg)
	if err != nil || !ip.Is4() || p.addr == nil || !p.addr.Prefix.Addr().Is4() {
		return fmt.Errorf("broadcast %s: bad value", arg)
	}
	p.addr.Broadcast = ip
	return nil
}
