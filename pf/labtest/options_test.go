package labtest

import (
	"net"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestMaxStates opens more flows than a rule may have states: the last is
// refused as set fail-policy says, and counted.
func TestMaxStates(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		for family, e := range families {
			s.mustPing(e.right, true, "neighbours found")
			s.pfctl("-e -f " + s.file("set fail-policy return\nblock drop\npass in on em0 proto udp to port 9 keep state (max 2)\npass out on em1 proto udp to port 9 no state\n"))
			s.pfctl("-F states")
			s.pfctl("-F info")
			listener := udpListener(t, s, e.right, 9)
			for range 2 {
				s.datagrams(e.right, 9)
			}
			refused(t, s.Left, net.JoinHostPort(e.right, "9"))
			listener.Close()
			if states := s.pfctl("-ss"); strings.Count(states, "SINGLE") != 2 {
				t.Errorf("%s: states of a rule with max 2:\n%s", family, states)
			}
			want(t, s.pfctl("-si -v"), `(?m)^Limit Counters\n  max states per rule +1 `)
			s.pfctl("-d")
		}
	})
}

func udpListener(t *testing.T, s *site, address string, port int) (listener *net.UDPConn) {
	t.Helper()
	err := s.Right.Do(func() (err error) {
		listener, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(address), Port: port})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

// TestRuleTimeouts lets a state with a timeout of its rule end before one with
// that of all.
func TestRuleTimeouts(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		s.pfctl("-e -f " + s.file("pass\npass in on em0 proto udp to port 7 keep state (udp.first 2, udp.single 2)\n"))
		for _, e := range families {
			s.datagrams(e.right, 7, 9)
		}
		ports := func() (short, long int) {
			states := s.pfctl("-ss")
			return len(regexp.MustCompile(`(?m)2(:7|\[7\]) <- .*`).FindAllString(states, -1)), len(regexp.MustCompile(`(?m)2(:9|\[9\]) <- .*`).FindAllString(states, -1))
		}
		if short, long := ports(); short != 2 || long != 2 {
			t.Errorf("%d and %d states, want 2 and 2", short, long)
		}
		eventually(t, "states with a timeout of 2 s", func() bool { short, _ := ports(); return short == 0 })
		if _, long := ports(); long != 2 {
			t.Errorf("%d states with the timeouts of all, want 2", long)
		}
	})
}

// TestLogInterface counts what passes one interface and what does not, by
// family and direction; a packet in fragments is one.
func TestLogInterface(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		for _, e := range families {
			s.mustPing(e.right, true, "neighbours found")
		}
		s.pfctl("-e -f " + s.file("set loginterface em0\nset reassemble yes\npass inet proto icmp no state\npass inet6 proto icmp6 no state\n"+
			"block drop in on em0 proto udp\nblock drop out on em0 inet proto icmp from 198.51.100.2 to 192.0.2.2 icmp-type echorep\n"))
		s.pfctl("-F info")
		time.Sleep(100 * time.Millisecond)
		before := s.pfctl("-si")
		want(t, before, `(?m)^Interface Stats for em0               IPv4             IPv6$`)
		s.datagrams(right, 9, 10, 11)
		s.datagrams(right6, 9, 10)
		_, _ = s.Left.Run("ping", "-c", "4", "-i", "0.2", "-W", "1", right) // no answer comes
		s.Left.MustRun(t, "ping", "-c", "3", "-i", "0.2", "-s", "3000", right6)
		text := s.pfctl("-si")
		// Neighbour discovery may add to IPv6.
		want(t, text, `  Packets In\n    Passed +4 +([3-9]|1\d)\n    Blocked +3 +2\n  Packets Out\n    Passed +0 +([3-9]|1\d)\n    Blocked +4 +0\n`,
			`(?m)^  Bytes In +444 `)
		// Every interface counts, whichever is that of set loginterface.
		want(t, s.pfctl("-vv -i em0 -s Interfaces"), `(?m)^em0\n\tCleared: .*\n\tReferences:  2 +\n`+
			`\tIn4/Pass:    \[ Packets: 4 +Bytes: 336 +\]\n\tIn4/Block:   \[ Packets: 3 +Bytes: 108 +\]\n`+
			`\tOut4/Pass:   \[ Packets: 0 +Bytes: 0 +\]\n\tOut4/Block:  \[ Packets: 4 +Bytes: 336 +\]\n\tIn6/Pass: `, `\tIn6/Block:   \[ Packets: 2 +Bytes: 112 +\]`)
		for _, name := range []string{"em1", "all", "egress"} {
			s.pfctl("-f " + s.file("set loginterface "+name+"\npass no state\n"))
			want(t, s.pfctl("-si"), `Interface Stats for `+name+` `)
		}
		s.pfctl("-f " + s.file("set loginterface all\npass no state\n"))
		want(t, s.pfctl("-si"), `  Packets In\n    Passed +[89] +`) // 4 by em0, their answers by em1
		s.pfctl("-F info")
		want(t, s.pfctl("-si"), `  Packets In\n    Passed +0 +\d+\n    Blocked +0 +0\n`)
		s.pfctl("-f " + s.file("pass no state\n"))
		if text := s.pfctl("-si"); strings.Contains(text, "Interface Stats") {
			t.Errorf("without set loginterface:\n%s", text)
		}
	})
}
