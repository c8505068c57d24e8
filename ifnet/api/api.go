// Package api is what can be asked of interfaces: the requests of netintro(4)
// and of if_clone, and the answers. It knows neither the kernel nor the
// control socket.
//
// Errors are of package errno: a [errno.Errno], or an [errno.Error] where
// there is more to say. An interface that does not exist is ENXIO.
package api

import (
	"context"
	"net/netip"
)

// Backend answers the requests. Its methods may be called concurrently.
// Interfaces are named by their BSD names; the names of devices of Linux are
// understood, too.
type Backend interface {
	// Interfaces returns the interfaces of a name, or all of them, by index
	// (SIOCGIFCONF, SIOCGIFFLAGS, SIOCGIFMTU, SIOCGIFDATA and so on in one).
	Interfaces(ctx context.Context, r Name) ([]Interface, error)
	// Create makes clones (SIOCIFCREATE2) and returns their names: all of them
	// or none. EEXIST: unit in use; EINVAL: no such cloner or bad unit; ENXIO:
	// unit too large; ENOSPC: no unit free, or the name too long.
	Create(ctx context.Context, r []CreateRequest) ([]string, error)
	// Destroy takes clones away (SIOCIFDESTROY), all that it can. ENXIO: not
	// there; EINVAL: not a clone, or one that must stay.
	Destroy(ctx context.Context, r []Name) error
	// Cloners returns the names of the cloners, in order (SIOCIFGCLONERS).
	Cloners(ctx context.Context) ([]string, error)

	// AddAddress adds an address, or changes what is said of one that is there
	// (SIOCAIFADDR). It marks the interface up.
	AddAddress(ctx context.Context, r AddressRequest) error
	// DeleteAddress takes an address away (SIOCDIFADDR). EADDRNOTAVAIL: not there.
	DeleteAddress(ctx context.Context, r AddressRequest) error

	// SetFlags switches flags (SIOCSIFFLAGS). Flags that are not the user's to
	// switch are left alone, as on the BSDs.
	SetFlags(ctx context.Context, r FlagsRequest) error
	// SetNd6 switches what IPv6 does on an interface (SIOCSIFINFO_IN6).
	SetNd6(ctx context.Context, r Nd6Request) error
	// SetMTU sets the MTU in bytes (SIOCSIFMTU). EINVAL: out of range.
	SetMTU(ctx context.Context, r NumberRequest) error
	// SetMetric sets the metric (SIOCSIFMETRIC).
	SetMetric(ctx context.Context, r NumberRequest) error
	// SetDescription sets the description, "" clears it (SIOCSIFDESCR).
	// ENAMETOOLONG: more than 1023 bytes.
	SetDescription(ctx context.Context, r TextRequest) error
	// SetName gives an interface another name (SIOCSIFNAME). The device of a
	// clone is renamed, others keep theirs. EEXIST: name taken; EINVAL: bad name.
	SetName(ctx context.Context, r TextRequest) error
	// SetLladdr sets the link address, in the form 02:00:5e:00:53:01
	// (SIOCSIFLLADDR).
	SetLladdr(ctx context.Context, r TextRequest) error
	// AddGroup makes an interface a member of a group (SIOCAIFGROUP). EINVAL:
	// the name ends in a digit; EEXIST: it is a member.
	AddGroup(ctx context.Context, r TextRequest) error
	// DeleteGroup takes an interface out of a group (SIOCDIFGROUP). ENOENT: it
	// is no member.
	DeleteGroup(ctx context.Context, r TextRequest) error
	// SetCapabilities switches offloads (SIOCSIFCAP). EINVAL: not supported.
	SetCapabilities(ctx context.Context, r CapabilitiesRequest) error
	// SetMedia sets the medium (SIOCSIFMEDIA). EINVAL: no such subtype, or not
	// of this device; EOPNOTSUPP: the device has none to be set.
	SetMedia(ctx context.Context, r MediaRequest) error
	// SetVlan attaches a vlan(4) to a parent, or with an empty parent detaches
	// it (SIOCSETVLAN). ENOENT: no such parent; EPROTONOSUPPORT: the parent is
	// not Ethernet or not bsdnet's; EBUSY: attached already; EEXIST: the parent
	// has the tag; EINVAL: bad tag or a loop.
	SetVlan(ctx context.Context, r VlanRequest) error
	// SetWg changes a wg(4), as a whole or not at all (SIOCSWG). EINVAL: not a
	// wg(4), a peer with the interface's own key, or an endpoint that was not
	// looked up; EADDRINUSE: the port is taken; EIO: the process behind it does
	// not answer.
	SetWg(ctx context.Context, r WgRequest) error
	// SetTunnel changes a gif(4) or gre(4) (SIOCSIFPHYADDR, SIOCDIFPHYADDR,
	// SIOCSTUNFIB, GIFSOPTS, GRESKEY, GRESOPTS, GRESPORT). EINVAL: not a tunnel
	// of the kind, or ends of two families; EADDRNOTAVAIL: another gif(4) has
	// the ends, or one of them is no address; EEXIST: another gre(4) has the
	// ends and the key.
	SetTunnel(ctx context.Context, r TunnelRequest) error
}

