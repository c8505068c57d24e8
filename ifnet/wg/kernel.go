package wg

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/bsdnet/bsdnet/errno"
	"github.com/bsdnet/bsdnet/ifnet/api"
)

// kernel is WireGuard in the kernel, by generic netlink.
type kernel struct{}

func (kernel) get(name string) (*api.Wg, error) {
	client, err := wgctrl.New()
	if err != nil {
		return nil, errno.Of(err)
	}
	defer client.Close()
	device, err := client.Device(name)
	if err != nil {
		return nil, kernelError(err)
	}
	wg := &api.Wg{Engine: api.WgKernel, Port: uint16(device.ListenPort), Cookie: uint32(device.FirewallMark)}
	if private := api.WgKey(device.PrivateKey); !private.IsZero() {
		public := api.WgKey(device.PublicKey)
		wg.PrivateKey, wg.PublicKey = &private, &public
	}
	for _, p := range device.Peers {
		peer := api.WgPeer{
			PublicKey: api.WgKey(p.PublicKey), Keepalive: uint16(p.PersistentKeepaliveInterval / time.Second),
			Tx: uint64(p.TransmitBytes), Rx: uint64(p.ReceiveBytes),
		}
		if shared := api.WgKey(p.PresharedKey); !shared.IsZero() {
			peer.PresharedKey, peer.HasPresharedKey = &shared, true
		}
		if p.Endpoint != nil {
			endpoint := p.Endpoint.AddrPort()
			peer.Endpoint = netip.AddrPortFrom(endpoint.Addr().Unmap(), endpoint.Port())
		}
		if !p.LastHandshakeTime.IsZero() && p.LastHandshakeTime.Unix() > 0 {
			peer.LastHandshake = p.LastHandshakeTime.Unix()
		}
		for _, allowed := range p.AllowedIPs {
			ip, ok := netip.AddrFromSlice(allowed.IP)
			if bits, _ := allowed.Mask.Size(); ok {
				peer.AllowedIPs = append(peer.AllowedIPs, netip.PrefixFrom(ip.Unmap(), bits))
			}
		}
		wg.Peers = append(wg.Peers, peer)
	}
	return wg, nil
}

func (kernel) set(name string, r *api.WgRequest) error {
	client, err := wgctrl.New()
	if err != nil {
		return errno.Of(err)
	}
	defer client.Close()
	config := wgtypes.Config{PrivateKey: (*wgtypes.Key)(r.PrivateKey), ReplacePeers: r.ReplacePeers}
	if r.Port != nil {
		port := int(*r.Port)
		config.ListenPort = &port
	}
	if r.Cookie != nil {
		mark := int(*r.Cookie)
		config.FirewallMark = &mark
	}
	for _, p := range r.Peers {
		peer := wgtypes.PeerConfig{
			PublicKey: wgtypes.Key(p.PublicKey), Remove: p.Remove,
			PresharedKey: (*wgtypes.Key)(p.PresharedKey), ReplaceAllowedIPs: p.ReplaceAllowedIPs,
		}
		if p.Endpoint.IsValid() {
			peer.Endpoint = net.UDPAddrFromAddrPort(p.Endpoint)
		}
		if p.Keepalive != nil {
			interval := time.Duration(*p.Keepalive) * time.Second
			peer.PersistentKeepaliveInterval = &interval
		}
		for _, prefix := range p.AllowedIPs {
			peer.AllowedIPs = append(peer.AllowedIPs, net.IPNet{
				IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen()),
			})
		}
		config.Peers = append(config.Peers, peer)
	}
	return kernelError(client.ConfigureDevice(name, config))
}

func kernelError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrNotExist):
		return errno.ENXIO
	}
	return errno.Of(err)
}
