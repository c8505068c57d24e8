package labtest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// dial opens a TCP connection from left to the router's port 22.
func (s *site) dial(patience time.Duration) (net.Conn, error) {
	var conn net.Conn
	err := s.Left.Do(func() (err error) {
		conn, err = net.DialTimeout("tcp4", "192.0.2.1:22", patience)
		return err
	})
	return conn, err
}

// gate answers on the router's port 22 with what is sent.
func (s *site) gate() {
	s.t.Helper()
	var listener net.Listener
	err := s.Router.Do(func() (err error) {
		listener, err = net.Listen("tcp4", "192.0.2.1:22")
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				buffer := make([]byte, 16)
				for {
					n, err := conn.Read(buffer)
					if err != nil {
						return
					}
					if _, err := conn.Write(buffer[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
}

// alive reports whether a connection still carries something there and back.
func alive(conn net.Conn) error {
	buffer := make([]byte, 1)
	_, err := conn.Write([]byte("x"))
	return errors.Join(err, conn.SetReadDeadline(time.Now().Add(2*time.Second)), func() error { _, err := conn.Read(buffer); return err }())
}

// over is SSH_CONNECTION of somebody who works over a connection.
func over(conn net.Conn) string {
	from, to := conn.LocalAddr().(*net.TCPAddr), conn.RemoteAddr().(*net.TCPAddr)
	return fmt.Sprintf("SSH_CONNECTION=%s %d %s %d", from.IP, from.Port, to.IP, to.Port)
}

func (s *site) mustDial(when string) net.Conn {
	s.t.Helper()
	conn, err := s.dial(3 * time.Second)
	if err != nil {
		s.t.Fatalf("%s: %v", when, err)
	}
	s.t.Cleanup(func() { conn.Close() })
	return conn
}

// cutOff fails unless nobody new gets in.
func (s *site) cutOff(when string) {
	s.t.Helper()
	if conn, err := s.dial(300 * time.Millisecond); err == nil {
		conn.Close()
		s.t.Fatalf("%s: somebody new gets in", when)
	}
}

// letIn waits until somebody new gets in.
func (s *site) letIn(patience time.Duration, when string) {
	s.t.Helper()
	for end := time.Now().Add(patience); ; {
		conn, err := s.dial(300 * time.Millisecond)
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("%s: nobody new gets in after %v", when, patience)
		}
	}
}

// A ruleset that cuts off the one who loads it is taken back: after its time,
// at once on demand, and after its time also where the daemon died meanwhile.
// The loader's own connection lives on all the while and is no proof.
func TestConfirm(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		s.gate()
		open, closed := s.file("pass\n"), s.file("block drop\n")
		s.pfctl("-e -f " + open)
		loader := s.mustDial("before")
		rules := s.pfctl("-sr")

		if _, errs, status := s.run("", "pfctl", "-f", closed, "--confirm", "3"); status != 0 || !strings.Contains(errs, "bsdnet confirm") {
			t.Fatalf("load: status %d: %s", status, errs)
		}
		s.cutOff("new ruleset")
		if err := alive(loader); err != nil {
			t.Errorf("the loader's connection: %v", err)
		}
		if _, errs, status := s.run("", "pfctl", "-f", open, "--confirm", "3"); status != 1 || !strings.Contains(errs, "awaits confirmation") {
			t.Errorf("a second change: status %d: %s", status, errs)
		}
		t.Setenv("SSH_CONNECTION", strings.TrimPrefix(over(loader), "SSH_CONNECTION="))
		if _, errs, status := s.run("", "confirm"); status != 1 || !strings.Contains(errs, "open before the change") {
			t.Errorf("confirmed over an old connection: status %d: %s", status, errs)
		}
		s.letIn(5*time.Second, "taken back after its time")
		if now := s.pfctl("-sr"); now != rules {
			t.Errorf("rules after going back: %s, want %s", now, rules)
		}
		if err := alive(loader); err != nil {
			t.Errorf("the loader's connection: %v", err)
		}

		s.pfctl("-f " + closed + " --confirm 60")
		s.cutOff("second time")
		s.run("", "rollback")
		s.letIn(time.Second, "taken back on demand")

		s.pfctl("-f " + closed + " --confirm 2")
		s.kill()
		time.Sleep(2 * time.Second)
		s.cutOff("the daemon is dead")
		s.load()
		s.letIn(2*time.Second, "taken back by the next daemon")

		// Over a connection that the new rules let in it is confirmed, and stays.
		s.pfctl("-f " + s.file("block drop\npass in proto tcp to port 22\npass out\n") + " --confirm 2")
		second := s.mustDial("new rules")
		t.Setenv("SSH_CONNECTION", strings.TrimPrefix(over(second), "SSH_CONNECTION="))
		if _, errs, status := s.run("", "confirm"); status != 0 {
			t.Errorf("confirm: status %d: %s", status, errs)
		}
		time.Sleep(2500 * time.Millisecond)
		if now := s.pfctl("-sr"); !strings.Contains(now, "block drop all") {
			t.Errorf("confirmed rules are gone: %s", now)
		}
		if _, errs, status := s.run("", "confirm"); status != 1 || !strings.Contains(errs, "no change") {
			t.Errorf("nothing to confirm: status %d: %s", status, errs)
		}
	})
}

// Routes, variables and addresses are taken back too, and all of what a
// command did that failed.
func TestCommit(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		os.Unsetenv("SSH_CONNECTION")
		s.run("", "route", "add", "100.64.1.0/24", "192.0.2.2")
		state := func() string {
			routes, _, _ := s.run("", "route", "-n", "get", "100.64.1.1")
			other, _, status := s.run("", "route", "-n", "get", "-net", "100.64.2.0/24")
			value, _, _ := s.run("", "sysctl", "-n", "net.inet.ip.redirect")
			gateway := ""
			for line := range strings.Lines(routes) {
				if strings.Contains(line, "gateway") {
					gateway = line
				}
			}
			return fmt.Sprint(gateway, strings.Contains(other, "100.64.2.0"), status == 0, value)
		}
		before := state()
		for _, words := range [][]string{
			{"route", "add", "100.64.2.0/24", "192.0.2.2"},
			{"route", "delete", "100.64.1.0/24"},
			{"sysctl", "net.inet.ip.redirect=0"},
		} {
			if out, errs, status := s.run("", append([]string{"commit", "--confirm", "60", "--"}, words...)...); status != 0 {
				t.Fatalf("%v: status %d: %s%s", words, status, out, errs)
			}
			if state() == before {
				t.Errorf("%v changed nothing", words)
			}
			if _, errs, status := s.run("", "rollback"); status != 0 {
				t.Errorf("%v: rollback: status %d: %s", words, status, errs)
			}
			if now := state(); now != before {
				t.Errorf("%v: %q after rollback, want %q", words, now, before)
			}
		}
		if _, _, status := s.run("", "commit", "--confirm", "60", "--", "route", "add", "100.64.3.0/24", "203.0.113.9"); status == 0 {
			t.Error("a command that fails succeeded")
		}
		if _, errs, status := s.run("", "confirm"); status != 1 || !strings.Contains(errs, "no change") {
			t.Errorf("after a command that failed: status %d: %s", status, errs)
		}
		if _, _, status := s.run("", "commit", "--", "sh", "-c", "true"); status != 64 {
			t.Errorf("commit of a command that is not bsdnet's: status %d", status)
		}
	})
}
