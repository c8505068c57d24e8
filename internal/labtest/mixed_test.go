package labtest

import (
	"os"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/internal/lab"
)

// everything sends ping and TCP through the router, both ways, in both families.
func (s *site) everything(t *testing.T) {
	t.Helper()
	port := serveIperf(t, s.Right)
	for _, f := range families {
		mustPing(t, s.Left, "-c", "3", "-i", "0.02", "-W", "3", f.right)
		mustPing(t, s.Right, "-c", "3", "-i", "0.02", "-W", "3", f.left)
		mustPing(t, s.Left, "-c", "3", "-i", "0.02", "-s", "1400", "-W", "3", f.right)
		for _, direction := range [][]string{nil, {"-R"}} {
			r := iperf(t, s.Left, f.right, port, append([]string{"-t", "1"}, direction...)...)
			if r.End.SumReceived.BitsPerSecond < 20e6 {
				t.Errorf("%s %v: %.0f Mbit/s", f.name, direction, r.End.SumReceived.BitsPerSecond/1e6)
			}
			t.Logf("%s %v: %.1f Gbit/s", f.name, direction, r.End.SumReceived.BitsPerSecond/1e9)
		}
		out := s.Left.MustRun(t, "traceroute", "-n", "-q", "1", "-w", "2", "-m", "4", f.right)
		if !strings.Contains(out, f.routerLeft+" ") {
			t.Errorf("traceroute:\n%s", out)
		}
	}
}

// One interface in XDP, the other in TC.
func TestMixedBuilds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, left, right string }{{"xdp-tc", "xdp", "tc"}, {"tc-xdp", "tc", "xdp"}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "xdp")
			s.bsdnet("load", "-i", "em0", "--mode", c.left)
			s.bsdnet("load", "-i", "em1", "--mode", c.right)
			s.forward()
			s.everything(t)
			s.kill()
			s.bsdnet("load")
			s.everything(t)
		})
	}
}

// A veth whose far end does not poll takes nothing from XDP: frames go round
// by the netisr veth, and the status says so.
func TestOutputWithoutXDP(t *testing.T) {
	t.Parallel()
	s := newSite(t, "xdp")
	for _, host := range []*lab.Host{s.Left, s.Right} {
		if err := host.Offloads("em0", false, "gro"); err != nil {
			t.Fatal(err)
		}
	}
	s.bsdnet("load", "-i", "em0", "-i", "em1", "--mode", "xdp")
	s.forward()
	var status struct {
		Interfaces []struct {
			Name   string `json:"name"`
			Mode   string `json:"mode"`
			Output string `json:"output"`
		} `json:"interfaces"`
	}
	s.json(&status, "status", "--json")
	for _, i := range status.Interfaces {
		if i.Output != "netisr0" {
			t.Errorf("%s: output %q", i.Name, i.Output)
		}
	}
	s.everything(t)
	// When the far end begins to poll, the direct way is taken.
	for _, host := range []*lab.Host{s.Left, s.Right} {
		if err := host.Offloads("em0", true, "gro"); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, 5*time.Second, "the direct way is taken", func() bool {
		s.json(&status, "status", "--json")
		return status.Interfaces[0].Output == "redirect" && status.Interfaces[1].Output == "redirect"
	})
	s.everything(t)
}

// A tun device has no link header; its packets are forwarded both ways, to an
// interface of either build.
func TestTun(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, s *site) {
		tun := openTun(t, s.Router, "tun7")
		s.Router.MustRun(t, "ip", "addr", "add", "10.7.0.1/24", "dev", "tun7")
		s.Router.MustRun(t, "ip", "addr", "add", "2001:db8:7::1/64", "dev", "tun7", "nodad")
		s.load()
		if out, errs, status := s.try("load", "-i", "tun7"); status != 0 {
			t.Fatalf("load tun7: %s%s", out, errs)
		}
		s.forward()
		for _, c := range []struct {
			f      family
			inside string
		}{{inet, "10.7.0.2"}, {inet6, "2001:db8:7::2"}} {
			// Out by the tun, and the answer back in: whoever holds it swaps addresses.
			go tun.reflect()
			p := ping(t, s.Left, "-c", "5", "-i", "0.05", "-W", "2", c.inside)
			if p.received != p.sent {
				t.Errorf("%s: %s %v", c.f.name, p.text, s.reasons())
			}
		}
	})
}

type tunDevice struct{ file *os.File }

func openTun(t *testing.T, host *lab.Host, name string) *tunDevice {
	t.Helper()
	d := &tunDevice{}
	err := host.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		var request struct {
			name  [unix.IFNAMSIZ]byte
			flags uint16
			_     [22]byte
		}
		copy(request.name[:], name)
		request.flags = unix.IFF_TUN | unix.IFF_NO_PI
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNSETIFF, uintptr(unsafe.Pointer(&request))); errno != 0 {
			unix.Close(fd)
			return errno
		}
		d.file = os.NewFile(uintptr(fd), name)
		return nil
	})
	if err != nil {
		t.Fatalf("open tun: %v", err)
	}
	t.Cleanup(func() { d.file.Close() })
	host.MustRun(t, "ip", "link", "set", name, "up")
	return d
}

// reflect answers every echo request that comes out of the tun.
func (d *tunDevice) reflect() {
	buffer := make([]byte, 2048)
	for {
		n, err := d.file.Read(buffer)
		if err != nil {
			return
		}
		if answer := echoReply(buffer[:n]); answer != nil {
			if _, err := d.file.Write(answer); err != nil {
				return
			}
		}
	}
}

func echoReply(request []byte) []byte {
	buffer := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if request[0]>>4 == 4 {
		p := gopacket.NewPacket(request, layers.LayerTypeIPv4, gopacket.Default)
		ip, _ := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		icmp, _ := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
		if ip == nil || icmp == nil || icmp.TypeCode.Type() != layers.ICMPv4TypeEchoRequest {
			return nil
		}
		ip.SrcIP, ip.DstIP, ip.TTL = ip.DstIP, ip.SrcIP, 64
		icmp.TypeCode = layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoReply, 0)
		_ = gopacket.SerializeLayers(buffer, options, ip, icmp, gopacket.Payload(icmp.Payload))
		return buffer.Bytes()
	}
	p := gopacket.NewPacket(request, layers.LayerTypeIPv6, gopacket.Default)
	ip, _ := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
	icmp, _ := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
	if ip == nil || icmp == nil || icmp.TypeCode.Type() != layers.ICMPv6TypeEchoRequest {
		return nil
	}
	ip.SrcIP, ip.DstIP, ip.HopLimit = ip.DstIP, ip.SrcIP, 64
	icmp.TypeCode = layers.CreateICMPv6TypeCode(layers.ICMPv6TypeEchoReply, 0)
	_ = icmp.SetNetworkLayerForChecksum(ip)
	_ = gopacket.SerializeLayers(buffer, options, ip, icmp, gopacket.Payload(icmp.Payload))
	return buffer.Bytes()
}
