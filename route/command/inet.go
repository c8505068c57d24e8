package command

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"

	"github.com/bsdnet/bsdnet/route/api"
)

// inetAton reads an IPv4 address as inet_aton(3) does: one to four parts in
// decimal, octal (0...) or hexadecimal (0x...), of which the last fills the
// octets that are left, so that 128.32 is 128.0.0.32.
func inetAton(s string) (netip.Addr, bool) {
	parts, ok := inetParts(s)
	if !ok {
		return netip.Addr{}, false
	}
	var value uint64
	last := len(parts) - 1
	for i, part := range parts {
		if i < last {
			if part > 0xff {
				return netip.Addr{}, false
			}
			value |= part << (24 - 8*i)
			continue
		}
		if part > 0xffffffff>>(8*i) {
			return netip.Addr{}, false
		}
		value |= part
	}
	return addr4(uint32(value)), true
}

// inetNetwork reads an IPv4 network as inet_network(3) does, and moves it to
// the left as route(8) does: 128.32 is 128.32.0.0.
func inetNetwork(s string) (netip.Addr, bool) {
	parts, ok := inetParts(s)
	if !ok {
		return netip.Addr{}, false
	}
	var value uint64
	for i, part := range parts {
		if part > 0xff {
			return netip.Addr{}, false
		}
		value |= part << (24 - 8*i)
	}
	return addr4(uint32(value)), true
}

func inetParts(s string) ([]uint64, bool) {
	words := strings.Split(s, ".")
	if len(words) > 4 {
		return nil, false
	}
	parts := make([]uint64, len(words))
	for i, word := range words {
		if word == "" || word[0] < '0' || word[0] > '9' || strings.Contains(word, "_") ||
			strings.HasPrefix(word, "0b") || strings.HasPrefix(word, "0B") ||
			strings.HasPrefix(word, "0o") || strings.HasPrefix(word, "0O") {
			return nil, false
		}
		part, err := strconv.ParseUint(word, 0, 32)
		if err != nil {
			return nil, false
		}
		parts[i] = part
	}
	return parts, true
}

func addr4(value uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], value)
	return netip.AddrFrom4(b)
}

func value4(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

// hostPart returns the part of an address that its class leaves to the host,
// as inet_lnaof(3) does.
func hostPart(a netip.Addr) uint32 {
	value := value4(a)
	switch {
	case value>>31 == 0:
		return value & 0xffffff
	case value>>30 == 2:
		return value & 0xffff
	}
	return value & 0xff
}

// octetBits guesses the length of a network from its octets that are 0 at
// the end.
func octetBits(a netip.Addr) int {
	value, bits := value4(a), 32
	if value == 0 {
		return 0
	}
	for value&0xff == 0 {
		value >>= 8
		bits -= 8
	}
	return bits
}

// setDst reads the destination. Whether it is a host or a network follows
// from how it is written, unless -host or -net says so.
func (p *routeParser) setDst(arg string) error {
	p.haveDst = true
	p.cmd.dest = arg
	if arg == "default" {
		p.dst, p.bits, p.isHost = unspecified(p.family), 0, false
		return nil
	}
	base, length, cut := strings.Cut(arg, "/")
	if p.family == api.Inet6 {
		return p.setDst6(base, length, cut)
	}
	if cut {
		if network, ok := inetNetwork(base); ok {
			bits, err := strconv.ParseUint(length, 0, 32)
			if err != nil || bits > 32 {
				return badRoute(exitUsage, "%s: invalid prefixlen", length)
			}
			if bits == 0 && value4(network) != 0 {
				bits = uint64(octetBits(network))
			}
			p.dst, p.bits, p.isHost = network, int(bits), false
			return nil
		}
	}
	if !p.forceNet {
		if a, ok := inetAton(arg); ok {
			p.dst = a
			if p.forceHst || hostPart(a) != 0 {
				p.isHost = true
				return nil
			}
			p.bits = octetBits(a)
			return nil
		}
	}
	if !p.forceHst {
		if network, ok := inetNetwork(arg); ok {
			p.dst, p.bits = network, octetBits(network)
			return nil
		}
	}
	if addrs := p.env.host(arg, api.Inet); len(addrs) > 0 {
		p.dst, p.isHost = addrs[0], true
		return nil
	}
	return badRoute(exitNohost, "bad address: %s", arg)
}

func (p *routeParser) setDst6(base, length string, cut bool) error {
	a, _, err := p.address(base)
	if err != nil {
		return err
	}
	p.dst = a
	switch {
	case cut:
		bits, err := strconv.Atoi(length)
		if err != nil || bits < 0 || bits > 128 {
			return badRoute(exitUsage, "%s: invalid prefixlen", length)
		}
		p.bits, p.isHost = bits, bits == 128
	case a == netip.IPv6Unspecified():
		p.bits = 0
	default:
		p.isHost = true
	}
	return nil
}
