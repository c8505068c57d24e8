package labtest

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A tunnel to wireguard-go: who begins, both families inside and outside, full
// segments of what the host sends and of what it forwards, preshared keys, and
// a peer that moves.
func TestTunnel(t *testing.T) {
	for _, mode := range []string{"tc", "xdp"} {
		t.Run(mode, func(t *testing.T) {
			s := newSite(t, mode)
			s.tunnel()
			s.ping(s.Router, "10.7.0.2")
			s.ping(s.Left, "10.7.0.1")
			s.ping(s.Left, "2001:db8:7::1")
			s.ping(s.Left, "-s", "1300", "-M", "do", "10.7.0.1")
			s.tcp(s.Left, s.Router, "10.7.0.1")
			s.tcp(s.Router, s.Left, "2001:db8:7::2")

			s.must(s.Router, "sysctl", "net.inet.ip.forwarding=1")
			s.Left.MustRun(t, "ip", "route", "replace", "198.51.100.0/24", "dev", "peer9")
			s.ping(s.Left, "198.51.100.2")
			s.tcp(s.Left, s.Right, "198.51.100.2")
			s.tcp(s.Right, s.Left, "10.7.0.2")

			s.Left.MustRun(t, "ip", "addr", "del", "192.0.2.2/24", "dev", "em0")
			s.Left.MustRun(t, "ip", "addr", "add", "192.0.2.77/24", "dev", "em0")
			s.wg("set", "peer9", "peer", s.near.public, "endpoint", "192.0.2.1:51820")
			s.answers(s.Left, "10.7.0.1")
			if at := s.tunnelOf("wg0").Peers[0].Endpoint.String(); at != "192.0.2.77:51829" {
				t.Errorf("the peer moved to 192.0.2.77:51829, not %s", at)
			}
			s.ping(s.Router, "10.7.0.2")
			s.wg("set", "peer9", "peer", s.near.public, "endpoint", "[2001:db8::1]:51820")
			s.answers(s.Left, "10.7.0.1")
			if at := s.tunnelOf("wg0").Peers[0].Endpoint.String(); at != "[2001:db8::2]:51829" {
				t.Errorf("the peer moved to [2001:db8::2]:51829, not %s", at)
			}
		})
	}
}

// Keys that do not fit, and packets that are none of a session, are counted and
// do no harm.
func TestRefused(t *testing.T) {
	s := newSite(t, "tc")
	s.tunnel()
	s.ping(s.Router, "10.7.0.2")

	s.dropped("mac1", 1, func() { // for somebody else's key
		s.wg("set", "peer9", "peer", s.near.public, "remove")
		s.wg("set", "peer9", "peer", s.third.public, "endpoint", "192.0.2.1:51820", "allowed-ips", "10.7.0.1/32", "persistent-keepalive", "1")
	})
	s.wg("set", "peer9", "peer", s.third.public, "remove")
	s.dropped("handshake", 1, func() { // by a stranger
		s.wg("set", "peer9", "private-key", s.file("third", s.third.private), "peer", s.near.public, "endpoint", "192.0.2.1:51820",
			"allowed-ips", "10.7.0.1/32", "persistent-keepalive", "1")
		s.silent(s.Left, "10.7.0.1")
	})
	s.wg("set", "peer9", "private-key", s.file("far", s.far.private))
	s.answers(s.Left, "10.7.0.1")
	psk := newPair(t).private
	s.ifconfig(s.Router, "wg0 wgpeer %s wgpsk %s", s.far.public, psk)
	s.wg("set", "peer9", "peer", s.near.public, "remove")
	s.wg("set", "peer9", "peer", s.near.public, "endpoint", "192.0.2.1:51820", "allowed-ips", "10.7.0.1/32,198.51.100.0/24")
	s.silent(s.Left, "10.7.0.1")
	s.wg("set", "peer9", "peer", s.near.public, "preshared-key", s.file("psk", psk))
	s.answers(s.Left, "10.7.0.1")

	s.dropped("source", 3, func() { // an address that is not the peer's
		s.Left.MustRun(t, "ip", "addr", "add", "10.7.0.9/32", "dev", "peer9")
		s.Left.Run("ping", "-n", "-c", "3", "-i", "0.2", "-W", "1", "-I", "10.7.0.9", "10.7.0.1")
	})
	s.dropped("length", 40, func() { s.datagrams(40, []byte{4, 0, 0, 0, 1}) })
	s.dropped("length", 1, func() { s.datagrams(1, append([]byte{1, 0, 0, 0}, make([]byte, 100)...)) })
	s.dropped("type", 1, func() { s.datagrams(1, append([]byte{9, 0, 0, 0}, make([]byte, 100)...)) })
	s.dropped("undecrypted", 1, func() { s.datagrams(1, append([]byte{4, 0, 0, 0, 9, 9, 9, 9}, make([]byte, 100)...)) })
	s.dropped("undecrypted", 20, func() {
		for _, datagram := range s.captured(20) {
			s.datagrams(1, datagram)
		}
	})
	if out := s.must(s.Router, "ifconfig", "-v", "wg0"); !strings.Contains(out, "wgdropped: mac1 ") {
		t.Errorf("ifconfig -v shows no drops:\n%s", out)
	}
	s.ping(s.Left, "10.7.0.1")
}

