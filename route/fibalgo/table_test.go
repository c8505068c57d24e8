package fibalgo

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/gaissmai/bart"
)

// model is a table beside what bart makes of the same routes.
type model struct {
	t      *testing.T
	plan   *Plan
	table  *Table
	bart   *bart.Table[uint32]
	routes []netip.Prefix
	has    map[netip.Prefix]int // index in routes
	full   int
}

func newModel(t *testing.T, plan *Plan) *model {
	return &model{t: t, plan: plan, bart: new(bart.Table[uint32]), has: make(map[netip.Prefix]int)}
}

// build makes the table anew from all routes.
func (m *model) build() {
	for size := m.plan.Size(len(m.routes)); ; size *= 2 {
		table, err := New(m.plan, make([]uint32, size))
		if err != nil {
			m.t.Fatal(err)
		}
		for _, p := range m.routes {
			value, _ := m.bart.Get(p)
			if err = table.Insert(p, value); err != nil {
				break
			}
		}
		if err == nil {
			err = table.Online()
		}
		if err == nil {
			m.table = table
			return
		}
		if !errors.Is(err, ErrFull) {
			m.t.Fatal(err)
		}
	}
}

func (m *model) change(err error) {
	if errors.Is(err, ErrFull) {
		m.full++
		m.build()
		return
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *model) insert(p netip.Prefix, value uint32) {
	if _, ok := m.has[p]; !ok {
		m.has[p] = len(m.routes)
		m.routes = append(m.routes, p)
	}
	m.bart.Insert(p, value)
	if m.table != nil {
		m.change(m.table.Insert(p, value))
	}
}

func (m *model) delete(p netip.Prefix) {
	i, ok := m.has[p]
	if !ok {
		return
	}
	last := m.routes[len(m.routes)-1]
	m.routes[i] = last
	m.has[last] = i
	m.routes = m.routes[:len(m.routes)-1]
	delete(m.has, p)
	m.bart.Delete(p)
	parent, value, ok := m.bart.LookupPrefixLPM(p)
	bits := 0
	if ok {
		bits = parent.Bits()
	}
	m.change(m.table.Delete(p, bits, value))
}

// batch makes changes at once; deletions have their covers as they are at the end.
func (m *model) batch(changes []netip.Prefix, r *rand.Rand) {
	var deleted []netip.Prefix
	m.table.Begin()
	for _, p := range changes {
		if i, ok := m.has[p]; ok {
			last := m.routes[len(m.routes)-1]
			m.routes[i], m.has[last] = last, i
			m.routes = m.routes[:len(m.routes)-1]
			delete(m.has, p)
			m.bart.Delete(p)
			deleted = append(deleted, p)
			continue
		}
		if slices.Contains(deleted, p) {
			continue
		}
		value := 1 + r.Uint32N(8)
		m.has[p] = len(m.routes)
		m.routes = append(m.routes, p)
		m.bart.Insert(p, value)
		_ = m.table.Insert(p, value) // End fails if it does
	}
	for _, p := range deleted {
		parent, value, ok := m.bart.LookupPrefixLPM(p)
		bits := 0
		if ok {
			bits = parent.Bits()
		}
		_ = m.table.Delete(p, bits, value)
	}
	m.change(m.table.End())
}

func (m *model) check(addr netip.Addr) {
	want, _ := m.bart.Lookup(addr)
	if got := m.table.Lookup(addr); got != want {
		p, _, _ := m.bart.LookupPrefixLPM(netip.PrefixFrom(addr, addr.BitLen()))
		m.t.Fatalf("%s: %s leads to %d, want %d by %s", m.plan.Name, addr, got, want, p)
	}
}

// randomAddr returns an address that is like those of the routes, half of the time.
func (m *model) randomAddr(r *rand.Rand) netip.Addr {
	if len(m.routes) > 0 && r.IntN(4) > 0 {
		p := m.routes[r.IntN(len(m.routes))]
		return scatter(r, p.Addr(), p.Bits())
	}
	return randomAddr(r, m.plan.inet)
}

// scatter sets the bits of an address behind a prefix, and at times one before.
func scatter(r *rand.Rand, a netip.Addr, bits int) netip.Addr {
	b := a.AsSlice()
	for i := range b {
		mask := byte(0xff)
		if i*8 < bits {
			mask = byte(0xff >> min(8, bits-i*8))
		}
		b[i] |= byte(r.Uint32()) & mask
	}
	if r.IntN(8) == 0 {
		at := r.IntN(len(b) * 8)
		b[at/8] ^= 0x80 >> (at % 8)
	}
	addr, _ := netip.AddrFromSlice(b)
	return addr
}

func randomAddr(r *rand.Rand, inet bool) netip.Addr {
	if inet {
		return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, r.Uint32())))
	}
	b := binary.BigEndian.AppendUint64(nil, r.Uint64())
	b = binary.BigEndian.AppendUint64(b, r.Uint64())
	b[0] = 0x20 | b[0]&0x1f
	if r.IntN(2) == 0 {
		b[1] = 1
	}
	return netip.AddrFrom16([16]byte(b))
}