// Name names an interface; empty where all are meant.
type Name struct {
	Name string `json:"name,omitempty"`
	// Keys asks for the secrets of wg(4), too; root gets them.
	Keys bool `json:"keys,omitempty"`
}

// CreateRequest asks for a clone: "vlan" for the lowest unit that is free,
// "vlan5" for that one, or "em0.5" for a vlan of em0.
type CreateRequest struct {
	Name string `json:"name"`
	Vlan *Vlan  `json:"vlan,omitempty"` // for vlan(4), may be absent
}

// Family is an address family.
type Family uint8

// The families, of requests that name no address.
const (
	Unspec Family = iota
	Inet
	Inet6
)

// AddressRequest names an address and what is to be said of it.
type AddressRequest struct {
	Name string `json:"name"`
	// Prefix is the address with its prefix length, not masked. To delete, the
	// length does not matter; a Prefix that is zero deletes the first address
	// of Family.
	Prefix netip.Prefix `json:"prefix"`
	Family Family       `json:"family,omitempty"`
	// Broadcast is taken from the prefix if it is zero and the interface has
	// broadcasts.
	Broadcast netip.Addr `json:"broadcast"`
	// Destination is the far end of a point-to-point link.
	Destination netip.Addr `json:"destination"`
	Flags       In6Flags   `json:"flags,omitempty"` // of IPv6
	Pltime      *uint32    `json:"pltime,omitempty"`
	Vltime      *uint32    `json:"vltime,omitempty"` // seconds; nil and Infinite: for ever
}

// Infinite is a lifetime without end.
const Infinite = ^uint32(0)

// FlagsRequest switches flags of an interface.
type FlagsRequest struct {
	Name  string `json:"name"`
	Set   Flags  `json:"set,omitempty"`
	Clear Flags  `json:"clear,omitempty"`
}

// Nd6Request switches what IPv6 does on an interface.
type Nd6Request struct {
	Name  string   `json:"name"`
	Set   Nd6Flags `json:"set,omitempty"`
	Clear Nd6Flags `json:"clear,omitempty"`
}

// CapabilitiesRequest switches offloads of an interface.
type CapabilitiesRequest struct {
	Name  string       `json:"name"`
	Set   Capabilities `json:"set,omitempty"`
	Clear Capabilities `json:"clear,omitempty"`
}

// NumberRequest sets a number.
type NumberRequest struct {
	Name  string `json:"name"`
	Value int    `json:"value"`
}

// TextRequest sets a text.
type TextRequest struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// VlanRequest attaches a vlan to a parent.
type VlanRequest struct {
	Name string `json:"name"`
	Vlan
}

// Vlan is the parent and the tag of a vlan(4).
type Vlan struct {
	Parent string `json:"parent,omitempty"` // empty: detached
	Tag    int    `json:"tag"`              // 1 to 4094
	Proto  uint16 `json:"proto,omitempty"`  // Vlan8021Q or Vlan8021AD; 0: the former
	PCP    int    `json:"pcp"`              // priority of what is sent, 0 to 7
}

// The protocols of a tag.
const (
	Vlan8021Q  = 0x8100
	Vlan8021AD = 0x88a8
)

// TunnelRequest changes what is said in it of a tunnel, and leaves the rest.
type TunnelRequest struct {
	Name        string        `json:"name"`
	Source      netip.Addr    `json:"source"` // outer addresses, both or none
	Destination netip.Addr    `json:"destination"`
	Delete      bool          `json:"delete,omitempty"` // take the ends away
	FIB         *int          `json:"fib,omitempty"`
	Set         TunnelOptions `json:"set,omitempty"`
	Clear       TunnelOptions `json:"clear,omitempty"`
	Key         *uint32       `json:"key,omitempty"`  // of gre(4); 0: none
	Port        *uint16       `json:"port,omitempty"` // of GRE in UDP
}

