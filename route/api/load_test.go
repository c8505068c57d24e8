package api

import (
	"encoding/json"
	"net/netip"
	"testing"
)

// What is sent of a request is the request, in the short form and the long one.
func TestFormatLoad(t *testing.T) {
	gateway := netip.MustParseAddr("192.0.2.2")
	for want, q := range map[string]RouteRequest{
		"10.0.0.0/8 192.0.2.2":  {Dst: netip.MustParsePrefix("10.0.0.0/8"), Gateway: gateway, Flags: Static | Gateway},
		"10.0.0.1/32 192.0.2.2": {Dst: netip.MustParsePrefix("10.0.0.1/32"), Gateway: gateway, Flags: Static | Gateway | Host},
		"2001:db8::/32 fe80::1%em0": {Dst: netip.MustParsePrefix("2001:db8::/32"), Gateway: netip.MustParseAddr("fe80::1%em0"),
			Flags: Static | Gateway},
		"{": {Dst: netip.MustParsePrefix("10.0.0.0/8"), Gateway: gateway, Flags: Static | Gateway | Blackhole},
		"{\"": {Dst: netip.MustParsePrefix("10.0.0.0/8"), Gateway: gateway, Flags: Static | Gateway,
			Metrics: Metrics{Mtu: 1400}, Inits: RTVMtu},
		"{\"d": {Dst: netip.MustParsePrefix("10.0.0.0/8"), Interface: "em0", Flags: Static},
	} {
		var line string
		if err := json.Unmarshal([]byte(FormatLoad(q)), &line); err != nil {
			t.Fatal(err)
		}
		if want[0] != '{' && line != want || want[0] == '{' && line[0] != '{' {
			t.Errorf("%+v is sent as %q", q, line)
		}
		if got, err := ParseLoad(line); err != nil || got != q {
			t.Errorf("%q: %+v, %v", line, got, err)
		}
	}
	for _, line := range []string{"", "10.0.0.0/8", "10.0.0.0/33 192.0.2.2", "10.0.0.0/8 192.0.2", "{", `{"destination":1}`} {
		if q, err := ParseLoad(line); err == nil {
			t.Errorf("%q: %+v", line, q)
		}
	}
}
