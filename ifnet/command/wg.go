package command

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/bsdnet/bsdnet/ifnet/api"
)

func arguments(n int) string {
	if n == 1 {
		return "argument"
	}
	return fmt.Sprintf("%d arguments", n)
}

// finishWg makes one request of all that was said of a wg(4), the addresses of
// endpoints looked up.
func (l *line) finishWg() error {
	if l.wg.Empty() {
		return nil
	}
	r := l.wg.Request
	for i := range r.Peers {
		if err := l.endpoint(&r.Peers[i]); err != nil {
			return err
		}
	}
	// Before addresses, which bring the interface up.
	l.steps = append([]step{{"SIOCSWG", func(ctx context.Context, b api.Backend, name string) error {
		r.Name = name
		return b.SetWg(ctx, r)
	}}}, l.steps...)
	return nil
}

func (l *line) endpoint(p *api.WgPeerRequest) error {
	if p.EndpointHost == "" {
		return nil
	}
	port, err := net.LookupPort("udp", p.EndpointService)
	if err != nil || port == 0 {
		return fmt.Errorf("wgendpoint: service not known: %s", p.EndpointService)
	}
	addr, err := netip.ParseAddr(p.EndpointHost)
	if err != nil && l.env.Host != nil {
		var addrs []netip.Addr
		if addrs, err = l.env.Host(p.EndpointHost); err == nil && len(addrs) > 0 {
			addr = addrs[0].Unmap()
		}
	}
	if err != nil || !addr.IsValid() {
		return fmt.Errorf("wgendpoint: host not known: %s", p.EndpointHost)
	}
	p.Endpoint, p.EndpointHost, p.EndpointService = netip.AddrPortFrom(addr, uint16(port)), "", ""
	return nil
}

// printWg prints a wg(4) in DragonFly's layout, and before it who does the work.
func (e *Env) printWg(wg *api.Wg, o options) {
	p := func(format string, args ...any) { fmt.Fprintf(e.Stdout, format, args...) }
	switch wg.Engine {
	case api.WgUserspace:
		p("\twireguard: userspace (PID %d)\n", wg.PID)
	default:
		p("\twireguard: %s\n", wg.Engine)
	}
	if wg.Port != 0 {
		p("\twgport: %d\n", wg.Port)
	}
	if wg.Cookie != 0 {
		p("\twgcookie: %d\n", wg.Cookie)
	}
	if wg.PrivateKey != nil && o.keys {
		p("\twgkey: %s\n", wg.PrivateKey)
	}
	if wg.PublicKey != nil {
		p("\twgpubkey: %s\n", wg.PublicKey)
	}
	for _, peer := range wg.Peers {
		p("\twgpeer: %s\n", peer.PublicKey)
		e.printWgPeer(peer, o)
	}
	if o.verbose {
		for _, reason := range slices.Sorted(maps.Keys(wg.Dropped)) {
			p("\twgdropped: %s %d\n", reason, wg.Dropped[reason])
		}
	}
}

func (e *Env) printWgPeer(peer api.WgPeer, o options) {
	p := func(format string, args ...any) { fmt.Fprintf(e.Stdout, "\t\t"+format+"\n", args...) }
	if peer.Description != "" {
		p("wgdescr: %s", peer.Description)
	}
	switch {
	case peer.PresharedKey != nil && o.keys:
		p("wgpsk: %s", peer.PresharedKey)
	case peer.HasPresharedKey:
		p("wgpsk: (present)")
	}
	if peer.Keepalive > 0 {
		p("wgpka: %d (seconds)", peer.Keepalive)
	}
	if peer.Endpoint.IsValid() {
		p("wgendpoint: %s %d", peer.Endpoint.Addr(), peer.Endpoint.Port())
	}
	p("tx: %d (bytes), rx: %d (bytes)", peer.Tx, peer.Rx)
	if peer.LastHandshake != 0 {
		p("last handshake: %d seconds ago", max(0, time.Now().Unix()-peer.LastHandshake))
	}
	for _, prefix := range peer.AllowedIPs {
		p("wgaip: %s", prefix)
	}
}
