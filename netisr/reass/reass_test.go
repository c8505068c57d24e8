package reass

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

var (
	src4, dst4 = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	src6, dst6 = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
)

func piece(six bool, id uint32, payload []byte, from, to int) Fragment {
	f := Fragment{Key: Key{Src: src4, Dst: dst4, ID: id, Protocol: 17}, Header: make([]byte, 20),
		Offset: from, More: to < len(payload), Data: payload[from:to], Link: make([]byte, 14)}
	if six {
		f.Key = Key{Src: src6, Dst: dst6, ID: id}
		f.Header = make([]byte, 40)
	}
	return f
}

// model is the same in the plainest way: for each byte, where the fragment
// begins that it is of. A fragment keeps its bytes from those that begin behind
// it or with it.
type model struct {
	owner [MaxPacket + 1]int // offset of the fragment, +1
	data  [MaxPacket + 1]byte
}

func (m *model) add(f *Fragment, begin int) {
	for i := begin; i < f.Offset+len(f.Data); i++ {
		m.owner[i], m.data[i] = begin+1, f.Data[i-f.Offset]
	}
	// Of one whose beginning is gone, the rest begins here.
	end := f.Offset + len(f.Data)
	for i := end; m.owner[i] > begin && m.owner[i] <= end; i++ {
		m.owner[i] = end + 1
	}
}

// TestRandom cuts packets at random, with overlaps that disagree on their
// bytes, and compares with the model.
func TestRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 400 {
		size := 1 + r.IntN(2000)
		payload := make([]byte, size)
		table := New(1000, time.Minute)
		var m model
		var whole *Packet
		covered := func() bool {
			for i := range size {
				if m.owner[i] == 0 {
					return false
				}
			}
			return true
		}
		for step := 0; whole == nil; step++ {
			if step > 4000 {
				t.Fatalf("round %d: not whole after %d fragments", round, step)
			}
			from := r.IntN(size/8+1) * 8
			to := min(size, from+8*(1+r.IntN(40)))
			if from >= to {
				continue
			}
			for i := from; i < to; i++ {
				payload[i] = byte(r.Uint32())
			}
			f := piece(false, 7, payload, from, to)
			f.Data = bytes.Clone(f.Data)
			// What an earlier fragment has before the beginning stays with it.
			begin := from
			for begin < to && m.owner[begin] != 0 && m.owner[begin]-1 <= from {
				begin++
			}
			var err error
			whole, _, err = table.Add(0, f)
			if begin == to {
				if !errors.Is(err, ErrOverlap) {
					t.Fatalf("round %d: %d to %d: %v, want %v", round, from, to, err, ErrOverlap)
				}
				continue
			}
			if err != nil {
				t.Fatalf("round %d: %d to %d: %v", round, from, to, err)
			}
			m.add(&f, begin)
			if (whole != nil) != covered() {
				t.Fatalf("round %d: whole is %v, want %v", round, whole != nil, covered())
			}
		}
		if !bytes.Equal(whole.Data, m.data[:size]) {
			t.Fatalf("round %d: bytes differ", round)
		}
		if held, _ := table.Held(); held != 0 {
			t.Fatalf("%d fragments held behind a whole packet", held)
		}
	}
}

func TestRefused(t *testing.T) {
	payload := make([]byte, 64)
	for name, tt := range map[string]struct {
		six       bool
		fragments [][2]int
		size      int
		want      error
		lost      int
	}{
		"overlap of IPv6":       {true, [][2]int{{0, 32}, {24, 40}}, 64, ErrOverlap, 2},
		"duplicate in IPv6":     {true, [][2]int{{0, 32}, {0, 32}}, 64, ErrOverlap, 2},
		"duplicate in IPv4":     {false, [][2]int{{0, 32}, {0, 32}}, 64, ErrOverlap, 1},
		"behind the end":        {false, [][2]int{{32, 64}, {64, 72}}, 72, ErrEnd, 2},
		"two ends":              {false, [][2]int{{32, 64}, {16, 48}}, 48, ErrEnd, 2},
		"empty":                 {false, [][2]int{{32, 32}}, 64, ErrEmpty, 1},
		"unaligned in the mid":  {false, [][2]int{{0, 31}}, 64, ErrAlignment, 1},
		"beyond what there is":  {false, [][2]int{{65528, 65536}}, 65536, ErrTooLong, 1},
		"last before the known": {false, [][2]int{{40, 48}, {0, 32}}, 32, ErrEnd, 2},
	} {
		t.Run(name, func(t *testing.T) {
			table := New(100, time.Minute)
			for i, at := range tt.fragments {
				data := make([]byte, max(tt.size, len(payload)))
				f := piece(tt.six, 1, data, at[0], at[1])
				f.More = at[1] < tt.size
				if i < len(tt.fragments)-1 && tt.want == ErrEnd {
					f.More = at[1] < 64
				}
				_, lost, err := table.Add(0, f)
				if i < len(tt.fragments)-1 {
					if err != nil {
						t.Fatal(err)
					}
					continue
				}
				if !errors.Is(err, tt.want) || lost != tt.lost {
					t.Errorf("%v, %d lost, want %v, %d", err, lost, tt.want, tt.lost)
				}
			}
			if held, _ := table.Held(); tt.lost == 2 && held != 0 {
				t.Errorf("%d fragments held", held)
			}
		})
	}
}

