package slowpath_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/netisr"
	"github.com/bsdnet/bsdnet/netisr/slowpath"
)

// describe names a message: version type/code source>destination, parameter.
func describe(m []byte) string {
	if m[0]>>4 == 4 {
		return fmt.Sprintf("4 %d/%d %v>%v %x", m[20], m[21], netip.AddrFrom4([4]byte(m[12:])), netip.AddrFrom4([4]byte(m[16:])), m[24:28])
	}
	return fmt.Sprintf("6 %d/%d %v>%v %d", m[40], m[41], netip.AddrFrom16([16]byte(m[8:])), netip.AddrFrom16([16]byte(m[24:])), binary.BigEndian.Uint32(m[44:]))
}

func TestErrors(t *testing.T) {
	udp4, udp6 := ip4("", 100), ip6(17, make([]byte, 100))
	const to4, to6 = "10.0.0.254>10.0.0.1", "2001:db8::fe>2001:db8::1"
	reason := func(r bpf.Reason) bpf.NetisrHeader { return bpf.NetisrHeader{Reason: uint32(r)} }
	stealth := router()
	stealth.Stealth = true
	reply := router()
	reply.ICMPReplySource = netip.MustParseAddr("192.0.2.1")
	for _, test := range []struct {
		name     string
		settings slowpath.Settings
		header   bpf.NetisrHeader
		packet   []byte
		want     string // the message, or nothing
	}{
		{"ttl", router(), reason(bpf.ReasonNetisrTTL), udp4, "4 11/0 " + to4 + " 00000000"},
		{"ttl-stealth", stealth, reason(bpf.ReasonNetisrTTL), udp4, ""},
		{"ttl-reply-src", reply, reason(bpf.ReasonNetisrTTL), udp4, "4 11/0 192.0.2.1>10.0.0.1 00000000"},
		{"no-route", router(), reason(bpf.ReasonNetisrNoroute), udp4, "4 3/1 " + to4 + " 00000000"},
		{"reject", router(), reason(bpf.ReasonNetisrReject), udp4, "4 3/1 " + to4 + " 00000000"},
		{"too-big-interface", router(), reason(bpf.ReasonNetisrToobig), udp4, "4 3/4 " + to4 + " 00000578"},
		{"too-big-next-hop", router(), bpf.NetisrHeader{Reason: uint32(bpf.ReasonNetisrToobig), Nexthop: 4}, udp4, "4 3/4 " + to4 + " 00000258"},
		{"fragment-but-df", router(), reason(bpf.ReasonNetisrFragment), ip4("", 100, 6, 0x40), "4 3/4 " + to4 + " 00000578"},
		{"from-another-network", router(), reason(bpf.ReasonNetisrTTL), ip4("", 100, 13, 9), "4 11/0 10.0.0.254>10.9.0.1 00000000"},
		{"to-this-host", router(), reason(bpf.ReasonNetisrTTL), ip4("", 100, 19, 254), "4 11/0 10.0.1.254>10.0.0.1 00000000"},
		{"by-route-of-sender", router(), bpf.NetisrHeader{Reason: uint32(bpf.ReasonNetisrTTL), Rcvif: 3}, udp4, "4 11/0 " + to4 + " 00000000"},
		{"sent-by-host", router(), bpf.NetisrHeader{Reason: uint32(bpf.ReasonNetisrNoroute), Rcvif: 99, Flags: bpf.MHost}, udp4, "4 3/1 10.0.1.254>10.0.0.1 00000000"},
		{"unknown-interface", router(), bpf.NetisrHeader{Reason: uint32(bpf.ReasonNetisrTTL), Rcvif: 99}, udp4, ""},
		{"no-address", router(), bpf.NetisrHeader{Reason: uint32(bpf.ReasonNetisrTTL), Rcvif: 3}, ip4("", 8, 12, 99), ""},
		{"link-broadcast", router(), bpf.NetisrHeader{Reason: uint32(bpf.ReasonNetisrTTL), Flags: bpf.MBcast}, udp4, ""},
		{"link-multicast", router(), bpf.NetisrHeader{Reason: uint32(bpf.ReasonNetisrTTL), Flags: bpf.MMcast}, udp4, ""},
		{"from-directed-broadcast", router(), reason(bpf.ReasonNetisrTTL), ip4("", 8, 15, 255), ""},
		{"from-network-address", router(), reason(bpf.ReasonNetisrTTL), ip4("", 8, 15, 0), ""},
		{"to-directed-broadcast", router(), reason(bpf.ReasonNetisrTTL), ip4("", 8, 18, 0, 19, 255), ""},
		{"later-fragment", router(), reason(bpf.ReasonNetisrTTL), ip4("", 8, 7, 1), ""},
		{"icmp-error", router(), reason(bpf.ReasonNetisrTTL), ip4("", 8, 9, 1, 20, 3), ""},
		{"malformed", router(), reason(bpf.ReasonNetisrTTL), ip4("", 8, 0, 0x41), ""},
		{"bad-options", router(), reason(bpf.ReasonNetisrParamprob), ip4("\x07\x01\x04\x00", 8), "4 12/0 " + to4 + " 15000000"},
		{"good-options", router(), reason(bpf.ReasonNetisrParamprob), ip4("\x01\x01\x01\x01", 8), ""},
		{"unknown-reason", router(), reason(bpf.ReasonForward), udp4, ""},
		{"hook-without-handler", router(), reason(bpf.ReasonNetisrHook), udp4, ""},

		{"hop-limit", router(), reason(bpf.ReasonNetisrTTL), udp6, "6 3/0 " + to6 + " 0"},
		{"no-route-6", router(), reason(bpf.ReasonNetisrNoroute), udp6, "6 1/0 " + to6 + " 0"},
		{"reject-6", router(), reason(bpf.ReasonNetisrReject), udp6, "6 1/6 " + to6 + " 0"},
		{"beyond-scope", router(), reason(bpf.ReasonNetisrScope), ip6(17, make([]byte, 8), 8, 0xfe, 9, 0x80, 10, 0, 11, 0), "6 1/2 fe80::1:1>fe80::1 0"},
		{"too-big-6", router(), reason(bpf.ReasonNetisrToobig), udp6, "6 2/0 " + to6 + " 1400"},
		{"too-big-6-minimum", router(), bpf.NetisrHeader{Reason: uint32(bpf.ReasonNetisrToobig), Nexthop: 4}, udp6, "6 2/0 " + to6 + " 1280"},
		{"too-big-multicast", router(), reason(bpf.ReasonNetisrToobig), ip6(17, make([]byte, 8), 24, 0xff), "6 2/0 " + to6 + " 1400"},
		{"hop-limit-multicast", router(), reason(bpf.ReasonNetisrTTL), ip6(17, make([]byte, 8), 24, 0xff), ""},
		{"icmp6-error", router(), reason(bpf.ReasonNetisrTTL), ip6(58, make([]byte, 8), 40, 1), ""},
		{"malformed-6", router(), reason(bpf.ReasonNetisrTTL), ip6(58, make([]byte, 8), 5, 9), ""},
		{"unknown-reason-6", router(), reason(bpf.ReasonForward), udp6, ""},
		{"routing-header-0", router(), reason(bpf.ReasonNetisrParamprob), ip6(43, []byte{17, 0, 0, 1, 0, 0, 0, 0}), "6 4/0 " + to6 + " 42"},
		{"misplaced-hop-by-hop", router(), reason(bpf.ReasonNetisrParamprob), ip6(60, []byte{0, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0}), "6 4/1 " + to6 + " 40"},
		{"bad-hop-by-hop", router(), reason(bpf.ReasonNetisrParamprob), ip6(0, []byte{17, 0, 0xc2, 4, 0, 1, 0, 0}), "6 4/2 " + to6 + " 42"},
		{"cut-off-extension", router(), reason(bpf.ReasonNetisrParamprob), ip6(60, []byte{17, 9, 1, 4, 0, 0, 0, 0}), "6 4/0 " + to6 + " 6"},
		{"nothing-bad", router(), reason(bpf.ReasonNetisrParamprob), udp6, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, test.settings)
			w.put(test.header, test.packet)
			var got []string
			for _, message := range w.takeSent() {
				got = append(got, describe(message))
			}
			if strings.Join(got, ", ") != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
			if back := w.take(); len(back) != 0 {
				t.Errorf("%d packets went back", len(back))
			}
			stats := w.stack.Stats()
			sent := 0
			for _, n := range stats.ICMP.OutHist {
				sent += int(n)
			}
			for _, n := range stats.ICMP6.OutHist {
				sent += int(n)
			}
			if sent != len(got) {
				t.Errorf("counted %d messages: %+v", sent, stats)
			}
			// Whatever happened, one counter says what.
			if len(got) == 0 && test.name != "ttl-stealth" {
				c := stats
				if c.ICMP.CantSend+c.ICMP.OldICMP+c.ICMP.NoRoute+c.ICMP6.CantError+c.IP.TooShort+c.IP6.TooShort+
					c.IP.NoHandler+c.IP6.NoHandler+c.IP.BadOptions+c.IP6.BadOptions != 1 {
					t.Errorf("not counted once: %+v", stats)
				}
			}
		})
	}
}