// randomPrefix is of any length, near another one half of the time.
func (m *model) randomPrefix(r *rand.Rand) netip.Prefix {
	bits := 1 + r.IntN(128)
	if m.plan.inet {
		bits = 1 + r.IntN(32)
	}
	p, err := m.randomAddr(r).Prefix(bits)
	if err != nil {
		m.t.Fatal(err)
	}
	return p
}

var plans = []*Plan{DXR, DIR24_8, DXR6, MTrie6}

// Random prefixes of every length, nested and changing all the time, and after
// each change addresses at random and at the edges of it.
func TestChurn(t *testing.T) {
	for _, plan := range plans {
		t.Run(plan.Name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			m := newModel(t, plan)
			for range 300 {
				m.insert(m.randomPrefix(r), 1+r.Uint32N(60000))
			}
			m.build()
			changes := 20000
			if plan == DIR24_8 {
				changes = 500 // each of a short prefix writes millions of words
			}
			for i := range changes {
				var p netip.Prefix
				if r.IntN(2) == 0 && len(m.routes) > 100 {
					p = m.routes[r.IntN(len(m.routes))]
					m.delete(p)
				} else {
					p = m.randomPrefix(r)
					m.insert(p, 1+r.Uint32N(8))
				}
				m.check(p.Addr())
				for range 10 {
					m.check(scatter(r, p.Addr(), p.Bits()))
					m.check(m.randomAddr(r))
				}
				if i%97 == 0 && m.table.Rest() {
					m.table.Free()
				}
			}
			for len(m.routes) > 0 {
				m.delete(m.routes[r.IntN(len(m.routes))])
				m.check(m.randomAddr(r))
			}
			if m.table.Rest() {
				m.table.Free()
			}
			if used := m.table.Used(); used != 1<<plan.levels[0].bits {
				t.Errorf("an empty table uses %d words", used)
			}
		})
	}
}

var full = flag.Bool("full", false, "test tables of a million routes")

// Batches that change neighbours, parents and children together.
func TestBatch(t *testing.T) {
	for _, plan := range plans {
		t.Run(plan.Name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(9, 10))
			m := newModel(t, plan)
			for range 50 {
				m.insert(m.randomPrefix(r), 1+r.Uint32N(8))
			}
			m.build()
			batches := 1500
			if plan == DIR24_8 {
				batches = 60
			}
			for range batches {
				var changes []netip.Prefix
				for range 1 + r.IntN(20) {
					p := m.randomPrefix(r)
					if len(m.routes) > 200 || r.IntN(3) == 0 && len(m.routes) > 0 {
						p = m.routes[r.IntN(len(m.routes))]
					}
					if !slices.Contains(changes, p) {
						changes = append(changes, p)
					}
				}
				m.batch(changes, r)
				for _, p := range changes {
					for range 4 {
						m.check(scatter(r, p.Addr(), p.Bits()))
						m.check(m.randomAddr(r))
					}
				}
				if m.table.Rest() {
					m.table.Free()
				}
			}
		})
	}
}

// A table as large as the Internet's, under churn: millions of addresses.
func TestFullTable(t *testing.T) {
	for _, plan := range plans {
		t.Run(plan.Name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(3, 4))
			m := newModel(t, plan)
			n, churn, addrs := 1_000_000, 100_000, 4_000_000
			if !plan.inet {
				n = 200_000
			}
			if !*full {
				n, churn, addrs = n/10, churn/20, addrs/20
			}
			for _, p := range Internet(r, n, plan.inet) {
				m.insert(p, 1+r.Uint32N(500))
			}
			m.build()
			for range addrs / 2 {
				m.check(m.randomAddr(r))
			}
			for i := range churn {
				if i%2 == 0 {
					m.delete(m.routes[r.IntN(len(m.routes))])
				} else {
					p := Internet(r, 1, plan.inet)[0]
					m.insert(p, 1+r.Uint32N(500))
				}
				for range addrs / 2 / churn {
					m.check(m.randomAddr(r))
				}
			}
			t.Logf("%d routes in %d KiB, built anew %d times", len(m.routes), m.table.Used()*4>>10, m.full)
		})
	}
}

func BenchmarkBuild(b *testing.B) {
	for _, plan := range plans {
		n := 1_000_000
		if !plan.inet {
			n = 200_000
		}
		routes := Internet(rand.New(rand.NewPCG(3, 4)), n, plan.inet)
		b.Run(fmt.Sprintf("%s/%d", plan.Name, n), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				words := make([]uint32, 2*plan.Size(n))
				b.StartTimer()
				table, err := New(plan, words)
				if err != nil {
					b.Fatal(err)
				}
				for i, p := range routes {
					if err := table.Insert(p, uint32(1+i%500)); err != nil {
						b.Fatal(err)
					}
				}
				if err := table.Online(); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(table.Used()*4>>20), "MiB")
			}
		})
	}
}
