package tunnel

import (
	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/errno"
	"github.com/bsdnet/bsdnet/ifnet"
	"github.com/bsdnet/bsdnet/ifnet/api"
)

// Limits of gif(4).
const (
	gifMTU    = 1280 // GIF_MTU
	gifMTUMin = 1280
	gifMTUMax = 8192
	gifTTL    = 30 // net.inet.ip.gifttl and net.inet6.ip6.gifhlim
)

// Gif returns the cloner of gif(4): IPv4 and IPv6 in either.
func (t *Tunnels) Gif() *Cloner {
	return &Cloner{t, kind{
		name: "gif", mtu: gifMTU, mtuMin: gifMTUMin, mtuMax: gifMTUMax, taken: errno.EADDRNOTAVAIL,
		options: api.GifOptions, entry: gifEntry, keys: gifKeys,
	}}
}

func gifEntry(clone *ifnet.Clone, flags api.Flags) bpf.Tunnel {
	t := clone.Tunnel
	entry := bpf.Tunnel{
		Kind: uint16(bpf.TunnelGif), Af: family(t.Source), Ttl: gifTTL, Src: bytes16(t.Source), Dst: bytes16(t.Destination),
	}
	if flags&api.IffLink1 != 0 {
		entry.Flags |= bpf.TunnelEcn
	}
	if flags&api.IffLink2 != 0 {
		entry.Flags |= bpf.TunnelAnyif
	}
	return entry
}

// gifKeys: an outer packet comes from the far end to the near one.
func gifKeys(clone *ifnet.Clone) []bpf.TunnelKey {
	t := clone.Tunnel
	key := bpf.TunnelKey{Kind: uint16(bpf.TunnelGif), Af: family(t.Source), Dst: bytes16(t.Source)}
	if t.Options&api.GifIgnoreSource == 0 {
		key.Src = bytes16(t.Destination)
	}
	return []bpf.TunnelKey{key}
}
