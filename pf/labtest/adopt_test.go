package labtest

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"
)

// connect opens a TCP connection from left to an address of the router.
func (s *site) connect(address string) (client, server net.Conn) {
	s.t.Helper()
	var listener net.Listener
	err := s.Router.Do(func() (err error) {
		listener, err = net.Listen("tcp", address)
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	defer listener.Close()
	err = s.Left.Do(func() (err error) {
		client, err = net.DialTimeout("tcp", address, 5*time.Second)
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { client.Close() })
	if server, err = listener.Accept(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { server.Close() })
	return client, server
}

// send passes data from one end of a connection to the other.
func send(t *testing.T, from, to net.Conn, size int) {
	t.Helper()
	data := bytes.Repeat([]byte("bsdnet\n"), size/7+1)
	for _, c := range []net.Conn{from, to} {
		if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	failed := make(chan error, 1)
	go func() {
		_, err := from.Write(data)
		failed <- err
	}()
	got := make([]byte, len(data))
	if _, err := io.ReadFull(to, got); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%v to %v: %v", from.LocalAddr(), to.LocalAddr(), err)
	}
	if err := <-failed; err != nil {
		t.Error(err)
	}
}

// The session that enables pf lives, whatever the rules say of its middle.
func TestEnableKeepsSessions(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		for before, address := range []string{"192.0.2.1:2222", "[2001:db8::1]:2222"} {
			client, server := s.connect(address)
			send(t, client, server, 100)
			send(t, server, client, 100)
			s.pfctl("-e -f " + s.file("block drop\npass in proto tcp to port 22 flags S/SA keep state\n"))
			s.mustPing(right, false, "enabled")
			send(t, client, server, 1<<20)
			send(t, server, client, 1<<20)
			if shown := s.pfctl("-ss"); s.count("-ss") != before+1 {
				t.Errorf("states: %s", shown)
			}
			s.pfctl("-d")
			s.pfctl("-F states")
		}
	})
}
