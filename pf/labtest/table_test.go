package labtest

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const (
	right  = "198.51.100.2"
	right6 = "2001:db8:1::2"
)

// Addresses that come and go decide at once about packets.
func TestTableDecides(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		s.pfctl("-e -f " + s.file("table <bad> persist\npass no state\nblock drop quick from <bad>\n"))
		s.mustPing(right, true, "empty table")
		s.expect("-t bad -T add 192.0.2.2 2001:db8::/64 !2001:db8::1", "3/3 addresses added.\n", 0)
		s.mustPing(right, false, "address in table")
		s.mustPing(right6, false, "network in table")
		s.expect("-t bad -T add !2001:db8::2", "1/1 addresses added.\n", 0)
		s.mustPing(right6, true, "negated address in network")
		s.expect("-t bad -T delete 192.0.2.2", "1/1 addresses deleted.\n", 0)
		s.mustPing(right, true, "address deleted")

		s.pfctl("-t bad -T add 192.0.2.0/24")
		s.restart()
		s.expect("-t bad -T show", "   192.0.2.0/24\n   2001:db8::/64\n  !2001:db8::1\n  !2001:db8::2\n", 0)
		s.mustPing(right, false, "after a restart of the daemon")
		s.pfctl("-f " + s.file("table <bad> persist\npass no state\nblock drop quick from <bad>\n"))
		s.mustPing(right, false, "after a load without a list")
		s.pfctl("-f " + s.file("table <bad> persist { }\npass no state\nblock drop quick from <bad>\n"))
		s.mustPing(right, true, "after a load with an empty list")
	})
}

// Counts, letters, messages and exit statuses are pfctl's.
func TestTableCommands(t *testing.T) {
	s := newSite(t, "tc")
	s.expect("-t t -T show", "pfctl: Table does not exist.\n", 1)
	s.expect("-t t -T add 10.0.0.1", "1 table created.\n1/1 addresses added.\n", 0)
	s.expect("-t t -T add 10.0.0.1 10.0.0.2", "1/2 addresses added.\n", 0)
	s.expect("-t t -v -T add 10.0.0.2 10.0.0.3 10.0.0.3 !10.0.0.1",
		"1/4 addresses added.\nA  10.0.0.3\nX  10.0.0.3\nY !10.0.0.1\n", 0)
	s.expect("-t t -vv -T add 10.0.0.3", "0/1 addresses added.\n   10.0.0.3\n", 0)
	s.expect("-t t -T test 10.0.0.1", "1/1 addresses match.\n", 0)
	s.expect("-t t -T test 10.0.0.1 10.0.0.9", "1/2 addresses match.\n", 2)
	s.expect("-t t -v -T test 10.0.0.1 10.0.0.9", "1/2 addresses match.\nM  10.0.0.1\n", 2)
	s.pfctl("-t t -T add 10.1.0.0/16 !10.1.1.0/24")
	s.expect("-t t -vv -T test 10.1.2.3 10.1.1.1 10.9.9.9",
		"1/3 addresses match.\nM  10.1.2.3\t 10.1.0.0/16\n   10.1.1.1\t!10.1.1.0/24\n   10.9.9.9\t nomatch\n", 2)
	s.expect("-t t -v -T replace 10.0.0.1 10.0.0.8 !10.1.0.0/16",
		"1 addresses added.\n3 addresses deleted.\n1 addresses changed.\n"+
			"A  10.0.0.8\nC !10.1.0.0/16\nD  10.0.0.2\nD  10.0.0.3\nD !10.1.1.0/24\n", 0)
	s.expect("-t t -T replace 10.0.0.1 10.0.0.8 !10.1.0.0/16", "no changes.\n", 0)
	s.expect("-t t -v -T delete 10.0.0.8 10.0.0.9 10.1.0.0/16", "1/3 addresses deleted.\nD  10.0.0.8\nY  10.1.0.0/16\n", 0)
	file := s.file("# a list\n10.0.0.20 10.0.0.21/32\n!10.0.0.22 ; the rest is a remark\n")
	s.expect("-t t -T add -f "+file, "3/3 addresses added.\n", 0)
	s.expect("-t t -T add localhost em0", "5/5 addresses added.\n", 0) // em0 has a link-local one, too
	s.expect("-t t -T zero 10.0.0.20 10.0.0.99", "1/2 addresses cleared.\n", 0)
	if shown := s.pfctl("-t t -v -T show"); !strings.Contains(shown, "   10.0.0.20\n\tCleared:     "+time.Now().Format("Mon Jan")) {
		t.Errorf("-T show -v: %s", shown)
	}
	time.Sleep(6 * time.Second)
	s.pfctl("-t t -T add 10.0.0.30")
	s.expect("-t t -T expire 4", "10/10 addresses expired.\n", 0)
	s.expect("-t t -T show", "   10.0.0.30\n", 0)
	s.expect("-sT", "t\n", 0)
	s.expect("-v -sT", "-pa----\tt\n", 0)
	s.expect("-t t -T flush", "1 addresses deleted.\n", 0)
	s.expect("-t t -T kill", "1 table deleted.\n", 0)
	s.expect("-t t -T kill", "0 tables deleted.\n", 0)
	s.expect("-sT", "", 0)
}

