package engine

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/pf/conf"
	"github.com/bsdnet/bsdnet/pf/program"
)

func TestSpans(t *testing.T) {
	for _, c := range []struct{ entries, want string }{
		{"", ""},
		{"192.0.2.1/32", "192.0.2.1-192.0.2.1 "},
		{"10.0.0.0/8 10.1.0.0/16", "10.0.0.0-10.0.255.255 10.1.0.0-10.1.255.255 10.2.0.0-10.255.255.255 "},
		{"10.0.0.0/30 !10.0.0.1/32", "10.0.0.0-10.0.0.0 10.0.0.2-10.0.0.3 "},
		{"!10.0.0.0/30 10.0.0.0/32 10.0.0.3/32", "10.0.0.0-10.0.0.0 10.0.0.3-10.0.0.3 "},
		{"0.0.0.0/0 !255.255.255.255/32", "0.0.0.0-255.255.255.254 "},
		{"0.0.0.0/0 !0.0.0.0/32 ::/0", "0.0.0.1-255.255.255.255 ::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "},
		{"10.0.0.0/24 !10.0.0.128/25 10.0.0.192/26", "10.0.0.0-10.0.0.127 10.0.0.192-10.0.0.255 "},
		{"10.0.0.0/32 2001:db8::/127", "10.0.0.0-10.0.0.0 2001:db8::-2001:db8::1 "},
	} {
		got := ""
		for _, s := range spans(entriesOf(c.entries)) {
			got += s.first.String() + "-" + s.last.String() + " "
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.entries, got, c.want)
		}
	}
}

func entriesOf(text string) map[netip.Prefix]entry {
	entries := make(map[netip.Prefix]entry)
	for _, word := range strings.Fields(text) {
		not := word[0] == '!'
		if not {
			word = word[1:]
		}
		entries[netip.MustParsePrefix(word)] = entry{not: not}
	}
	return entries
}

func TestPoolRanges(t *testing.T) {
	e := &Engine{}
	prefix := func(text string, weight uint16) program.PoolMember {
		return program.PoolMember{Prefix: netip.MustParsePrefix(text), Weight: weight}
	}
	ranges := e.poolRanges(&program.Pool{Members: []program.PoolMember{
		prefix("203.0.113.9/32", 0), prefix("203.0.113.64/26", 2), prefix("2001:db8::/64", 0), prefix("2001:db8:1::/126", 0),
	}})
	var ends [2][]uint64
	for family := range ranges {
		for _, r := range ranges[family] {
			ends[family] = append(ends[family], r.End)
		}
	}
	if len(ends[0]) != 3 || ends[0][0] != 1 || ends[0][1] != 65 || ends[0][2] != 129 {
		t.Errorf("IPv4: %v", ends[0])
	}
	if len(ends[1]) != 2 || ends[1][0] != 1<<40 || ends[1][1] != 1<<40+4 {
		t.Errorf("IPv6: %v", ends[1])
	}
	only6 := e.poolRanges(&program.Pool{Family: conf.Inet6, Members: []program.PoolMember{prefix("203.0.113.9/32", 0)}})
	if len(only6[0])+len(only6[1]) != 0 {
		t.Errorf("IPv4 in a pool for IPv6: %v", only6)
	}
}

// Places do not overlap, and are used again only after a while.
func TestRangeSpace(t *testing.T) {
	now := time.Unix(1000, 0)
	s := newRangeSpace(&bpf.Array[bpf.PFRange]{Values: make([]bpf.PFRange, 10)}, nil)
	s.now = func() time.Time { return now }
	take := func(n int, want uint32) uint64 {
		t.Helper()
		place, err := s.take(make([]bpf.PFRange, n))
		if err != nil || uint32(place) != want || place>>32 != uint64(n) {
			t.Errorf("%d ranges at %#x, %v, want at %d", n, place, err, want)
		}
		return place
	}
	take(3, 0)
	b := take(4, 3)
	take(3, 7)
	if _, err := s.take(make([]bpf.PFRange, 1)); err == nil {
		t.Error("eleven ranges in ten places")
	}
	s.release(b)
	if _, err := s.take(make([]bpf.PFRange, 1)); err == nil {
		t.Error("a place was used again at once")
	}
	now = now.Add(2 * grace)
	take(1, 3)
	take(3, 4)
	adopted := newRangeSpace(s.array, []bpf.PFPool{{Ranges: [2]uint64{2 << 32, 3<<32 | 5}}})
	if place, err := adopted.take(make([]bpf.PFRange, 3)); err != nil || uint32(place) != 2 {
		t.Errorf("next to adopted places: %#x, %v", place, err)
	}
}
