package command

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"
)

// Servers that do not answer are waited for once, not for every address.
func TestSilentServers(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	r := &NetResolver{Context: t.Context(), resolver: net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", silent.LocalAddr().String())
	}}}
	start := time.Now()
	for range 20 {
		if name, ok := r.Addr(netip.MustParseAddr("192.0.2.1")); ok {
			t.Fatalf("name %q", name)
		}
	}
	if took := time.Since(start); took < nameLimit || took > 2*nameLimit {
		t.Errorf("%v for twenty names, limit %v", took, nameLimit)
	}
}