// A table that a ruleset makes const is not for pfctl to change, and one that
// was killed does not come back by itself.
func TestTableOfRuleset(t *testing.T) {
	s := newSite(t, "tc")
	s.pfctl("-f " + s.file("table <fixed> const { 10.0.0.1 }\ntable <kept> persist { 10.0.0.2 }\ntable <unused> { 10.0.0.3 }\n"+
		"block from <fixed>\nblock from <named>\n"))
	for _, command := range []string{"add 10.0.0.9", "delete 10.0.0.1", "replace 10.0.0.9", "flush", "expire 1"} {
		s.expect("-t fixed -T "+command, "pfctl: Operation not permitted.\n", 1)
	}
	s.expect("-v -sT", "c-a-r--\tfixed\n-pa----\tkept\n", 0)
	s.expect("-g -sT", "fixed\nkept\nnamed\n", 0)
	s.expect("-t named -T add 10.0.0.4", "1 table created.\n1/1 addresses added.\n", 0)
	s.expect("-t kept -T kill", "1 table deleted.\n", 0)
	s.pfctl("-t kept2 -T add 10.0.0.1")
	s.restart()
	s.expect("-v -sT", "c-a-r--\tfixed\n-pa----\tkept2\n-pa-r--\tnamed\n", 0)
	s.expect("-t named -T show", "   10.0.0.4\n", 0)
	s.expect("-F Tables", "3 tables deleted.\n", 0)
	s.expect("-sT", "", 0)
}

// Limits are named with their counts, and nothing changes.
func TestTableLimits(t *testing.T) {
	s := newSite(t, "tc")
	var many strings.Builder
	for i := range 300 {
		fmt.Fprintf(&many, "10.0.%d.%d\n", i/256, i%256)
	}
	list := s.file(many.String())
	s.pfctl("-f " + s.file("set limit table-entries 100\ntable <t> persist { 10.9.0.1 }\npass\n"))
	s.expect("-t t -T add -f "+list,
		"pfctl: table <t>: 301 addresses and 0 in other tables are more than the limit of 100 (set limit table-entries).\n", 1)
	s.expect("-t t -T show", "   10.9.0.1\n", 0)
	_, errs, status := s.run("", "pfctl", "-f", s.file("set limit table-entries 200\ntable <t> persist file \""+list+"\"\nblock\n"))
	if want := "table <t>: 300 addresses and 0 in other tables are more than the limit of 200"; status != 1 || !strings.Contains(errs, want) {
		t.Errorf("load of a table too large: status %d: %s", status, errs)
	}
	s.expect("-t t -T show", "   10.9.0.1\n", 0)
	if rules := s.pfctl("-sr"); !strings.HasPrefix(rules, "pass") {
		t.Errorf("rules after a load that failed: %s", rules)
	}
}

// A million addresses are replaced by a million others.
func TestTableMillion(t *testing.T) {
	if testing.Short() {
		t.Skip("takes its time")
	}
	s := newSite(t, "tc")
	list := func(first int) string {
		var b strings.Builder
		for i := range 1000000 {
			fmt.Fprintf(&b, "%d.%d.%d.%d\n", first+i>>24, i>>16&255, i>>8&255, i&255)
		}
		return s.file(b.String())
	}
	s.pfctl("-f " + s.file("set limit table-entries 1000000\ntable <t> persist\npass no state\nblock from <t>\n"))
	start := time.Now()
	s.expect("-t t -T add -f "+list(10), "1000000/1000000 addresses added.\n", 0)
	t.Logf("added after %v", time.Since(start))
	start = time.Now()
	s.expect("-t t -T replace -f "+list(20), "1000000 addresses added.\n1000000 addresses deleted.\n", 0)
	t.Logf("replaced after %v", time.Since(start))
	s.expect("-t t -T test 20.1.2.3 10.1.2.3", "1/2 addresses match.\n", 2)
}
