package labtest

import (
	"bufio"
	"bytes"
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
	"github.com/bsdnet/bsdnet/rc/netif"
)

// site is a router with nothing configured between a provider, whose dnsmasq
// gives leases and router advertisements, and a host behind it.
type site struct {
	t                      testing.TB
	mode                   string // "tc" or "xdp"
	provider, router, host *lab.Host
	dir                    string
	server                 *exec.Cmd
	log                    *buffer
}

// buffer is what a process printed, while it runs.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// eachMode runs a test in both builds.
func eachMode(t *testing.T, test func(t *testing.T, s *site)) {
	t.Helper()
	for _, mode := range []string{"tc", "xdp"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			test(t, newSite(t, mode))
		})
	}
}

func newSite(t testing.TB, mode string) *site {
	t.Helper()
	s := &site{t: t, mode: mode, dir: t.TempDir(), log: &buffer{}}
	s.provider, s.router, s.host = lab.MustHost(t, "provider"), lab.MustHost(t, "router"), lab.MustHost(t, "host")
	lab.MustJoin(t, s.provider, "isp0", s.router, "wan")
	lab.MustJoin(t, s.host, "eth0", s.router, "lan")
	for host, device := range map[*lab.Host]string{s.provider: "isp0", s.host: "eth0"} {
		// Whole checksums in what the hosts send, polling for what XDP sends them.
		if err := errors.Join(host.Offloads(device, false, "tx"), host.Offloads(device, true, "gro")); err != nil {
			t.Fatal(err)
		}
	}
	for _, device := range []string{"wan", "lan"} {
		s.router.MustRun(t, "ip", "link", "set", device, "down")
	}
	s.provider.MustRun(t, "ip", "addr", "add", "198.51.100.1/24", "dev", "isp0")
	s.provider.MustRun(t, "ip", "addr", "add", "2001:db8:1::1/64", "dev", "isp0")
	s.host.MustRun(t, "ip", "addr", "add", "192.0.2.2/24", "dev", "eth0")
	s.host.MustRun(t, "ip", "route", "add", "default", "via", "192.0.2.1")
	netns := filepath.Join("/etc/netns", s.router.Name)
	if err := os.MkdirAll(netns, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		os.RemoveAll(netns)
		os.Remove("/etc/netns") // if nobody else has a folder there
	})
	t.Cleanup(func() {
		if out, errs, status := s.try("unload"); status != 0 && status != 4 {
			t.Errorf("unload: status %d: %s%s", status, out, errs)
		}
		for _, left := range []string{filepath.Join("/var/lib/bsdnet", s.router.Name), filepath.Join("/run/bsdnet", s.router.Name)} {
			if _, err := os.Stat(left); err == nil {
				t.Errorf("%s is left", left)
			}
		}
	})
	return s
}

// serve starts the provider's server with further options.
func (s *site) serve(options ...string) {
	s.t.Helper()
	args := append([]string{
		"--no-daemon", "--conf-file=/dev/null", "--port=0", "--interface=isp0", "--bind-interfaces", "--log-dhcp", "--no-ping",
		"--dhcp-leasefile=" + filepath.Join(s.dir, "leases"), "--dhcp-authoritative",
		"--dhcp-range=198.51.100.100,198.51.100.110,2m",
		"--dhcp-option=option:dns-server,198.51.100.53", "--dhcp-option=option:domain-name,example.org",
		"--enable-ra", "--dhcp-range=2001:db8:1::,ra-only,64,2m",
	}, options...)
	s.server = s.provider.Command(context.Background(), "dnsmasq", args...)
	s.server.Stdout, s.server.Stderr = s.log, s.log
	if err := s.server.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(s.silence)
}

// silence ends the server.
func (s *site) silence() {
	if s.server == nil {
		return
	}
	_ = s.server.Process.Signal(syscall.SIGTERM) // it may have ended
	_ = s.server.Wait()
	s.server = nil
}

// write writes a file into the site's folder and returns its path.
func (s *site) write(name, text string) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// try runs bsdnet in the router.
func (s *site) try(args ...string) (stdout, stderr string, status int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	cmd := s.router.Command(ctx, program, args...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatalf("bsdnet %s: %v", strings.Join(args, " "), err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// bsdnet runs bsdnet in the router; it must succeed.
func (s *site) bsdnet(args ...string) string {
	s.t.Helper()
	out, errs, status := s.try(args...)
	if status != 0 {
		s.t.Fatalf("bsdnet %s: status %d: %s%s", strings.Join(args, " "), status, out, errs)
	}
	return out
}

// rc runs rc start or reload with a file.
func (s *site) rc(verb, file string) string {
	s.t.Helper()
	return s.bsdnet("rc", verb, "-f", file, "--mode", s.mode)
}

func (s *site) status() *netif.Status {
	s.t.Helper()
	status := &netif.Status{}
	if err := json.Unmarshal([]byte(s.bsdnet("rc", "status", "--json")), status); err != nil {
		s.t.Fatal(err)
	}
	return status
}

// lease returns the address that an interface has by DHCP, "" if it has none.
func (s *site) lease(name string) string {
	for _, i := range s.status().Interfaces {
		if i.Name == name && i.DHCP != nil && i.DHCP.Lease != nil {
			return i.DHCP.Lease.Address.String()
		}
	}
	return ""
}

// kill ends the daemon as the kernel does when memory runs out.
func (s *site) kill() {
	s.t.Helper()
	data, err := os.ReadFile(filepath.Join("/run/bsdnet", s.router.Name, "instance.json"))
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
	eventually(s.t, 5*time.Second, "daemon gone", func() bool {
		stat, err := os.ReadFile(filepath.Join("/proc", itoa(record.PID), "stat"))
		return err != nil || strings.Contains(string(stat), ") Z ")
	})
}

// eventually waits until what holds.
func eventually(t testing.TB, patience time.Duration, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (s *site) pings(from *lab.Host, to string) bool {
	_, err := from.Run("ping", "-c", "1", "-W", "1", to)
	return err == nil
}

// monitor counts the lines that ip-monitor prints of a device until stop.
func (s *site) monitor(device string) (stop func() []string) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := s.router.Command(ctx, "ip", "monitor", "link", "address", "route", "dev", device)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	var lines []string
	done := make(chan struct{})
	go func() {
		defer close(done)
		for scanner := bufio.NewScanner(pipe); scanner.Scan(); {
			lines = append(lines, scanner.Text())
		}
	}()
	time.Sleep(300 * time.Millisecond) // until it listens
	return func() []string {
		time.Sleep(300 * time.Millisecond) // until it has printed
		cancel()
		<-done
		_ = cmd.Wait() // it was killed
		return lines
	}
}
