package loader

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/netisr/encap"
	"github.com/bsdnet/bsdnet/netisr/inet"
)

// A tunnel at the router of the stage tests, towards the gateway on em1:
// packets to 10.9.0.0/16 and 2001:db8:9::/48 go into it.
const (
	tunnelIndex = 5001
	nhTunnel    = 100
)

// tunnelParams is a tunnel for the data path and for package encap.
func tunnelParams(t encap.Tunnel) (entry bpf.Tunnel, keys []bpf.TunnelKey) {
	af := uint8(4)
	if t.Source.Is6() {
		af = 6
	}
	key := bpf.TunnelKey{Kind: uint16(bpf.TunnelGif), Af: af}
	copy(key.Src[:], t.Destination.AsSlice())
	copy(key.Dst[:], t.Source.AsSlice())
	entry = bpf.Tunnel{Kind: uint16(bpf.TunnelGif), Af: af, Ttl: t.TTL, Flags: bpf.TunnelAnyif, Src: key.Dst, Dst: key.Src}
	for flag, on := range map[uint32]bool{
		bpf.TunnelEcn: t.ECN, bpf.TunnelCsum: t.Checksum, bpf.TunnelKeyed: t.Key != 0, bpf.TunnelSeq: t.Sequence, bpf.TunnelUDP: t.Port != 0,
	} {
		if on {
			entry.Flags |= flag
		}
	}
	if !t.GRE {
		return entry, []bpf.TunnelKey{key}
	}
	entry.Kind, entry.Key, entry.Port = uint16(bpf.TunnelGre), bits.ReverseBytes32(t.Key), bits.ReverseBytes16(t.Port)
	ends := key
	ends.Kind = uint16(bpf.TunnelGreends)
	key.Kind, key.Key = uint16(bpf.TunnelGre), entry.Key
	if t.Port != 0 {
		key.Kind, key.Key = uint16(bpf.TunnelGreudp), uint32(entry.Port)
	}
	return entry, []bpf.TunnelKey{key, ends}
}

// tunnel makes the tunnel, in place of the one before.
func (r *router) tunnel(t encap.Tunnel) {
	r.t.Helper()
	slot := uint32(tunnelIndex % bpf.IfnetSlots)
	mirror, err := NewTunnelMirror(r.dp, r.cfg.FIBGeneration())
	if err != nil {
		r.t.Fatal(err)
	}
	defer mirror.Close()
	keys, err := mirror.Keys()
	if err != nil {
		r.t.Fatal(err)
	}
	for key := range keys {
		if err := mirror.DeleteKey(key); err != nil {
			r.t.Fatal(err)
		}
	}
	entry, wanted := tunnelParams(t)
	if err := mirror.Put(slot, &bpf.Tunnel{}); err != nil {
		r.t.Fatal(err)
	}
	if err := mirror.Put(slot, &entry); err != nil {
		r.t.Fatal(err)
	}
	for _, key := range wanted {
		if err := mirror.PutKey(key, slot); err != nil {
			r.t.Fatal(err)
		}
	}
}

