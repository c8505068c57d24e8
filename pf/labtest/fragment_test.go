package labtest

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/internal/lab"
)

// TestFragments sends datagrams in fragments through rules and translations
// that need ports, which only whole packets have.
func TestFragments(t *testing.T) {
	for name, first := range map[string]string{
		"set":   "set reassemble yes\n",
		"scrub": "scrub all fragment reassemble\n",
	} {
		t.Run(name, func(t *testing.T) {
			eachMode(t, func(t *testing.T, s *site) { testFragments(t, s, first) })
		})
	}
}

func testFragments(t *testing.T, s *site, first string) {
	rules := "block log\n" +
		"pass in on em0 proto udp to port 7000\npass out on em1 proto udp to port 7000\n" +
		"pass inet proto icmp\npass inet6 proto icmp6\n"
	nat := "nat on em1 inet from 192.0.2.0/24 to any -> 198.51.100.1\nnat on em1 inet6 from 2001:db8::/64 to any -> 2001:db8:1::1\n"
	for _, e := range families {
		s.mustPing(e.right, true, "neighbours found")
	}
	s.pfctl("-e -f " + s.file(first+rules))
	ping := func(from *lab.Host, to string, size int) {
		t.Helper()
		if out, err := from.Run("ping", "-c", "2", "-i", "0.3", "-W", "3", "-s", strconv.Itoa(size), to); err != nil {
			t.Errorf("ping -s %d %s: %v\n%s%s", size, to, err, out, s.bsdnet("netstat", "-s"))
		}
	}
	for family, e := range families {
		if got := bigDatagram(t, s, e.right, 7001, 5000); got.IsValid() {
			t.Errorf("%s: a datagram to a blocked port arrived", family)
		}
		seen := listen(t, s.Right, "-v", "dst "+e.right+" and (ip6[6] == 44 or ip[6:2] & 0x3fff != 0)")
		if got := bigDatagram(t, s, e.right, 7000, 5000); got.String() != e.left {
			t.Errorf("%s: datagram from %v, want %s", family, got, e.left)
		}
		if n := strings.Count(seen.stop(t), "(44)") + strings.Count(seen.out.String(), "offset"); n < 4 {
			t.Errorf("%s: %d fragments on the wire, want 4:\n%s", family, n, seen.out.String())
		}
		for _, size := range []int{2000, 20000, 65000} {
			ping(s.Left, e.right, size)
		}
		ping(s.Left, e.routerLeft(), 3000)
		if s.mode == "tc" {
			ping(s.Router, e.right, 3000)
		}
	}
	if n := s.count("-ss"); n == 0 {
		t.Error("no states")
	}
	ordered := first + nat + rules
	if strings.HasPrefix(first, "scrub") {
		ordered = first + nat + rules
	}
	s.pfctl("-F states")
	s.pfctl("-f " + s.file(ordered))
	for family, e := range families {
		if got := bigDatagram(t, s, e.right, 7000, 9000); got.String() != e.routerRight {
			t.Errorf("%s: translated datagram from %v, want %s", family, got, e.routerRight)
		}
		ping(s.Left, e.right, 4000)
	}
}

// routerLeft is the router's address on the left.
func (e ends) routerLeft() string {
	if e.left == "192.0.2.2" {
		return "192.0.2.1"
	}
	return "2001:db8::1"
}

// bigDatagram sends a datagram from left to a port of right and back; it
// returns whom right saw, nobody if nothing came.
func bigDatagram(t *testing.T, s *site, to string, port, size int) (from netip.Addr) {
	t.Helper()
	var server, client *net.UDPConn
	at := &net.UDPAddr{IP: net.ParseIP(to), Port: port}
	err := s.Right.Do(func() (err error) { server, err = net.ListenUDP("udp", at); return err })
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	err = s.Left.Do(func() (err error) { client, err = net.DialUDP("udp", nil, at); return err })
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	sent, got := make([]byte, size), make([]byte, 65536)
	if _, err := rand.Read(sent); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Write(sent); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Second)
	for _, conn := range []*net.UDPConn{server, client} {
		if err := conn.SetDeadline(deadline); err != nil {
			t.Fatal(err)
		}
	}
	n, peer, err := server.ReadFromUDPAddrPort(got)
	if err != nil {
		return from
	}
	if !bytes.Equal(got[:n], sent) {
		t.Error("datagram is damaged")
	}
	if _, err := server.WriteToUDPAddrPort(sent, peer); err != nil {
		t.Fatal(err)
	}
	if n, err = client.Read(got); err != nil || !bytes.Equal(got[:n], sent) {
		t.Error(fmt.Errorf("answer: %d bytes: %w", n, err))
	}
	return peer.Addr().Unmap()
}
