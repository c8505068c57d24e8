package bench

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
)

// Filter is one rule of a ClassBench set.
type Filter struct {
	Src, Dst     netip.Prefix
	Sport, Dport [2]uint16
	Proto        uint8 // 0: any
	Pass, Quick  bool  // ours: ClassBench has no verdicts
}

// ReadClassBench reads a compressed set. Verdicts and quick are given to the
// rules by a fixed seed, so that last-match order counts.
func ReadClassBench(path string) ([]Filter, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return parseClassBench(unzipped)
}

func parseClassBench(r io.Reader) ([]Filter, error) {
	random := rand.New(rand.NewPCG(7, 11))
	var filters []Filter
	scanner := bufio.NewScanner(r)
	for scanner.Scan() {
		line := strings.TrimPrefix(strings.TrimSpace(scanner.Text()), "@")
		if line == "" {
			continue
		}
		var src, dst, proto string
		var f Filter
		if _, err := fmt.Sscanf(line, "%s %s %d : %d %d : %d %s", &src, &dst, &f.Sport[0], &f.Sport[1], &f.Dport[0], &f.Dport[1], &proto); err != nil {
			return nil, fmt.Errorf("rule %q: %w", line, err)
		}
		var err error
		if f.Src, err = netip.ParsePrefix(src); err != nil {
			return nil, err
		}
		if f.Dst, err = netip.ParsePrefix(dst); err != nil {
			return nil, err
		}
		f.Src, f.Dst = f.Src.Masked(), f.Dst.Masked()
		var value, mask uint8
		if _, err := fmt.Sscanf(proto, "0x%x/0x%x", &value, &mask); err != nil {
			return nil, fmt.Errorf("rule %q: %w", line, err)
		}
		if mask != 0 {
			f.Proto = value
		}
		f.Pass, f.Quick = random.IntN(2) == 0, random.IntN(2) == 0
		filters = append(filters, f)
	}
	return filters, scanner.Err()
}

// hasPorts reports whether the rule asks for ports, which pf has for TCP and
// UDP alone.
func (f *Filter) hasPorts() bool {
	all := [2]uint16{0, 65535}
	return (f.Proto == 6 || f.Proto == 17) && (f.Sport != all || f.Dport != all)
}

// Multiply makes a set of so many times as many rules, each copy among other
// addresses.
func Multiply(filters []Filter, times int) []Filter {
	out := make([]Filter, 0, len(filters)*times)
	move := func(p netip.Prefix, by byte) netip.Prefix {
		a := p.Addr().As4()
		if p.Bits() >= 16 {
			a[1] ^= by
		}
		return netip.PrefixFrom(netip.AddrFrom4(a), p.Bits())
	}
	for i := range times {
		for _, f := range filters {
			f.Src, f.Dst = move(f.Src, byte(i*23)), move(f.Dst, byte(i*23))
			out = append(out, f)
		}
	}
	return out
}

// inet6 is a prefix of IPv4 within fd00::/32, and what is everything stays so.
func inet6(p netip.Prefix) string {
	if p.Bits() == 0 {
		return "any"
	}
	return netip.PrefixFrom(netip.AddrFrom16(address6(p.Addr().As4())), 32+p.Bits()).Masked().String()
}

func address6(a [4]byte) [16]byte {
	return [16]byte{0: 0xfd, 4: a[0], 5: a[1], 6: a[2], 7: a[3], 15: 1}
}

// PFConf writes the rules as pf.conf. They keep no state, so that each packet
// is judged by the rules. With six, they are the same for IPv6.
func PFConf(filters []Filter, six bool) string {
	var b strings.Builder
	b.WriteString("set ruleset-optimization none\n")
	for _, f := range filters {
		verb, end := "block drop", "\n"
		if f.Pass {
			verb, end = "pass", " no state\n"
		}
		b.WriteString(verb + " in")
		if f.Quick {
			b.WriteString(" quick")
		}
		src, dst := f.Src.String(), f.Dst.String()
		if six {
			src, dst = inet6(f.Src), inet6(f.Dst)
			b.WriteString(" inet6")
		} else {
			b.WriteString(" inet")
		}
		if f.Proto != 0 {
			fmt.Fprintf(&b, " proto %d", f.Proto)
		}
		b.WriteString(" from " + src)
		if f.hasPorts() {
			fmt.Fprintf(&b, " port %d:%d", f.Sport[0], f.Sport[1])
		}
		b.WriteString(" to " + dst)
		if f.hasPorts() {
			fmt.Fprintf(&b, " port %d:%d", f.Dport[0], f.Dport[1])
		}
		b.WriteString(end)
	}
	return b.String()
}

// Key is what rules look at in a packet.
type Key struct {
	Src, Dst     [4]byte
	Sport, Dport uint16
	Proto        uint8
}

// Verdict walks the rules one by one: the first quick match, else the last
// match, else pass.
func Verdict(filters []Filter, k Key) bool {
	pass := true
	src, dst := netip.AddrFrom4(k.Src), netip.AddrFrom4(k.Dst)
	for i := range filters {
		f := &filters[i]
		if f.Proto != 0 && f.Proto != k.Proto || !f.Src.Contains(src) || !f.Dst.Contains(dst) {
			continue
		}
		if f.hasPorts() && (k.Sport < f.Sport[0] || k.Sport > f.Sport[1] || k.Dport < f.Dport[0] || k.Dport > f.Dport[1]) {
			continue
		}
		pass = f.Pass
		if f.Quick {
			return pass
		}
	}
	return pass
}

// Trace draws packets from the corners of the rules, so that rules do match.
func Trace(filters []Filter, n int) []Key {
	random := rand.New(rand.NewPCG(3, 5))
	keys := make([]Key, 0, n)
	for len(keys) < n {
		f := &filters[random.IntN(len(filters))]
		k := Key{Src: corner(random, f.Src), Dst: corner(random, f.Dst), Proto: f.Proto}
		if k.Proto == 0 {
			k.Proto = []uint8{6, 17, 47}[random.IntN(3)]
		}
		k.Sport, k.Dport = edge(random, f.Sport), edge(random, f.Dport)
		// What the checks of the header would drop before the rules is of no use.
		if k.Src[0] == 0 || k.Src[0] == 127 || k.Src[0] >= 224 || k.Dst[0] == 0 || k.Dst[0] == 127 || k.Dst[0] >= 224 ||
			k.Src[0] == 169 && k.Src[1] == 254 || k.Dst[0] == 169 && k.Dst[1] == 254 || k.Dport == 0 {
			continue
		}
		keys = append(keys, k)
	}
	return keys
}

// corner is the first, the last or some address of a prefix.
func corner(random *rand.Rand, p netip.Prefix) [4]byte {
	a := p.Addr().As4()
	kind := random.IntN(3)
	for bit := p.Bits(); bit < 32; bit++ {
		if kind == 1 || kind == 2 && random.IntN(2) == 1 {
			a[bit/8] |= 1 << (7 - bit%8)
		}
	}
	return a
}

func edge(random *rand.Rand, r [2]uint16) uint16 {
	switch random.IntN(3) {
	case 0:
		return r[0]
	case 1:
		return r[1]
	}
	return r[0] + uint16(random.IntN(int(r[1]-r[0])+1))
}
