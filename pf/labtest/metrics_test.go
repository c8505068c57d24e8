package labtest

import (
	"fmt"
	"strings"
	"testing"
)

// The metrics say what pfctl says, and a change of one shows.
func TestMetrics(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		value := func(name string) (v float64) {
			t.Helper()
			for line := range strings.Lines(s.bsdnet("metrics")) {
				if rest, ok := strings.CutPrefix(line, name+" "); ok {
					if _, err := fmt.Sscan(rest, &v); err != nil {
						t.Fatal(err)
					}
					return v
				}
			}
			t.Fatalf("no metric %s", name)
			return 0
		}
		if v := value("pf_enabled"); v != 0 {
			t.Errorf("pf_enabled %v before", v)
		}
		s.pfctl("-e -f " + s.file("block drop in proto icmp\npass proto udp\n"))
		s.states(4000)
		s.mustPing(right, false, "blocked")
		for name, want := range map[string]float64{
			"pf_enabled": 1, "pf_states": 2, `pf_state_table_total{operation="inserts"}`: 2, "bsdnet_healthy": 1,
			`bsdnet_interface_up{interface="em0"}`: 1, "bsdnet_change_unconfirmed": 0, `bsdnet_packets_total{kind="dropped",reason="pf_block"}`: 1,
		} {
			if v := value(name); v != want {
				t.Errorf("%s %v, want %v", name, v, want)
			}
		}
		s.pfctl("-f " + s.file("pass\n") + " --confirm 60")
		if v := value("bsdnet_change_unconfirmed"); v != 1 {
			t.Errorf("bsdnet_change_unconfirmed %v with a change that waits", v)
		}
	})
}
