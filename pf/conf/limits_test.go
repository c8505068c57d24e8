package conf

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// TestHostileInput checks that what is made to hang or to fill the memory ends
// soon with an error that has a line.
func TestHostileInput(t *testing.T) {
	doubling := "a0 = \"x\"\n"
	for i := range 60 {
		doubling += fmt.Sprintf("a%d = \"$a%d $a%d\"\n", i+1, i, i)
	}
	lists := "pass from { " + strings.Repeat("10.0.0.1 ", 3000) + "} to { " + strings.Repeat("10.0.0.2 ", 3000) + "}\n"
	rules := strings.Repeat("pass proto { tcp udp }\n", 400)
	for name, tt := range map[string]struct {
		text string
		want string
	}{
		"endless include":   {"include \"self\"\n", "more than 16 nested includes"},
		"many includes":     {strings.Repeat("include \"large\"\n", 100), "files larger than 1048576 bytes together"},
		"large file":        {strings.Repeat("# comment\n", 200000), "file larger than 1048576 bytes"},
		"doubling macros":   {doubling + "pass on $a60\n", "syntax error"},
		"macro used often":  {"m = \"" + strings.Repeat("1 ", 2000) + "\"\n" + strings.Repeat("pass proto { $m }\n", 900), "more than"},
		"long list product": {lists, "more than 500 rules"},
		"combinations": {"pass from { " + strings.Repeat("10.0.0.1 ", 3000) + "} to { " + strings.Repeat("::1 ", 3000) + "}\n",
			"rule has more than 100000 combinations"},
		"many rules":   {rules, "more than 500 rules"},
		"many errors":  {strings.Repeat("pass foo\npass\n", 500), "too many errors"},
		"long word":    {"pass on " + strings.Repeat("a", 100000) + "\n", "string too long"},
		"open quote":   {"pass on \"em0\npass\n", "reached end of file while parsing quoted string"},
		"open list":    {"pass from { 10.0.0.1\n", "syntax error"},
		"deep anchors": {strings.Repeat("anchor {\n", 5000), "syntax error"},
		"deep list":    {"pass from " + strings.Repeat("{ ", 100000) + "\n", "syntax error"},
		"nul":          {"pass in\x00\npass\n", "syntax error"},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			_, err := Parse("stdin", strings.NewReader(tt.text), Config{
				Dialect: OpenBSD,
				Open: func(name string) (io.ReadCloser, error) {
					if name == "large" {
						return io.NopCloser(strings.NewReader(strings.Repeat("#\n", 10000))), nil
					}
					return io.NopCloser(strings.NewReader("include \"self\"\n")), nil
				},
				Limits: Limits{FileBytes: 1 << 20, Rules: 500, Combinations: 100000, Errors: 100},
			})
			if err == nil {
				t.Fatal("accepted")
			}
			list := err.(ErrorList)
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%d errors, of which none is %q: %.300s", len(list), tt.want, err)
			}
			for _, e := range list {
				if e.Pos.Line < 1 && e.Pos.File != "" {
					t.Errorf("no line: %v", e)
				}
			}
			if took := time.Since(start); took > 3*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

// TestGarbage reads random bytes.
func TestGarbage(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for n := range 300 {
		data := make([]byte, rnd.IntN(5000))
		for i := range data {
			data[i] = byte(rnd.Uint32())
		}
		if _, err := Load("garbage", strings.NewReader(string(data)), Config{Dialect: Dialect(n % 3)}); err == nil && len(data) > 100 {
			t.Errorf("accepted %q", data)
		}
	}
}
