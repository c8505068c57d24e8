package conf

import (
	"net/netip"
	"strconv"
	"strings"
)

// host is an address as written in a rule, before expansion.
type host struct {
	addr   Addr
	not    bool
	family AddressFamily // unspecified for dynamic ones, tables and words
	// mask is the prefix length asked for, which may be too long for IPv4; the
	// error is reported when the rule expands.
	mask int
	// scope is the interface of a link-local address.
	scope string
	// ifname is the outgoing interface of route-to and its like.
	ifname string
	weight uint16
}

// prefixHost is the host of an address; bits may exceed those of IPv4.
func prefixHost(ip netip.Addr, bits int) host {
	h := host{family: family(ip), mask: bits, scope: ip.Zone()}
	h.addr = prefixAddr(ip, min(bits, ip.BitLen()))
	return h
}

// withMask applies another prefix length to an address.
func (h host) withMask(ip netip.Addr, bits int) host {
	n := prefixHost(ip, bits)
	n.not, n.scope, n.ifname, n.weight = h.not, h.scope, h.ifname, h.weight
	return n
}

// resolver finds the addresses of names.
type resolver struct {
	cfg *Config
	// complain gets the messages that pfctl writes without a line.
	complain func(string)
}

// host finds what an address, network, interface or host name stands for; no
// hosts mean that a message was given.
func (r *resolver) host(s string) []host {
	if h, ok := plainHost(s); ok {
		return []host{h}
	}
	if r.cfg.Dialect == OpenBSD {
		return r.hostOpenBSD(s)
	}
	return r.hostFreeBSD(s)
}

// plainHost is the quick way for complete addresses, which are most of them.
func plainHost(s string) (host, bool) {
	addr, mask, found := strings.Cut(s, "/")
	ip, err := netip.ParseAddr(addr)
	if err != nil || ip.Zone() != "" {
		return host{}, false
	}
	bits := ip.BitLen()
	if found {
		n, err := strconv.ParseUint(mask, 10, 8)
		if err != nil || int(n) > bits || mask[0] == '0' && len(mask) > 1 {
			return host{}, false
		}
		bits = int(n)
	}
	return prefixHost(ip, bits), true
}

func (r *resolver) hostOpenBSD(s string) []host {
	name, maskText, found := strings.Cut(s, "/")
	mask := -1
	if found {
		n, reason := strtonum(maskText, 0, 128)
		if reason != "" {
			r.complain("netmask is " + reason + ": /" + maskText)
			return nil
		}
		mask = int(n)
	}
	hosts := r.hostInterface(name, mask)
	if hosts == nil {
		if ip, ok := r.parseIP(name); ok {
			if mask == -1 {
				mask = ip.BitLen()
			}
			return []host{prefixHost(ip, mask)}
		}
		if ip, ok := shortIPv4(name); ok && mask != -1 {
			return []host{prefixHost(ip, mask)}
		}
		hosts = r.hostName(name, mask)
	}
	if hosts == nil {
		r.complain("no IP address found for " + s)
	}
	return hosts
}

func (r *resolver) hostFreeBSD(s string) []host {
	name, mask := s, -1
	if i := strings.LastIndexByte(s, '/'); i >= 0 {
		n, err := strconv.ParseInt(s[i+1:], 0, 64)
		if err != nil || n > 128 || n < 0 {
			r.complain("invalid netmask '" + s[i:] + "'")
			return nil
		}
		name, mask = s[:i], int(n)
	}
	if mask == -1 || mask <= 32 {
		ip, ok := netip.Addr{}, false
		if mask == -1 {
			if p, err := netip.ParseAddr(name); err == nil && p.Is4() {
				ip, ok = p, true
			}
		} else {
			ip, ok = shortIPv4(name)
		}
		if ok {
			if mask == -1 {
				mask = 32
			}
			return []host{prefixHost(ip, mask)}
		}
	}
	if ip, ok := r.parseIP(name); ok && ip.Is6() {
		if mask == -1 {
			mask = 128
		}
		return []host{prefixHost(ip, mask)}
	}
	hosts := r.hostInterface(name, mask)
	if hosts == nil {
		hosts = r.hostName(name, mask)
	}
	if hosts == nil {
		r.complain("no IP address found for " + s)
	}
	return hosts
}

// parseIP reads a complete address; the scope of a link-local one must exist.
func (r *resolver) parseIP(s string) (netip.Addr, bool) {
	ip, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}, false
	}
	if zone := ip.Zone(); zone != "" && r.cfg.Interfaces.find(zone) == nil {
		return netip.Addr{}, false
	}
	return ip, true
}

