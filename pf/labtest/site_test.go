package labtest

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/internal/lab"
)

// site is a line of hosts whose router runs bsdnet and forwards.
type site struct {
	*lab.Line
	t    testing.TB
	mode string // "tc" or "xdp"
}

// eachMode runs a test in both builds.
func eachMode(t *testing.T, test func(t *testing.T, s *site)) {
	t.Helper()
	for _, mode := range []string{"tc", "xdp"} {
		t.Run(mode, func(t *testing.T) { test(t, newSite(t, mode)) })
	}
}

// newSite builds a line with bsdnet in its router, which is unloaded when the
// test ends.
func newSite(t testing.TB, mode string) *site {
	t.Helper()
	line, err := lab.NewLine("pf")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := line.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &site{Line: line, t: t, mode: mode}
	if mode == "xdp" {
		// Whole checksums in what the hosts send, polling for what XDP sends them.
		for _, host := range []*lab.Host{s.Left, s.Right} {
			if err := errors.Join(host.Offloads("em0", false, "tx"), host.Offloads("em0", true, "gro")); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.load()
	t.Cleanup(func() { s.bsdnet("unload") })
	s.bsdnet("sysctl", "net.inet.ip.forwarding=1", "net.inet6.ip6.forwarding=1")
	return s
}

func (s *site) load() {
	s.t.Helper()
	s.bsdnet("load", "-i", "em0", "-i", "em1", "--mode", s.mode)
}

// bsdnet runs bsdnet in the router; it must succeed.
func (s *site) bsdnet(args ...string) string {
	s.t.Helper()
	out, errs, status := s.run("", args...)
	if status != 0 {
		s.t.Fatalf("bsdnet %s: status %d: %s%s", strings.Join(args, " "), status, out, errs)
	}
	return out
}

func (s *site) run(stdin string, args ...string) (stdout, stderr string, status int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := s.Router.Command(ctx, program, args...)
	var out, errs strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatalf("bsdnet %s: %v", strings.Join(args, " "), err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// pfctl runs pfctl with its arguments split at blanks; it must succeed. It
// returns what it printed, both streams.
func (s *site) pfctl(args string) string {
	s.t.Helper()
	return s.pfctlIn("", args)
}

// pfctlIn is pfctl with an input.
func (s *site) pfctlIn(stdin, args string) string {
	s.t.Helper()
	out, errs, status := s.run(stdin, append([]string{"pfctl"}, strings.Fields(args)...)...)
	if status != 0 {
		s.t.Fatalf("pfctl %s: status %d: %s%s", args, status, out, errs)
	}
	return errs + out
}

// expect runs pfctl and compares all that it prints and its status.
func (s *site) expect(args, want string, status int) {
	s.t.Helper()
	out, errs, got := s.run("", append([]string{"pfctl"}, strings.Fields(args)...)...)
	if errs+out != want || got != status {
		s.t.Errorf("pfctl %s: status %d, want %d; printed\n%swant\n%s", args, got, status, errs+out, want)
	}
}

// pings reports whether left gets an answer from right.
func (s *site) pings(to string) bool {
	_, err := s.Left.Run("ping", "-c", "1", "-W", "1", to)
	return err == nil
}

// mustPing checks whether left gets an answer.
func (s *site) mustPing(to string, want bool, why string) {
	s.t.Helper()
	if got := s.pings(to); got != want {
		s.t.Errorf("%s: ping %s answered: %v, want %v", why, to, got, want)
	}
}

// restart kills the daemon as the kernel does when memory runs out, and starts
// another.
func (s *site) restart() {
	s.t.Helper()
	s.kill()
	s.load()
}

func (s *site) kill() {
	s.t.Helper()
	data, err := os.ReadFile(filepath.Join("/run/bsdnet", s.Router.Name, "instance.json"))
	if err != nil {
		s.t.Fatal(err)
	}
	var record struct {
		PID int `json:"pid"`
	}
	if err := json.Unmarshal(data, &record); err != nil {
		s.t.Fatal(err)
	}
	if err := syscall.Kill(record.PID, syscall.SIGKILL); err != nil {
		s.t.Fatal(err)
	}
	for end := time.Now().Add(5 * time.Second); syscall.Kill(record.PID, 0) == nil && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
}

// start runs bsdnet in the router until the test ends or stop is called.
func (s *site) start(args ...string) (stop func()) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := s.Router.Command(ctx, program, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		cancel()
		_ = cmd.Wait() // ended by us
	})
	s.t.Cleanup(stop)
	return stop
}

// file writes a file for the test and returns its path.
func (s *site) file(text string) string {
	s.t.Helper()
	f, err := os.CreateTemp(s.t.TempDir(), "pf-*.conf")
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		s.t.Fatal(err)
	}
	return f.Name()
}
