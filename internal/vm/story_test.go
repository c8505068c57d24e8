//go:build vm

package vm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/internal/lab"
)

// The firewall's configuration, written as for FreeBSD.
const (
	storyRC = `hostname="gw"
ifconfig_wan0_name="em0"
ifconfig_lan0_name="em1"
ifconfig_em0="SYNCDHCP"
ifconfig_em0_ipv6="inet6 2001:db8::10 prefixlen 64"
vlans_em1="10"
ifconfig_em1="up"
ifconfig_em1_10="inet 192.168.10.1/24"
ifconfig_em1_10_ipv6="inet6 2001:db8:10::1 prefixlen 64"
gateway_enable="YES"
ipv6_gateway_enable="YES"
pf_enable="YES"
pf_rules="/etc/pf.conf"
`
	storyPF = `ext_if = "em0"
int_if = "em1.10"
web = "192.168.10.2"

set skip on lo0
set block-policy drop

nat on $ext_if inet from $int_if:network to any -> ($ext_if)
rdr pass on $ext_if inet proto tcp from any to ($ext_if) port 8080 -> $web port 80

block in log all
block out all
pass out on $ext_if inet proto { tcp, udp, icmp } all keep state
pass out on $ext_if inet6 all keep state
pass in on $int_if inet from $int_if:network to any keep state
pass out on $int_if inet proto tcp from any to $web port 80 keep state
pass inet6 proto ipv6-icmp all icmp6-type { neighbrsol, neighbradv, routersol, routeradv } no state
`
)

// story is a firewall in a machine, with a world around it.
type story struct {
	t        *testing.T
	ctx      context.Context
	machine  *Machine
	wan, lan *lab.Host
	assault  *assault
	begun    time.Time
}

// newStory builds the disk and the world, and boots.
func newStory(t *testing.T, ctx context.Context) *story {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	kernel, err := FetchKernel(ctx, filepath.Join(root, ".cache", "kernel"))
	if err != nil {
		t.Fatal(err)
	}
	work := t.TempDir()
	disk := filepath.Join(work, "disk")
	err = kernel.MakeDisk(ctx, filepath.Join(root, ".cache", "system"), work, disk, Disk{
		Modules: []string{"virtio_net", "e1000e", "veth", "cls_bpf", "sch_ingress", "inet_diag", "tcp_diag", "udp_diag"},
		Files: map[string]string{
			"/usr/sbin/bsdnet":                             filepath.Join(root, "bin", "bsdnet"),
			"/usr/lib/systemd/system/bsdnet.service":       filepath.Join(root, "packaging/systemd/bsdnet.service"),
			"/usr/lib/systemd/system/run-bsdnet-bpf.mount": filepath.Join(root, "packaging/systemd/run-bsdnet-bpf.mount"),
		},
		Texts: map[string]string{
			"/etc/bsdnet/rc.conf":              storyRC,
			"/etc/pf.conf":                     storyPF,
			"/etc/systemd/network/10-wan.link": "[Match]\nMACAddress=" + outsideMAC.String() + "\n[Link]\nName=wan0\n",
			"/etc/systemd/network/10-lan.link": "[Match]\nMACAddress=" + trunkMAC.String() + "\n[Link]\nName=lan0\n",
		},
		Enable: []string{"bsdnet.service"},
		Mask:   []string{"systemd-logind.service", "getty@tty1.service", "serial-getty@ttyS0.service", "fstrim.timer", "dpkg-db-backup.timer", "systemd-random-seed.service", "dev-hugepages.mount", "dev-mqueue.mount", "systemd-update-utmp.service"},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &story{t: t, ctx: ctx, wan: lab.MustHost(t, "wan"), lan: lab.MustHost(t, "lan"), assault: newAssault(), begun: time.Now()}
	s.wan.MustRun(t, "ip", "tuntap", "add", "dev", "tap0", "mode", "tap", "vnet_hdr")
	for _, args := range [][]string{
		{"addr", "add", "198.51.100.1/24", "dev", "tap0"}, {"addr", "add", "2001:db8::1/64", "dev", "tap0", "nodad"},
		{"link", "set", "tap0", "up"},
	} {
		s.wan.MustRun(t, "ip", args...)
	}
	s.dhcp(work)
	_, trunk := newTrunk(t, s.lan, "em0", work, 10, s.assault.lan)
	for _, args := range [][]string{
		{"addr", "add", inside.String() + "/24", "dev", "em0"}, {"addr", "add", inside6.String() + "/64", "dev", "em0", "nodad"},
		{"link", "set", "em0", "up"},
		{"route", "add", "default", "via", "192.168.10.1"}, {"route", "add", "default", "via", "2001:db8:10::1"},
	} {
		s.lan.MustRun(t, "ip", args...)
	}
	serve(t, s.wan, "198.51.100.1:80")
	serve(t, s.lan, inside.String()+":80")
	s.machine, err = kernel.Start(ctx, work, disk, []string{"nsenter", "--net=" + s.wan.Path()}, []string{
		"-netdev", "tap,id=wan,ifname=tap0,script=no,downscript=no", "-device", "virtio-net-pci,netdev=wan,mac=" + outsideMAC.String(),
		"-netdev", trunk, "-device", "e1000e,netdev=em0,mac=" + trunkMAC.String(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			out, err := s.machine.Run(ctx, "bsdnet status; ip addr; journalctl -b --no-pager -o cat -u bsdnet -u story | tail -60")
			t.Log(s.machine.Console(), "\n", out, err)
		}
		if err := s.machine.Stop(); err != nil {
			t.Error(err)
		}
	})
	s.assault.start(t, s.wan, "tap0")
	return s
}

// dhcp gives the firewall its address, as a provider does.
func (s *story) dhcp(work string) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := s.wan.Command(ctx, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--port=0", "--interface=tap0", "--bind-interfaces",
		"--dhcp-range=198.51.100.10,198.51.100.20,10m", "--dhcp-host="+outsideMAC.String()+","+outside.String(),
		"--dhcp-option=3,198.51.100.1", "--dhcp-leasefile="+filepath.Join(work, "leases"), "--pid-file=")
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
	})
}

