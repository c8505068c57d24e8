package conf

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Targets for bigConfig on two cores.
const (
	bigRules     = 100_000
	bigAddresses = 1_000_000
	bigSeconds   = 5
	bigBytes     = 1536 << 20
)

// bigConfig is a ruleset of bigRules rules, a tenth of them from lists, and a
// table file of bigAddresses lines.
func bigConfig(dialect Dialect) (text string, cfg Config) {
	var b, table strings.Builder
	b.WriteString("table <big> persist file \"big\"\nblock in\n")
	for i := range bigRules / 10 {
		fmt.Fprintf(&b, "pass in quick on em%d proto tcp from { 10.%d.%d.0/24, 192.0.2.%d } to { 198.51.100.1, 198.51.100.2 } port { 80, 443, %d }",
			i%4, i/256%256, i%256, i%256, 1024+i)
		b.WriteString(" label \"$nr:$dstport\"\n")
	}
	a := netip.AddrFrom4([4]byte{10, 0, 0, 1})
	for range bigAddresses {
		table.WriteString(a.String())
		table.WriteByte('\n')
		a = a.Next()
	}
	files := table.String()
	return b.String(), Config{
		Dialect: dialect,
		Open:    func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(files)), nil },
	}
}

func loadBig(tb testing.TB, text string, cfg Config, level Optimization) (*Ruleset, int) {
	rs, err := Load("big", strings.NewReader(text), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	Optimize(rs, OptimizeOptions{Level: level})
	rs.Finish()
	var out bytes.Buffer
	if err := Format(&out, rs, FormatOptions{}); err != nil {
		tb.Fatal(err)
	}
	return rs, out.Len()
}

func TestBigConfig(t *testing.T) {
	if testing.Short() {
		t.Skip("a large ruleset")
	}
	text, cfg := bigConfig(FreeBSD)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	rs, printed := loadBig(t, text, cfg, OptimizeNone)
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	t.Logf("%d rules and %d addresses: parsed, expanded and printed (%d MB) in %.2f s; %d MiB of the system, %d MiB allocated in all",
		len(rs.Main.Filter), len(rs.Main.Tables[0].Prefixes), printed>>20, took.Seconds(),
		after.Sys>>20, (after.TotalAlloc-before.TotalAlloc)>>20)
	if len(rs.Main.Filter) < bigRules {
		t.Errorf("only %d rules", len(rs.Main.Filter))
	}
	if n := len(rs.Main.Tables[0].Prefixes); n != bigAddresses {
		t.Errorf("%d addresses", n)
	}
	// Other work on the machine does not fail the test, only the goal.
	if took > 4*bigSeconds*time.Second {
		t.Errorf("took %v", took)
	}
	if after.Sys > bigBytes {
		t.Errorf("took %d MiB", after.Sys>>20)
	}
}

func BenchmarkBigConfig(b *testing.B) {
	text, cfg := bigConfig(FreeBSD)
	for _, level := range []Optimization{OptimizeNone, OptimizeBasic} {
		b.Run(level.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				loadBig(b, text, cfg, level)
			}
		})
	}
}
