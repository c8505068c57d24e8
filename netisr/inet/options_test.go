package inet_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/netisr/inet"
)

// addresses is a host with 10.0.1.1 (outgoing) and 10.0.0.254 (incoming), on
// 10.0.0.0/16, without a route to 99.0.0.0/8.
type addresses struct{}

func (addresses) Local(a [4]byte) bool {
	return a == [4]byte{10, 0, 1, 1} || a == [4]byte{10, 0, 0, 254}
}
func (addresses) Direct(a [4]byte) bool { return a[0] == 10 && a[1] == 0 }
func (addresses) Outgoing(a [4]byte) ([4]byte, bool) {
	return [4]byte{10, 0, 1, 1}, a[0] != 99
}
func (addresses) Incoming() ([4]byte, bool) { return [4]byte{10, 0, 0, 254}, true }

func noon() time.Duration { return 12 * time.Hour } // 0x2932e00 ms

func TestOptions(t *testing.T) {
	srcfail := inet.Result{Verdict: inet.VerdictError, Type: 3, Code: 5}
	bad := func(pointer uint8) inet.Result {
		return inet.Result{Verdict: inet.VerdictError, Type: 12, Pointer: pointer}
	}
	changed := inet.Result{Changed: true}
	router := inet.Options{Forwarding: true}
	routing := inet.Options{Forwarding: true, SourceRoute: true, AcceptSourceRoute: true}
	host := inet.Options{}
	elsewhere, here, nowhere := [4]byte{10, 0, 7, 7}, [4]byte{10, 0, 1, 1}, [4]byte{99, 0, 0, 1}
	for _, test := range []struct {
		name        string
		settings    inet.Options
		destination [4]byte
		options     []byte
		want        inet.Result
		after       []byte // nil: unchanged
	}{
		{"none", router, elsewhere, nil, inet.Result{}, nil},
		{"end", router, elsewhere, []byte{0, 7, 0, 0}, inet.Result{}, nil},
		{"no-operation", router, elsewhere, []byte{1, 1, 1, 1}, inet.Result{}, nil},
		{"unknown", router, elsewhere, []byte{0x55, 4, 0, 0}, inet.Result{}, nil},
		{"router-alert", router, elsewhere, []byte{148, 4, 0, 0}, inet.Result{RouterAlert: true}, nil},
		{"length-missing", router, elsewhere, []byte{1, 1, 1, 7}, bad(24), nil},
		{"length-1", router, elsewhere, []byte{7, 1, 4, 0}, bad(21), nil},
		{"length-beyond-header", router, elsewhere, []byte{1, 7, 7, 4}, bad(22), nil},
		{"ignored", inet.Options{IgnoreAll: true}, elsewhere, []byte{7, 1, 4, 0}, inet.Result{}, nil},
		{"rejected", inet.Options{RejectAll: true}, elsewhere, []byte{1, 1, 1, 1}, inet.Result{Verdict: inet.VerdictError, Type: 3, Code: 13}, nil},

		{"record-route", router, elsewhere, []byte{7, 7, 4, 0, 0, 0, 0, 0}, changed, []byte{7, 7, 8, 10, 0, 1, 1, 0}},
		{"record-route-full", router, elsewhere, []byte{7, 7, 8, 1, 2, 3, 4, 0}, inet.Result{}, nil},
		{"record-route-almost-full", router, elsewhere, []byte{7, 7, 5, 1, 2, 3, 4, 0}, inet.Result{}, nil},
		{"record-route-pointer-3", router, elsewhere, []byte{7, 7, 3, 0, 0, 0, 0, 0}, bad(22), nil},
		{"record-route-length-2", router, elsewhere, []byte{7, 2, 0, 0}, bad(22), nil},
		{"record-route-no-route", router, nowhere, []byte{7, 7, 4, 0, 0, 0, 0, 0}, inet.Result{Verdict: inet.VerdictError, Type: 3, Code: 1}, nil},
		{"record-route-stealth", inet.Options{Stealth: true}, elsewhere, []byte{7, 7, 4, 0, 0, 0, 0, 0}, inet.Result{}, nil},
		{"record-route-stealth-here", inet.Options{Stealth: true}, here, []byte{7, 7, 4, 0, 0, 0, 0, 0}, changed, []byte{7, 7, 8, 10, 0, 1, 1, 0}},

		{"timestamp", router, elsewhere, []byte{68, 8, 5, 0, 0, 0, 0, 0}, changed, []byte{68, 8, 9, 0, 0x02, 0x93, 0x2e, 0x00}},
		{"timestamp-full", router, elsewhere, []byte{68, 8, 9, 0x10, 1, 1, 1, 1}, changed, []byte{68, 8, 9, 0x20, 1, 1, 1, 1}},
		{"timestamp-overflow", router, elsewhere, []byte{68, 8, 9, 0xf0, 1, 1, 1, 1}, bad(22), nil},
		{"timestamp-address", router, elsewhere, []byte{68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0}, changed, []byte{68, 12, 13, 1, 10, 0, 0, 254, 0x02, 0x93, 0x2e, 0x00}},
		{"timestamp-address-short", router, elsewhere, []byte{68, 8, 5, 1, 0, 0, 0, 0}, bad(22), nil},
		{"timestamp-prespecified", router, elsewhere, []byte{68, 12, 5, 3, 10, 0, 1, 1, 0, 0, 0, 0}, changed, []byte{68, 12, 13, 3, 10, 0, 1, 1, 0x02, 0x93, 0x2e, 0x00}},
		{"timestamp-prespecified-other", router, elsewhere, []byte{68, 12, 5, 3, 10, 9, 9, 9, 0, 0, 0, 0}, inet.Result{}, nil},
		{"timestamp-flag", router, elsewhere, []byte{68, 8, 5, 2, 0, 0, 0, 0}, bad(23), nil},
		{"timestamp-pointer", router, elsewhere, []byte{68, 8, 4, 0, 0, 0, 0, 0}, bad(21), nil},
		{"timestamp-length", router, elsewhere, []byte{68, 3, 5, 0}, bad(21), nil},

		{"loose-elsewhere-refused", router, elsewhere, []byte{131, 7, 4, 10, 0, 9, 9, 0}, srcfail, nil},
		{"loose-elsewhere", routing, elsewhere, []byte{131, 7, 4, 10, 0, 9, 9, 0}, inet.Result{}, nil},
		{"strict-elsewhere", routing, elsewhere, []byte{137, 7, 4, 10, 0, 9, 9, 0}, srcfail, nil},
		{"loose-here-refused", router, here, []byte{131, 7, 4, 10, 0, 9, 9, 0}, srcfail, nil},
		{"loose-here-on-a-host", host, here, []byte{131, 7, 4, 10, 0, 9, 9, 0}, inet.Result{Verdict: inet.VerdictDrop}, nil},
		{"loose-here", routing, here, []byte{131, 7, 4, 20, 0, 9, 9, 0}, inet.Result{Verdict: inet.VerdictForward, Changed: true}, []byte{131, 7, 8, 10, 0, 1, 1, 0}},
		{"loose-here-no-route", routing, here, []byte{131, 7, 4, 99, 0, 9, 9, 0}, srcfail, nil},
		{"loose-to-multicast", routing, here, []byte{131, 7, 4, 224, 0, 9, 9, 0}, changed, []byte{131, 7, 8, 10, 0, 1, 1, 0}},
		{"strict-here", routing, here, []byte{137, 7, 4, 10, 0, 9, 9, 0}, inet.Result{Verdict: inet.VerdictForward, Changed: true}, []byte{137, 7, 8, 10, 0, 1, 1, 0}},
		{"strict-not-direct", routing, here, []byte{137, 7, 4, 20, 0, 9, 9, 0}, srcfail, nil},
		{"route-ended-accepted", routing, here, []byte{131, 7, 8, 10, 0, 9, 9, 0}, inet.Result{}, nil},
		{"route-ended-refused", router, here, []byte{131, 7, 8, 10, 0, 9, 9, 0}, srcfail, nil},
		{"route-stealth", inet.Options{SourceRoute: true, Stealth: true}, here, []byte{131, 7, 4, 10, 0, 9, 9, 0}, inet.Result{Verdict: inet.VerdictDrop}, nil},
		{"route-length-2", routing, here, []byte{131, 2, 0, 0}, bad(21), nil},
		{"route-pointer-3", routing, here, []byte{131, 7, 3, 0, 0, 0, 0, 0}, bad(22), nil},
	} {
		packet := ip4(test.options, 0, []byte("payload!"))
		copy(packet[16:], test.destination[:])
		inet.SetChecksum4(packet)
		settings := test.settings
		settings.TimeOfDay = noon
		if got := settings.Process(packet, addresses{}); got != test.want {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
		after := test.after
		if after == nil {
			after = test.options
		}
		if !bytes.Equal(packet[20:20+len(after)], after) {
			t.Errorf("%s: options %x, want %x", test.name, packet[20:20+len(after)], after)
		}
		if inet.Checksum(packet[:len(packet)-8]) != 0 {
			t.Errorf("%s: bad header checksum", test.name)
		}
	}
}

func FuzzOptions(f *testing.F) {
	f.Add(ip4([]byte{68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0, 131, 7, 4, 10, 0, 9, 9}, 0, nil), true, true)
	f.Fuzz(func(t *testing.T, packet []byte, sourceRoute, stealth bool) {
		headerLen, err := inet.Header4(packet)
		if err != nil {
			return
		}
		rest := string(packet[headerLen:])
		options := inet.Options{Forwarding: true, SourceRoute: sourceRoute, AcceptSourceRoute: sourceRoute, Stealth: stealth, TimeOfDay: noon}
		result := options.Process(packet, addresses{})
		if string(packet[headerLen:]) != rest {
			t.Fatal("payload changed")
		}
		if result.Changed && inet.Checksum(packet[:headerLen]) != 0 {
			t.Fatal("bad checksum after a change")
		}
		if result.Verdict == inet.VerdictError && result.Type == 12 && (int(result.Pointer) < 20 || int(result.Pointer) > headerLen) {
			t.Fatalf("pointer %d", result.Pointer)
		}
	})
}
