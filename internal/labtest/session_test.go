package labtest

import (
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/internal/lab"
)

// session is a TCP connection from a host to the router itself, with a little
// to say all the time, as of someone who administers it.
type session struct {
	conn    net.Conn
	stop    chan struct{}
	result  chan error
	echoes  atomic.Int64
	longest atomic.Int64 // nanoseconds that an echo took
}

func openSession(t testing.TB, from, to *lab.Host, address string) *session {
	t.Helper()
	s := &session{stop: make(chan struct{}), result: make(chan error, 1)}
	var listener net.Listener
	err := to.Do(func() (err error) {
		listener, err = net.Listen("tcp", net.JoinHostPort(address, "0"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		if conn, err := listener.Accept(); err == nil {
			_, _ = io.Copy(conn, conn) // until the client is done
			conn.Close()
		}
	}()
	err = from.Do(func() (err error) {
		s.conn, err = net.DialTimeout("tcp", listener.Addr().String(), 5*time.Second)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() { s.result <- s.talk() }()
	return s
}

func (s *session) talk() error {
	defer s.conn.Close()
	line, echo := make([]byte, 64), make([]byte, 64)
	for n := 0; ; n++ {
		select {
		case <-s.stop:
			return nil
		case <-time.After(5 * time.Millisecond):
		}
		copy(line, fmt.Sprintf("%d", n))
		sent := time.Now()
		if err := s.conn.SetDeadline(sent.Add(10 * time.Second)); err != nil {
			return err
		}
		if _, err := s.conn.Write(line); err != nil {
			return err
		}
		if _, err := io.ReadFull(s.conn, echo); err != nil {
			return err
		}
		if string(line) != string(echo) {
			return fmt.Errorf("echo of %d is %q", n, echo)
		}
		s.longest.Store(max(s.longest.Load(), int64(time.Since(sent))))
		s.echoes.Add(1)
	}
}

// end closes the session, which must have lived all the time.
func (s *session) end(t testing.TB) {
	t.Helper()
	close(s.stop)
	if err := <-s.result; err != nil {
		t.Errorf("session with the router broke: %v", err)
	}
	t.Logf("%d echoes, the slowest took %v", s.echoes.Load(), time.Duration(s.longest.Load()))
	if s.echoes.Load() < 10 {
		t.Error("the session stood still")
	}
}