// TestBounds wants memory, time and work to be bounded.
func TestBounds(t *testing.T) {
	payload := make([]byte, 64)
	table := New(100, time.Minute)
	for id := range uint32(1000) {
		table.Add(time.Duration(id), piece(false, id, payload, 0, 8))
		if held, _ := table.Held(); held > 100 {
			t.Fatalf("%d fragments held", held)
		}
	}
	if _, expired := table.Held(); expired < 900 {
		t.Errorf("%d flushed", expired)
	}
	if held, _ := table.Held(); held == 0 {
		t.Error("nothing held")
	}
	table.Expire(2 * time.Minute)
	if held, expired := table.Held(); held != 0 || expired != 1000 {
		t.Errorf("%d held, %d dropped", held, expired)
	}
	large := make([]byte, 8000)
	var err error
	for i := 0; i < 200 && err == nil; i++ {
		_, _, err = table.Add(0, piece(false, 1, large, 16*i, 16*i+8))
	}
	if held, _ := table.Held(); !errors.Is(err, ErrMany) || held != regionLimit {
		t.Errorf("%d fragments of one packet held: %v", held, err)
	}
}

// TestHeader wants the header of the first fragment and the length of the
// longest, whatever the order.
func TestHeader(t *testing.T) {
	payload := make([]byte, 100)
	table := New(100, time.Minute)
	last, first := piece(true, 5, payload, 40, 100), piece(true, 5, payload, 0, 40)
	last.Next, first.Next, first.Header[7] = 6, 17, 33
	if whole, _, err := table.Add(0, last); whole != nil || err != nil {
		t.Fatal(whole, err)
	}
	whole, _, err := table.Add(0, first)
	if err != nil || whole == nil {
		t.Fatal(err)
	}
	if whole.Next != 17 || whole.Header[7] != 33 || whole.MaxLength != 48+60 || whole.Fragments != 2 || len(whole.Data) != 100 {
		t.Errorf("%+v", whole)
	}
}

func FuzzAdd(f *testing.F) {
	f.Add([]byte{0, 1, 1, 1, 2, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		table := New(50, 10)
		payload := make([]byte, 4096)
		for i := 0; i+3 <= len(script); i += 3 {
			from, n := int(script[i])*8, int(script[i+1]%64)+1
			fragment := piece(script[i+2]&1 == 1, uint32(script[i+2]>>1&1), payload, from, min(from+n, 4096))
			fragment.More = script[i+2]&4 != 0
			whole, _, err := table.Add(time.Duration(i), fragment)
			if whole != nil && (err != nil || len(whole.Data) == 0) {
				t.Fatal(err)
			}
			held, _ := table.Held()
			total := 0
			for _, q := range table.queues {
				if len(q.entries) == 0 {
					t.Fatal("queue without fragments")
				}
				regions := [16]uint8{}
				for j, e := range q.entries {
					regions[e.offset/regionSize]++
					if j > 0 && q.entries[j-1].end() > e.offset {
						t.Fatal("fragments overlap")
					}
				}
				if regions != q.regions {
					t.Fatal("regions miscounted")
				}
				total += len(q.entries)
			}
			if held != total || held > 50 {
				t.Fatalf("%d held, %d there", held, total)
			}
		}
	})
}
