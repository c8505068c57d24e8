package slowpath_test

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/netisr"
	"github.com/bsdnet/bsdnet/netisr/inet"
)

func TestFragment(t *testing.T) {
	w := newWorld(t, router())
	original := ip4("", 3000)
	w.put(bpf.NetisrHeader{Reason: uint32(bpf.ReasonNetisrFragment), Flags: bpf.MNodf}, original)
	back := w.take()
	if len(back) != 3 { // 1400 takes 1376 of payload
		t.Fatalf("%d fragments", len(back))
	}
	var payload []byte
	for i, f := range back {
		header, err := inet.Header4(f.network)
		if err != nil || len(f.network) > 1400 || int(f.IpLen) != len(f.network) || inet.Checksum(f.network[:header]) != 0 {
			t.Errorf("fragment %d: %v, %d bytes, length in header %d", i, err, len(f.network), f.IpLen)
		}
		flags := bpf.MNodf | bpf.MFrag
		if i > 0 {
			flags |= bpf.MFragNotfirst
		}
		if f.Resume != uint8(bpf.ResumeEtherOutput) || f.Flags != flags || f.Ifp != 2 || f.Nexthop != 1 || f.L3Off != 14 {
			t.Errorf("fragment %d: %+v", i, f.NetisrHeader)
		}
		payload = append(payload, f.network[header:]...)
	}
	if !bytes.Equal(payload, original[20:]) {
		t.Error("payload changed")
	}
	if ip := w.stack.Stats().IP; ip.Fragmented != 1 || ip.OFragments != 3 || ip.CantFrag != 0 {
		t.Errorf("%+v", ip)
	}
}

func TestFragmentWithoutMemory(t *testing.T) {
	w := newWorld(t, router())
	thread := w.netisr.Thread(0)
	// The packet itself arrives in memory for large ones, which is not short.
	w.queue.Put(w.data(bpf.NetisrHeader{Reason: uint32(bpf.ReasonNetisrFragment)}, ip4("", 3000)))
	var rest []*netisr.Packet
	for p := thread.Alloc(0); p != nil; p = thread.Alloc(0) {
		rest = append(rest, p)
	}
	thread.Free(rest[0]) // enough for one fragment of two
	w.step()
	for _, p := range rest[1:] {
		thread.Free(p)
	}
	if got := w.take(); len(got) != 0 {
		t.Errorf("%d fragments", len(got))
	}
	if ip := w.stack.Stats().IP; ip.ODropped != 1 || ip.Fragmented != 0 {
		t.Errorf("%+v", ip)
	}
}

func TestOptionsGoOn(t *testing.T) {
	host := router()
	host.Forwarding, host.Forwarding6 = false, false
	options := bpf.NetisrHeader{Reason: uint32(bpf.ReasonNetisrOptions)}
	padding := []byte{17, 0, 1, 4, 0, 0, 0, 0}
	for _, test := range []struct {
		name       string
		forwarding bool
		flags      uint32
		packet     []byte
		want       uint32 // resume, or 0: dropped
	}{
		{"forward", true, 0, ip4("\x01\x01\x01\x01", 8), bpf.ResumeForward},
		{"no-forwarding", false, 0, ip4("\x01\x01\x01\x01", 8), 0},
		{"local", false, 0, ip4("\x01\x01\x01\x01", 8, 19, 254), bpf.ResumeLocal},
		{"multicast", false, 0, ip4("\x94\x04\x00\x00", 8, 16, 224), bpf.ResumeLocal},
		{"limited-broadcast", false, 0, ip4("\x01\x01\x01\x01", 8, 16, 255, 17, 255, 18, 255, 19, 255), bpf.ResumeLocal},
		{"directed-broadcast", true, 0, ip4("\x01\x01\x01\x01", 8, 18, 0, 19, 255), bpf.ResumeLocal},
		{"link-broadcast", true, bpf.MBcast, ip4("\x01\x01\x01\x01", 8), bpf.ResumeLocal},
		{"source-route-refused", true, 0, ip4("\x83\x07\x04\x0a\x00\x09\x09", 8), 0},
		{"bad", true, 0, ip4("\x07\x01\x04", 8), 0},
		{"hop-by-hop", true, 0, ip6(0, padding), bpf.ResumeForward},
		{"hop-by-hop-no-forwarding", false, 0, ip6(0, padding), 0},
		{"hop-by-hop-local", false, 0, ip6(0, padding, 39, 0xfe), bpf.ResumeLocal},
		{"hop-by-hop-multicast", false, 0, ip6(0, []byte{58, 0, 5, 2, 0, 0, 1, 0}, 24, 0xff), bpf.ResumeLocal},
		{"hop-by-hop-drop", true, 0, ip6(0, []byte{17, 0, 0x5e, 4, 0, 0, 0, 0}), 0},
		{"jumbo", true, 0, ip6(0, []byte{17, 0, 0xc2, 4, 0, 1, 0, 0}), 0},
		{"not-hop-by-hop", true, 0, ip6(17, make([]byte, 8)), bpf.ResumeForward},
	} {
		settings := host
		settings.Forwarding, settings.Forwarding6 = test.forwarding, test.forwarding
		w := newWorld(t, settings)
		header := options
		header.Flags = test.flags
		w.put(header, test.packet)
		got := uint32(0)
		for _, back := range w.take() {
			got = uint32(back.Resume)
			if back.network[0]>>4 == 4 && inet.Checksum(back.network[:int(back.network[0]&0xf)*4]) != 0 {
				t.Errorf("%s: bad header checksum", test.name)
			}
		}
		if got != test.want {
			t.Errorf("%s: resume %d, want %d", test.name, got, test.want)
		}
	}
}