// serve answers HTTP in a host with the client's address.
func serve(t *testing.T, host *lab.Host, address string) {
	t.Helper()
	var listener net.Listener
	err := host.Do(func() (err error) {
		listener, err = net.Listen("tcp", address)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client, _, _ := net.SplitHostPort(r.RemoteAddr)
		fmt.Fprint(w, client)
	})}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
}

// note prints a line of the story with its time.
func (s *story) note(format string, args ...any) {
	fmt.Printf("%4.0f s  %s\n", time.Since(s.begun).Seconds(), fmt.Sprintf(format, args...))
}

func (s *story) await() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, 5*time.Minute)
	defer cancel()
	if err := s.machine.Await(ctx); err != nil {
		s.t.Fatal(err)
	}
}

// reboot tells the machine to, and waits until it has done so.
func (s *story) reboot() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, 5*time.Minute)
	defer cancel()
	if err := s.machine.Reboot(ctx); err != nil {
		s.t.Fatal(err)
	}
	s.note("rebooted")
}

// run runs a line in the machine.
func (s *story) run(line string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
	defer cancel()
	out, err := s.machine.Run(ctx, line)
	if err != nil {
		s.t.Error(err)
	}
	return out
}

// works waits for what the rules pass: out of the LAN with the firewall's
// address, and in by the forwarded port.
func (s *story) works() {
	s.t.Helper()
	s.fetches(s.lan, "http://198.51.100.1/", outside.String())
	s.fetches(s.wan, "http://"+outside.String()+":8080/", "198.51.100.1")
	s.lan.MustRun(s.t, "ping", "-c", "3", "-i", "0.2", "-W", "5", "198.51.100.1")
}

// fetches waits until a page is there and says who the server saw.
func (s *story) fetches(host *lab.Host, url, want string) {
	s.t.Helper()
	var out string
	err := errors.New("not tried")
	for end := time.Now().Add(4 * time.Minute); err != nil && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		out, err = host.Run("curl", "-s", "--max-time", "5", url)
	}
	if err != nil || out != want {
		s.t.Fatalf("%s: server saw %q, want %q: %v", url, out, want, err)
	}
}

// held fails if anything of the assault got anywhere.
func (s *story) held(when string) {
	s.t.Helper()
	through, answered := s.assault.through.Load(), s.assault.answered.Load()
	s.note("%s: %d packets of the attacker sent, %d in the LAN, %d answered", when, s.assault.sent(), through, answered)
	if through+answered > 0 {
		s.t.Errorf("%s: %d blocked packets in the LAN, %d answered: %v", when, through, answered, s.assault.seen)
	}
}

// TestStory is a firewall at home, from its first boot on.
func TestStory(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Minute)
	t.Cleanup(cancel)
	s := newStory(t, ctx)
	s.await()
	s.note("booted")
	s.works()
	if t.Failed() {
		return
	}
	s.note("NAT from the LAN and the forwarded port work")
	if out := s.run("bsdnet status; pfctl() { bsdnet pfctl \"$@\"; }; pfctl -si | head -30; pfctl -ss | head"); t.Failed() || testing.Verbose() {
		t.Log(out)
	}
	s.held("first boot")
	if t.Failed() {
		t.Log(s.run("journalctl -b --no-pager | tail -60; ip addr"))
		return
	}

	s.run("kill -9 $(systemctl show -P MainPID bsdnet)")
	s.works()
	s.held("daemon killed")
	s.run("for n in $(seq 300); do bsdnet status && break; sleep 0.2; done")
	s.run("systemctl stop bsdnet")
	s.works()
	s.held("service stopped")

	s.reboot()
	s.works()
	s.held("second boot")

	// What has been measured can fail: without the filter everything arrives.
	s.run("bsdnet pfctl -d")
	time.Sleep(2 * time.Second)
	through, answered := s.assault.through.Load(), s.assault.answered.Load()
	s.note("control, pf disabled: %d in the LAN, %d answered", through, answered)
	if through == 0 || answered == 0 {
		t.Errorf("with pf disabled: %d packets in the LAN, %d answered: this test sees nothing", through, answered)
	}
	for _, line := range strings.Split(strings.TrimSpace(s.run("bsdnet netstat -s | grep -i pf")), "\n") {
		s.note("%s", line)
	}
}
