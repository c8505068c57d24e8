package labtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/ifnet/api"
	"github.com/bsdnet/bsdnet/internal/lab"
)

// site is a line of hosts: the router runs bsdnet with wg0, 10.7.0.1, the left
// one wireguard-go with peer9, 10.7.0.2. The names differ, for wg(8) looks for
// the sockets of all network namespaces in one folder.
type site struct {
	*lab.Line
	t           testing.TB
	near, far   pair // keys of the router, and of the left host
	third       pair // of somebody else
	configFiles string
}

// pair is a private and a public key.
type pair struct{ private, public string }

func newPair(t testing.TB) pair {
	t.Helper()
	var key api.WgKey
	f, err := os.Open("/dev/urandom")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Read(key[:]); err != nil {
		t.Fatal(err)
	}
	key = key.Clamp()
	return pair{key.String(), key.Public().String()}
}

func newSite(t testing.TB, mode string) *site {
	t.Helper()
	line, err := lab.NewLine("wg")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{line, t, newPair(t), newPair(t), newPair(t), t.TempDir()}
	t.Cleanup(func() {
		s.must(s.Router, "unload")
		for _, pattern := range []string{"/run/wireguard/wg0.sock", "/run/bsdnet/" + s.Router.Name + "*"} {
			if left, _ := filepath.Glob(pattern); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		}
		if err := line.Close(); err != nil {
			t.Error(err)
		}
	})
	if mode == "xdp" {
		for _, host := range []*lab.Host{s.Left, s.Right, s.Router} {
			s.offloads(host, "em0")
		}
		s.offloads(s.Router, "em1")
	}
	s.must(s.Router, "load", "-i", "em0", "-i", "em1", "--mode", mode)
	return s
}

func (s *site) offloads(host *lab.Host, device string) {
	s.t.Helper()
	if err := host.Offloads(device, false, "tx", "txvlan"); err != nil {
		s.t.Fatal(err)
	}
	if err := host.Offloads(device, true, "gro"); err != nil {
		s.t.Fatal(err)
	}
}

// tunnel makes both ends of the tunnel; the router knows where the peer is.
func (s *site) tunnel() {
	s.t.Helper()
	s.peer()
	s.ifconfig(s.Router, "wg0 create wgkey %s wgport 51820 wgpeer %s wgendpoint 192.0.2.2 51829 wgaip 10.7.0.2/32 wgaip 2001:db8:7::2/128 inet 10.7.0.1/24", s.near.private, s.far.public)
	s.ifconfig(s.Router, "wg0 inet6 2001:db8:7::1/64")
}

// peer makes the left end of the tunnel.
func (s *site) peer() {
	s.t.Helper()
	s.wireguardGo(s.Left, "peer9")
	s.wg("set", "peer9", "private-key", s.file("far", s.far.private), "listen-port", "51829",
		"peer", s.near.public, "allowed-ips", "10.7.0.1/32,2001:db8:7::1/128,198.51.100.0/24")
	for _, args := range []string{"addr add 10.7.0.2/24 dev peer9", "addr add 2001:db8:7::2/64 dev peer9 nodad", "link set peer9 up"} {
		s.Left.MustRun(s.t, "ip", strings.Fields(args)...)
	}
}

// wireguardGo runs wireguard-go on a host until the test ends.
func (s *site) wireguardGo(host *lab.Host, name string) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := host.Command(ctx, peer, "-f", name)
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // ended by the test
		os.Remove("/run/wireguard/" + name + ".sock")
	})
	s.eventually(name+" is there", func() bool {
		_, err := host.Run("ip", "link", "show", name)
		_, missing := os.Stat("/run/wireguard/" + name + ".sock")
		return err == nil && missing == nil
	})
}

