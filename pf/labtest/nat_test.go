package labtest

import (
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/internal/lab"
)

const natRules = `
nat on em1 inet from 192.0.2.0/24 to any -> 198.51.100.1
nat on em1 inet6 from 2001:db8::/64 to any -> 2001:db8:1::1
rdr on em1 inet proto tcp from any to 198.51.100.1 port 8080 -> 192.0.2.2 port 80
rdr on em1 inet6 proto tcp from any to 2001:db8:1::1 port 8080 -> 2001:db8::2 port 80
pass
`

// ends are the addresses of the line in one family.
type ends struct{ left, routerRight, right string }

var families = map[string]ends{
	"inet":  {"192.0.2.2", "198.51.100.1", "198.51.100.2"},
	"inet6": {"2001:db8::2", "2001:db8:1::1", "2001:db8:1::2"},
}

// TestTranslation sends streams through nat and rdr, with every offload that
// the build takes: large segments and checksums that are only begun.
func TestTranslation(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		s.pfctl("-e -f " + s.file(natRules))
		for family, e := range families {
			t.Run(family, func(t *testing.T) {
				if peer := stream(t, s.Left, s.Right, net.JoinHostPort(e.right, "7000"), net.JoinHostPort(e.right, "7000")); peer.String() != e.routerRight {
					t.Errorf("right saw %v, want %s", peer, e.routerRight)
				}
				if peer := stream(t, s.Right, s.Left, net.JoinHostPort(e.routerRight, "8080"), net.JoinHostPort(e.left, "80")); peer.String() != e.right {
					t.Errorf("left saw %v, want %s", peer, e.right)
				}
				refused(t, s.Left, net.JoinHostPort(e.right, "7001"))
				s.mustPing(e.right, true, "through nat")
			})
		}
	})
}

// stream sends bytes from one host to a listener on another and back, and
// returns whom the listener saw.
func stream(t *testing.T, from, on *lab.Host, to, listen string) netip.Addr {
	t.Helper()
	const size = 16 << 20
	var listener net.Listener
	err := on.Do(func() (err error) { listener, err = net.Listen("tcp", listen); return err })
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	peer := make(chan netip.Addr, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			peer <- netip.Addr{}
			return
		}
		defer conn.Close()
		peer <- conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
		_, _ = io.CopyN(conn, conn, size) // what is missing is missed at the other end
	}()
	var conn net.Conn
	err = from.Do(func() (err error) { conn, err = net.DialTimeout("tcp", to, 5*time.Second); return err })
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(60 * time.Second)); err != nil {
		t.Fatal(err)
	}
	sent := make([]byte, size)
	if _, err := rand.Read(sent); err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() { _, err := conn.Write(sent); written <- err }()
	got := make([]byte, size)
	if _, err := io.ReadFull(conn, got); err != nil {
		t.Fatalf("%s: %v", to, err)
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	if string(got) != string(sent) {
		t.Errorf("%s: stream is damaged", to)
	}
	return <-peer
}

// refused wants the ICMP error about a datagram to reach the socket that sent
// it, though the datagram was translated on its way.
func refused(t *testing.T, from *lab.Host, to string) {
	t.Helper()
	err := from.Do(func() error {
		conn, err := net.Dial("udp", to)
		if err != nil {
			return err
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(3 * time.Second)); err != nil {
			return err
		}
		if _, err := conn.Write([]byte("anybody?")); err != nil {
			return err
		}
		_, err = conn.Read(make([]byte, 8))
		return err
	})
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%s: %v, want connection refused", to, err)
	}
}
