package torture

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// All threads of a daemon have given up what it does not need.
func TestPrivileges(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		check := func(when string) {
			t.Helper()
			tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", s.daemon()))
			if err != nil || len(tasks) < 2 {
				t.Fatalf("threads of the daemon: %v, %v", tasks, err)
			}
			for _, task := range tasks {
				status, err := os.ReadFile(task)
				if err != nil {
					continue // it ended
				}
				// net_bind_service net_admin net_raw ipc_lock dac_read_search sys_admin perfmon bpf
				for _, line := range []string{"CapEff:\t000000c000207404", "CapPrm:\t000000c000207404", "CapBnd:\t000000c000207404",
					"CapInh:\t0000000000000000", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1"} {
					if !strings.Contains(string(status), line+"\n") {
						t.Errorf("%s: %s has no line %q:\n%s", when, task, line, status)
					}
				}
			}
		}
		check("loaded")
		confined := s.bsdnet("status")
		if !strings.Contains(confined, "\ndaemon: confined to its files (Landlock ") && !strings.Contains(confined, "\ndaemon: not confined to its files: the kernel has no Landlock\n") {
			t.Errorf("status does not say whether the daemon is confined:\n%s", confined)
		}
		s.bsdnet("pfctl", "-e", "-f", s.file(firstRules))
		s.bsdnet("ifconfig", "vlan7", "create", "vlan", "7", "vlandev", "em1")
		s.bsdnet("ifconfig", "tap7", "create")
		s.bsdnet("ifconfig", "tap7", "destroy")
		s.bsdnet("ifconfig", "vlan7", "destroy")
		s.bsdnet("route", "add", "100.64.1.0/24", "198.51.100.2")
		killAll()
		s.load()
		check("adopted")
		f := s.flow()
		if got := s.probe(f); got != byFirst {
			t.Errorf("adopted: came through %v, want %v", got, byFirst)
		}
		s.bsdnet("unload")
		s.nothingLeft()
	})
}
