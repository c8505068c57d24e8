package fibalgo

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
)

// lengthShare is how many of a thousand prefixes of a full table have a length.
type lengthShare struct{ bits, share int }

// Shares as route collectors see them in 2024 and 2025.
var (
	shares4 = []lengthShare{{24, 610}, {23, 95}, {22, 115}, {21, 50}, {20, 45}, {19, 25}, {18, 15}, {17, 10}, {16, 15},
		{15, 3}, {14, 3}, {13, 2}, {12, 2}, {11, 1}, {10, 1}, {32, 3}, {30, 2}, {28, 3}}
	shares6 = []lengthShare{{48, 470}, {32, 110}, {44, 100}, {40, 90}, {36, 70}, {29, 30}, {33, 20}, {34, 20}, {46, 25}, {47, 20},
		{42, 15}, {45, 10}, {38, 10}, {28, 4}, {64, 6}}
)

// Internet makes n different prefixes with the mix of lengths of the Internet's
// table, placed at random: worse for every algorithm than the real one, which
// is full of neighbours. It is for tests and benchmarks.
func Internet(r *rand.Rand, n int, inet bool) []netip.Prefix {
	seen := make(map[netip.Prefix]struct{}, n)
	prefixes := make([]netip.Prefix, 0, n)
	// IPv6 prefixes are those of so many networks that each got a /32.
	networks := max(16, n/8)
	for len(prefixes) < n {
		p := randomInternet(r, inet, networks)
		if _, ok := seen[p]; !ok {
			seen[p] = struct{}{}
			prefixes = append(prefixes, p)
		}
	}
	return prefixes
}

func randomInternet(r *rand.Rand, inet bool, networks int) netip.Prefix {
	if inet {
		// Unicast but for 127/8 and 0/8.
		a := r.Uint32N(223<<24) + 1<<24
		if a>>24 == 127 {
			a ^= 1 << 24
		}
		return netip.PrefixFrom(netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, a))), randomLength(r, shares4)).Masked()
	}
	// 2001::/16, 2400::/12, 2600::/12, 2800::/12, 2a00::/12, 2c00::/12.
	top := []uint32{0x20010000, 0x24000000, 0x26000000, 0x28000000, 0x2a000000, 0x2c000000}
	at := uint32(r.IntN(networks))
	word := top[at%6] | at*0x9e3779b1>>12
	if at%6 == 0 {
		word = top[0] | at*0x9e3779b1>>16
	}
	b := binary.BigEndian.AppendUint64(nil, uint64(word)<<32|uint64(r.Uint32()))
	b = append(b, make([]byte, 8)...)
	return netip.PrefixFrom(netip.AddrFrom16([16]byte(b)), randomLength(r, shares6)).Masked()
}

func randomLength(r *rand.Rand, shares []lengthShare) int {
	sum := 0
	for _, s := range shares {
		sum += s.share
	}
	at := r.IntN(sum)
	for _, s := range shares {
		if at -= s.share; at < 0 {
			return s.bits
		}
	}
	return shares[0].bits
}
