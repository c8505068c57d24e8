package conf

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The suites of the BSDs themselves, beside the project; see the README there.
const fixtureFolder = "../../../shared/fixtures"

// fixtureInterfaces are those that the suites expect to exist.
const fixtureInterfaces = `lo0 127.0.0.1/8 ::1/128 fe80::1/64
lo1000000
tun1000000
tun1000001
`

func testInterfaces(t testing.TB, text string) *InterfaceTable {
	t.Helper()
	table, err := ReadInterfaces(strings.NewReader(text), "interfaces")
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// formatText is what pfctl -o none -nv prints.
func formatText(t testing.TB, rs *Ruleset) string {
	t.Helper()
	var b bytes.Buffer
	if err := Format(&b, rs, FormatOptions{}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestFixtures(t *testing.T) {
	suites := []struct {
		folder  string
		dialect Dialect
		inputs  int
	}{{"pfctl-freebsd", FreeBSD, 83}, {"pfctl-openbsd", OpenBSD, 51}}
	if _, err := os.Stat(fixtureFolder); err != nil {
		t.Skipf("SKIPPED 268 checks: no %s", fixtureFolder)
	}
	run, failed := 0, 0
	for _, s := range suites {
		folder := filepath.Join(fixtureFolder, s.folder)
		inputs, err := filepath.Glob(filepath.Join(folder, "*.in"))
		if err != nil || len(inputs) != s.inputs {
			t.Fatalf("%d inputs in %s instead of %d (%v)", len(inputs), folder, s.inputs, err)
		}
		sort.Strings(inputs)
		for _, in := range inputs {
			name := strings.TrimSuffix(filepath.Base(in), ".in")
			want, err := os.ReadFile(strings.TrimSuffix(in, ".in") + ".ok")
			if err != nil {
				t.Fatal(err)
			}
			input, err := os.ReadFile(in)
			if err != nil {
				t.Fatal(err)
			}
			cfg := Config{
				Dialect:    s.dialect,
				Interfaces: testInterfaces(t, fixtureInterfaces),
				Open:       openBelow(folder),
			}
			check := func(kind string, text []byte) {
				run++
				ok := t.Run(s.folder+"/"+name+"/"+kind, func(t *testing.T) {
					rs, err := Load(name+".in", bytes.NewReader(text), cfg)
					if err != nil {
						t.Fatal(err)
					}
					rs.Finish()
					if diff := cmp.Diff(string(want), formatText(t, rs)); diff != "" {
						t.Errorf("pfctl printed something else (-want +got):\n%s", diff)
					}
				})
				if !ok {
					failed++
				}
			}
			check("input", input)
			check("fixed-point", want)
		}
	}
	t.Logf("fixtures: %d run, %d failed, 0 skipped", run, failed)
	if run != 268 {
		t.Errorf("%d checks instead of 268", run)
	}
}

// openBelow opens relative names below a folder.
func openBelow(folder string) func(string) (io.ReadCloser, error) {
	return func(name string) (io.ReadCloser, error) {
		if filepath.IsAbs(name) {
			if name == os.DevNull {
				return os.Open(name)
			}
			return nil, fs.ErrNotExist
		}
		return os.Open(filepath.Join(folder, name))
	}
}
