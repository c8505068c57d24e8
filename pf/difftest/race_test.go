package difftest

import (
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/loader"
	"github.com/bsdnet/bsdnet/pf/reference"
)

// TestSimultaneous gives the first packet of many conversations to two CPUs
// at once: none may end up with two states, and no slot may stay taken.
func TestSimultaneous(t *testing.T) {
	const flows = 3000
	r := newRouter(t)
	x := r.begin(loader.XDP, "nat on em1 inet proto udp from any to any port 53 -> 203.0.113.100 static-port\npass\n")
	defer r.clearStates()
	packets := make([][]byte, flows)
	for i := range packets {
		w := wire{Payload: make([]byte, 30)}
		w.TTL = 64
		w.Src, w.Dst, w.Protocol = netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("203.0.113.7"), reference.UDP
		w.SrcPort, w.DstPort = uint16(1000+i/2), uint16(53+i%2)
		mac := routerMAC[inside]
		packets[i] = append(append(append(mac[:], peerMAC[:]...), 0x08, 0x00), w.ip()...)
	}
	var group sync.WaitGroup
	var turn [2]atomic.Int64
	for cpu := range turn {
		group.Go(func() {
			err := r.host.Do(func() error {
				for i, frame := range packets {
					turn[cpu].Store(int64(i) + 1)
					for turn[1-cpu].Load() <= int64(i) {
						runtime.Gosched()
					}
					options := &ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+256),
						Context: &xdpmd{DataEnd: uint32(len(frame)), IngressIfindex: uint32(r.index[inside])}}
					if _, err := r.dp.Programs[loader.XDP]["ether_input"].Run(options); err != nil {
						turn[cpu].Store(flows)
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	seen := make(map[reference.Key]int)
	live, taken := uint64(0), 0
	for slot := range x.states.Values {
		s := &x.states.Values[slot]
		if uint64(slot) >= x.head.Values[0].Fresh && s.Tag != 0 {
			t.Errorf("slot %d is in use and yet fresh", slot)
		}
		if s.Tag != 0 {
			taken++
		}
		switch s.Tag >> 32 {
		case uint64(bpf.PFStateBusy):
			t.Errorf("slot %d stays taken", slot)
		case uint64(bpf.PFStateLive):
			live++
			key := reference.Key{
				Beyond: netip.AddrPortFrom(netip.AddrFrom4([4]byte(s.Addr[0][:4])), swap16(s.Port[0])),
				Behind: netip.AddrPortFrom(netip.AddrFrom4([4]byte(s.Addr[1][:4])), swap16(s.Port[1])),
			}
			seen[key]++
			if seen[key] > 1 {
				t.Errorf("%v has %d states", key, seen[key])
			}
		case uint64(bpf.PFStateAlias):
			if peer := &x.states.Values[s.Peer]; peer.Peer != uint32(slot) || peer.Tag>>32 != uint64(bpf.PFStateLive) {
				t.Errorf("slot %d is the other key of no state", slot)
			}
		}
	}
	for i := range x.entries.Values {
		for _, entry := range x.entries.Values[i].Entry {
			if entry == 0 {
				continue
			}
			taken--
			if s := &x.states.Values[uint32(entry)&bpf.PFStateSlot]; uint32(s.Tag) != uint32(entry>>32) {
				t.Errorf("entry %#x leads to a slot with tag %#x", entry, s.Tag)
			}
		}
	}
	if taken != 0 {
		t.Errorf("%d more slots than entries in the index", taken)
	}
	if count := x.head.Values[0].Count; count != live {
		t.Errorf("%d states counted, %d there", count, live)
	}
	reasons := r.reasons()
	t.Logf("%d states of %d conversations; %d packets met another CPU's", live, flows, reasons[bpf.ReasonPFLimit])
}
