package conf

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadInterfaces(t *testing.T) {
	for text, want := range map[string]string{
		"em0 192.0.2.1/33":         "table:1: ",
		"em0 x":                    "table:1: ",
		"# only\n\ngroup dmz":      "table:3: group needs a name and interfaces: group egress em0",
		"abcdefghijklmnop 1.2.3.4": "table:1: interface name too long: abcdefghijklmnop",
		"em0 192.0.2.1/24 peer":    "table:1: ",
	} {
		_, err := ReadInterfaces(strings.NewReader(text), "table")
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestReadTable(t *testing.T) {
	text := "10.0.0.1 # one\n!10.0.0.0/30;two\n2001:db8::/32\n10.1.2.3/8\n"
	got, err := ReadTable(strings.NewReader(text), Config{})
	if err != nil {
		t.Fatal(err)
	}
	want := []TablePrefix{
		{Prefix: netip.MustParsePrefix("10.0.0.1/32")},
		{Prefix: netip.MustParsePrefix("10.0.0.0/30"), Not: true},
		{Prefix: netip.MustParsePrefix("2001:db8::/32")},
		{Prefix: netip.MustParsePrefix("10.0.0.0/8")},
	}
	equal := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	if diff := cmp.Diff(want, got, equal); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := ReadTable(strings.NewReader("10.0.0.1\nnosuch.example\n"), Config{}); err == nil ||
		err.Error() != "no IP address found for nosuch.example" {
		t.Errorf("%v", err)
	}
}

func TestReadFingerprints(t *testing.T) {
	text := "# comment\n16384:64:1:64:M*,N,N,S,N,W3,N,N,T:OpenBSD:3.9::OpenBSD 3.9\n" +
		"S4:128:1:48:M1460,N,N,S:Windows:XP:SP1:Windows XP SP1\n"
	f, bad, err := ReadFingerprints(strings.NewReader(text), "pf.os")
	if err != nil || bad != nil {
		t.Fatal(bad, err)
	}
	class, _ := f.Number("OpenBSD")
	version, ok := f.Number("openbsd 3.9")
	if !ok || class == 0 || version>>fingerprintClassShift != class>>fingerprintClassShift {
		t.Errorf("OpenBSD %#x, OpenBSD 3.9 %#x", class, version)
	}
	if e := f.Entries[1]; e.Window != (FingerprintNumber{FingerprintMSS, 4}) || e.TTL != 128 || !e.DF ||
		e.Options != "MNNS" || e.MSS.Value != 1460 || e.Subtype != "SP1" {
		t.Errorf("%+v", e)
	}
	rs, err := Load("rules", strings.NewReader("block in proto tcp from any os \"Windows XP\"\n"), Config{Fingerprints: f})
	if err != nil {
		t.Fatal(err)
	}
	if n, _ := f.Number("Windows XP"); rs.Main.Filter[0].OSNumber != n || n == 0 {
		t.Errorf("rule has %#x, file %#x", rs.Main.Filter[0].OSNumber, n)
	}
	rs, err = Load("rules", strings.NewReader("block in proto tcp from any os Plan9\n"), Config{Fingerprints: f})
	if err != nil || rs.Main.Filter[0].OSNumber != FingerprintNoMatch {
		t.Errorf("unknown OS: %v", err)
	}
	_, bad, err = ReadFingerprints(strings.NewReader("x\n\n16384:64:1:64:M*:A\n16384:999:1:64:M*:A:B::C\n"), "pf.os")
	if err != nil || len(bad) != 3 || bad[1].Pos.Line != 3 {
		t.Errorf("%v, %v", bad, err)
	}
}

// TestRulePositions checks that expanded rules know where they come from.
func TestRulePositions(t *testing.T) {
	rs, err := Load("pf.conf", strings.NewReader("block in\npass proto {\n tcp, udp\n}\nanchor a {\n pass\n}\n"), Config{})
	if err != nil {
		t.Fatal(err)
	}
	var lines []int
	rs.Main.Walk(func(a *Anchor) {
		for _, r := range a.Filter {
			if r.Pos.File != "pf.conf" {
				t.Errorf("%+v", r.Pos)
			}
			lines = append(lines, r.Pos.Line)
		}
	})
	if diff := cmp.Diff([]int{1, 2, 2, 5, 6}, lines); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestDeterministic checks that a text always gives the same ruleset.
func TestDeterministic(t *testing.T) {
	text, cfg := "pass from { 10.0.0.1 10.0.0.3 10.0.0.5 10.0.0.7 10.0.0.9 10.0.0.11 } to { <a> <b> <c> }\n", Config{}
	var first string
	for n := range 20 {
		rs, err := Load("pf.conf", strings.NewReader(text), cfg)
		if err != nil {
			t.Fatal(err)
		}
		Optimize(rs, OptimizeOptions{Level: OptimizeBasic})
		rs.Finish()
		var b strings.Builder
		if err := Format(&b, rs, FormatOptions{Numbers: true}); err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			first = b.String()
		} else if b.String() != first {
			t.Fatalf("another text:\n%s\n%s", first, b.String())
		}
	}
}

// TestNamesReadBack checks every protocol and every port with a name.
func TestNamesReadBack(t *testing.T) {
	for _, dialect := range []Dialect{FreeBSD, OpenBSD, DragonFly} {
		var b strings.Builder
		for n := 1; n < 256; n++ {
			fmt.Fprintf(&b, "block proto %d\n", n)
		}
		for port := range 1 << 16 {
			if serviceName(uint16(port), protocolTCP) != "" || serviceName(uint16(port), protocolUDP) != "" {
				fmt.Fprintf(&b, "block proto { tcp, udp } to port %d\n", port)
			}
		}
		print := func(text string) string {
			rs, err := Load("names", strings.NewReader(text), Config{Dialect: dialect})
			if err != nil {
				t.Fatalf("%v: %.500s", dialect, err)
			}
			var out strings.Builder
			if err := Format(&out, rs, FormatOptions{}); err != nil {
				t.Fatal(err)
			}
			return out.String()
		}
		first := print(b.String())
		if diff := cmp.Diff(first, print(first)); diff != "" {
			t.Errorf("%v: %s", dialect, diff)
		}
	}
}
