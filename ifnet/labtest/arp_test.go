package labtest

import (
	"strings"
	"testing"
)

// With staticarp a host answers who asks for it and never asks, so that it
// reaches nobody but by an entry that was set; unload gives Linux its way back.
func TestStaticARP(t *testing.T) {
	s := newSite(t, "tc")
	s.must(s.Left, "arp", "-da")
	s.ifconfig(s.Left, "em0 staticarp")
	if out := s.ifconfig(s.Left, "em0"); !strings.Contains(out, "STATICARP") {
		t.Errorf("no flag:\n%s", out)
	}
	wire := s.capture(s.Left, "em0", "arp", func() {
		if _, err := s.Left.Run("ping", "-n", "-c", "2", "-W", "1", "192.0.2.77"); err == nil {
			t.Error("an answer from nobody")
		}
		s.must(s.Router, "arp", "-d", "192.0.2.2")
		_, _ = s.Router.Run("ping", "-n", "-c", "1", "-W", "1", "192.0.2.2") // makes the router ask
	})
	if strings.Contains(wire, "who-has") || !strings.Contains(wire, "192.0.2.2 is-at ") {
		t.Errorf("on the wire:\n%s", wire)
	}
	lladdr, err := s.Router.Lladdr("em0")
	if err != nil {
		t.Fatal(err)
	}
	s.must(s.Left, "arp", "-s", "192.0.2.1", lladdr.String())
	s.ping(s.Left, "192.0.2.1")
	s.ifconfig(s.Left, "em0 -staticarp")
	s.must(s.Left, "arp", "-d", "192.0.2.1")
	s.ping(s.Left, "192.0.2.1")
}