// Tunnel is what a tunnel's interface knows of its tunnel.
type Tunnel struct {
	Source      netip.Addr    `json:"source"` // outer addresses; zero: none
	Destination netip.Addr    `json:"destination"`
	FIB         int           `json:"fib,omitempty"` // of the outer packet
	Options     TunnelOptions `json:"options,omitempty"`
	Key         uint32        `json:"key,omitempty"`
	Port        uint16        `json:"port,omitempty"`
}

// Interface is all that is known of one interface.
type Interface struct {
	Name         string       `json:"name"`
	Device       string       `json:"device"` // of Linux
	Index        int          `json:"index"`
	Type         uint8        `json:"type"` // IFT_*
	Flags        Flags        `json:"flags"`
	MTU          int          `json:"mtu"`
	Metric       int          `json:"metric"`
	Capabilities Capabilities `json:"capabilities,omitempty"` // that the device has
	Enabled      Capabilities `json:"enabled,omitempty"`      // and that are on
	Lladdr       string       `json:"lladdr,omitempty"`
	HwAddr       string       `json:"hwaddr,omitempty"` // the device's own, if it is another
	Description  string       `json:"description,omitempty"`
	Groups       []string     `json:"groups,omitempty"`
	Addresses    []Address    `json:"addresses,omitempty"`
	Nd6          Nd6Flags     `json:"nd6,omitempty"`
	Media        *Media       `json:"media,omitempty"`
	LinkState    LinkState    `json:"link_state"`
	Vlan         *Vlan        `json:"vlan,omitempty"`
	Wg           *Wg          `json:"wg,omitempty"`
	Tunnel       *Tunnel      `json:"tunnel,omitempty"`
	Cloner       string       `json:"cloner,omitempty"` // that made it
	Tuntap       bool         `json:"tuntap,omitempty"`
	OpenedBy     int          `json:"opened_by,omitempty"` // process that has a tun or tap open, as the asking one may know
	Owned        bool         `json:"owned"`               // under bsdnet's data path
	Mode         string       `json:"mode,omitempty"`
	Data         Data         `json:"data"`
}

// Address is an address of an interface.
type Address struct {
	Prefix      netip.Prefix `json:"prefix"` // not masked
	Broadcast   netip.Addr   `json:"broadcast"`
	Destination netip.Addr   `json:"destination"`
	Flags       In6Flags     `json:"flags,omitempty"`
	Pltime      uint32       `json:"pltime"`
	Vltime      uint32       `json:"vltime"`
}

// Data is struct if_data.
type Data struct {
	Ipackets uint64 `json:"ipackets"`
	Ierrors  uint64 `json:"ierrors"`
	Ibytes   uint64 `json:"ibytes"`
	Imcasts  uint64 `json:"imcasts"`
	Iqdrops  uint64 `json:"iqdrops"`
	Noproto  uint64 `json:"noproto"`
	Opackets uint64 `json:"opackets"`
	Oerrors  uint64 `json:"oerrors"`
	Obytes   uint64 `json:"obytes"`
	Omcasts  uint64 `json:"omcasts"`
	Oqdrops  uint64 `json:"oqdrops"`
	Colls    uint64 `json:"collisions"`
	Baudrate uint64 `json:"baudrate"` // bits a second, 0: not known
}

// LinkState is that of if_data.
type LinkState uint8

// The link states.
const (
	LinkUnknown LinkState = iota
	LinkDown
	LinkUp
)

// MediaAuto is Current of a device that negotiates.
const MediaAuto = "Ethernet autoselect"

// MediaRequest sets the medium of an Ethernet device.
type MediaRequest struct {
	Name    string `json:"name"`
	Subtype string `json:"subtype,omitempty"` // "autoselect", "1000baseT" ...; "": as it is
	Full    *bool  `json:"full,omitempty"`    // duplex; nil: full from a gigabit on, else half
}

// Media is what the device says of its medium.
type Media struct {
	Current string   `json:"current"`          // "Ethernet autoselect"
	Active  string   `json:"active,omitempty"` // "1000baseT <full-duplex>"
	Status  string   `json:"status"`           // "active", "no carrier"
	All     []string `json:"all,omitempty"`    // that the device has: "1000baseT mediaopt full-duplex"
}
