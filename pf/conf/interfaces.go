package conf

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
)

// InterfaceAddr is an address of an interface.
type InterfaceAddr struct {
	// Prefix is the address with its prefix length, not masked.
	Prefix netip.Prefix `json:"prefix"`
	// Broadcast is the broadcast address; invalid if it has none.
	Broadcast netip.Addr `json:"broadcast,omitzero"`
	// Peer is the other end of a point-to-point link.
	Peer netip.Addr `json:"peer,omitzero"`
}

// Interface is a network interface as far as rulesets care.
type Interface struct {
	Name     string          `json:"name"`
	Addrs    []InterfaceAddr `json:"addrs,omitempty"`
	Groups   []string        `json:"groups,omitempty"`
	Loopback bool            `json:"loopback,omitempty"`
	// MTU in bytes; 0 is 1500.
	MTU int `json:"mtu,omitempty"`
	// Bandwidth in bits a second; 0 is not known.
	Bandwidth uint64 `json:"bandwidth,omitempty"`
}

// InterfaceTable is what names of interfaces and groups stand for. A nil table
// has no interfaces.
type InterfaceTable struct {
	Interfaces []*Interface `json:"interfaces"`
}

// Add puts an interface into the table or gives the existing one.
func (t *InterfaceTable) Add(name string) *Interface {
	if i := t.find(name); i != nil {
		return i
	}
	i := &Interface{Name: name, Loopback: driver(name) == "lo"}
	t.Interfaces = append(t.Interfaces, i)
	return i
}

func (t *InterfaceTable) find(name string) *Interface {
	if t == nil {
		return nil
	}
	for _, i := range t.Interfaces {
		if i.Name == name {
			return i
		}
	}
	return nil
}

// driver is the name of an interface without its number.
func driver(name string) string { return strings.TrimRight(name, "0123456789") }

// clonedDrivers are those whose interfaces are members of a group of the
// driver's name, as ifconfig create makes them.
var clonedDrivers = []string{
	"bridge", "carp", "enc", "epair", "gif", "gre", "ipsec", "lagg", "lo", "mpe", "mpip", "mpw",
	"ovpn", "pair", "pflog", "pflow", "pfsync", "ppp", "pppoe", "rport", "sec", "stf", "tap",
	"tpmr", "trunk", "tun", "vether", "veb", "vlan", "vport", "vxlan", "wg",
}

// inGroup reports whether an interface is a member of a group.
func (i *Interface) inGroup(group string) bool {
	if slices.Contains(i.Groups, group) {
		return true
	}
	return group != i.Name && driver(i.Name) == group && slices.Contains(clonedDrivers, group)
}

// group gives the members of a group; none if it is not a group.
func (t *InterfaceTable) group(name string) []*Interface {
	if t == nil {
		return nil
	}
	var members []*Interface
	for _, i := range t.Interfaces {
		if i.inGroup(name) {
			members = append(members, i)
		}
	}
	return members
}

// exists reports whether a name is an interface or a group.
func (t *InterfaceTable) exists(name string) bool {
	return t.find(name) != nil || len(t.group(name)) > 0
}

// loopback reports whether a name is a loopback interface. Groups are not.
func (t *InterfaceTable) loopback(name string) bool {
	if len(t.group(name)) > 0 {
		return false
	}
	i := t.find(name)
	return i != nil && i.Loopback
}

// addresses of an interface in the order of getifaddrs(3), where the loopback
// interface has its inet6 addresses first.
func (i *Interface) addresses() []InterfaceAddr {
	if !i.Loopback {
		return i.Addrs
	}
	var list []InterfaceAddr
	for _, want4 := range []bool{false, true} {
		for _, a := range i.Addrs {
			if a.Prefix.Addr().Is4() == want4 {
				list = append(list, a)
			}
		}
	}
	return list
}

// broadcast is the broadcast address, by default the last of an IPv4 prefix.
func (i *Interface) broadcast(a InterfaceAddr) netip.Addr {
	ip := a.Prefix.Addr()
	if a.Broadcast.IsValid() || i.Loopback || a.Peer.IsValid() || !ip.Is4() || a.Prefix.Bits() > 30 {
		return a.Broadcast
	}
	v := binary.BigEndian.Uint32(ip.AsSlice()) | 1<<(32-a.Prefix.Bits()) - 1
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, v)))
}

// lookup gives the addresses that a name with modifiers stands for, as
// ifa_lookup in pfctl(8) does; "self" is every interface.
func (t *InterfaceTable) lookup(name string, mods Modifier, d Dialect) []host {
	if t == nil {
		return nil
	}
	members := t.group(name)
	if len(members) == 0 {
		for _, i := range t.Interfaces {
			if name == "self" || i.Name == name || extends(i.Name, name) {
				members = append(members, i)
			}
		}
	}
	var hosts []host
	for _, i := range members {
		hosts = append(hosts, i.lookup(mods, d)...)
	}
	return hosts
}

// extends reports whether name is base and a number, where base has none.
func extends(name, base string) bool {
	if base == "" || isDigit(int(base[len(base)-1])) || !strings.HasPrefix(name, base) {
		return false
	}
	rest := name[len(base):]
	return rest != "" && isDigit(int(rest[0]))
}

func (i *Interface) lookup(mods Modifier, d Dialect) []host {
	var hosts []host
	var got4, got6 bool
	for _, a := range i.addresses() {
		ip := a.Prefix.Addr().WithZone("")
		linkLocal := ip.Is6() && ip.IsLinkLocalUnicast()
		switch {
		case mods&ModBroadcast != 0 && !i.broadcast(a).IsValid(),
			mods&ModPeer != 0 && !a.Peer.IsValid(),
			mods&ModNetwork != 0 && linkLocal,
			mods&ModNoAlias != 0 && ip.Is4() && got4,
			mods&ModNoAlias != 0 && linkLocal && d != OpenBSD,
			mods&ModNoAlias != 0 && ip.Is6() && got6:
			continue
		}
		if ip.Is4() {
			got4 = true
		} else {
			got6 = true
		}
		bits := ip.BitLen()
		switch {
		case mods&ModBroadcast != 0:
			ip = i.broadcast(a)
		case mods&ModPeer != 0:
			ip = a.Peer
		case mods&ModNetwork != 0:
			bits = a.Prefix.Bits()
		}
		h := prefixHost(ip, bits)
		if linkLocal {
			h.scope = i.Name
		}
		hosts = append(hosts, h)
	}
	return hosts
}

// Find returns an interface by name; nil: it is none.
func (t *InterfaceTable) Find(name string) *Interface { return t.find(name) }

// InGroup reports whether an interface is a member of a group.
func (i *Interface) InGroup(group string) bool { return i.inGroup(group) }

// Addresses returns what (name:modifiers) stands for while rules run.
func (t *InterfaceTable) Addresses(name string, modifiers Modifier, d Dialect) []TablePrefix {
	var list []TablePrefix
	for _, h := range t.lookup(name, modifiers, d) {
		list = append(list, TablePrefix{Prefix: netip.PrefixFrom(h.addr.IP, int(h.addr.Bits)).Masked()})
	}
	return list
}