func TestRateLimits(t *testing.T) {
	w := newWorld(t, router())
	for range 300 {
		w.put(bpf.NetisrHeader{Reason: uint32(bpf.ReasonNetisrTTL)}, ip4("", 8))
		w.put(bpf.NetisrHeader{Reason: uint32(bpf.ReasonNetisrTTL)}, ip6(17, make([]byte, 8)))
	}
	if stats := w.stack.Stats(); stats.ICMP.OutHist[11] != 200 || stats.ICMP.TooFreq != 100 || stats.ICMP6.OutHist[3] != 100 || stats.ICMP6.TooFreq != 200 {
		t.Errorf("%+v", stats)
	}
	w.clock.Advance(time.Second)
	settings := w.stack.Settings()
	settings.ICMPLimit, settings.ICMP6Rate = 0, 0
	w.stack.SetSettings(settings)
	for range 300 {
		w.put(bpf.NetisrHeader{Reason: uint32(bpf.ReasonNetisrTTL)}, ip4("", 8))
		w.put(bpf.NetisrHeader{Reason: uint32(bpf.ReasonNetisrTTL)}, ip6(17, make([]byte, 8)))
	}
	if stats := w.stack.Stats(); stats.ICMP.OutHist[11] != 500 || stats.ICMP6.OutHist[3] != 400 {
		t.Errorf("without limits: %+v", stats)
	}
}