func newTunnelRouter(t testing.TB) *router {
	t.Helper()
	r := newRouter(t)
	slot := uint32(tunnelIndex % bpf.IfnetSlots)
	r.slot["gif0"] = slot
	ifnet, err := NewIfnetMirror(r.dp, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer ifnet.Close()
	err = ifnet.PutIfnet(slot, &bpf.Ifnet{
		IfIndex: tunnelIndex, IfMtu: 8192, TxPort: slot, TxIfindex: tunnelIndex, Parent: slot,
		IfFlags: bpf.IfnetOwned | bpf.IfnetUp | bpf.IfnetPointopoint | bpf.IfnetNoarp | bpf.IfnetRawip | bpf.IfnetTunnel | bpf.IfnetClone,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.dp.Maps["nexthop"].Put(uint32(nhTunnel), bpf.Nexthop{Flags: bpf.NexthopUp, Ifslot: slot}); err != nil {
		t.Fatal(err)
	}
	for _, prefix := range []string{"10.9.0.0/16", "2001:db8:9::/48"} {
		if err := r.route(netip.MustParsePrefix(prefix), nhTunnel); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.cfg.Commit(func(c *bpf.Config) error { c.Flags |= bpf.ConfigGreudp; return nil }); err != nil {
		t.Fatal(err)
	}
	return r
}

// randomTunnel chooses a tunnel between the router and a host behind the
// gateway on em1.
func randomTunnel(random *rand.Rand) encap.Tunnel {
	t := encap.Tunnel{Source: netip.MustParseAddr("198.51.100.1"), Destination: netip.MustParseAddr("203.0.113.9"), TTL: uint8(1 + random.IntN(255))}
	if random.IntN(2) == 0 {
		t.Source, t.Destination = netip.MustParseAddr("2001:db8:1::1"), netip.MustParseAddr("2001:db8:2::9")
	}
	if t.GRE = random.IntN(3) > 0; !t.GRE {
		t.ECN = random.IntN(2) == 0
		return t
	}
	t.Checksum, t.Sequence = random.IntN(2) == 0, random.IntN(2) == 0
	if random.IntN(2) == 0 {
		t.Key = random.Uint32()
	}
	if random.IntN(3) == 0 {
		t.Port = 4754
	}
	return t
}

// randomInner is a packet of UDP with any TOS.
func randomInner(t *testing.T, random *rand.Rand, from4, to4, from6, to6 string) []byte {
	p := packet{from: from4, to: to4, ttl: 64, payload: 24 + random.IntN(1276)}
	if random.IntN(2) == 0 {
		p.from, p.to = from6, to6
	}
	inner := p.bytes(t)[14:]
	tos := uint8(random.Uint32())
	if inner[0]>>4 == 4 {
		inner[1] = tos
		inet.SetChecksum4(inner)
	} else {
		inner[0], inner[1] = 0x60|tos>>4, tos<<4
	}
	return inner
}

// frameOf puts a packet into a frame for em0.
func frameOf(network []byte) []byte {
	kind := []byte{8, 0}
	if network[0]>>4 == 6 {
		kind = []byte{0x86, 0xdd}
	}
	return append(append(append(append([]byte{}, em0MAC...), hostMAC...), kind...), network...)
}

// decrement takes a hop off, as forwarding does.
func decrement(inner []byte) []byte {
	out := bytes.Clone(inner)
	if out[0]>>4 == 4 {
		out[8]--
		inet.SetChecksum4(out)
	} else {
		out[7]--
	}
	return out
}

// TestTunnelBytes wants the data path and package encap to make the same bytes
// of random packets on random tunnels, and to take the same out again.
func TestTunnelBytes(t *testing.T) {
	r := newTunnelRouter(t)
	random := rand.New(rand.NewPCG(8, 2026))
	counts := make(map[string]int)
	for round := range 150 {
		tunnel := randomTunnel(random)
		r.tunnel(tunnel)
		for _, build := range []Build{XDP, TC} {
			if build == TC && (tunnel.Checksum || tunnel.Sequence || tunnel.Port != 0) {
				continue // it leaves these to the XDP build
			}
			for sequence := range uint32(2) {
				inner := randomInner(t, random, "192.0.2.9", "10.9.1.1", "2001:db8::9", "2001:db8:9::1")
				verdict, out := r.run(build, "em0", frameOf(inner))
				if verdict != verdictNumber[build]["redirect"] {
					t.Fatalf("%d %s %+v: verdict %d: %v", round, build, tunnel, verdict, r.reasons())
				}
				chosen := encap.Chosen{Sequence: sequence, ID: binary.BigEndian.Uint16(out[18:])}
				if tunnel.Port != 0 {
					chosen.Port = binary.BigEndian.Uint16(out[14+outerLen(tunnel):])
					if chosen.Port < 49152 {
						t.Errorf("source port %d", chosen.Port)
					}
				}
				want := tunnel.Append(nil, decrement(inner), chosen)
				if !bytes.Equal(out[14:], want) {
					t.Fatalf("%d %s %+v: sent\n%x, want\n%x", round, build, tunnel, out[14:], want)
				}
				counts[fmt.Sprintf("%s out gre=%v outer6=%v", build, tunnel.GRE, tunnel.Source.Is6())]++
			}
			r.checkInput(t, random, build, tunnel, counts)
		}
	}
	t.Log(counts)
}

func outerLen(t encap.Tunnel) int {
	if t.Source.Is4() {
		return inet.HeaderLen4
	}
	return inet.HeaderLen6
}

// checkInput gives the build what the far end would send, some of it damaged.
func (r *router) checkInput(t *testing.T, random *rand.Rand, build Build, tunnel encap.Tunnel, counts map[string]int) {
	far := tunnel
	far.Source, far.Destination = tunnel.Destination, tunnel.Source
	inner := randomInner(t, random, "10.9.1.1", "203.0.113.7", "2001:db8:9::1", "2001:db8:2::7")
	outer := far.Append(nil, inner, encap.Chosen{ID: 7, Sequence: 5, Port: 50000})
	damaged := tunnel.GRE && random.IntN(3) == 0
	if damaged {
		at := outerLen(tunnel) + random.IntN(len(outer)-outerLen(tunnel))
		if tunnel.Port != 0 {
			at = max(at, outerLen(tunnel)+8)
		}
		outer[at] ^= 1 << random.IntN(8)
	}
	want, err := tunnel.Open(outer)
	before := r.reasons()
	verdict, out := r.run(build, "em0", frameOf(outer))
	if err != nil {
		if verdict == verdictNumber[build]["redirect"] {
			t.Fatalf("%s %+v: taken, though %v\n%x", build, tunnel, err, outer)
		}
		counts[err.Error()]++
		return
	}
	if damaged && !bytes.Equal(want, inner) {
		return // the packet inside is for ip_input to judge
	}
	if verdict != verdictNumber[build]["redirect"] {
		t.Fatalf("%s %+v: verdict %d: %v, before %v\n%x", build, tunnel, verdict, r.reasons(), before, outer)
	}
	if want = decrement(want); !bytes.Equal(out[14:], want) {
		t.Fatalf("%s %+v: forwarded\n%x, want\n%x", build, tunnel, out[14:], want)
	}
	counts[fmt.Sprintf("%s in gre=%v outer6=%v", build, tunnel.GRE, tunnel.Source.Is6())]++
}