// shortIPv4 reads one to four octets, as in 10/8.
func shortIPv4(s string) (netip.Addr, bool) {
	var b [4]byte
	fields := strings.Split(s, ".")
	if len(fields) > 4 {
		return netip.Addr{}, false
	}
	for i, f := range fields {
		n, err := strconv.ParseUint(f, 10, 8)
		if err != nil {
			return netip.Addr{}, false
		}
		b[i] = byte(n)
	}
	return netip.AddrFrom4(b), true
}

// hostInterface reads "em0:network" and the like.
func (r *resolver) hostInterface(name string, mask int) []host {
	name, mods, ok := cutModifiers(name)
	if !ok {
		return nil
	}
	if mods&(mods-1)&modExclusive != 0 {
		r.complain("illegal combination of interface modifiers")
		return nil
	}
	if mods&(ModNetwork|ModBroadcast) != 0 && mask > -1 {
		r.complain("network or broadcast lookup, but extra netmask given")
		return nil
	}
	t := r.cfg.Interfaces
	if name != "self" && !t.exists(name) {
		return nil
	}
	hosts := t.lookup(name, mods, r.cfg.Dialect)
	if mask > -1 {
		for i, h := range hosts {
			if h.addr.Kind == AddrPrefix {
				hosts[i] = h.withMask(h.addr.IP, mask)
			}
		}
	}
	return hosts
}

// cutModifiers splits the modifiers from an interface name. It reports false
// for a word after a colon that is none.
func cutModifiers(s string) (string, Modifier, bool) {
	var mods Modifier
	for {
		i := strings.LastIndexByte(s, ':')
		if i < 0 {
			return s, mods, true
		}
		switch s[i+1:] {
		case "network":
			mods |= ModNetwork
		case "broadcast":
			mods |= ModBroadcast
		case "peer":
			mods |= ModPeer
		case "0":
			mods |= ModNoAlias
		default:
			return s, mods, false
		}
		s = s[:i]
	}
}

// localhost is what "localhost" is on every BSD.
var localhost = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}

// hostName resolves a host name; ":0" takes one address of each family.
func (r *resolver) hostName(name string, mask int) []host {
	name, noAlias := strings.CutSuffix(name, ":0")
	if name == "" {
		return nil
	}
	addrs := localhost
	if name != "localhost" {
		if r.cfg.Resolve == nil {
			return nil
		}
		var err error
		if addrs, err = r.cfg.Resolve(name); err != nil {
			return nil
		}
	}
	var hosts []host
	var got4, got6 bool
	for _, ip := range addrs {
		ip = ip.Unmap()
		got := &got6
		if ip.Is4() {
			got = &got4
		}
		if noAlias && *got {
			continue
		}
		*got = true
		bits := mask
		if bits == -1 {
			bits = ip.BitLen()
		}
		hosts = append(hosts, prefixHost(ip, bits))
	}
	return hosts
}

// strtonum reads a decimal number as strtonum(3): the reason is "invalid", "too
// small" or "too large".
func strtonum(s string, low, high int64) (n int64, reason string) {
	n, err := strconv.ParseInt(strings.TrimLeft(s, " \t\n"), 10, 64)
	switch {
	case err != nil && !isRangeError(err):
		return 0, "invalid"
	case n < low:
		return 0, "too small"
	case n > high:
		return 0, "too large"
	}
	return n, ""
}

func isRangeError(err error) bool {
	e, ok := err.(*strconv.NumError)
	return ok && e.Err == strconv.ErrRange
}

// number reads a number as strtoul(3) with base 0 does: decimal, 0x hexadecimal
// or 0 octal.
func parseNumber(s string) (uint64, bool) {
	s = strings.TrimLeft(s, " \t\n")
	s = strings.TrimPrefix(s, "+")
	if strings.ContainsRune(s, '_') || strings.HasPrefix(s, "0b") || strings.HasPrefix(s, "0o") ||
		strings.HasPrefix(s, "0B") || strings.HasPrefix(s, "0O") {
		return 0, false
	}
	if len(s) > 1 && s[0] == '-' && isDigit(int(s[1])) {
		n, err := strconv.ParseUint(s[1:], 0, 64)
		return -n, err == nil
	}
	n, err := strconv.ParseUint(s, 0, 64)
	return n, err == nil
}
