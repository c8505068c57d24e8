package slowpath_test

import (
	"bytes"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/netisr/icmp"
	"github.com/bsdnet/bsdnet/netisr/internal/nslab"
	"github.com/bsdnet/bsdnet/netisr/slowpath"
)

// TestRawSender lets a real socket get its errors: an error sent about a
// packet of a UDP socket comes back to that socket.
func TestRawSender(t *testing.T) {
	ns := nslab.NewNamespace(t)
	veth := ns.NewVeth(t, 1, 1500)
	ns.Do(t, func() {
		sender, err := slowpath.NewRawSender()
		if err != nil {
			t.Error(err)
			return
		}
		defer sender.Close()
		if err := nslab.SetIPv6("a", true); err != nil {
			t.Error(err)
		}
		for _, address := range []string{"10.9.0.1/24", "fd09::1/64"} {
			addr, _ := netlink.ParseAddr(address)
			addr.Flags = unix.IFA_F_NODAD
			device, _ := netlink.LinkByName("a")
			if err := netlink.AddrAdd(device, addr); err != nil {
				t.Error(err)
			}
		}
		for _, test := range []struct{ network, address string }{{"udp4", "10.9.0.1"}, {"udp6", "fd09::1"}} {
			connection, err := net.DialUDP(test.network, nil, &net.UDPAddr{IP: net.ParseIP(test.address), Port: 4})
			if err != nil {
				t.Error(test.network, err)
				return
			}
			defer connection.Close()
			port := connection.LocalAddr().(*net.UDPAddr).Port
			var message []byte
			if test.network == "udp4" {
				packet := ip4("", 8, 12, 10, 13, 9, 14, 0, 15, 1, 16, 10, 17, 9, 18, 0, 19, 1, 20, port>>8, 21, port&255, 22, 0, 23, 4)
				message = icmp.AppendError4(nil, packet, icmp.Error4{Type: 3, Code: 3}, icmp.Options4{Source: [4]byte{10, 9, 0, 1}, TTL: 64})
			} else {
				packet := ip6(17, []byte{byte(port >> 8), byte(port), 0, 4, 0, 8, 0, 0})
				own := net.ParseIP(test.address).To16()
				copy(packet[8:], own)
				copy(packet[24:], own)
				message = icmp.AppendError6(nil, packet, icmp.Error6{Type: 1, Code: 4}, icmp.Options6{Source: [16]byte(own), HopLimit: 64})
			}
			// The address may not be ready at once.
			for attempt := 0; ; attempt++ {
				if err := sender.Send(message, veth.A.Index); err != nil {
					t.Error(test.network, err)
				}
				_ = connection.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
				_, err := connection.Read(make([]byte, 1))
				if errors.Is(err, unix.ECONNREFUSED) {
					break
				}
				if attempt == 30 {
					t.Errorf("%s: the socket got %v", test.network, err)
					break
				}
			}
			if n := testing.AllocsPerRun(10, func() { _ = sender.Send(message, veth.A.Index) }); n != 0 {
				t.Errorf("%s: %v allocations", test.network, n)
			}
		}
		for _, bad := range [][]byte{nil, {0x45}, bytes.Repeat([]byte{0x60}, 39), make([]byte, 100)} {
			if err := sender.Send(bad, 0); err == nil {
				t.Errorf("sent %x", bad)
			}
		}
	})
}
