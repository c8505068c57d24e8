package command

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/bsdnet/bsdnet/ifnet/api"
)

// tunnel is a step that changes a tunnel.
func (l *line) tunnel(what string, r api.TunnelRequest) {
	l.step(what, func(ctx context.Context, b api.Backend, name string) error {
		r.Name = name
		return b.SetTunnel(ctx, r)
	})
}

// setTunnel reads the two ends. The addresses say their family themselves.
func setTunnel(l *line, value string) error {
	source, destination, _ := strings.Cut(value, " ")
	var ends [2]netip.Addr
	for n, word := range []string{source, destination} {
		addr, err := l.end(word)
		if err != nil {
			return err
		}
		ends[n] = addr
	}
	if ends[0].Is4() != ends[1].Is4() {
		return fmt.Errorf("source and destination address families do not match")
	}
	what := "SIOCSIFPHYADDR"
	if ends[0].Is6() {
		what = "SIOCSIFPHYADDR_IN6"
	}
	l.tunnel(what, api.TunnelRequest{Source: ends[0], Destination: ends[1]})
	return nil
}

// end reads an end of a tunnel: an address, or the name of a host.
func (l *line) end(word string) (netip.Addr, error) {
	if addr, err := netip.ParseAddr(word); err == nil && addr.Zone() == "" {
		return addr, nil
	}
	if l.env.Host != nil && !strings.ContainsAny(word, ":%/") {
		if addrs, err := l.env.Host(word); err == nil {
			for _, addr := range addrs {
				if addr = addr.Unmap(); addr.Is4() == (l.family != inet6) {
					return addr, nil
				}
			}
		}
	}
	return netip.Addr{}, fmt.Errorf("error in parsing address string: %s: hostname nor servname provided, or not known", word)
}

func deleteTunnel(l *line, _ string) error {
	l.tunnel("SIOCDIFPHYADDR", api.TunnelRequest{Delete: true})
	return nil
}

func setTunnelFIB(l *line, value string) error {
	fib, err := strconv.ParseUint(value, 0, 16)
	if err != nil {
		return fmt.Errorf("fib %s not valid", value)
	}
	n := int(fib)
	l.tunnel("ioctl (SIOCSTUNFIB)", api.TunnelRequest{FIB: &n})
	return nil
}

func setTunnelOption(what string, set, clear api.TunnelOptions) func(*line, string) error {
	return func(l *line, _ string) error {
		l.tunnel(what, api.TunnelRequest{Set: set, Clear: clear})
		return nil
	}
}

func setGreKey(l *line, value string) error {
	n, err := strconv.ParseUint(value, 0, 32)
	if err != nil {
		return fmt.Errorf("Invalid grekey value: %s", value)
	}
	key := uint32(n)
	l.tunnel("ioctl (set grekey)", api.TunnelRequest{Key: &key})
	return nil
}

func setUDPPort(l *line, value string) error {
	n, err := strconv.ParseUint(value, 0, 16)
	if err != nil || n == 0 {
		return fmt.Errorf("Invalid udpport value: %s", value)
	}
	port := uint16(n)
	l.tunnel("ioctl (set udpport)", api.TunnelRequest{Port: &port})
	return nil
}

// printTunnel prints the ends of a tunnel.
func (e *Env) printTunnel(t *api.Tunnel) {
	if t == nil || !t.Source.IsValid() {
		return
	}
	family := "inet"
	if t.Source.Is6() {
		family = "inet6"
	}
	fmt.Fprintf(e.Stdout, "\ttunnel %s %s --> %s\n", family, t.Source, t.Destination)
}

// printTunnelOptions prints what else there is to say of a tunnel.
func (e *Env) printTunnelOptions(i api.Interface) {
	t := i.Tunnel
	if t == nil {
		return
	}
	if t.FIB != 0 {
		fmt.Fprintf(e.Stdout, "\ttunnelfib: %d\n", t.FIB)
	}
	switch {
	case i.Cloner == "gif" && t.Options != 0:
		fmt.Fprintf(e.Stdout, "\toptions=%s\n", t.Options.Gif())
	case i.Cloner == "gre":
		e.printGre(t)
	}
}

func (e *Env) printGre(t *api.Tunnel) {
	if t.Key != 0 {
		fmt.Fprintf(e.Stdout, "\tgrekey: 0x%x (%d)\n", t.Key, t.Key)
	}
	if t.Options&api.GreUDPEncap != 0 {
		fmt.Fprintf(e.Stdout, "\tudpport: %d\n", t.Port)
	}
	if t.Options != 0 {
		fmt.Fprintf(e.Stdout, "\toptions=%s\n", t.Options.Gre())
	}
}
