package torture

import (
	"encoding/hex"
	"math/rand/v2"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/internal/lab"
)

// corpus has a frame of each protocol that is parsed.
func (s *site) corpus() (frames [][]byte) {
	const right, right6 = "198.51.100.2", "2001:db8:1::2"
	e4, e6 := s.from(layers.EthernetTypeIPv4), s.from(layers.EthernetTypeIPv6)
	payload := gopacket.Payload(make([]byte, 40))
	add := func(frame ...gopacket.SerializableLayer) { frames = append(frames, layersOf(frame...)) }
	for _, to := range []string{right, "192.0.2.1", "203.0.113.2", "192.0.2.9", "224.0.0.1", "255.255.255.255"} {
		u, c, i := ip4(layers.IPProtocolUDP, to), ip4(layers.IPProtocolTCP, to), ip4(layers.IPProtocolICMPv4, to)
		add(e4, u, udp(u, mixedPass), payload)
		add(e4, c, tcp(c, 80, true))
		add(e4, c, tcp(c, 80, false), payload)
		add(e4, i, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0)}, payload)
		quoted := layersOf(u, udp(u, mixedPass), payload)
		add(e4, i, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 4)}, gopacket.Payload(quoted))
		o := ip4(layers.IPProtocolUDP, to)
		o.Options = []layers.IPv4Option{{OptionType: 7, OptionLength: 7, OptionData: []byte{4, 0, 0, 0, 0}}, {OptionType: 0, OptionLength: 1}}
		add(e4, o, udp(o, mixedPass), payload)
		f := ip4(layers.IPProtocolUDP, to)
		f.Flags = layers.IPv4MoreFragments
		add(e4, f, gopacket.Payload(make([]byte, 64)))
		f.Flags, f.FragOffset = 0, 8
		add(e4, f, gopacket.Payload(make([]byte, 64)))
		add(e4, ip4(layers.IPProtocolGRE, to), payload)
		add(e4, ip4(layers.IPProtocolIGMP, to), gopacket.Payload{0x16, 0, 0x09, 0x04, 0xe0, 0, 0, 0xfb})
		tag := s.from(layers.EthernetTypeDot1Q)
		add(tag, &layers.Dot1Q{Type: layers.EthernetTypeIPv4}, u, udp(u, mixedPass), payload)
		add(tag, &layers.Dot1Q{VLANIdentifier: 7, Type: layers.EthernetTypeDot1Q}, &layers.Dot1Q{VLANIdentifier: 8, Type: layers.EthernetTypeIPv4}, u, udp(u, mixedPass))
	}
	for _, to := range []string{right6, "2001:db8::1", "2001:db8:2::2", "2001:db8::9", "ff02::1", "ff02::1:ff00:1"} {
		u, c, i := ip6(layers.IPProtocolUDP, to), ip6(layers.IPProtocolTCP, to), ip6(layers.IPProtocolICMPv6, to)
		add(e6, u, udp(u, mixedPass), payload)
		add(e6, c, tcp(c, 80, true))
		add(e6, c, tcp(c, 80, false), payload)
		for _, kind := range []uint8{1, 2, 3, 4, 128, 129, 133, 134, 135, 136, 137} {
			icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, 0)}
			_ = icmp.SetNetworkLayerForChecksum(i)
			body := append(make([]byte, 4), net.ParseIP("2001:db8::1")...)
			add(e6, i, icmp, gopacket.Payload(append(body, 1, 1, 2, 0, 0, 0, 0, 1)))
		}
		inner := layersOf(udp(u, mixedPass), payload)
		for protocol, extension := range map[layers.IPProtocol]string{
			0: "1100010400000000", 43: "1100000000000000", 44: "1100000100001234", 60: "1100010400000000", 51: "1101000000000000000000000000",
		} {
			bytes, err := hex.DecodeString(extension)
			if err != nil {
				s.Fatal(err)
			}
			x := ip6(protocol, to)
			add(e6, x, gopacket.Payload(append(bytes, inner...)))
		}
	}
	e := s.from(layers.EthernetTypeARP)
	for _, operation := range []uint16{1, 2} {
		for _, to := range []net.IP{net.IPv4(192, 0, 2, 1), net.IPv4(203, 0, 113, 2)} {
			add(e, &layers.ARP{AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: operation,
				SourceHwAddress: e.SrcMAC, SourceProtAddress: net.IPv4(192, 0, 2, 2).To4(), DstHwAddress: make([]byte, 6), DstProtAddress: to.To4()})
		}
	}
	return frames
}

