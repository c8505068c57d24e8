package slowpath_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/netisr/slowpath"
)

var (
	unresolved = bpf.NetisrHeader{Reason: uint32(bpf.ReasonNetisrARP)}
	neighbour4 = netip.MustParseAddr("10.0.1.1")
)

// marks returns the last byte of each packet that went back, which must go on
// to output.
func (w *world) marks() (marks []byte) {
	for _, p := range w.take() {
		if p.Resume != uint8(bpf.ResumeOutput) {
			w.tb.Errorf("resume %d", p.Resume)
		}
		marks = append(marks, p.network[len(p.network)-1])
	}
	return marks
}

// marked is a packet whose last byte is mark.
func marked(mark byte) []byte { return ip4("", 8, 27, int(mark)) }

func TestHoldReleasesInOrder(t *testing.T) {
	w := newWorld(t, router())
	for mark := range byte(3) {
		w.put(unresolved, marked(mark))
	}
	if got := w.marks(); len(got) != 0 {
		t.Fatalf("%d packets did not wait", len(got))
	}
	w.stack.NeighbourChanged(2, netip.MustParseAddr("10.0.1.2"), slowpath.NeighbourValid) // another
	w.stack.NeighbourChanged(1, neighbour4, slowpath.NeighbourValid)                      // another interface
	w.stack.NeighbourChanged(2, neighbour4, slowpath.NeighbourPending)
	w.step()
	if got := w.marks(); len(got) != 0 {
		t.Fatalf("%d packets did not wait", len(got))
	}
	w.stack.NeighbourChanged(2, neighbour4, slowpath.NeighbourValid)
	w.step()
	if got := string(w.marks()); got != "\x00\x01\x02" {
		t.Errorf("%x", got)
	}
	if got := strings.Join(w.asked, ", "); got != "em1 10.0.1.1" {
		t.Errorf("asked for %s", got)
	}
	if arp := w.stack.Stats().ARP; arp != (slowpath.ARPStats{TxRequests: 1, Held: 3, Released: 3}) {
		t.Errorf("%+v", arp)
	}
}

func TestHoldAsksForTheGateway(t *testing.T) {
	w := newWorld(t, router())
	for _, test := range []struct {
		nexthop uint32
		packet  []byte
		want    string
	}{
		{1, ip4("", 8), "em1 10.0.1.1"},
		{2, ip4("", 8), "em1 10.0.1.9"},
		{3, ip4("", 8), "em1 fe80::9"}, // IPv4 over an IPv6 gateway
		{1, ip6(17, make([]byte, 8)), "em1 2001:db8:1::1"},
	} {
		w.asked = nil
		header := unresolved
		header.Nexthop = test.nexthop
		w.put(header, test.packet)
		if got := strings.Join(w.asked, ", "); got != test.want {
			t.Errorf("asked for %s, want %s", got, test.want)
		}
	}
	header := unresolved
	header.Nexthop = 99
	w.put(header, ip4("", 8))
	if arp := w.stack.Stats().ARP; arp.Dropped != 1 || arp.Holding != 4 {
		t.Errorf("%+v", arp)
	}
}

func TestHoldDropsTheOldest(t *testing.T) {
	settings := router()
	settings.HoldPerHop = 2
	w := newWorld(t, settings)
	for mark := range byte(5) {
		w.put(unresolved, marked(mark))
	}
	w.stack.NeighbourChanged(2, neighbour4, slowpath.NeighbourValid)
	w.step()
	if got := string(w.marks()); got != "\x03\x04" {
		t.Errorf("%x", got)
	}
	if arp := w.stack.Stats().ARP; arp.Dropped != 3 || arp.Holding != 0 {
		t.Errorf("%+v", arp)
	}
}

func TestHoldIsBounded(t *testing.T) {
	settings := router()
	settings.HoldTotal, settings.HoldHops = 3, 4
	w := newWorld(t, settings)
	for host := range 10 {
		w.put(unresolved, ip4("", 8, 19, host+10))
	}
	if arp := w.stack.Stats().ARP; arp.Held != 3 || arp.Holding != 3 || arp.Dropped != 7 || arp.TxRequests != 4 {
		t.Errorf("%+v", arp)
	}
	settings.HoldPerHop = 0
	w.stack.SetSettings(settings)
	w.put(unresolved, ip4("", 8, 19, 10))
	if arp := w.stack.Stats().ARP; arp.Dropped != 9 || arp.Holding != 2 { // the one that waited, too
		t.Errorf("%+v", arp)
	}
}

