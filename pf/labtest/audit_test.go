package labtest

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/pf/audit"
)

// report asks for what an audit found until as many packets are judged.
func (s *site) report(judged uint64) (r audit.Report) {
	s.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		var out struct {
			Audit audit.Report `json:"audit"`
		}
		if err := json.Unmarshal([]byte(s.bsdnet("pfctl", "-s", "audit", "--json")), &out); err != nil {
			s.t.Fatal(err)
		}
		if out.Audit.Judged >= judged || time.Now().After(end) {
			return out.Audit
		}
	}
}

// A ruleset that is audited changes nothing and tells what it would change.
func TestAudit(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		s.expect("-s audit", "pfctl: no audit is on: pfctl --audit file\n", 1)
		before := s.file("block drop all\npass quick proto icmp\npass quick proto icmp6\n" +
			"pass in on em0 proto udp to port 5001:5003 no state\npass out on em1 proto udp to port 5001:5003 no state\n" +
			"pass quick proto tcp to port 17000\n")
		after := s.file("# tried\nblock drop all\npass quick proto icmp\npass quick proto icmp6\n" +
			"pass in on em0 proto udp to port { 5002, 5004 } no state\npass out on em1 proto udp to port 5001:5004 no state\n")
		s.pfctl("-e -f " + before)
		s.connect("192.0.2.1:17000")
		s.pfctl("--audit " + after)
		s.datagrams("198.51.100.2", 5001, 5002, 5002, 5004)
		r := s.report(7)
		if r.WouldBlock != 1 || r.WouldPass != 1 || r.SamePass < 5 || r.NotJudged != 0 { // and errors of ICMP
			t.Errorf("would block %d, would pass %d, pass both %d, not judged %d; want 1, 1, at least 5, 0", r.WouldBlock, r.WouldPass, r.SamePass, r.NotJudged)
		}
		if r.States == nil || r.States.Lost != 1 {
			t.Errorf("states: %+v, want one of TCP that would not be made", r.States)
		}
		text := s.pfctl("-s audit")
		for _, line := range []string{
			"would be blocked:\n  1 packet in on em0, the last 192.0.2.2:",
			"> 198.51.100.2:5001 udp\n    now " + before + ":4: @3 pass in on em0 proto udp from any to any port 5001:5003 no state\n    new " + after + ":2: @0 block drop all\n",
			"would be passed:\n  1 packet in on em0, the last 192.0.2.2:",
			"> 198.51.100.2:5004 udp\n    now " + before + ":1: @0 block drop all\n    new " + after + ":5: @4 pass in on em0 proto udp from any to any port = 5004 no state\n",
			"states looked at: ", "    now " + before + ":6: @5 pass quick proto tcp from any to any port = 17000 flags S/SA keep state\n",
		} {
			if !strings.Contains(text, line) {
				t.Errorf("the report has no %q:\n%s", line, text)
			}
		}
		// Nothing changed: what the old rules block is blocked, and they are shown.
		if rules := s.pfctl("-s rules"); !strings.Contains(rules, "5001:5003") || strings.Contains(rules, "5004") {
			t.Errorf("rules in force: %s", rules)
		}
		// A load begins the comparison anew.
		s.pfctl("-f " + after)
		s.datagrams("198.51.100.2", 5001, 5002)
		if r = s.report(3); r.WouldBlock+r.WouldPass != 0 || r.Judged < 3 {
			t.Errorf("the same rules differ: %+v", r)
		}
		s.pfctl("--audit " + before)
		s.restart()
		s.expect("-s audit", "pfctl: no audit is on: pfctl --audit file\n", 1)
		s.pfctl("--audit " + before)
		s.pfctl("-q --audit off")
		s.expect("-s audit", "pfctl: no audit is on: pfctl --audit file\n", 1)
		bad := s.file("pass in on em0 proto udp to port 5001 synproxy state\nnonsense\n")
		if out, errs, status := s.run("", "pfctl", "--audit", bad); status != 1 || !strings.Contains(errs, bad+":2: syntax error") {
			t.Errorf("a bad file: status %d: %s%s", status, out, errs)
		}
	})
}

// What pflogd wrote is judged without an instance.
func TestTryLog(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		log := t.TempDir() + "/pflog"
		stop := s.start("pflogd", "-f", log)
		rules := s.file("block drop log all\npass log quick proto udp to port 5001 no state\n")
		s.pfctl("-e -f " + rules)
		s.datagrams("198.51.100.2", 5001, 5002)
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			if info, err := os.Stat(log); err == nil && info.Size() > 300 {
				break
			}
		}
		time.Sleep(200 * time.Millisecond)
		stop()
		out, errs, status := s.run("", "pfctl", "--try", s.file("block all\n"), "--against", rules, "--pcap", log)
		if status != 2 || !strings.Contains(out, "would be blocked:\n  1 packet in on em0") || !strings.Contains(out, "  1 packet out on em1") {
			t.Errorf("status %d, want 2:\n%s%s", status, out, errs)
		}
	})
}
