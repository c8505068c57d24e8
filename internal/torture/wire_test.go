package torture

import (
	"math/rand/v2"
	"net"
	"sync/atomic"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/internal/lab"
)

// wire is a raw socket on em0 of a host.
type wire struct{ fd int }

func (s *site) wire(host *lab.Host) *wire {
	s.Helper()
	w := &wire{fd: -1}
	err := host.Do(func() error {
		i, err := net.InterfaceByName("em0")
		if err != nil {
			return err
		}
		const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8
		if w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all); err != nil {
			return err
		}
		return unix.Bind(w.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: i.Index})
	})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { unix.Close(w.fd) })
	return w
}

// layersOf serializes a frame.
func layersOf(frame ...gopacket.SerializableLayer) []byte {
	buffer := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, frame...); err != nil {
		panic(err) // of a frame that is written here
	}
	return append([]byte(nil), buffer.Bytes()...)
}

// from heads a frame of left to the router.
func (s *site) from(kind layers.EthernetType) *layers.Ethernet {
	s.Helper()
	own, err := s.Left.Lladdr("em0")
	if err != nil {
		s.Fatal(err)
	}
	router, err := s.Router.Lladdr("em0")
	if err != nil {
		s.Fatal(err)
	}
	return &layers.Ethernet{SrcMAC: own, DstMAC: router, EthernetType: kind}
}

func ip4(protocol layers.IPProtocol, to string) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, Protocol: protocol, SrcIP: net.IPv4(192, 0, 2, 2).To4(), DstIP: net.ParseIP(to).To4()}
}

func ip6(protocol layers.IPProtocol, to string) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: protocol, SrcIP: net.ParseIP("2001:db8::2"), DstIP: net.ParseIP(to)}
}

func udp(over gopacket.NetworkLayer, port layers.UDPPort) *layers.UDP {
	u := &layers.UDP{SrcPort: 4000, DstPort: port}
	_ = u.SetNetworkLayerForChecksum(over)
	return u
}

func tcp(over gopacket.NetworkLayer, port layers.TCPPort, syn bool) *layers.TCP {
	t := &layers.TCP{SrcPort: 4000, DstPort: port, SYN: syn, ACK: !syn, Window: 1000, Seq: 1, Ack: 1,
		Options: []layers.TCPOption{{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{5, 180}},
			{OptionType: layers.TCPOptionKindNop}, {OptionType: layers.TCPOptionKindWindowScale, OptionLength: 3, OptionData: []byte{7}}}}
	_ = t.SetNetworkLayerForChecksum(over)
	return t
}

// flood sends copies of a frame, each changed, until told to stop.
type flood struct {
	sent atomic.Uint64
	stop atomic.Bool
}

func (f *flood) run(w *wire, frame []byte, change func(r *rand.Rand, frame []byte)) {
	r := rand.New(rand.NewPCG(*tortureSeed, 1))
	for !f.stop.Load() {
		change(r, frame)
		if _, err := unix.Write(w.fd, frame); err == nil { // else the queue is full
			f.sent.Add(1)
		}
	}
}

// checksum4 fills in the checksum of an IPv4 header behind an Ethernet header.
func checksum4(frame []byte) {
	frame[24], frame[25] = 0, 0
	var sum uint32
	for i := 14; i < 34; i += 2 {
		sum += uint32(frame[i])<<8 | uint32(frame[i+1])
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	frame[24], frame[25] = byte(^sum>>8), byte(^sum)
}
