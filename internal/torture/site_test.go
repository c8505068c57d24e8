package torture

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/internal/lab"
)

// site is a line of hosts whose router runs bsdnet and forwards.
type site struct {
	*lab.Line
	testing.TB
	mode string // "tc", "xdp" or plainLinux
}

// plainLinux is a router without bsdnet, to compare with.
const plainLinux = "linux"

func eachMode(t *testing.T, test func(t *testing.T, s *site)) {
	t.Helper()
	for _, mode := range []string{"tc", "xdp"} {
		t.Run(mode, func(t *testing.T) { test(t, newSite(t, mode)) })
	}
}

func newSite(t testing.TB, mode string) *site {
	t.Helper()
	line, err := lab.NewLine("torture")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := line.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &site{Line: line, TB: t, mode: mode}
	if mode == "xdp" {
		for _, host := range []*lab.Host{s.Left, s.Right} {
			if err := errors.Join(host.Offloads("em0", false, "tx"), host.Offloads("em0", true, "gro")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if mode == plainLinux {
		s.Router.MustRun(t, "sysctl", "-q", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
		return s
	}
	s.load()
	t.Cleanup(func() {
		_, _ = s.run("unload") // a test that ended well has unloaded
		os.Remove(filepath.Join("/run/bsdnet", s.Router.Name+".log"))
	})
	s.forward()
	return s
}

func (s *site) load() {
	s.Helper()
	s.bsdnet("load", "-i", "em0", "-i", "em1", "--mode", s.mode)
}

func (s *site) forward() {
	s.Helper()
	s.bsdnet("sysctl", "net.inet.ip.forwarding=1", "net.inet6.ip6.forwarding=1")
}

// bsdnet runs bsdnet in the router; it must succeed.
func (s *site) bsdnet(args ...string) string {
	s.Helper()
	out, err := s.run(args...)
	if err != nil {
		s.Fatalf("bsdnet %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return out
}

func (s *site) run(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := s.Router.Command(ctx, program, args...).CombinedOutput()
	return string(out), err
}

// daemon returns the process of the daemon by its record, 0 if there is none.
func (s *site) daemon() int {
	data, err := os.ReadFile(filepath.Join("/run/bsdnet", s.Router.Name, "instance.json"))
	var record struct {
		PID int `json:"pid"`
	}
	if err != nil || json.Unmarshal(data, &record) != nil {
		return 0
	}
	return record.PID
}

// processes are those that run the program under test, which nobody else has.
func processes() (pids []int) {
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		var pid int
		if _, err := fmt.Sscanf(entry.Name(), "%d", &pid); err != nil {
			continue
		}
		if exe, err := os.Readlink(filepath.Join("/proc", entry.Name(), "exe")); err == nil && exe == program {
			pids = append(pids, pid)
		}
	}
	return pids
}

// killAll kills the daemon and, where it has not come so far as to have a
// record, whatever is about to become one. It returns how many processes it hit.
func killAll() int {
	pids := processes()
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
	}
	for end := time.Now().Add(5 * time.Second); len(processes()) > 0 && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	return len(pids)
}

func (s *site) file(text string) string {
	s.Helper()
	path := filepath.Join(s.TempDir(), "pf.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.Fatal(err)
	}
	return path
}

// connect opens a TCP connection from left to right.
func (s *site) connect(port int) (client, server net.Conn) {
	s.Helper()
	var listener net.Listener
	err := s.Right.Do(func() (err error) {
		listener, err = net.Listen("tcp4", fmt.Sprintf("198.51.100.2:%d", port))
		return err
	})
	if err != nil {
		s.Fatal(err)
	}
	defer listener.Close()
	err = s.Left.Do(func() (err error) {
		client, err = net.DialTimeout("tcp4", listener.Addr().String(), 10*time.Second)
		return err
	})
	if err != nil {
		s.Fatal(err)
	}
	if server, err = listener.Accept(); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// carries says whether a connection still passes something both ways.
func carries(client, server net.Conn) error {
	buffer := make([]byte, 1)
	for _, ends := range [][2]net.Conn{{client, server}, {server, client}} {
		if err := ends[1].SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			return err
		}
		if _, err := ends[0].Write([]byte{1}); err != nil {
			return err
		}
		if _, err := ends[1].Read(buffer); err != nil {
			return err
		}
	}
	return nil
}
