package conf

import (
	"bytes"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzParse checks that no text makes the parser panic, and that what is printed
// of an accepted text is accepted and printed the same.
func FuzzParse(f *testing.F) {
	names, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range names {
		g := readGolden(f, name)
		f.Add(uint8(g.dialect), g.sections["input"])
	}
	table := testInterfaces(f, goldenInterfaces)
	files := map[string]string{"file": "10.0.0.1\n!10.0.0.2\n", "rules": "pass in from <a>\n"}
	f.Fuzz(func(t *testing.T, dialect uint8, text string) {
		cfg := Config{
			Dialect:    Dialect(dialect % uint8(len(dialectNames))),
			Interfaces: table,
			Open: func(name string) (io.ReadCloser, error) {
				if text, ok := files[name]; ok {
					return io.NopCloser(strings.NewReader(text)), nil
				}
				return nil, fs.ErrNotExist
			},
			Limits: Limits{FileBytes: 1 << 16, MacroBytes: 1 << 12, Rules: 500, Combinations: 5000, Errors: 100},
		}
		print := func(text string, level Optimization) (string, error) {
			rs, err := Load("fuzz", strings.NewReader(text), cfg)
			if err != nil {
				return "", err
			}
			Optimize(rs, OptimizeOptions{Level: level})
			rs.Finish()
			var out bytes.Buffer
			if err := Format(&out, rs, FormatOptions{}); err != nil {
				t.Fatal(err)
			}
			return out.String(), nil
		}
		for _, level := range []Optimization{OptimizeNone, OptimizeBasic} {
			first, err := print(text, level)
			if err != nil {
				return
			}
			second, err := print(first, OptimizeNone)
			if err != nil {
				t.Fatalf("%v does not read\n%s%v", cfg.Dialect, first, err)
			}
			if first != second {
				t.Fatalf("%v prints another text:\n%s\n%s", cfg.Dialect, first, cmp.Diff(first, second))
			}
		}
	})
}