func TestRedirect(t *testing.T) {
	off := router()
	off.Redirect, off.Redirect6 = false, false
	back := func(nexthop uint32) bpf.NetisrHeader { // in and out by em0
		return bpf.NetisrHeader{Reason: uint32(bpf.ReasonNetisrRedirect), Rcvif: 1, Ifp: 1, Nexthop: nexthop, Flags: bpf.MRedirect}
	}
	across := back(5)
	across.Ifp = 2
	// A destination that is itself on the link.
	for _, test := range []struct {
		name   string
		header bpf.NetisrHeader
		packet []byte
		off    bool
		want   string
	}{
		{"gateway", back(5), ip4("", 8), false, "4 5/1 10.0.0.254>10.0.0.1 0a000009"},
		{"destination", back(1), ip4("", 8, 18, 0, 19, 7), false, "4 5/1 10.0.0.254>10.0.0.1 0a000007"},
		{"destination-elsewhere", back(1), ip4("", 8), false, ""},
		{"off", back(5), ip4("", 8), true, ""},
		{"sender-elsewhere", back(5), ip4("", 8, 14, 9), false, ""},
		{"other-interface", across, ip4("", 8), false, ""},
		{"unknown-next-hop", back(77), ip4("", 8), false, ""},
		{"icmp-error", back(5), ip4("", 8, 9, 1, 20, 3), false, ""},

		{"gateway-6", back(3), ip6(17, make([]byte, 8)), false, "6 137/0 fe80::1:1>2001:db8::1 0"},
		{"destination-6", back(1), ip6(17, make([]byte, 8)), false, "6 137/0 fe80::1:1>2001:db8::1 0"},
		{"off-6", back(3), ip6(17, make([]byte, 8)), true, ""},
		{"sender-elsewhere-6", back(3), ip6(17, make([]byte, 8), 10, 9), false, ""},
		{"to-multicast-6", back(1), ip6(17, make([]byte, 8), 24, 0xff), false, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			settings := router()
			if test.off {
				settings = off
			}
			w := newWorld(t, settings)
			w.put(test.header, test.packet)
			got := ""
			for _, message := range w.takeSent() {
				got += describe(message)
				if message[0]>>4 == 6 && netip.AddrFrom16([16]byte(message[48:])).String() != map[string]string{"gateway-6": "fe80::9", "destination-6": "2001:db8:1::1"}[test.name] {
					t.Errorf("target %v", netip.AddrFrom16([16]byte(message[48:])))
				}
			}
			if got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
			packets := w.take()
			if len(packets) != 1 || packets[0].Resume != uint8(bpf.ResumeOutput) || packets[0].Flags&bpf.MRedirect != 0 || !bytes.Equal(packets[0].network, test.packet) {
				t.Errorf("the packet did not go on: %+v", packets)
			}
		})
	}
}
