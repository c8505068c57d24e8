package conf

import (
	"bytes"
	"flag"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the goldens")

// goldenInterfaces are the interfaces of all goldens.
const goldenInterfaces = `lo0 127.0.0.1/8 ::1/128 fe80::1/64
em0 192.0.2.1/24 192.0.2.2/24 2001:db8::1/64 fe80::2/64 group egress
em1 198.51.100.1/28
tun0 10.9.9.1/32 peer 10.9.9.2
wg0
`

// golden is a file of testdata: an input with what pfctl says about it. Its
// name begins with the dialect. Sections start with "=== name".
type golden struct {
	dialect  Dialect
	optimize Optimization
	sections map[string]string
	order    []string
}

func readGolden(t testing.TB, name string) *golden {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	g := &golden{sections: make(map[string]string)}
	word, _, _ := strings.Cut(filepath.Base(name), "-")
	if g.dialect, err = ParseDialect(word); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	section := ""
	for line := range strings.Lines(string(data)) {
		if s, ok := strings.CutPrefix(line, "=== "); ok {
			section = strings.TrimSpace(s)
			g.order = append(g.order, section)
			g.sections[section] = ""
			continue
		}
		g.sections[section] += line
	}
	if _, ok := g.sections["optimized"]; ok {
		g.optimize = OptimizeBasic
	}
	return g
}

func (g *golden) config(t *testing.T) Config {
	return Config{
		Dialect:    g.dialect,
		Interfaces: testInterfaces(t, goldenInterfaces),
		Open: func(name string) (io.ReadCloser, error) {
			if text, ok := g.sections["file "+name]; ok {
				return io.NopCloser(strings.NewReader(text)), nil
			}
			return nil, fs.ErrNotExist
		},
	}
}

// run gives what is printed and what is complained about.
func (g *golden) run(t *testing.T, input string) (output, complaints string) {
	t.Helper()
	f, err := Parse("stdin", strings.NewReader(input), g.config(t))
	var b strings.Builder
	for _, m := range f.Messages {
		if m.Severity != SeverityVerbose {
			b.WriteString(m.Error() + "\n")
		}
	}
	if (err != nil) != f.Messages.failed() {
		t.Errorf("error %v does not fit the messages %v", err, f.Messages)
	}
	rs, complete := f.Partial()
	if complete {
		Optimize(rs, OptimizeOptions{Level: g.optimize})
		rs.Finish()
	}
	var out bytes.Buffer
	if err := Format(&out, rs, FormatOptions{DirectivesOnly: !complete}); err != nil {
		t.Fatal(err)
	}
	return out.String(), b.String()
}

func TestGoldens(t *testing.T) {
	names, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(names) == 0 {
		t.Fatalf("no goldens: %v", err)
	}
	accepted, refused := 0, 0
	for _, name := range names {
		g := readGolden(t, name)
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			output, complaints := g.run(t, g.sections["input"])
			if *update {
				g.write(t, name, output, complaints)
				return
			}
			want := g.sections["output"]
			if g.optimize != OptimizeNone {
				want = g.sections["optimized"]
			}
			if diff := cmp.Diff(want, output); diff != "" {
				t.Errorf("printed (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(g.sections["errors"], complaints); diff != "" {
				t.Errorf("complained (-want +got):\n%s", diff)
			}
			if _, failed := g.sections["errors"]; failed {
				refused++
				return
			}
			accepted++
			again := &golden{dialect: g.dialect, sections: g.sections}
			printed, complaints := again.run(t, output)
			if printed != output || complaints != "" {
				t.Errorf("no fixed point: %s%s", complaints, cmp.Diff(output, printed))
			}
		})
	}
	t.Logf("goldens: %d run, %d accepted, %d refused or warned about", len(names), accepted, refused)
	if len(names) < 150 && !*update {
		t.Errorf("only %d goldens", len(names))
	}
}

func (g *golden) write(t *testing.T, name, output, complaints string) {
	var b strings.Builder
	for _, s := range g.order {
		if s == "input" || strings.HasPrefix(s, "file ") {
			b.WriteString("=== " + s + "\n" + g.sections[s])
		}
	}
	if g.optimize != OptimizeNone {
		b.WriteString("=== optimized\n" + output)
	} else {
		b.WriteString("=== output\n" + output)
	}
	if complaints != "" {
		b.WriteString("=== errors\n" + complaints)
	}
	if err := os.WriteFile(name, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
