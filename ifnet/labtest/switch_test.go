package labtest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/internal/lab"
)

// process starts a program in a host, for as long as the test lasts.
func process(t *testing.T, host *lab.Host, env []string, name string, args ...string) {
	t.Helper()
	cmd := host.Command(context.Background(), name, args...)
	cmd.Env = append(os.Environ(), env...)
	log, err := os.Create(filepath.Join(t.TempDir(), filepath.Base(name)+".log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // ended by the test
		log.Close()
		if text, _ := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("%s: %s", name, text)
		}
	})
}

// newSwitch runs Open vSwitch in a host, with its datapath in user space, and
// returns its control program.
func newSwitch(t *testing.T, host *lab.Host) (vsctl func(args ...string)) {
	t.Helper()
	dir := t.TempDir()
	socket := filepath.Join(dir, "db.sock")
	if out, err := exec.Command("ovsdb-tool", "create", filepath.Join(dir, "conf.db"), "/usr/share/openvswitch/vswitch.ovsschema").CombinedOutput(); err != nil {
		t.Fatalf("ovsdb-tool: %v: %s", err, out)
	}
	env := []string{"OVS_RUNDIR=" + dir, "OVS_LOGDIR=" + dir, "OVS_DBDIR=" + dir}
	process(t, host, env, "ovsdb-server", "--remote=punix:"+socket, filepath.Join(dir, "conf.db"))
	vsctl = func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ovs-vsctl", append([]string{"--db=unix:" + socket, "--retry", "--timeout=20"}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("ovs-vsctl %s: %v: %s", strings.Join(args, " "), err, out)
		}
	}
	vsctl("--no-wait", "init")
	process(t, host, env, "ovs-vswitchd", "--disable-system", "unix:"+socket)
	return vsctl
}

// A trunk to the switch of somebody else, with access ports on tags and a port
// that puts a customer's tagged frames into 802.1ad; tshark reads every frame
// on the trunk.
func TestVlanSwitch(t *testing.T) {
	s := &site{t: t}
	names := []string{"switch", "router", "left", "right", "customer"}
	hosts := make(map[string]*lab.Host)
	for _, name := range names {
		hosts[name] = lab.MustHost(t, name)
		if name == "switch" {
			continue
		}
		lab.MustJoin(t, hosts["switch"], name, hosts[name], "em0")
		// The switch takes frames as they are on a wire.
		if err := hosts[name].Offloads("em0", false, "tx", "txvlan"); err != nil {
			t.Fatal(err)
		}
		if err := hosts[name].Offloads("em0", true, "gro"); err != nil {
			t.Fatal(err)
		}
	}
	vsctl := newSwitch(t, hosts["switch"])
	vsctl("set", "Open_vSwitch", ".", "other_config:vlan-limit=2")
	vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev")
	vsctl("add-port", "br0", "router", "trunks=10,20,30")
	vsctl("add-port", "br0", "left", "tag=10")
	vsctl("add-port", "br0", "right", "tag=20")
	vsctl("add-port", "br0", "customer", "vlan_mode=dot1q-tunnel", "tag=30", "other_config:qinq-ethtype=802.1ad")
	router, left, right, customer := hosts["router"], hosts["left"], hosts["right"], hosts["customer"]
	for host, tag := range map[*lab.Host]string{left: "10", right: "20"} {
		s.ip(host, "addr", "add", "10.0."+tag+".2/24", "dev", "em0")
		s.ip(host, "addr", "add", "2001:db8:"+tag+"::2/64", "dev", "em0", "nodad")
		s.ip(host, "route", "add", "default", "via", "10.0."+tag+".1")
		s.ip(host, "route", "add", "default", "via", "2001:db8:"+tag+"::1")
	}
	process(t, right, nil, "iperf3", "-s")
	for _, mode := range []string{"tc", "xdp"} {
		trunk := filepath.Join(t.TempDir(), "trunk.pcap")
		stop := s.record(hosts["switch"], "router", trunk)
		for _, host := range []*lab.Host{router, customer} {
			s.must(host, "load", "-i", "em0", "--mode", mode)
		}
		s.must(router, "sysctl", "net.inet.ip.forwarding=1", "net.inet6.ip6.forwarding=1")
		s.ifconfig(router, "vlan10 create vlan 10 vlandev em0 vlanpcp 5 10.0.10.1/24")
		s.ifconfig(router, "vlan10 inet6 2001:db8:10::1 prefixlen 64")
		s.ifconfig(router, "vlan20 create vlan 20 vlandev em0 10.0.20.1/24")
		s.ifconfig(router, "vlan20 inet6 2001:db8:20::1 prefixlen 64")
		s.ifconfig(router, "vlan30 create vlan 30 vlandev em0 vlanproto 802.1ad up")
		s.ifconfig(router, "vlan30.9 create 10.0.9.1/24")
		s.ifconfig(customer, "vlan9 create vlan 9 vlandev em0 mtu 1496 10.0.9.2/24")
		s.must(customer, "route", "add", "default", "10.0.9.1")
		for _, to := range []string{"10.0.10.1", "10.0.20.2", "2001:db8:10::1", "2001:db8:20::2"} {
			s.ping(left, to)
		}
		s.ping(router, "-s", "1400", "10.0.10.2")
		s.ping(customer, "-s", "1400", "10.0.9.1")
		s.ping(customer, "-s", "1400", "10.0.20.2")
		s.transfer(left, mode, "10.0.20.2")
		s.transfer(router, mode, "10.0.20.2", "-R")
		stop()
		s.decoded(trunk, router)
		s.must(router, "unload")
		s.must(customer, "unload")
	}
}

// record writes what is on a device of a host to a file, until stop.
func (s *site) record(host *lab.Host, device, path string) (stop func()) {
	s.t.Helper()
	cmd := host.Command(context.Background(), "tcpdump", "-i", device, "-w", path, "-U", "-B", "16384")
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	time.Sleep(time.Second)
	return func() {
		time.Sleep(500 * time.Millisecond)
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	}
}

// decoded wants tshark to find nothing wrong in a file, and the tags of the
// test in what the host sent.
func (s *site) decoded(path string, host *lab.Host) {
	s.t.Helper()
	lladdr, err := host.Lladdr("em0")
	if err != nil {
		s.t.Fatal(err)
	}
	tshark := func(args ...string) string {
		out, err := exec.Command("tshark", append([]string{"-n", "-r", path, "-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE"}, args...)...).Output()
		if err != nil {
			s.t.Fatalf("tshark: %v", err)
		}
		return string(out)
	}
	if bad := tshark("-Y", "_ws.malformed || ip.checksum.status == Bad || tcp.checksum.status == Bad || vlan.len.past_end"); bad != "" {
		s.t.Errorf("tshark finds malformed:\n%s", bad)
	}
	sent := make(map[string]int)
	for line := range strings.Lines(tshark("-Y", "eth.src=="+lladdr.String(), "-T", "fields", "-e", "eth.type", "-e", "ieee8021ad.id", "-e", "vlan.id", "-e", "vlan.priority", "-e", "ip.version")) {
		sent[strings.TrimSpace(strings.ReplaceAll(line, "\t", " "))]++
	}
	for _, want := range []string{"0x8100  10 5 4", "0x8100  20 0 4", "0x88a8 30 9 0 4"} {
		if sent[want] < 3 {
			s.t.Errorf("fewer than three frames of %q among those sent: %v", want, sent)
		}
	}
}
