// Package dhclient is a DHCPv4 client (RFC 2131, 2132, 3442) for one interface:
// it gets a lease, keeps it in a file, renews it, and says what it knows to
// whoever configures the interface.
package dhclient

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Lease is what a server gave.
type Lease struct {
	Address    netip.Prefix  `json:"address"` // not masked
	Broadcast  netip.Addr    `json:"broadcast,omitzero"`
	Server     netip.Addr    `json:"server"`
	Routers    []netip.Addr  `json:"routers,omitempty"`
	Routes     []Route       `json:"routes,omitempty"` // classless static routes, in place of Routers
	DNS        []netip.Addr  `json:"dns,omitempty"`
	Domain     string        `json:"domain,omitempty"`
	Search     []string      `json:"search,omitempty"`
	Hostname   string        `json:"hostname,omitempty"`
	MTU        int           `json:"mtu,omitempty"` // bytes, 0: not told
	Obtained   time.Time     `json:"obtained"`
	Lifetime   time.Duration `json:"lifetime"` // nanoseconds from Obtained, as the next two
	RenewAfter time.Duration `json:"renew_after"`
	RebindAt   time.Duration `json:"rebind_after"`
}

// Route is a classless static route. A gateway of zeros is the link itself.
type Route struct {
	Destination netip.Prefix `json:"destination"`
	Gateway     netip.Addr   `json:"gateway"`
}

// infinite is a lifetime without end: all ones, in seconds.
const infinite = (1<<32 - 1) * time.Second

// Renew, Rebind and Expire are when the lease enters these states; a lease
// without end never does.
func (l *Lease) Renew() time.Time { return l.Obtained.Add(l.RenewAfter) }

// Rebind is when any server may be asked.
func (l *Lease) Rebind() time.Time { return l.Obtained.Add(l.RebindAt) }

// Expire is when the address must not be used any more.
func (l *Lease) Expire() time.Time { return l.Obtained.Add(l.Lifetime) }

func (l *Lease) expired(now time.Time) bool { return l.Lifetime < infinite && !now.Before(l.Expire()) }

// name is what a host or domain name may consist of. What a server sends goes
// into files that others read.
var name = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252})$`)

func cleanName(s string) string {
	if !name.MatchString(s) {
		return ""
	}
	return s
}

// leaseOf reads an acknowledgement. It refuses what no interface can have.
func leaseOf(ack *dhcpv4.DHCPv4, now time.Time) (*Lease, error) {
	ip, ok := addrOf(ack.YourIPAddr)
	if !ok || !ip.IsGlobalUnicast() {
		return nil, fmt.Errorf("bad address %s", ack.YourIPAddr)
	}
	bits, total := ack.SubnetMask().Size()
	if total != 32 || bits == 0 {
		bits, _ = net.IP(ip.AsSlice()).DefaultMask().Size()
	}
	lifetime := ack.IPAddressLeaseTime(0)
	if lifetime <= 0 {
		return nil, errors.New("no lease time")
	}
	l := &Lease{
		Address: netip.PrefixFrom(ip, bits), Domain: cleanName(ack.DomainName()), Hostname: cleanName(ack.HostName()),
		DNS: addrsOf(ack.DNS()), Routers: addrsOf(ack.Router()), Obtained: now, Lifetime: lifetime,
		RenewAfter: ack.IPAddressRenewalTime(0), RebindAt: ack.IPAddressRebindingTime(0),
	}
	l.Broadcast, _ = addrOf(ack.BroadcastAddress())
	l.Server, _ = addrOf(ack.ServerIdentifier())
	if !l.Server.IsValid() {
		return nil, errors.New("no server identifier")
	}
	if l.RebindAt <= 0 || l.RebindAt >= lifetime {
		l.RebindAt = lifetime * 7 / 8
	}
	if l.RenewAfter <= 0 || l.RenewAfter >= l.RebindAt {
		l.RenewAfter = min(lifetime/2, l.RebindAt*4/7)
	}
	if labels := ack.DomainSearch(); labels != nil {
		for _, label := range labels.Labels {
			if label = cleanName(label); label != "" {
				l.Search = append(l.Search, label)
			}
		}
	}
	if raw := ack.GetOneOption(dhcpv4.OptionInterfaceMTU); len(raw) == 2 {
		if mtu := int(raw[0])<<8 | int(raw[1]); mtu >= 576 {
			l.MTU = mtu
		}
	}
	l.classless(ack)
	return l, nil
}

// classless takes option 121, which makes the option of routers void (RFC 3442).
func (l *Lease) classless(ack *dhcpv4.DHCPv4) {
	for _, r := range ack.ClasslessStaticRoute() {
		dst, ok := addrOf(r.Dest.IP)
		ones, bits := r.Dest.Mask.Size()
		gateway, ok2 := addrOf(r.Router)
		if r.Router.Equal(net.IPv4zero) {
			gateway, ok2 = netip.IPv4Unspecified(), true
		}
		if r.Dest.IP.Equal(net.IPv4zero) {
			dst, ok = netip.IPv4Unspecified(), true
		}
		if ok && ok2 && bits == 32 {
			l.Routes = append(l.Routes, Route{netip.PrefixFrom(dst, ones).Masked(), gateway})
		}
	}
	if len(l.Routes) > 0 {
		l.Routers = nil
	}
}

func addrOf(ip net.IP) (netip.Addr, bool) {
	addr, ok := netip.AddrFromSlice(ip)
	addr = addr.Unmap()
	return addr, ok && addr.Is4() && !addr.IsUnspecified()
}

func addrsOf(ips []net.IP) []netip.Addr {
	var addrs []netip.Addr
	for _, ip := range ips {
		if addr, ok := addrOf(ip); ok {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

// ReadLease reads a lease file; nil if there is none that can be used.
func ReadLease(path string) *Lease {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	l := &Lease{}
	if json.Unmarshal(data, l) != nil || !l.Address.IsValid() || l.Lifetime <= 0 || l.Obtained.After(time.Now().Add(time.Minute)) {
		return nil
	}
	return l
}

// write replaces the lease file as a whole.
func (l *Lease) write(path string) error {
	if path == "" {
		return nil
	}
	data, err := json.MarshalIndent(l, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", append(data, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
