package torture

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// rss is the resident memory of the daemon, in KiB.
func (s *site) rss() (kib int) {
	s.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.daemon()))
	if err != nil {
		s.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
			return kib
		}
	}
	s.Fatal("no VmRSS")
	return 0
}

// transfer keeps a connection full and counts what arrives.
func (s *site) transfer(port int) *atomic.Uint64 {
	client, server := s.connect(port)
	count := &atomic.Uint64{}
	go func() { _, _ = io.Copy(client, endless{}) }()
	go func() {
		buffer := make([]byte, 1<<16)
		for {
			n, err := server.Read(buffer)
			if err != nil {
				return
			}
			count.Add(uint64(n))
		}
	}()
	return count
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// synFrom spoofs and mends the checksum of TCP, which sums the address too.
func synFrom(r *rand.Rand, frame []byte) {
	word := func(at int) uint32 { return uint32(frame[at])<<8 | uint32(frame[at+1]) }
	sum := ^word(50)&0xffff + ^word(26)&0xffff + ^word(28)&0xffff
	spoof(r, frame)
	sum += word(26) + word(28)
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	frame[50], frame[51] = byte(^sum>>8), byte(^sum)
}

func spoof(r *rand.Rand, frame []byte) { // 10/8, which nobody here is
	frame[26], frame[27], frame[28], frame[29] = 10, byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())
	checksum4(frame)
}

// floodKinds are what floods: a frame, and how each copy differs.
func (s *site) floodKinds() map[string]func() ([]byte, func(*rand.Rand, []byte)) {
	header := func(protocol layers.IPProtocol, to string) (*layers.Ethernet, *layers.IPv4) {
		return s.from(layers.EthernetTypeIPv4), ip4(protocol, to)
	}
	return map[string]func() ([]byte, func(*rand.Rand, []byte)){
		"SYN": func() ([]byte, func(*rand.Rand, []byte)) {
			e, ip := header(layers.IPProtocolTCP, "198.51.100.2")
			return layersOf(e, ip, tcp(ip, 80, true)), synFrom
		},
		"UDP": func() ([]byte, func(*rand.Rand, []byte)) {
			e, ip := header(layers.IPProtocolUDP, "198.51.100.2")
			frame := layersOf(e, ip, udp(ip, neither))
			frame[40], frame[41] = 0, 0 // no checksum
			return frame, spoof
		},
		"fragment": func() ([]byte, func(*rand.Rand, []byte)) {
			e, ip := header(layers.IPProtocolUDP, "198.51.100.2")
			ip.Flags = layers.IPv4MoreFragments
			return layersOf(e, ip, gopacket.Payload(make([]byte, 64))), func(r *rand.Rand, f []byte) {
				f[18], f[19] = byte(r.Uint32()), byte(r.Uint32())
				spoof(r, f)
			}
		},
		"ICMP": func() ([]byte, func(*rand.Rand, []byte)) {
			e, ip := header(layers.IPProtocolICMPv4, "192.0.2.1")
			return layersOf(e, ip, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0)}, gopacket.Payload(make([]byte, 56))), spoof
		},
		"ARP": func() ([]byte, func(*rand.Rand, []byte)) {
			e := s.from(layers.EthernetTypeARP)
			arp := &layers.ARP{AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: 1,
				SourceHwAddress: e.SrcMAC, SourceProtAddress: net.IPv4(192, 0, 2, 9).To4(), DstHwAddress: make([]byte, 6), DstProtAddress: net.IPv4(192, 0, 2, 1).To4()}
			return layersOf(e, arp), func(r *rand.Rand, f []byte) { f[31] = byte(16 + r.IntN(200)) }
		},
	}
}

// cpu is how long the daemon has run on all CPUs so far.
func (s *site) cpu() time.Duration {
	s.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.daemon()))
	if err != nil {
		s.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	var user, system int64
	for i, field := range strings.Fields(rest) {
		switch i {
		case 11:
			user, err = strconv.ParseInt(field, 10, 64)
		case 12:
			system, err = strconv.ParseInt(field, 10, 64)
		}
		if err != nil {
			s.Fatal(err)
		}
	}
	const tick = 10 * time.Millisecond // USER_HZ
	return time.Duration(user+system) * tick
}

