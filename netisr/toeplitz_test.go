package netisr_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/bsdnet/bsdnet/netisr"
)

// toeplitzOracle is the definition of the Toeplitz hash, a bit at a time.
func toeplitzOracle(input []byte) uint16 {
	key := func(bit int) uint32 { return uint32([2]byte{0x6d, 0x5a}[bit/8%2]>>(7-bit%8)) & 1 }
	var hash uint32
	for bit := range len(input) * 8 {
		if input[bit/8]&(0x80>>(bit%8)) == 0 {
			continue
		}
		window := uint32(0)
		for i := range 32 {
			window = window<<1 | key(bit+i)
		}
		hash ^= window
	}
	return uint16(hash)
}

func fold(input []byte) (sum uint16) {
	for ; len(input) >= 2; input = input[2:] {
		sum ^= binary.BigEndian.Uint16(input)
	}
	return sum
}

// The vectors of DragonFly's toeplitz(9) verification.
func TestToeplitzVectors(t *testing.T) {
	source, destination := [4]byte{66, 9, 149, 187}, [4]byte{161, 142, 100, 80}
	for _, test := range []struct {
		name  string
		proto byte
		want  uint16
	}{{"tcp", 6, 0x9fcc}, {"udp", 17, 0x9fcc}, {"gre-addresses-only", 47, 0x0a59}} {
		there := udpFrame(source, destination, 2794, 1766, 40)[14:]
		back := udpFrame(destination, source, 1766, 2794, 40)[14:]
		for _, packet := range [][]byte{there, back} {
			packet[9] = test.proto
			if got, ok := netisr.FlowHash(packet); !ok || got != test.want {
				t.Errorf("%s: %#04x, %v, want %#04x", test.name, got, ok, test.want)
			}
		}
	}
}

func TestToeplitzIsTheDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		input := rapid.SliceOfN(rapid.Byte(), 0, 36).Draw(t, "input")
		input = input[:len(input)&^1]
		if got, want := netisr.ToeplitzHash(fold(input)), toeplitzOracle(input); got != want {
			t.Fatalf("%x: %#04x, want %#04x", input, got, want)
		}
	})
}

func TestFlowHashInput(t *testing.T) {
	base := udpFrame([4]byte{10, 0, 0, 1}, [4]byte{10, 0, 1, 1}, 1000, 2000, 40)[14:]
	addresses := fold(base[12:20])
	ports := addresses ^ 1000 ^ 2000
	ipv6 := make([]byte, 60)
	ipv6[0], ipv6[6], ipv6[8], ipv6[24], ipv6[41], ipv6[43] = 0x60, 17, 0x20, 0x20, 7, 9
	for _, test := range []struct {
		name   string
		change func(p []byte) []byte
		fold   uint16
		ok     bool
	}{
		{"udp", func(p []byte) []byte { return p }, ports, true},
		{"dont-fragment", func(p []byte) []byte { p[6] = 0x40; return p }, ports, true},
		{"first-fragment", func(p []byte) []byte { p[6] = 0x20; return p }, addresses, true},
		{"later-fragment", func(p []byte) []byte { p[7] = 1; return p }, addresses, true},
		{"multicast", func(p []byte) []byte { p[16] = 224; return p }, addresses ^ 10<<8 ^ 224<<8, true},
		{"ports-cut-off", func(p []byte) []byte { return p[:22] }, addresses, true},
		{"options-cut-off", func(p []byte) []byte { p[0] = 0x4f; return p }, addresses, true},
		{"bad-header-length", func(p []byte) []byte { p[0] = 0x41; return p }, addresses, true},
		{"short", func(p []byte) []byte { return p[:19] }, 0, false},
		{"version-5", func(p []byte) []byte { p[0] = 0x55; return p }, 0, false},
		{"ipv6", func([]byte) []byte { return ipv6 }, 7 ^ 9, true},
		{"ipv6-short", func([]byte) []byte { return ipv6[:39] }, 0, false},
		{"ipv6-multicast", func([]byte) []byte { p := append([]byte(nil), ipv6...); p[24] = 0xff; return p }, 0xdf00, true},
	} {
		packet := test.change(append([]byte(nil), base...))
		got, ok := netisr.FlowHash(packet)
		if ok != test.ok || ok && got != netisr.ToeplitzHash(test.fold) {
			t.Errorf("%s: %#04x, %v, want the hash of %#04x, %v", test.name, got, ok, test.fold, test.ok)
		}
	}
}

func TestFlowHashSpreads(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, threads := range []int{2, 3, 4, 8} {
		counts := make([]int, threads)
		const flows = 10000
		for range flows {
			addrs := random.Uint64()
			packet := udpFrame([4]byte{10, byte(addrs), byte(addrs >> 8), byte(addrs >> 16)},
				[4]byte{192, 168, byte(addrs >> 24), byte(addrs >> 32)}, uint16(addrs>>40), uint16(random.Uint32()), 40)[14:]
			hash, _ := netisr.FlowHash(packet)
			counts[int(hash&127)%threads]++
		}
		for id, count := range counts {
			if share := float64(count) * float64(threads) / flows; share < 0.8 || share > 1.2 {
				t.Errorf("thread %d of %d gets %.2f of its share", id, threads, share)
			}
		}
	}
}

func FuzzFlowHash(f *testing.F) {
	f.Add(udpFrame([4]byte{10, 0, 0, 1}, [4]byte{10, 0, 1, 1}, 1000, 2000, 40)[14:])
	f.Fuzz(func(t *testing.T, packet []byte) {
		before := string(packet)
		if hash, ok := netisr.FlowHash(packet); !ok && hash != 0 {
			t.Fatal("hash without ok")
		}
		if string(packet) != before {
			t.Fatal("packet changed")
		}
	})
}
