package netif

import (
	"fmt"
	"log/slog"
	"net"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"
)

// solicit sends router solicitations (RFC 4861, section 6.3.7): three, while
// the link-local address may still be tentative.
func solicit(index int, log *slog.Logger) {
	var err error
	for range 3 {
		if err = solicitOnce(index); err == nil {
			return
		}
		time.Sleep(2 * time.Second)
	}
	log.Warn("router solicitation not sent", "ifindex", index, "err", err)
}

func solicitOnce(index int) error {
	device, err := net.InterfaceByIndex(index)
	if err != nil {
		return err
	}
	conn, err := icmp.ListenPacket("ip6:ipv6-icmp", "::")
	if err != nil {
		return err
	}
	defer conn.Close()
	p := conn.IPv6PacketConn()
	if err := p.SetMulticastHopLimit(255); err != nil {
		return err
	}
	if err := p.SetMulticastInterface(device); err != nil {
		return err
	}
	message := icmp.Message{Type: ipv6.ICMPTypeRouterSolicitation, Body: &icmp.RawBody{Data: make([]byte, 4)}}
	b, err := message.Marshal(nil)
	if err != nil {
		return err
	}
	if _, err := conn.WriteTo(b, &net.IPAddr{IP: net.IPv6linklocalallrouters, Zone: device.Name}); err != nil {
		return fmt.Errorf("%s: %w", device.Name, err)
	}
	return nil
}
