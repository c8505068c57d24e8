package labtest

import (
	"encoding/binary"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/pcapgo"
)

// TestLog reads with tcpdump what rules log: of match rules, of all rules that
// match behind one, of all packets of a state, to several interfaces, and whose
// socket it was.
func TestLog(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		dir := t.TempDir()
		file := func(n string) string { return filepath.Join(dir, n) }
		stops := []func(){s.start("pflogd", "-f", file("pflog0"))}
		for _, n := range []string{"pflog1", "pflog2"} {
			stops = append(stops, s.start("pflogd", "-i", n, "-f", file(n)))
		}
		s.pfctl("-e -f " + s.file(strings.Join([]string{
			"pass no state",
			"match in log on em0 proto udp",
			"match in log (matches, to pflog2) on em0 proto udp to port 5001",
			"pass in on em0 proto udp to port 5001 no state",
			"pass in on em0 proto udp to port 5001:5002 no state",
			"pass in log (all, to pflog1) on em0 inet proto icmp",
			"pass out log (user) on em1 proto tcp",
			"match in log (all, to pflog1) on em0 inet6 proto icmp6 icmp6-type echoreq",
			"pass in on em0 inet6 proto icmp6 icmp6-type echoreq",
			"block in log on em0 proto udp to port 5003",
		}, "\n")+"\n"))
		for _, e := range families {
			if out, err := s.Left.Run("ping", "-c", "3", "-i", "0.2", e.right); err != nil {
				t.Fatal(out, err)
			}
		}
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			if info, err := os.Stat(file("pflog1")); err == nil && info.Size() > 1200 || time.Now().After(end) {
				break
			}
		}
		s.datagrams("198.51.100.2", 5000, 5001, 5003)
		if s.mode == "tc" {
			connection := s.fromRouter("198.51.100.2", "7000")
			defer connection.Close()
		}
		time.Sleep(500 * time.Millisecond)
		for _, stop := range stops {
			stop()
		}
		read := func(n string) string {
			out, err := exec.Command("tcpdump", "-n", "-e", "-ttt", "-v", "-r", file(n)).Output()
			if err != nil {
				t.Error(n, err)
			}
			return string(out)
		}
		all := read("pflog0")
		want(t, all, `rule 1/0.*(match|unkn\(12\)) in on em0`, `(?s)rule 9.*block in on em0:.*5003`)
		if n := strings.Count(all, "rule 1/0"); n != 3 {
			t.Errorf("rule 1 logged %d datagrams, want 3:\n%s", n, all)
		}
		if s.mode == "tc" {
			want(t, all, `rule 6.*pass out on em1`)
			owned(t, file("pflog0"))
		}
		states := read("pflog1")
		for expression, count := range map[string]int{"rule 5": 6, "rule 7": 6} {
			if n := strings.Count(states, expression); n != count {
				t.Errorf("%q logged %d packets, want %d:\n%s", expression, n, count, states)
			}
		}
		matches := read("pflog2")
		for _, rule := range []string{"rule 2", "rule 3", "rule 4"} {
			if n := strings.Count(matches, rule); n != 1 {
				t.Errorf("%s is logged %d times behind log (matches), want once:\n%s", rule, n, matches)
			}
		}
	})
}

// owned wants a record of a segment with this process as the owner of its
// socket.
func owned(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcapgo.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for {
		data, _, err := r.ReadPacketData()
		if err != nil {
			t.Errorf("no record with the owner of the socket: %v", err)
			return
		}
		const header = 72
		if data[header+9] != 6 {
			continue
		}
		uid, pid := binary.BigEndian.Uint32(data[44:]), binary.BigEndian.Uint32(data[48:])
		if int(uid) != os.Getuid() || int(pid) != os.Getpid() {
			t.Errorf("owner of the socket is user %d, process %d, want %d, %d", uid, pid, os.Getuid(), os.Getpid())
		}
		return
	}
}

// datagrams sends one from left to each port.
func (s *site) datagrams(to string, ports ...int) {
	s.t.Helper()
	err := s.Left.Do(func() error {
		for _, port := range ports {
			conn, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: net.ParseIP(to), Port: port})
			if err != nil {
				return err
			}
			defer conn.Close()
			if _, err := conn.Write([]byte("datagram")); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// fromRouter opens a connection from the router to a listener on right.
func (s *site) fromRouter(to, port string) net.Conn {
	s.t.Helper()
	var listener net.Listener
	err := s.Right.Do(func() (err error) { listener, err = net.Listen("tcp", net.JoinHostPort(to, port)); return err })
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { listener.Close() })
	var conn net.Conn
	err = s.Router.Do(func() (err error) {
		conn, err = net.DialTimeout("tcp", net.JoinHostPort(to, port), 5*time.Second)
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return conn
}