// commands runs commands that look until the time of a flood is over, and
// returns how long the slowest took.
func (s *site) commands() (slowest time.Duration) {
	for end := time.Now().Add(*floodTime); time.Now().Before(end); {
		for _, args := range [][]string{{"pfctl", "-si"}, {"status"}, {"netstat", "-rn"}} {
			start := time.Now()
			_, _ = s.run(args...) // status may say degraded
			slowest = max(slowest, time.Since(start))
		}
	}
	return slowest
}

// under floods while something runs and returns the frames sent.
func (s *site) under(w *wire, kind func() ([]byte, func(*rand.Rand, []byte)), do func()) uint64 {
	frame, change := kind()
	f := &flood{}
	done := make(chan struct{})
	go func() { f.run(w, frame, change); close(done) }()
	do()
	f.stop.Store(true)
	<-done
	return f.sent.Load()
}

// daemonShare is how much of one CPU the daemon may take in a flood.
const daemonShare = 0.6

// While somebody floods, those who are let in go on, commands answer, and the
// daemon neither grows nor takes the machine.
func TestFlood(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		s.bsdnet("pfctl", "-e", "-f", s.file("set reassemble yes\nset limit states 20000\n"+firstRules))
		rate := s.rates()
		w := s.wire(s.Left)
		time.Sleep(time.Second)
		var calm time.Duration
		alone := rate(func() { calm = s.commands() })
		t.Logf("%s: without a flood: %.0f Mbit/s, slowest command %v", s.mode, alone*8/1e6, calm.Round(time.Millisecond))
		for name, kind := range s.floodKinds() {
			before, start, began := s.rss(), s.cpu(), time.Now()
			var slowest time.Duration
			var sent uint64
			under := rate(func() { sent = s.under(w, kind, func() { slowest = s.commands() }) })
			after, share := s.rss(), (s.cpu()-start).Seconds()/time.Since(began).Seconds()
			t.Logf("%s: %s: %d frames in %v (%.0f kpps): transfer at %.0f %% (%.0f Mbit/s), slowest command %v, daemon %.0f %% of a CPU, %d KiB, %+d",
				s.mode, name, sent, *floodTime, float64(sent)/floodTime.Seconds()/1e3,
				100*under/alone, under*8/1e6, slowest.Round(time.Millisecond), 100*share, after, after-before)
			if slowest > max(time.Second, 5*calm) {
				t.Errorf("%s: a command took %v", name, slowest)
			}
			if after-before > 64<<10 {
				t.Errorf("%s: the daemon grew from %d to %d KiB", name, before, after)
			}
			if share > daemonShare {
				t.Errorf("%s: the daemon took %.0f %% of a CPU, want at most %.0f", name, 100*share, 100*daemonShare)
			}
			if under == 0 {
				t.Errorf("%s: the transfer stands still", name)
			}
		}
	})
}

// What the same floods do to a transfer through Linux without bsdnet, so that
// the share of senders and generator, which have the same CPUs, is known.
func TestFloodLinux(t *testing.T) {
	s := newSite(t, plainLinux)
	rate := s.rates()
	w := s.wire(s.Left)
	calm := func() { time.Sleep(*floodTime) }
	time.Sleep(time.Second)
	alone := rate(calm)
	t.Logf("without a flood: %.0f Mbit/s", alone*8/1e6)
	for name, kind := range s.floodKinds() {
		var sent uint64
		under := rate(func() { sent = s.under(w, kind, calm) })
		t.Logf("linux: %s: %d frames in %v (%.0f kpps): transfer at %.0f %% (%.0f Mbit/s)",
			name, sent, *floodTime, float64(sent)/floodTime.Seconds()/1e3, 100*under/alone, under*8/1e6)
	}
}

// rates begins a transfer; the function that it returns says how fast that is
// while something runs, in bytes a second.
func (s *site) rates() func(during func()) float64 {
	s.Helper()
	got := s.transfer(5000)
	return func(during func()) float64 {
		start, first := time.Now(), got.Load()
		during()
		return float64(got.Load()-first) / time.Since(start).Seconds()
	}
}
