package labtest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// A packet that leaves where it came from is sent on, and its sender told of
// the better way.
func TestRedirect(t *testing.T) {
	t.Parallel()
	loaded(t, func(t *testing.T, s *site) {
		s.Left.MustRun(t, "ip", "addr", "add", "192.0.2.9/24", "dev", "em0")
		s.Left.MustRun(t, "ip", "addr", "add", "2001:db8::9/64", "dev", "em0", "nodad")
		s.bsdnet("route", "add", "100.64.0.0/24", "192.0.2.9")
		t.Cleanup(func() { s.bsdnet("route", "delete", "100.64.0.0/24") })
		w := openWire(t, s.Left, "em0")
		send := func(f family, to string, port int) {
			ip, udp := datagram(f, port, 64)
			switch ip := ip.(type) {
			case *layers.IPv4:
				ip.DstIP = net.ParseIP(to).To4()
			case *layers.IPv6:
				ip.DstIP = net.ParseIP(to)
			}
			w.send(t, s.ethernet(w, f.ethernetType()), ip, udp, gopacket.Payload("redirect"))
		}
		for _, c := range []struct {
			f        family
			to, next string
			told     func(gopacket.Packet) bool
		}{
			{inet, "100.64.0.7", "192.0.2.9", func(p gopacket.Packet) bool {
				icmp, ok := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
				// The gateway stands where identifier and sequence number are.
				return ok && icmp.TypeCode.Type() == layers.ICMPv4TypeRedirect && icmp.Id == 192<<8 && icmp.Seq == 2<<8|9
			}},
			{inet6, "2001:db8::9", "2001:db8::9", func(p gopacket.Packet) bool {
				redirect, ok := p.Layer(layers.LayerTypeICMPv6Redirect).(*layers.ICMPv6Redirect)
				return ok && redirect.TargetAddress.Equal(net.ParseIP("2001:db8::9"))
			}},
		} {
			port := 7300
			told, back := false, false
			for end := time.Now().Add(3 * time.Second); time.Now().Before(end) && !(told && back); port++ {
				send(c.f, c.to, port)
				w.receive(t, 200*time.Millisecond, func(p gopacket.Packet) bool {
					told = told || c.told(p)
					back = back || toPort(port)(p)
					return told && back
				})
			}
			if !told || !back {
				t.Errorf("%s: told of the better way %v, packet sent on %v: %v", c.f.name, told, back, s.reasons())
			}
		}
	})
}

// An interface that is loaded again in the other mode changes over, without a
// packet lost, and has the input of one mode alone.
func TestModeChange(t *testing.T) {
	t.Parallel()
	s := newSite(t, "xdp")
	s.bsdnet("load", "-i", "em0", "-i", "em1", "--mode", "tc")
	s.forward()
	mustPing(t, s.Left, "-c", "1", "-W", "3", inet.right)
	p := startPing(t, s.Left, "-i", "0.01", "-c", "200", "-W", "1", inet.right)
	for _, mode := range []string{"xdp", "tc", "xdp"} {
		s.bsdnet("load", "-i", "em0", "-i", "em1", "--mode", mode)
		for _, device := range []string{"em0", "em1"} {
			xdp, tc := s.hooked(t, "xdp", device), s.hooked(t, "tc_ingress", device)
			if xdp != (mode == "xdp") || tc != (mode == "tc") {
				t.Errorf("%s in mode %s: XDP %v, TC ingress %v", device, mode, xdp, tc)
			}
		}
		time.Sleep(200 * time.Millisecond)
	}
	// Programs that XDP leaves the device with stop its receive queue for a moment.
	if p := p.wait(t); p.sent-p.received > 3 {
		t.Errorf("%d of %d lost by changes of mode", p.sent-p.received, p.sent)
	}
}

// hooked reports whether the data path has a link to a hook of a device.
func (s *site) hooked(t *testing.T, hook, device string) bool {
	t.Helper()
	index := 0
	if err := s.Router.Do(func() error {
		i, err := net.InterfaceByName(device)
		if err == nil {
			index = i.Index
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	_, err := os.Stat(filepath.Join("/run/bsdnet/bpf", s.Router.Name, "links", fmt.Sprintf("%s_%d", hook, index)))
	return err == nil
}
