package rc

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bsdnet/bsdnet/rcconf"
)

var update = flag.Bool("update", false, "write the goldens anew")

// TestGolden compares the plans of testdata/*.conf with what is beside them.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.conf")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".conf"), func(t *testing.T) {
			config, err := rcconf.ParseFiles(file, file+".local")
			if err != nil {
				t.Fatal(err)
			}
			settings, err := rcconf.ParseSysctlFile(file + ".sysctl")
			if err != nil {
				t.Fatal(err)
			}
			plan, err := Build(config, settings, Host{Devices: []string{"enp3s0", "enp4s0", "lan-a"}})
			var got strings.Builder
			if err != nil {
				got.WriteString(err.Error() + "\n")
			} else {
				e := json.NewEncoder(&got)
				e.SetIndent("", "  ")
				if err := e.Encode(plan); err != nil {
					t.Fatal(err)
				}
			}
			compare(t, file[:len(file)-len("conf")]+"golden", got.String())
		})
	}
}

func compare(t *testing.T, golden, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s: -want +got\n%s", golden, diff)
	}
}

// TestHostname does so with the folders of OpenBSD's files.
func TestHostname(t *testing.T) {
	for _, dir := range []string{"testdata/openbsd", "testdata/openbsd-bad"} {
		plan, err := BuildHostname(dir, []rcconf.Setting{{Name: "net.inet.ip.forwarding", Value: "1"}}, Host{})
		var got strings.Builder
		if err != nil {
			got.WriteString(err.Error() + "\n")
		} else {
			e := json.NewEncoder(&got)
			e.SetIndent("", "  ")
			if err := e.Encode(plan); err != nil {
				t.Fatal(err)
			}
		}
		compare(t, dir+".golden", got.String())
	}
}
