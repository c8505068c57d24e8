package labtest

import "testing"

// An anchor is loaded, shown and flushed on its own, and comes back with the
// daemon.
func TestAnchors(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		s.pfctl("-e -f " + s.file("pass no state\nanchor foo\nanchor \"proxy/*\"\nanchor inline in on em0 {\n\tblock drop proto icmp to 198.51.100.77\n}\n"))
		s.mustPing(right, true, "empty anchor")
		s.pfctlIn("block drop proto icmp\n", "-a foo -f -")
		s.mustPing(right, false, "anchor loaded")
		s.mustPing(right6, true, "anchor loaded")
		s.expect("-a foo -sr", "block drop proto icmp all\n", 0)
		s.expect("-sA", "  foo\n  inline\n  proxy\n", 0)
		s.pfctlIn("table <bad> { 2001:db8::2 }\nblock drop from <bad>\n", "-a proxy/1 -f -")
		s.mustPing(right6, false, "anchor of a wildcard loaded")
		s.expect("-v -sA", "  foo\n  inline\n  proxy\n  proxy/1\n", 0)
		s.expect("-a proxy/1 -v -sT", "--a-r--\tbad\tproxy/1\n", 0)

		s.pfctl("-f " + s.file("pass no state\nanchor foo\nanchor \"proxy/*\"\n"))
		s.mustPing(right, false, "main ruleset loaded again")
		s.restart()
		s.mustPing(right, false, "daemon restarted")
		s.mustPing(right6, false, "daemon restarted")
		s.pfctl("-a proxy/1 -t bad -T delete 2001:db8::2")
		s.mustPing(right6, true, "table of an anchor changed")
		s.expect("-a foo -Fr", "rules cleared\n", 0)
		s.mustPing(right, true, "anchor flushed")
		s.expect("-a proxy/* -Fr", "rules cleared\n", 0)
		s.expect("-sr", "pass all no state\nanchor \"foo\" all\nanchor \"proxy/*\" all\n", 0)
	})
}

// What -s shows of anchors, and of those that are not there.
func TestAnchorShow(t *testing.T) {
	s := newSite(t, "tc")
	s.pfctl("-f " + s.file("pass no state\nanchor foo\nanchor {\n\tblock drop in proto udp\n}\nanchor \"proxy/*\"\n"))
	s.pfctlIn("anchor inner {\n block drop out\n}\npass in\n", "-a foo -f -")
	s.pfctlIn("block drop\n", "-a proxy/b -f -")
	s.expect("-sr", "pass all no state\nanchor \"foo\" all\nanchor all {\n  block drop in proto udp all\n}\nanchor \"proxy/*\" all\n", 0)
	s.expect("-a * -sr", "pass all no state\nanchor \"foo\" all {\n  anchor \"inner\" all {\n    block drop out all\n  }\n"+
		"  pass in all flags S/SA keep state\n}\nanchor all {\n  block drop in proto udp all\n}\n"+
		"anchor \"proxy/*\" all {\n  anchor \"b\" all {\n    block drop all\n  }\n}\n", 0)
	s.expect("-a nosuch -sr", "pfctl: Anchor does not exist\n", 1)
	s.expect("-a nosuch -Fr", "pfctl: Anchor does not exist\n", 1)
	s.expect("-a foo/inner -sr", "block drop out all\n", 0)
	_, errs, status := s.run("pass in proto tcp synproxy state\n", "pfctl", "-a", "foo", "-f", "-")
	if status != 1 {
		t.Errorf("load of what is not enforced: status %d: %s", status, errs)
	}
	s.expect("-a foo/inner -sr", "block drop out all\n", 0)
}