// file is a file with a text.
func (s *site) file(name, text string) string {
	s.t.Helper()
	path := filepath.Join(s.configFiles, name)
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// wg runs wg(8), which finds its sockets in any namespace.
func (s *site) wg(args ...string) string {
	s.t.Helper()
	return s.Left.MustRun(s.t, "wg", args...)
}

func (s *site) run(host *lab.Host, args ...string) (stdout, stderr string, status int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	cmd := host.Command(ctx, program, args...)
	var out, err bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &err
	if failure := cmd.Run(); failure != nil && cmd.ProcessState == nil {
		s.t.Fatal(failure)
	}
	return out.String(), err.String(), cmd.ProcessState.ExitCode()
}

func (s *site) must(host *lab.Host, args ...string) string {
	s.t.Helper()
	out, err, status := s.run(host, args...)
	if status != 0 {
		s.t.Fatalf("bsdnet %s: status %d: %s", strings.Join(args, " "), status, err)
	}
	return out
}

func (s *site) ifconfig(host *lab.Host, format string, args ...any) string {
	s.t.Helper()
	return s.must(host, append([]string{"ifconfig"}, strings.Fields(fmt.Sprintf(format, args...))...)...)
}

// refused wants ifconfig to fail with a text, in which no key of the router is.
func (s *site) refused(text, format string, args ...any) {
	s.t.Helper()
	words := fmt.Sprintf(format, args...)
	_, stderr, status := s.run(s.Router, append([]string{"ifconfig"}, strings.Fields(words)...)...)
	if status != 1 || strings.TrimSpace(stderr) != "ifconfig: "+text {
		s.t.Errorf("ifconfig %s: status %d, %q, want %q", words, status, stderr, text)
	}
}

// tunnelOf is what the daemon tells of wg0.
func (s *site) tunnelOf(name string) *api.Wg {
	s.t.Helper()
	var list []api.Interface
	if err := json.Unmarshal([]byte(s.must(s.Router, "ifconfig", "--json", name)), &list); err != nil || len(list) != 1 || list[0].Wg == nil {
		s.t.Fatalf("ifconfig --json %s: %v", name, err)
	}
	return list[0].Wg
}

// dropped wants packets to be counted under a reason while f runs.
func (s *site) dropped(reason string, least uint64, f func()) {
	s.t.Helper()
	before := s.tunnelOf("wg0").Dropped[reason]
	f()
	s.eventually(fmt.Sprintf("%d dropped for %s", least, reason), func() bool { return s.tunnelOf("wg0").Dropped[reason] >= before+least })
}

func (s *site) ping(host *lab.Host, args ...string) {
	s.t.Helper()
	out, err := host.Run("ping", append([]string{"-n", "-c", "3", "-i", "0.2", "-W", "5"}, args...)...)
	if err != nil {
		s.t.Errorf("%v: %s", err, out)
	}
}

// silent wants no answer from an address.
func (s *site) silent(host *lab.Host, address string) {
	s.t.Helper()
	if out, err := host.Run("ping", "-n", "-c", "1", "-W", "1", address); err == nil {
		s.t.Errorf("%s answers: %s", address, out)
	}
}

// answers waits until an address answers.
func (s *site) answers(host *lab.Host, address string) {
	s.t.Helper()
	s.eventually(address+" answers", func() bool {
		_, err := host.Run("ping", "-n", "-c", "1", "-W", "1", address)
		return err == nil
	})
}

func (s *site) eventually(what string, ok func() bool) {
	s.t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if ok() {
			return
		}
	}
	s.t.Fatalf("it does not come that %s\n%s", what, s.must(s.Router, "ifconfig", "-v"))
}

// tcp sends by TCP and wants it to arrive whole.
func (s *site) tcp(from, to *lab.Host, address string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	server := to.Command(ctx, "iperf3", "-s", "-1", "-p", "5301")
	if err := server.Start(); err != nil {
		s.t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	out, err := from.Run("iperf3", "-c", address, "-p", "5301", "-n", "20M", "--connect-timeout", "5000")
	if err != nil {
		s.t.Errorf("TCP to %s: %v: %s", address, err, out)
		_ = server.Process.Kill()
	}
	_ = server.Wait()
}

// pid is the daemon's process.
func (s *site) pid() int {
	s.t.Helper()
	var status struct {
		PID int `json:"pid"`
	}
	if err := json.Unmarshal([]byte(s.must(s.Router, "status", "--json")), &status); err != nil {
		s.t.Fatal(err)
	}
	return status.PID
}

func (s *site) kill(pid int) {
	s.t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		s.t.Fatal(err)
	}
}