func TestSendFailureIsCounted(t *testing.T) {
	w := newWorld(t, router())
	w.refuse = true
	w.put(bpf.NetisrHeader{Reason: uint32(bpf.ReasonNetisrTTL)}, ip4("", 8))
	w.put(bpf.NetisrHeader{Reason: uint32(bpf.ReasonNetisrTTL)}, ip6(17, make([]byte, 8)))
	if stats := w.stack.Stats(); stats.ICMP.SendFail != 1 || stats.ICMP6.SendFail != 1 || len(stats.ICMP.OutHist) != 0 {
		t.Errorf("%+v", stats)
	}
}

func TestHandleOverrides(t *testing.T) {
	w := newWorld(t, router())
	seen := 0
	handler := func(th *netisr.Thread, p *netisr.Packet) { seen++; th.Free(p) }
	if err := w.stack.Handle(bpf.ReasonNetisrHook, handler); err != nil {
		t.Fatal(err)
	}
	if err := w.stack.Handle(bpf.ReasonForward, handler); err == nil {
		t.Error("forward is no reason to queue a packet")
	}
	w.put(bpf.NetisrHeader{Reason: uint32(bpf.ReasonNetisrHook)}, ip4("", 8))
	w.put(bpf.NetisrHeader{Reason: uint32(bpf.ReasonNetisrHook)}, ip6(17, make([]byte, 8)))
	if err := w.stack.Handle(bpf.ReasonNetisrHook, nil); err != nil {
		t.Fatal(err)
	}
	w.put(bpf.NetisrHeader{Reason: uint32(bpf.ReasonNetisrHook)}, ip4("", 8))
	if stats := w.stack.Stats(); seen != 2 || stats.IP.NoHandler != 1 {
		t.Errorf("%d handled, %+v", seen, stats)
	}
}

func TestSteadyStateDoesNotAllocate(t *testing.T) {
	for _, test := range []struct {
		name   string
		reason bpf.Reason
		packet []byte
	}{
		{"error", bpf.ReasonNetisrTTL, ip4("", 100)},
		{"error-6", bpf.ReasonNetisrTTL, ip6(17, make([]byte, 100))},
		{"options", bpf.ReasonNetisrOptions, ip4("\x07\x07\x04\x00\x00\x00\x00\x00", 8)},
		{"hop-by-hop", bpf.ReasonNetisrOptions, ip6(0, []byte{17, 0, 1, 4, 0, 0, 0, 0})},
		{"fragment", bpf.ReasonNetisrFragment, ip4("", 1480)},
		{"redirect", bpf.ReasonNetisrRedirect, ip4("", 100)},
		{"unresolved", bpf.ReasonNetisrARP, ip4("", 100)},
	} {
		t.Run(test.name, func(t *testing.T) {
			settings := router()
			settings.ICMPLimit, settings.ICMP6Rate = 0, 0
			w := newAllocWorld(t, settings)
			data := w.data(bpf.NetisrHeader{Reason: uint32(test.reason)}, test.packet)
			thread := w.netisr.Thread(0)
			round := func() {
				w.loop.put = data
				thread.Step()
			}
			for range 100 {
				round()
			}
			if n := testing.AllocsPerRun(500, round); n != 0 {
				t.Errorf("%v allocations for a packet", n)
			}
			if w.loop.received == 0 {
				t.Error("nothing was received")
			}
		})
	}
}
