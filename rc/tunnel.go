package rc

import (
	"fmt"
	"net/netip"
	"strings"

	ifapi "github.com/bsdnet/bsdnet/ifnet/api"
)

// tunnelWords are those about gif(4) and gre(4).
var tunnelWords = []string{
	"tunnel", "deletetunnel", "tunnelfib", "grekey", "udpport", "enable_csum", "enable_seq", "udpencap", "ignore_source",
}

// tunnelOptions are the words that switch something of a tunnel.
var tunnelOptions = map[string]ifapi.TunnelOptions{
	"enable_csum": ifapi.GreEnableCsum, "enable_seq": ifapi.GreEnableSeq, "udpencap": ifapi.GreUDPEncap,
	"ignore_source": ifapi.GifIgnoreSource,
}

func (p *ifconfigParser) tunnel(word string) error {
	if p.ifp.Tunnel == nil {
		p.ifp.Tunnel = &ifapi.TunnelRequest{}
	}
	t := p.ifp.Tunnel
	plain := strings.TrimPrefix(word, "-")
	if option, ok := tunnelOptions[plain]; ok {
		t.Set |= option
		if plain != word {
			t.Set &^= option
		}
		return nil
	}
	switch word {
	case "tunnel":
		return p.ends(t)
	case "deletetunnel", "-tunnel":
		t.Source, t.Destination = netip.Addr{}, netip.Addr{}
		return nil
	case "tunnelfib":
		n, err := p.number(word, 0, 0)
		t.FIB = &n
		return err
	case "grekey":
		n, err := p.number(word, 0, 1<<32-1)
		key := uint32(n)
		t.Key = &key
		return err
	case "udpport":
		n, err := p.number(word, 1, 65535)
		port := uint16(n)
		t.Port = &port
		return err
	}
	return fmt.Errorf("%s: bad value", word)
}

// ends reads the two outer addresses.
func (p *ifconfigParser) ends(t *ifapi.TunnelRequest) error {
	for _, end := range []*netip.Addr{&t.Source, &t.Destination} {
		word, err := p.argument("tunnel")
		if err != nil {
			return err
		}
		if *end, err = netip.ParseAddr(word); err != nil || end.Zone() != "" {
			return fmt.Errorf("tunnel %s: not an address", word)
		}
	}
	if t.Source.Is4() != t.Destination.Is4() {
		return fmt.Errorf("source and destination address families do not match")
	}
	return nil
}

// checkTunnel wants words about tunnels to be about one.
func (b *builder) checkTunnel(ifp *Interface) {
	kind := strings.TrimRight(ifp.Name, "0123456789")
	if ifp.Tunnel != nil && (kind != "gif" && kind != "gre" || !b.plan.IsClone(ifp.Name)) {
		b.fail(ifp.Position, "%s: words about a tunnel for what is none: name a gif or gre in cloned_interfaces", ifp.Name)
	}
}