// mutate changes some bytes of a frame, cuts it or makes it longer. Half of
// those of IPv4 have a good checksum again, so that they are looked into.
func mutate(r *rand.Rand, frame []byte) []byte {
	frame = slices.Clone(frame)
	for range r.IntN(4) {
		// Its head more often than its end; the addresses of Ethernet seldom.
		at := 12 + r.IntN(min(len(frame)-12, 8<<r.IntN(5)))
		if r.IntN(50) == 0 {
			at = r.IntN(12)
		}
		switch r.IntN(3) {
		case 0:
			frame[at] ^= 1 << r.IntN(8)
		case 1:
			frame[at] = byte(r.Uint32())
		case 2:
			frame[at] = []byte{0, 1, 0x7f, 0x80, 0xff, 4, 6, 44}[r.IntN(8)]
		}
	}
	switch r.IntN(12) {
	case 0:
		frame = frame[:14+r.IntN(len(frame)-13)]
	case 1:
		frame = append(frame, make([]byte, r.IntN(200))...)
	}
	if len(frame) >= 34 && frame[12] == 8 && frame[13] == 0 && r.IntN(2) == 0 {
		checksum4(frame)
	}
	return frame
}

// Frames that no sender means, through interfaces: the daemon lives, its rules
// go on, and nothing leaves where the rules let nothing leave.
func TestFrames(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		aside := lab.MustHost(t, "aside")
		lab.MustJoin(t, s.Router, "em2", aside, "em0")
		s.Router.MustRun(t, "sysctl", "-q", "net.ipv6.conf.em2.disable_ipv6=1")
		aside.MustRun(t, "sysctl", "-q", "net.ipv6.conf.em0.disable_ipv6=1")
		s.Router.MustRun(t, "ip", "addr", "add", "203.0.113.1/24", "dev", "em2")
		s.Router.MustRun(t, "ip", "neigh", "add", "203.0.113.2", "lladdr", "02:00:00:00:00:99", "dev", "em2", "nud", "permanent")
		s.bsdnet("load", "-i", "em2", "--mode", s.mode)
		s.bsdnet("pfctl", "-e", "-f", s.file("set reassemble yes\nblock drop quick on em2\n"+firstRules))
		f := s.flow()
		if got := s.probe(f); got != byFirst {
			t.Fatalf("came through %v, want %v", got, byFirst)
		}
		var strays, arrived atomic.Uint64
		watch := func(w *wire, count *atomic.Uint64) {
			buffer := make([]byte, 1<<16)
			for {
				n, from, err := unix.Recvfrom(w.fd, buffer, 0)
				if err != nil {
					if err == unix.EINTR {
						continue
					}
					return
				}
				link, ok := from.(*unix.SockaddrLinklayer)
				if ok && link.Pkttype != unix.PACKET_OUTGOING && n >= 14 {
					count.Add(1)
				}
			}
		}
		own := func(host *lab.Host) *wire {
			w := s.wire(host)
			timeout := unix.Timeval{Sec: 1}
			if err := unix.SetsockoptTimeval(w.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
				t.Fatal(err)
			}
			return w
		}
		stop := make(chan struct{})
		for host, count := range map[*lab.Host]*atomic.Uint64{aside: &strays, s.Right: &arrived} {
			w := own(host)
			go func() {
				for {
					select {
					case <-stop:
						return
					default:
						watch(w, count)
					}
				}
			}()
		}
		defer close(stop)
		random := rand.New(rand.NewPCG(*tortureSeed, 2))
		t.Logf("seed %d", *tortureSeed)
		pid, corpus, out := s.daemon(), s.corpus(), s.wire(s.Left)
		sent := 0
		for range *liveFrames {
			if _, err := unix.Write(out.fd, mutate(random, corpus[random.IntN(len(corpus))])); err == nil {
				sent++
			}
			if sent%64 == 0 {
				time.Sleep(200 * time.Microsecond)
			}
		}
		time.Sleep(500 * time.Millisecond)
		t.Logf("%s: %d mutated frames of %d kinds: %d came out at the right, %d aside", s.mode, sent, len(corpus), arrived.Load(), strays.Load())
		if s.daemon() != pid || !slices.Contains(processes(), pid) {
			t.Error("the daemon died")
		}
		if strays.Load() != 0 {
			t.Errorf("%d frames left by an interface that is blocked", strays.Load())
		}
		if arrived.Load() == 0 || sent < *liveFrames/2 {
			t.Error("hardly anything was sent or came out")
		}
		s.Left.MustRun(t, "ip", "neigh", "flush", "dev", "em0") // what mutated ARP taught it
		if got := s.probe(f); got != byFirst {
			t.Errorf("afterwards: came through %v, want %v", got, byFirst)
		}
	})
}
