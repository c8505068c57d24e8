package labtest

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// An epair into another namespace, pf's input on it, and tun and tap devices
// that stay until they are destroyed.
func TestDevices(t *testing.T) {
	s := newSite(t, "tc")
	if got := s.ifconfig(s.Router, "epair create"); got != "epair0a\n" {
		t.Errorf("create printed %q", got)
	}
	s.ip(s.Router, "link", "set", "epair0b", "netns", s.Right.Name)
	s.ip(s.Right, "addr", "add", "10.8.0.2/24", "dev", "epair0b")
	s.ip(s.Right, "link", "set", "epair0b", "up")
	s.ifconfig(s.Router, "epair0a 10.8.0.1/24")
	s.ping(s.Right, "10.8.0.1")
	s.ifconfig(s.Router, "tun3 create 10.9.0.1 10.9.0.2 netmask 255.255.255.255")
	if out := s.ifconfig(s.Router, "tun3"); !strings.Contains(out, "inet 10.9.0.1 --> 10.9.0.2 netmask 0xffffffff") {
		t.Errorf("tun3:\n%s", out)
	}
	s.refused(s.Router, "interface tun3 already exists", "tun3 create")
	s.opened("tun3")
	s.ifconfig(s.Router, "tap create")
	s.kill(s.Router)
	s.must(s.Router, "load")
	s.ping(s.Right, "10.8.0.1")
	for _, name := range strings.Fields("epair0a tun3 tap0") {
		s.ifconfig(s.Router, "%s destroy", name)
	}
	if out := s.ifconfig(s.Router, "-l"); strings.ContainsAny(strings.TrimSpace(strings.ReplaceAll(out, "em", "")), "t") {
		t.Errorf("left: %s", out)
	}
}

// opened opens a tun of the router and wants ifconfig to say who did.
func (s *site) opened(name string) {
	s.t.Helper()
	err := s.Router.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		request, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
			return err
		}
		if out, want := s.ifconfig(s.Router, "%s", name), fmt.Sprintf("\tOpened by PID %d\n", os.Getpid()); !strings.Contains(out, want) {
			s.t.Errorf("%s has no %q:\n%s", name, want, out)
		}
		return nil
	})
	if err != nil {
		s.t.Error(err)
	}
}
