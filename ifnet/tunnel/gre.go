package tunnel

import (
	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/errno"
	"github.com/bsdnet/bsdnet/ifnet"
	"github.com/bsdnet/bsdnet/ifnet/api"
)

// Limits of gre(4).
const (
	greMTU    = 1476 // GREMTU
	greMTUMin = 576
	greTTL    = 30   // net.inet.ip.grettl and net.inet6.ip6.grehlim
	grePort   = 4754 // GRE in UDP, RFC 8086
)

// Gre returns the cloner of gre(4).
func (t *Tunnels) Gre() *Cloner {
	return &Cloner{t, kind{
		name: "gre", mtu: greMTU, mtuMin: greMTUMin, taken: errno.EEXIST,
		options: api.GreOptions, entry: greEntry, keys: greKeys, header: greHeader,
	}}
}

// grePortOf is the destination port of GRE in UDP.
func grePortOf(t *api.Tunnel) uint16 {
	if t.Port == 0 {
		t.Port = grePort
	}
	return t.Port
}

func greEntry(clone *ifnet.Clone, _ api.Flags) bpf.Tunnel {
	t := clone.Tunnel
	entry := bpf.Tunnel{
		Kind: uint16(bpf.TunnelGre), Af: family(t.Source), Ttl: greTTL, Src: bytes16(t.Source), Dst: bytes16(t.Destination),
		Flags: bpf.TunnelAnyif,
	}
	if t.Key != 0 {
		entry.Flags |= bpf.TunnelKeyed
		entry.Key = networkOrder32(t.Key)
	}
	if t.Options&api.GreEnableCsum != 0 {
		entry.Flags |= bpf.TunnelCsum
	}
	if t.Options&api.GreEnableSeq != 0 {
		entry.Flags |= bpf.TunnelSeq
	}
	if t.Options&api.GreUDPEncap != 0 {
		entry.Flags |= bpf.TunnelUDP
		entry.Port = networkOrder16(grePortOf(t))
	}
	return entry
}

// greKeys: packets are found by ends and key, or by ends and port. That there
// is a tunnel between the ends tells a wrong key from the host's own business.
func greKeys(clone *ifnet.Clone) []bpf.TunnelKey {
	t := clone.Tunnel
	key := bpf.TunnelKey{
		Kind: uint16(bpf.TunnelGre), Af: family(t.Source), Src: bytes16(t.Destination), Dst: bytes16(t.Source),
		Key: networkOrder32(t.Key),
	}
	ends := key
	ends.Kind, ends.Key = uint16(bpf.TunnelGreends), 0
	if t.Options&api.GreUDPEncap != 0 {
		key.Kind, key.Key = uint16(bpf.TunnelGreudp), uint32(networkOrder16(grePortOf(t)))
	}
	return []bpf.TunnelKey{key, ends}
}

// greHeader is what options and IPv6 add to the headers, in bytes.
func greHeader(t *api.Tunnel) (n int) {
	if t.Source.Is6() {
		n += 20
	}
	if t.Key != 0 {
		n += 4
	}
	for option, bytes := range map[api.TunnelOptions]int{api.GreEnableCsum: 4, api.GreEnableSeq: 4, api.GreUDPEncap: 8} {
		if t.Options&option != 0 {
			n += bytes
		}
	}
	return n
}
