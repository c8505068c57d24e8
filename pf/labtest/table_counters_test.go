package labtest

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// counted are the packets in the lines of counters that pfctl shows, by their
// title.
func counted(shown string) map[string]string {
	counts := make(map[string]string)
	for _, m := range regexp.MustCompile(`(?m)^\t(\w+/\w+): +\[ Packets: (\d+) +Bytes: (\d+) +\]$`).FindAllStringSubmatch(shown, -1) {
		counts[m[1]] = m[2] + "/" + m[3]
	}
	return counts
}

// Packets count for a table with counters and for its addresses, also those
// of states; and only for such tables.
func TestTableCounters(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		want := func(args string, counts map[string]string) {
			t.Helper()
			shown := s.pfctl(args)
			for title, got := range counted(shown) {
				if expected := counts[title]; expected != "" && got != expected {
					t.Errorf("%s: %s %s, want %s:\n%s", args, title, got, expected, shown)
				}
			}
			for title := range counts {
				if counted(shown)[title] == "" {
					t.Errorf("%s shows no %s:\n%s", args, title, shown)
				}
			}
		}
		none := map[string]string{"In/Block": "0/0", "In/Pass": "0/0", "Out/Block": "0/0", "Out/Pass": "0/0"}
		of := func(changed ...string) map[string]string {
			counts := make(map[string]string)
			for title, n := range none {
				counts[title] = n
			}
			for _, c := range changed {
				title, n, _ := strings.Cut(c, " ")
				counts[title] = n
			}
			return counts
		}
		s.mustPing(right, true, "neighbours found")
		s.mustPing(right6, true, "neighbours found")
		rules := "table <bad> persist counters { 192.0.2.2, 192.0.2.0/25, 2001:db8::/64 }\ntable <plain> persist { 192.0.2.2 }\n%s\n"
		s.pfctl("-e -f " + s.file(fmt.Sprintf(rules, "pass no state\nblock drop in on em0 proto icmp from <bad>\nblock drop in on em0 proto udp from <plain>")))
		want("-t bad -v -T show", none)
		s.mustPing(right, false, "blocked")
		want("-t bad -v -T show", nil)
		shown := s.pfctl("-t bad -v -T show")
		if n := strings.Count(shown, "In/Block:    [ Packets: 1                  Bytes: 84 "); n != 1 {
			t.Errorf("the longest prefix of three was not the one that counts:\n%s", shown)
		}
		if shown := s.pfctl("-t plain -v -T show"); strings.Contains(shown, "Block") {
			t.Errorf("table without counters: %s", shown)
		}
		shown = s.pfctl("-vv -sT")
		if !strings.Contains(shown, "-pa-r-C\tbad\n\tAddresses:   3\n\tCleared:     ") || !strings.Contains(shown, "Match: 1 ") ||
			!strings.Contains(shown, "\tIn/XPass:    [ Packets: 0 ") || strings.Count(shown, "Evaluations") != 1 {
			t.Errorf("-vv -sT: %s", shown)
		}

		// Packets of a state, both ways; kept by a load and by a replacement.
		s.pfctl("-f " + s.file(fmt.Sprintf(strings.Replace(rules, " { 192.0.2.2, 192.0.2.0/25, 2001:db8::/64 }", "", 1),
			"pass no state\npass in on em0 inet6 proto icmp6 from <bad> icmp6-type echoreq keep state")))
		if out, err := s.Left.Run("ping", "-c", "3", "-i", "0.2", "-W", "2", right6); err != nil {
			t.Errorf("ping: %v\n%s", err, out)
		}
		six := func() string {
			_, six, _ := strings.Cut(s.pfctl("-t bad -v -T show"), "2001:db8::/64")
			return six
		}
		if got := counted(six()); got["In/Pass"] != "3/312" || got["Out/Pass"] != "3/312" || got["In/Block"] != "0/0" {
			t.Errorf("packets of a state: %v", got)
		}
		s.expect("-t bad -T replace 192.0.2.9 2001:db8::/64", "1 addresses added.\n2 addresses deleted.\n", 0)
		s.restart()
		if got := counted(six()); got["In/Pass"] != "3/312" {
			t.Errorf("after a replacement and a restart: %v", got)
		}
		want("-vv -sT", of("In/Pass 3/312", "Out/Pass 3/312", "In/Block 1/84", "In/XPass 0/0"))

		// A state whose address has gone.
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = s.Left.Run("ping", "-c", "8", "-i", "0.2", "-W", "2", right6) // only its packets matter
		}()
		eventually(t, "a state", func() bool { return s.count("-ss") > 0 })
		s.pfctl("-t bad -T delete 2001:db8::/64")
		<-done
		if got := counted(s.pfctl("-vv -sT")); got["In/XPass"] == "0/0" || got["Out/XPass"] == "0/0" {
			t.Errorf("state of an address that is not in the table any more: %v", got)
		}
		s.expect("-t bad -T zero", "1 table/stats cleared.\n", 0)
		want("-vv -sT", of("In/XPass 0/0", "Out/XPass 0/0"))
		if out := s.pfctl("--json -t bad -T show"); !strings.Contains(out, `"counters"`) {
			t.Errorf("--json -T show: %s", out)
		}
		// A load that takes the counters away, and one that brings them back.
		s.pfctl("-f " + s.file("table <bad> persist\npass from <bad>\npass\n"))
		if got := counted(s.pfctl("-t bad -v -T show")); len(got) != 0 {
			t.Errorf("after counters were taken away: %v", got)
		}
		s.pfctl("-f " + s.file("table <bad> persist counters { 192.0.2.2 }\nblock in quick from <bad>\npass\n"))
		s.mustPing(right, false, "blocked")
		want("-t bad -v -T show", of("In/Block 1/84"))
	})
}
