package difftest

import (
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/loader"
	"github.com/bsdnet/bsdnet/pf/conf"
	"github.com/bsdnet/bsdnet/pf/reference"
)

var (
	mutations    = flag.Int("mutations", 4000, "mutated packets, in each build")
	mutationSeed = flag.Uint64("mutation-seed", uint64(time.Now().UnixNano()), "seed of mutated packets")
)

// mutationsPerRuleset is how many packets meet one ruleset.
const mutationsPerRuleset = 400

// TestMutated gives both builds packets that no sender means, in between those
// of conversations: where pf judges one, the reference must say the same.
func TestMutated(t *testing.T) {
	t.Logf("seed %d", *mutationSeed)
	r := newRouter(t)
	for _, build := range []loader.Build{loader.XDP, loader.TC} {
		left := make(map[bpf.Reason]int)
		sent, rulesets := 0, 0
		for seed := *mutationSeed; sent < *mutations && !t.Failed(); seed++ {
			g := &generator{Rand: rand.New(rand.NewPCG(seed, 4))}
			x := r.begin(build, g.ruleset())
			rulesets++
			for range mutationsPerRuleset {
				sent += g.mutated(x, left)
			}
			x.end()
			if t.Failed() {
				t.Logf("-mutation-seed %d", seed)
			}
		}
		text := ""
		for reason := range bpf.Reasons {
			if n := left[bpf.Reason(reason)]; n > 0 {
				text += fmt.Sprintf(" %v %d", bpf.Reason(reason), n)
			}
		}
		t.Logf("%s: %d mutated packets under %d rulesets left as%s", build, sent, rulesets, text)
	}
}

// mutated sends the first packets of a new conversation and then a mutated one,
// or an error about one. It returns how many it mutated.
func (g *generator) mutated(x *trial, left map[bpf.Reason]int) int {
	if x.failed {
		return 0
	}
	f := g.flow(x)
	for _, step := range f.script[:min(len(f.script), 1+g.IntN(4))] {
		side := btoi(step.server)
		w := g.packet(f, step)
		if f.peers[side].host || isLocal(w.Src) {
			return 0
		}
		w.finish()
		if g.chance(30) {
			g.deliver(x, f, side, w)
			continue
		}
		if p := &f.peers[side]; p.seen != nil && !p.seen.Options && g.chance(40) {
			w = quote(p.seen.Dst, pick(g, []uint8{1, 3, 3, 4, 11}), uint8(g.IntN(4)), p.seen)
		}
		ip := g.mutate(w.ip())
		if x.build == loader.TC && ip[0]>>4 == 6 && len(ip) < 40 {
			return 0 // newer kernels refuse to run a program with it
		}
		left[x.mutated(ip, f.peers[side].iface)]++
		return 1
	}
	return 0
}

// mutate changes some bytes of an IP packet, cuts it, or makes its frame
// longer. Most IPv4 headers have a good checksum again.
func (g *generator) mutate(ip []byte) []byte {
	ip = slices.Clone(ip)
	for range 1 + g.IntN(3) {
		at := g.IntN(min(len(ip), 8<<g.IntN(5)))
		if at == 0 && g.chance(80) {
			continue // another version of IP is dropped at once
		}
		switch g.IntN(4) {
		case 0, 1:
			ip[at] ^= 1 << g.IntN(8)
		case 2:
			ip[at] = byte(g.Uint32())
		case 3:
			ip[at] = pick(g, []byte{0, 1, 0x7f, 0x80, 0xff, 4, 6, 17, 43, 44, 58, 60})
		}
	}
	switch g.IntN(10) {
	case 0:
		ip = ip[:20+g.IntN(len(ip)-19)]
	case 1:
		ip = append(ip, make([]byte, g.IntN(100))...)
	}
	if ip[0]>>4 == 4 && g.chance(90) {
		header := min(int(ip[0]&15)*4, len(ip))
		if header >= 20 {
			binary.BigEndian.PutUint16(ip[10:], 0)
			binary.BigEndian.PutUint16(ip[10:], ^sum(0, ip[:header]))
		}
	}
	return ip
}

// How far the stack took a packet when it left.
const (
	beforeRules = iota // dropped before pf
	afterIn            // pf let it in
	afterOut           // and out
	byRules            // pf ended it
)

var stages = map[bpf.Reason]int{
	bpf.ReasonForward: afterOut, bpf.ReasonForward6: afterOut, bpf.ReasonNetisrFragment: afterOut, bpf.ReasonNetisrToobig: afterOut,
	bpf.ReasonNetisrRedirect: afterOut, bpf.ReasonNetisrARP: afterOut,
	bpf.ReasonLocal: afterIn, bpf.ReasonBroadcast: afterIn, bpf.ReasonMulticast: afterIn, bpf.ReasonNetisrTTL: afterIn,
	bpf.ReasonNetisrOptions: afterIn, bpf.ReasonNetisrScope: afterIn, bpf.ReasonNetisrNoroute: afterIn,
	bpf.ReasonIPCantforward: afterIn, bpf.ReasonIP6Cantforward: afterIn,
	bpf.ReasonPFBlock: byRules, bpf.ReasonPFState: byRules, bpf.ReasonPFLimit: byRules, bpf.ReasonPFShort: byRules, bpf.ReasonPFNormalize: byRules,
	bpf.ReasonPFFragment: byRules, bpf.ReasonPFTranslate: byRules, bpf.ReasonNetisrHook: byRules, bpf.ReasonNetisrReassemble: byRules,
}

// mutated gives a packet to both and compares verdicts, counters and states.
// It returns why the packet left.
func (x *trial) mutated(ip []byte, iface string) bpf.Reason {
	x.elapsed = time.Since(x.began)
	x.settle()
	x.history = append(x.history, fmt.Sprintf("in %s mutated %x", iface, ip))
	x.clearDescriptions()
	reason, _ := x.run(x.build, "ether_input", iface, ip)
	x.choices = x.chosen()
	stage := stages[reason]
	p, err := reference.Decode(ip)
	if stage == beforeRules {
		return reason
	}
	if err != nil {
		x.fail("left as %v, but has no IP header", reason)
		return reason
	}
	p.ReceivedOn = iface
	d := x.firewall.Test(p, conf.In, iface)
	if d.Pass && stage != afterIn && !isLocal(d.Packet.Dst) {
		d.Packet.TTL--
		d = x.firewall.Test(d.Packet, conf.Out, routeOf(d.Packet.Dst))
	}
	want := reason
	if !d.Pass {
		want = blocked(d, &wire{Offset: fragmentOffset(ip)})
	} else if stage == byRules {
		x.fail("left as %v, want it to pass", reason)
	}
	if want != reason {
		x.fail("left as %v, want %v", reason, want)
	}
	x.compareStates()
	return reason
}

// fragmentOffset is not zero for later fragments.
func fragmentOffset(ip []byte) uint16 {
	if ip[0]>>4 == 4 {
		return binary.BigEndian.Uint16(ip[6:]) & 0x1fff
	}
	next, at := ip[6], 40
	for at+8 <= len(ip) {
		switch next {
		case 44:
			if offset := binary.BigEndian.Uint16(ip[at+2:]) &^ 7; offset != 0 {
				return offset
			}
			next, at = ip[at], at+8
		case 0, 43, 60:
			next, at = ip[at], at+(int(ip[at+1])+1)*8
		default:
			return 0
		}
	}
	return 0
}
