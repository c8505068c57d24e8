package control

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestParseProcTCP(t *testing.T) {
	const titles = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	const rest = " 00000000:00000000 00:00000000 00000000     0        0 1 1 0000000000000000 100 0 0 10 0\n"
	got, err := parseProcTCP(strings.NewReader(titles +
		"   0: 00000000:0016 00000000:0000 0A" + rest +
		"   1: 0100A8C0:0016 02C6A8C0:C350 01" + rest +
		"   2: 0000000000000000FFFF00000100007F:1F90 0000000000000000FFFF00000100007F:0050 01" + rest +
		"   3: B80D0120000000000000000001000000:0035 B80D0120000000000000000002000000:FFFF 06" + rest))
	want := []tcpSocket{
		{netip.MustParseAddrPort("0.0.0.0:22"), netip.MustParseAddrPort("0.0.0.0:0"), tcpListen},
		{netip.MustParseAddrPort("192.168.0.1:22"), netip.MustParseAddrPort("192.168.198.2:50000"), tcpEstablished},
		{netip.MustParseAddrPort("127.0.0.1:8080"), netip.MustParseAddrPort("127.0.0.1:80"), tcpEstablished},
		{netip.MustParseAddrPort("[2001:db8::1]:53"), netip.MustParseAddrPort("[2001:db8::2]:65535"), 6},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	for _, line := range []string{"   0: 0100A8C0 02C6A8C0:C350 01", "   0: 0100A8:0016 02C6A8C0:C350 01", "   0:"} {
		if got, err := parseProcTCP(strings.NewReader(titles + line + rest)); err == nil {
			t.Errorf("%q is %v", line, got)
		}
	}
}