func TestHoldTimesOut(t *testing.T) {
	w := newWorld(t, router())
	w.put(unresolved, marked(1))
	w.put(unresolved, marked(2))
	w.put(unresolved, ip6(17, make([]byte, 8)))
	pass := func(d time.Duration) {
		for ; d > 0; d -= 250 * time.Millisecond {
			w.clock.Advance(250 * time.Millisecond)
			w.step()
		}
	}
	pass(4750 * time.Millisecond)
	if got := w.takeSent(); len(got) != 0 {
		t.Fatalf("%d errors before time", len(got))
	}
	pass(250 * time.Millisecond)
	got := map[string]int{}
	for _, message := range w.takeSent() {
		got[describe(message)]++
	}
	if len(got) != 2 || got["4 3/1 10.0.0.254>10.0.0.1 00000000"] != 2 || got["6 1/3 2001:db8::fe>2001:db8::1 0"] != 1 {
		t.Errorf("%v", got)
	}
	if arp := w.stack.Stats().ARP; arp.Timeouts != 1 && arp.Timeouts != 2 || arp.Holding != 0 {
		t.Errorf("%+v", arp)
	}
	// While it is down, packets are answered at once, and it is asked for
	// again at most once a second.
	w.asked = nil
	for range 3 {
		w.put(unresolved, marked(3))
	}
	if len(w.takeSent()) != 3 || len(w.asked) != 1 {
		t.Errorf("asked %v", w.asked)
	}
	// It comes back: packets go through again, and wait again when it leaves.
	w.stack.NeighbourChanged(2, neighbour4, slowpath.NeighbourValid)
	w.step()
	w.put(unresolved, marked(4))
	if len(w.takeSent()) != 0 || w.stack.Stats().ARP.Holding != 1 {
		t.Error("it is still down")
	}
	// The IPv6 neighbour is forgotten after a while.
	pass(21 * time.Second)
	w.takeSent()
	w.put(unresolved, ip6(17, make([]byte, 8)))
	if len(w.takeSent()) != 0 {
		t.Error("a neighbour is down for ever")
	}
}

func TestHoldFailsAtOnce(t *testing.T) {
	w := newWorld(t, router())
	w.put(unresolved, marked(1))
	w.stack.NeighbourChanged(2, neighbour4, slowpath.NeighbourFailed)
	w.step()
	w.answer = slowpath.NeighbourFailed
	w.put(unresolved, ip6(17, make([]byte, 8)))
	got := ""
	for _, message := range w.takeSent() {
		got += describe(message) + ", "
	}
	if got != "4 3/1 10.0.0.254>10.0.0.1 00000000, 6 1/3 2001:db8::fe>2001:db8::1 0, " {
		t.Error(got)
	}
}

// A next hop that is down is up again as soon as the resolver says so.
func TestHoldComesBack(t *testing.T) {
	w := newWorld(t, router())
	w.put(unresolved, marked(1))
	w.stack.NeighbourChanged(2, neighbour4, slowpath.NeighbourFailed)
	w.step()
	w.clock.Advance(2 * time.Second)
	w.answer = slowpath.NeighbourValid
	w.put(unresolved, marked(2)) // answered with an error still, but asked for
	w.put(unresolved, marked(3))
	if got := string(w.marks()); got != "\x03" || len(w.takeSent()) != 2 {
		t.Errorf("%x", got)
	}
}

// What is valid by now goes on at once; but a packet that came back for the
// second time waits a little, and not for ever.
func TestHoldDoesNotLoop(t *testing.T) {
	w := newWorld(t, router())
	w.answer = slowpath.NeighbourValid
	w.put(unresolved, marked(1))
	if got := string(w.marks()); got != "\x01" {
		t.Errorf("%x", got)
	}
	again := unresolved
	again.Flags = bpf.MResumed
	returns := 0
	w.put(again, marked(2))
	for range 40 {
		w.clock.Advance(250 * time.Millisecond)
		w.step()
		for range w.marks() {
			returns++
			w.put(again, marked(2)) // the data path still does not know it
		}
	}
	if sent := w.takeSent(); returns < 2 || returns > 24 || len(sent) != 1 {
		t.Errorf("%d returns, %d errors", returns, len(sent))
	}
	if w.stack.Stats().ARP.Holding != 0 {
		t.Error("still held")
	}
}
