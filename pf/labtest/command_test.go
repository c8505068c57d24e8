package labtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// states makes states of udp from left to right, each from a port of its own.
func (s *site) states(ports ...int) {
	s.t.Helper()
	err := s.Left.Do(func() error {
		for _, port := range ports {
			conn, err := net.DialUDP("udp", &net.UDPAddr{Port: port}, &net.UDPAddr{IP: net.ParseIP(right), Port: 5000})
			if err != nil {
				return err
			}
			_, err = conn.Write([]byte("x"))
			if err = errors.Join(err, conn.Close()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond) // on their way
}

// count is the number of states that pfctl shows.
func (s *site) count(args string) int {
	s.t.Helper()
	return strings.Count(s.pfctl(args), "\n")
}

// Every form of -k ends the states that it names and no others.
func TestKill(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		s.pfctl("-e -f " + s.file("nat on em1 inet from 192.0.2.0/24 to any -> (em1)\npass in proto udp label lan\npass out proto udp\n"))
		s.mustPing(right, true, "neighbours found")
		for _, tt := range []struct {
			args         string
			killed, left int
			tail         string
		}{
			{"-k 192.0.2.2", 1, 1, " from 1 sources and 0 destinations"},
			{"-k 192.0.2.0/24", 1, 1, " from 1 sources and 0 destinations"},
			{"-k 198.51.100.1", 1, 1, " from 1 sources and 0 destinations"},
			{"-k 192.0.2.2 -k 10.0.0.1", 0, 2, " from 1 sources and 1 destinations"},
			{"-k 0/0 -k 198.51.100.2", 2, 0, " from 2 sources and 1 destinations"},
			{"-k nat -k 192.0.2.2", 2, 0, " from 1 sources and 0 destinations"},
			{"-M -k 192.0.2.2", 2, 0, " from 1 sources and 0 destinations"},
			{"-i em1 -k 0/0", 0, 2, " from 2 sources and 0 destinations"}, // floating states are on all
			{"-k label -k lan", 1, 1, ""},
			{"-k label -k other", 0, 2, ""},
		} {
			s.pfctl("-F states")
			s.states(4000)
			if n := s.count("-ss"); n != 2 {
				t.Fatalf("%d states: %s", n, s.pfctl("-ss"))
			}
			s.expect(tt.args, fmt.Sprintf("killed %d states%s\n", tt.killed, tt.tail), 0)
			if n := s.count("-ss"); n != tt.left {
				t.Errorf("%s: %d states left, want %d", tt.args, n, tt.left)
			}
		}
		s.pfctl("-F states")
		s.datagrams(right6, 9)
		s.expect("-k 2001:db8:1::/64", "killed 0 states from 1 sources and 0 destinations\n", 0)
		s.expect("-k 2001:db8::/64 -k 2001:db8:1::2", "killed 2 states from 1 sources and 1 destinations\n", 0)
		s.states(4001, 4002)
		shown := s.pfctl("-vvss")
		_, id, _ := strings.Cut(shown, "id: ")
		id, _, _ = strings.Cut(id, " ")
		_, creator, _ := strings.Cut(shown, "creatorid: ")
		creator, _, _ = strings.Cut(creator, "\n")
		s.expect("-k id -k "+id+"/00000001", "killed 0 states\n", 0)
		s.expect("-k id -k "+id, "killed 1 states\n", 0)
		_, id, _ = strings.Cut(s.pfctl("-vvss"), "id: ")
		id, _, _ = strings.Cut(id, " ")
		s.expect("-k id -k "+id+"/"+creator, "killed 1 states\n", 0)
		for _, line := range strings.Split(s.pfctl("-ss"), "\n") {
			if words := strings.Fields(line); len(words) > 4 && words[3] == "<-" {
				out, errs, status := s.run("", "pfctl", "-k", "key", "-k", strings.Join(words[1:5], " "))
				if errs != "killed 1 states\n" || status != 0 {
					t.Errorf("-k key: status %d: %s%s%s", status, out, errs, s.pfctl("-ss"))
				}
			}
		}
		_, errs, status := s.run("", "pfctl", "-k", "gateway", "-k", "192.0.2.2")
		if status != 1 || !strings.Contains(errs, "route-to") {
			t.Errorf("-k gateway: status %d: %s", status, errs)
		}
		left := s.count("-ss")
		s.expect("-F states", fmt.Sprintf("%d states cleared\n", left), 0)
	})
}

// What -F empties, what -m, -N, -R, -O and -z leave.
func TestParts(t *testing.T) {
	s := newSite(t, "tc")
	s.pfctl("-f " + s.file("set limit states 5000\nset timeout interval 7\nset skip on lo0\nnat on em1 inet from any to any -> (em1)\npass in label lan\n"))
	file := s.file("set timeout interval 9\nnat on em0 inet from any to any -> (em0)\nblock in\n")
	s.pfctl("-N -f " + file)
	s.expect("-sn", "nat on em0 inet all -> (em0) round-robin\n", 0)
	s.expect("-sr", "pass in all flags S/SA keep state label \"lan\"\n", 0)
	s.pfctl("-R -f " + file)
	s.expect("-sr", "block drop in all\n", 0)
	wantLimit := func(option, name, value string) {
		t.Helper()
		if shown := s.pfctl("-s " + option); !strings.Contains(shown, fmt.Sprintf("%-20s %11s", name, value)) && !strings.Contains(shown, fmt.Sprintf("%-13s hard limit %8s", name, value)) {
			t.Errorf("%s: %s is not %s:\n%s", option, name, value, shown)
		}
	}
	wantLimit("timeouts", "interval", "7s")
	wantLimit("memory", "states", "5000")
	s.pfctl("-m -O -f " + file)
	wantLimit("timeouts", "interval", "9s")
	wantLimit("memory", "states", "5000")
	s.pfctl("-O -f " + file)
	wantLimit("memory", "states", "100000")
	s.expect("-x loud", "debug level set to 'loud'\n", 0)
	if info := s.pfctl("-si"); !strings.Contains(info, "Debug: loud") {
		t.Errorf("-si after -x loud: %s", info)
	}
	s.expect("-F nat", "nat cleared\n", 0)
	s.expect("-sn", "", 0)
	s.expect("-sr", "block drop in all\n", 0)
	s.expect("-F Reset", "pf: interface flags reset\n", 0)
	wantLimit("timeouts", "interval", "10s")
	s.restart()
	s.expect("-sn", "", 0)
	s.expect("-sr", "block drop in all\n", 0)
	want := "Ethernet rules cleared\nrules cleared\nnat cleared\n0 tables deleted.\naltq cleared\n0 states cleared\n" +
		"source tracking entries cleared\npf: statistics cleared\n"
	if got := s.pfctl("-F all"); !strings.HasPrefix(got, want) {
		t.Errorf("-F all: %s", got)
	}
	s.expect("-sr", "", 0)
}

// Counters of rules are kept over a load that keeps the rule, and -z clears
// them.
func TestCounters(t *testing.T) {
	s := newSite(t, "tc")
	text := "pass no state label everything\n"
	s.pfctl("-e -f " + s.file(text))
	s.mustPing(right, true, "pass")
	packets := func() (n int) {
		t.Helper()
		var out struct {
			Schema int
			Rules  []struct {
				Identity              string
				PacketsIn, PacketsOut int
			}
		}
		if err := json.Unmarshal([]byte(s.pfctl("--json -sr")), &out); err != nil {
			t.Fatal(err)
		}
		if out.Schema != 1 || len(out.Rules) == 0 || out.Rules[len(out.Rules)-1].Identity != "label everything" {
			t.Fatalf("rules in JSON: %+v", out)
		}
		last := out.Rules[len(out.Rules)-1]
		return last.PacketsIn + last.PacketsOut
	}
	if n := packets(); n < 4 {
		t.Errorf("%d packets counted after a ping", n)
	}
	s.pfctl("-f " + s.file("block proto 99\n"+text))
	if n := packets(); n < 4 {
		t.Errorf("%d packets counted after a load that kept the rule", n)
	}
	s.pfctl("-z")
	if n := packets(); n > 2 {
		t.Errorf("%d packets counted after -z", n)
	}
	for _, modifier := range strings.Fields("nat rules Anchors Sources states info Interfaces labels timeouts memory Tables osfp Running all creatorids") {
		var out map[string]any
		if text := s.pfctl("--json -s " + modifier); json.Unmarshal([]byte(text), &out) != nil || out["schema"] != 1.0 {
			t.Errorf("--json -s %s: %s", modifier, text)
		}
	}
}

// pf goes on without its daemon, and -d ends it.
func TestDisableWithoutDaemon(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		s.mustPing(right, true, "before") // neighbours are found with the daemon alone
		s.pfctl("-e -f " + s.file("block drop\n"))
		s.kill()
		s.mustPing(right, false, "daemon dead")
		_, errs, status := s.run("", "pfctl", "-sr")
		if status != 1 || !strings.Contains(errs, "only -d works") {
			t.Errorf("-sr with a dead daemon: status %d: %s", status, errs)
		}
		s.expect("-d", "pf disabled\n", 0)
		s.mustPing(right, true, "disabled")
		s.expect("-d", "pfctl: pf not enabled\n", 1)
		s.load()
		s.mustPing(right, true, "disabled, with a new daemon")
		s.expect("-e", "pf enabled\n", 0)
		s.expect("-e", "pfctl: pf already enabled\n", 1)
		time.Sleep(50 * time.Millisecond)
		s.mustPing(right, false, "enabled again")
	})
}

// Interfaces and groups, with what is skipped.
func TestInterfaces(t *testing.T) {
	s := newSite(t, "tc")
	s.pfctl("-f " + s.file("set skip on em1\npass in on em0\n"))
	shown := s.pfctl("-v -s Interfaces")
	if !strings.Contains(shown, "em1 (skip)\n") || !strings.Contains(shown, "em0\n") || !strings.HasPrefix(shown, "all\n") {
		t.Errorf("-v -s Interfaces: %s", shown)
	}
	if shown := s.pfctl("-vv -i em0 -s Interfaces"); !strings.Contains(shown, "\tReferences:  1") || strings.Contains(shown, "em1") {
		t.Errorf("-vv -i em0 -s Interfaces: %s", shown)
	}
}