// datagrams sends datagrams to the port of wg0 from a socket of its own.
func (s *site) datagrams(n int, payload []byte) {
	s.t.Helper()
	err := s.Left.Do(func() error {
		conn, err := net.Dial("udp", "192.0.2.1:51820")
		if err != nil {
			return err
		}
		defer conn.Close()
		for range n {
			if _, err := conn.Write(payload); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// captured is what the peer sends to wg0 under pings: datagrams with data.
func (s *site) captured(n int) (datagrams [][]byte) {
	s.t.Helper()
	err := s.Left.Do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM, int(binary.NativeEndian.Uint16([]byte{0, 3}))) // ETH_P_ALL
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		go func() { _, _ = s.Left.Run("ping", "-n", "-c", fmt.Sprint(n+5), "-i", "0.01", "10.7.0.1") }()
		_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5})
		buf := make([]byte, 2048)
		for len(datagrams) < n {
			length, from, err := unix.Recvfrom(fd, buf, 0)
			if err != nil {
				return err
			}
			link, _ := from.(*unix.SockaddrLinklayer)
			packet := buf[:length]
			if link != nil && link.Pkttype == unix.PACKET_OUTGOING && length > 60 && packet[0] == 0x45 && packet[9] == unix.IPPROTO_UDP &&
				binary.BigEndian.Uint16(packet[22:]) == 51820 && packet[28] == 4 {
				datagrams = append(datagrams, append([]byte(nil), packet[28:]...))
			}
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return datagrams
}

// pf filters inside the tunnel and outside of it.
func TestFilter(t *testing.T) {
	s := newSite(t, "tc")
	s.tunnel()
	s.ping(s.Router, "10.7.0.2")
	load := func(rules string) { s.must(s.Router, "pfctl", "-f", s.file("pf.conf", rules)) }
	s.must(s.Router, "pfctl", "-e")
	load("block drop all\npass on em0 proto udp to port { 51820 51829 }\npass in on wg0 inet proto icmp\n")
	s.ping(s.Left, "10.7.0.1")
	s.silent(s.Router, "10.7.0.2")
	s.silent(s.Left, "2001:db8:7::1")
	load("pass all\nblock drop on em0 proto udp to port { 51820 51829 }\n")
	s.must(s.Router, "pfctl", "-Fs")
	s.silent(s.Left, "10.7.0.1")
	load("pass all\n")
	s.answers(s.Left, "10.7.0.1")
}

// Tunnels outlive the daemon; processes are started again with what they knew;
// keys go with the interface.
func TestLife(t *testing.T) {
	s := newSite(t, "tc")
	s.tunnel()
	s.ping(s.Router, "10.7.0.2")
	engine := s.tunnelOf("wg0").PID
	config := filepath.Join("/run/bsdnet", s.Router.Name, "wg", "wg0.conf")
	if info, err := os.Stat(config); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%s: %v %v", config, info, err)
	}

	if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", engine)); err != nil || // net_admin, net_bind_service
		!strings.Contains(string(status), "CapPrm:\t0000000000001400\nCapEff:\t0000000000001400\n") || !strings.Contains(string(status), "NoNewPrivs:\t1\n") {
		t.Errorf("the process: %v\n%s", err, status)
	}
	s.kill(s.pid())
	s.ping(s.Left, "10.7.0.1")
	s.wg("set", "wg0", "peer", s.third.public, "allowed-ips", "10.7.0.3/32") // the process answers alone
	s.must(s.Router, "load")
	s.ping(s.Left, "10.7.0.1")
	if now := s.tunnelOf("wg0"); now.PID != engine || len(now.Peers) != 2 {
		t.Errorf("adopted: process %d with %d peers, want %d with 2", now.PID, len(now.Peers), engine)
	}
	if out := s.must(s.Router, "status"); !strings.Contains(out, fmt.Sprintf("wg0: WireGuard: userspace, process %d\n", engine)) {
		t.Errorf("status:\n%s", out)
	}

	s.kill(engine)
	s.eventually("another process serves", func() bool { now := s.tunnelOf("wg0").PID; return now != 0 && now != engine })
	s.answers(s.Router, "10.7.0.2")
	if now := s.tunnelOf("wg0"); len(now.Peers) != 2 || now.Port != 51820 {
		t.Errorf("after the process was killed: %+v", now)
	}

	engine = s.tunnelOf("wg0").PID
	s.kill(s.pid())
	s.kill(engine)
	s.silent(s.Router, "10.7.0.2")
	s.must(s.Router, "load")
	s.answers(s.Router, "10.7.0.2")

	s.ifconfig(s.Router, "wg0 down")
	s.silent(s.Left, "10.7.0.1")
	s.ifconfig(s.Router, "wg0 up")
	s.answers(s.Router, "10.7.0.2")

	s.ifconfig(s.Router, "wg0 destroy")
	gone := func(what string) {
		t.Helper()
		s.eventually("nothing is left of "+what, func() bool {
			left, _ := filepath.Glob(filepath.Join("/run/bsdnet", s.Router.Name, "wg", "*"))
			_, err := os.Stat("/run/wireguard/wg0.sock")
			return len(left) == 0 && err != nil
		})
	}
	gone("an interface that is destroyed")
	s.ifconfig(s.Router, "wg0 create wgkey %s", s.near.private)
	s.Router.MustRun(t, "ip", "link", "del", "wg0")
	gone("an interface that somebody deleted")
	s.eventually("the daemon forgets it", func() bool { return !strings.Contains(s.must(s.Router, "ifconfig", "-l"), "wg0") })
	s.ifconfig(s.Router, "wg0 create wgkey %s", s.near.private)
}

// wg(8) and wg-quick(8) as they are.
func TestTools(t *testing.T) {
	s := newSite(t, "tc")
	s.peer()
	s.wg("set", "peer9", "peer", s.near.public, "endpoint", "192.0.2.1:51820")
	links := t.TempDir()
	s.must(s.Router, "install-links", links)
	conf := filepath.Join(t.TempDir(), "home7.conf")
	text := fmt.Sprintf("[Interface]\nPrivateKey = %s\nListenPort = 51820\nAddress = 10.7.0.1/24\n[Peer]\nPublicKey = %s\nAllowedIPs = 10.7.0.2/32\nEndpoint = 192.0.2.2:51829\n",
		s.near.private, s.far.public)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	quick := func(verb string) {
		t.Helper()
		s.Router.MustRun(t, "env", "PATH="+os.Getenv("PATH")+":"+links, "WG_QUICK_USERSPACE_IMPLEMENTATION=bsdnet-wg", "wg-quick", verb, conf)
	}
	quick("up")
	s.ping(s.Router, "10.7.0.2")
	if out := s.ifconfig(s.Router, "home7"); !strings.Contains(out, "wireguard: userspace") || !strings.Contains(out, "groups: wg\n") {
		t.Errorf("ifconfig:\n%s", out)
	}
	if out := s.wg("showconf", "home7"); !strings.Contains(out, "PrivateKey = "+s.near.private) {
		t.Errorf("wg showconf:\n%s", out)
	}
	s.kill(s.tunnelOf("home7").PID)
	s.eventually("another process serves", func() bool { return s.tunnelOf("home7").Engine == "userspace" })
	s.answers(s.Router, "10.7.0.2")
	quick("down")
	s.eventually("it is gone", func() bool {
		_, err := os.Stat("/run/wireguard/home7.sock")
		return err != nil && !strings.Contains(s.must(s.Router, "ifconfig", "-l"), "home7")
	})

	s.ifconfig(s.Router, "wg0 create inet 10.7.0.1/24")
	s.wg("setconf", "wg0", s.file("set.conf", strings.ReplaceAll(text, "Address = 10.7.0.1/24\n", "")))
	s.ping(s.Router, "10.7.0.2")
	s.wg("set", "wg0", "peer", s.far.public, "allowed-ips", "10.7.9.0/24")
	s.silent(s.Left, "10.7.0.1")
	s.wg("syncconf", "wg0", s.file("set.conf", strings.ReplaceAll(text, "Address = 10.7.0.1/24\n", "")))
	s.ping(s.Left, "10.7.0.1")
}

// An endpoint whose way leads into the tunnel is harmless.
func TestLoop(t *testing.T) {
	s := newSite(t, "tc")
	s.tunnel()
	s.ping(s.Router, "10.7.0.2")
	sent := func() uint64 { return s.tunnelOf("wg0").Peers[0].Tx }
	s.ifconfig(s.Router, "wg0 wgpeer %s wgaip 10.7.0.2/32 wgaip 192.0.2.2/32", s.far.public)
	s.must(s.Router, "route", "add", "-host", "192.0.2.2", "-interface", "wg0")
	s.dropped("loop", 1, func() { _, _ = s.Router.Run("ping", "-n", "-c", "5", "-i", "0.2", "-W", "1", "-s", "1300", "10.7.0.2") })
	before := sent()
	time.Sleep(time.Second)
	if after := sent(); after > before+10000 {
		t.Errorf("%d bytes were sent in a second of silence", after-before)
	}
	s.must(s.Router, "route", "delete", "-host", "192.0.2.2")
	s.answers(s.Router, "10.7.0.2")
}

// What cannot be is refused in the words of the BSDs, without keys in them,
// and changes nothing.
func TestWords(t *testing.T) {
	s := newSite(t, "tc")
	s.ifconfig(s.Router, "wg0 create wgkey %s wgport 51820 wgpeer %s wgaip 10.7.0.2/32 wgpka 25 wgdescr %s", s.near.private, s.far.public, "somebody")
	short := s.near.private[:40]
	s.refused("wgkey: invalid private key", "wg0 wgkey %s", short)
	s.refused("wgkey: invalid private key", "wg0 wgkey %s", strings.Repeat("A", 43)+"=")
	s.refused("wgport: invalid port 65536: too large", "wg0 wgport 65536")
	s.refused("wgport: invalid port x: invalid", "wg0 wgport x")
	s.refused("wgpeer: invalid peer key: x", "wg0 wgpeer x")
	s.refused("wgaip: wgpeer not set", "wg0 wgaip 10.0.0.0/8")
	s.refused("wgaip: bad address: 10.0.0.0/33", "wg0 wgpeer %s wgaip 10.0.0.0/33", s.far.public)
	s.refused("wgpsk: invalid key", "wg0 wgpeer %s wgpsk %s", s.far.public, short)
	s.refused("wgpka: invalid pka 43201: too large", "wg0 wgpeer %s wgpka 43201", s.far.public)
	s.refused("'wgendpoint' requires 2 arguments", "wg0 wgpeer %s wgendpoint 192.0.2.2", s.far.public)
	s.refused("'wgkey' requires argument", "wg0 wgkey")
	s.refused("SIOCSWG: routing table 1: there is only table 0", "wg0 wgrtable 1")
	s.refused("SIOCSWG: peer "+s.near.public+": this is the key of the interface itself", "wg0 wgpeer %s", s.near.public)
	s.refused("SIOCSWG: Invalid argument", "em0 wgport 1")
	taken, err := s.listening(51999)
	if err != nil {
		t.Fatal(err)
	}
	s.refused("SIOCSWG: Address already in use", "wg0 wgport 51999 -wgpeerall up")
	taken.Close()
	s.ifconfig(s.Router, "wg0 up")
	now := s.tunnelOf("wg0")
	if now.Port != 51820 || len(now.Peers) != 1 || now.Peers[0].Keepalive != 25 || now.Peers[0].Description != "somebody" || now.PrivateKey != nil {
		t.Errorf("after what was refused: %+v", now)
	}
	out := s.ifconfig(s.Router, "wg0")
	if strings.Contains(out, s.near.private) || !strings.Contains(out, "\twgpubkey: "+s.near.public+"\n") ||
		!strings.Contains(out, "\twgpeer: "+s.far.public+"\n\t\twgdescr: somebody\n\t\twgpka: 25 (seconds)\n\t\ttx: ") || !strings.Contains(out, "\t\twgaip: 10.7.0.2/32\n") {
		t.Errorf("ifconfig:\n%s", out)
	}
	if out := s.ifconfig(s.Router, "-k wg0"); !strings.Contains(out, "\twgkey: "+s.near.private+"\n") {
		t.Errorf("ifconfig -k:\n%s", out)
	}
	s.ifconfig(s.Router, "wg0 wgpeer %s wgaip 10.8.0.0/16 wgaip 10.9.0.0/16", s.far.public)
	s.ifconfig(s.Router, "wg0 wgpeer %s -wgaip 10.8.0.0/16 -wgpka -wgdescr", s.far.public)
	s.ifconfig(s.Router, "wg0 wgpeer %s wgaip 10.9.0.0/16", s.third.public) // moves
	for _, p := range s.tunnelOf("wg0").Peers {
		if own := p.PublicKey.String() == s.third.public; own != (len(p.AllowedIPs) == 1) || p.Keepalive != 0 || p.Description != "" {
			t.Errorf("peer %+v", p)
		}
	}
	s.ifconfig(s.Router, "wg0 -wgpeer %s", s.third.public)
	if n := len(s.tunnelOf("wg0").Peers); n != 1 {
		t.Errorf("%d peers, want 1", n)
	}
	s.must(s.Router, "commit", "--confirm", "60", "--", "ifconfig", "wg0", "destroy")
	s.must(s.Router, "rollback")
	if now := s.tunnelOf("wg0"); now.Port != 51820 || now.PublicKey.String() != s.near.public || len(now.Peers) != 1 || len(now.Peers[0].AllowedIPs) != 0 {
		t.Errorf("taken back: %+v", now)
	}
	s.ifconfig(s.Router, "wg0 -wgpeerall")
	if n := len(s.tunnelOf("wg0").Peers); n != 0 {
		t.Errorf("%d peers, want none", n)
	}
}

// listening takes a port of the router.
func (s *site) listening(port int) (conn *net.UDPConn, err error) {
	failure := s.Router.Do(func() error {
		conn, err = net.ListenUDP("udp", &net.UDPAddr{Port: port})
		return nil
	})
	if failure != nil {
		return nil, failure
	}
	return conn, err
}

// A tunnel in rc.conf: made once, changed where the file changes, away with it;
// and there again after all of it was gone, as after a reboot.
func TestRc(t *testing.T) {
	s := newSite(t, "tc")
	s.peer()
	head := "ifconfig_em0=\"inet 192.0.2.1/24\"\nifconfig_em0_ipv6=\"inet6 2001:db8::1/64\"\nifconfig_em1=\"inet 198.51.100.1/24\"\n"
	tunnel := func(more string) string {
		return fmt.Sprintf("%scloned_interfaces=\"wg0\"\ncreate_args_wg0=\"wgkey %s wgport 51820\"\nifconfig_wg0=\"10.7.0.1/24 wgpeer %s wgaip 10.7.0.2/32 %s\"\n",
			head, s.near.private, s.far.public, more)
	}
	file := s.file("rc.conf", tunnel("wgendpoint 192.0.2.2 51829"))
	out := s.must(s.Router, "rc", "start", "-f", file, "--mode", "tc", "--takeover")
	if !strings.Contains(out, "wg0: created\n") || !strings.Contains(out, "wg0: WireGuard: key, port 51820, peer "+s.far.public+"\n") || strings.Contains(out, s.near.private) {
		t.Errorf("rc start:\n%s", out)
	}
	s.ping(s.Router, "10.7.0.2")
	engine := s.tunnelOf("wg0").PID
	if out := s.must(s.Router, "rc", "reload"); out != "" {
		t.Errorf("a second time: %s", out)
	}
	s.file("rc.conf", tunnel("wgendpoint 192.0.2.2 51829 wgpka 7"))
	if out, want := s.must(s.Router, "rc", "reload"), "wg0: WireGuard: peer "+s.far.public+"\n"; out != want {
		t.Errorf("rc reload: %q, want %q", out, want)
	}
	if now := s.tunnelOf("wg0"); now.PID != engine || now.Peers[0].Keepalive != 7 || now.Peers[0].LastHandshake == 0 {
		t.Errorf("after a reload: %+v", now)
	}
	plan, err := os.ReadFile(filepath.Join("/run/bsdnet", s.Router.Name, "rc.json"))
	if err != nil || !strings.Contains(string(plan), `"mode": "tc"`) || !strings.Contains(string(plan), `"takeover": true`) {
		t.Errorf("rc reload forgets what the start was told: %v\n%s", err, plan)
	}
	s.must(s.Router, "unload")
	s.must(s.Router, "load", "-f", file, "--mode", "tc")
	s.answers(s.Router, "10.7.0.2")
	s.file("rc.conf", head)
	if out, want := s.must(s.Router, "rc", "reload"), "wg0: no 10.7.0.1/24\nwg0: destroyed\n"; out != want {
		t.Errorf("rc reload: %q, want %q", out, want)
	}
	s.file("rc.conf", tunnel("wgendpoint localhost 51829 wgpeer CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk= wgaip 10.7.0.9/32 wgendpoint nowhere.invalid 51829"))
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	_, warning, status := s.run(s.Router, "rc", "start", "-f", file)
	if status != 0 || !strings.Contains(warning, "chmod 600") {
		t.Errorf("a file that everybody may read: status %d, %q", status, warning)
	}
	// A name without an answer keeps no other from being looked up.
	s.eventually("the endpoint is looked up", func() bool {
		for _, p := range s.tunnelOf("wg0").Peers {
			if p.PublicKey.String() == s.far.public {
				return p.Endpoint.Port() == 51829
			}
		}
		return false
	})
}
