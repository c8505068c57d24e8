// Package rc makes a plan out of the configuration files of the BSDs: rc.conf(5)
// of FreeBSD and DragonFly with sysctl.conf(5), or hostname.if(5) and mygate(5)
// of OpenBSD. A plan says what the network of a host shall be; it knows nothing
// of how it is. Plans travel as JSON.
package rc

import (
	"fmt"
	"net/netip"
	"strings"

	ifapi "github.com/bsdnet/bsdnet/ifnet/api"
	"github.com/bsdnet/bsdnet/route/api"
)

// Position is where something is said.
type Position struct {
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
}

func (p Position) String() string { return fmt.Sprintf("%s:%d", p.File, p.Line) }

// Error is one thing wrong in a file.
type Error struct {
	Position
	Message string
}

func (e *Error) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Message) }

// Plan is what the files ask for.
type Plan struct {
	// Source is the rc.conf that the plan was read from, an absolute path; ""
	// for a plan of other files.
	Source   string `json:"source,omitempty"`
	Hostname string `json:"hostname,omitempty"`
	// Names are the BSD names of Linux devices.
	Names map[string]string `json:"names,omitempty"`
	// Clones are in the order in which they are to be made.
	Clones     []*Clone     `json:"clones,omitempty"`
	Interfaces []*Interface `json:"interfaces,omitempty"`
	Routes     []*Route     `json:"routes,omitempty"`
	// Sysctl are settings other than the two of forwarding.
	Sysctl      []Setting `json:"sysctl,omitempty"`
	Forwarding  bool      `json:"forwarding,omitempty"`
	Forwarding6 bool      `json:"forwarding6,omitempty"`
	PF          PF        `json:"pf,omitzero"`
	Pflog       Pflog     `json:"pflog,omitzero"`
	// NoResolvconf keeps DHCP from writing resolv.conf.
	NoResolvconf bool `json:"no_resolvconf,omitempty"`
	// Mode is the build for physical interfaces: "auto", "xdp" or "tc".
	Mode     string `json:"mode,omitempty"`
	Takeover bool   `json:"takeover,omitempty"`
	// AskedMode and AskedTakeover are what the command line said beside the file.
	AskedMode     string   `json:"asked_mode,omitempty"`
	AskedTakeover bool     `json:"asked_takeover,omitempty"`
	Warnings      []string `json:"warnings,omitempty"`
}

// Clone is an interface to be made.
type Clone struct {
	Name     string   `json:"name"`
	Vlan     *Vlan    `json:"vlan,omitempty"`
	Position Position `json:"position"`
	wg       ifapi.WgWords
	tunnel   *ifapi.TunnelRequest
}

// CreateName is what ifconfig(8) is told to create; it differs for a pair.
func (c *Clone) CreateName() string {
	if strings.HasPrefix(c.Name, "epair") {
		return strings.TrimSuffix(c.Name, "a")
	}
	return c.Name
}

// Vlan is the tag of a vlan interface. Nothing is zero but Priority and, where
// a later command tells, ID and Parent.
type Vlan struct {
	ID       int    `json:"id,omitempty"` // 1 to 4094
	Parent   string `json:"parent,omitempty"`
	Protocol string `json:"protocol,omitempty"` // "802.1Q" or "802.1ad", "" is the first
	Priority int    `json:"priority,omitempty"` // PCP of frames sent, 0 to 7
}

// DHCP is how an interface gets an address.
type DHCP string

// The ways. With DHCPSync the start waits for the first lease.
const (
	NoDHCP   DHCP = ""
	DHCPOn   DHCP = "dhcp"
	DHCPSync DHCP = "syncdhcp"
)

// Interface is what one interface shall be.
type Interface struct {
	Name     string   `json:"name"`             // BSD name
	Device   string   `json:"device,omitempty"` // Linux device, if the name is another
	Position Position `json:"position"`
	// NoAuto interfaces are configured only when they are named.
	NoAuto      bool                `json:"noauto,omitempty"`
	DHCP        DHCP                `json:"dhcp,omitempty"`
	Addresses   []*Address          `json:"addresses,omitempty"`
	AcceptRTAdv bool                `json:"accept_rtadv,omitempty"`
	Down        bool                `json:"down,omitempty"`
	MTU         int                 `json:"mtu,omitempty"` // bytes, 0: as it is
	Lladdr      string              `json:"lladdr,omitempty"`
	Metric      int                 `json:"metric,omitempty"`
	Description string              `json:"description,omitempty"`
	Groups      []string            `json:"groups,omitempty"`
	Flags       map[string]bool     `json:"flags,omitempty"` // "arp", "promisc" ...
	Media       *ifapi.MediaRequest `json:"media,omitempty"`
	// Wg is what a wg(4) shall be, whole. There are keys in it.
	Wg *ifapi.WgRequest `json:"wg,omitempty"`
	// Tunnel is what a gif(4) or gre(4) shall be, whole.
	Tunnel *ifapi.TunnelRequest `json:"tunnel,omitempty"`
	vlan   *Vlan
	wg     ifapi.WgWords
}

// Address is one address of an interface.
type Address struct {
	Prefix    netip.Prefix `json:"prefix"` // the address with its prefix length, not masked
	Broadcast netip.Addr   `json:"broadcast,omitzero"`
	Peer      netip.Addr   `json:"peer,omitzero"`
	EUI64     bool         `json:"eui64,omitempty"` // the low half comes from the link address
	Position  Position     `json:"position"`
}

// Same reports whether two addresses mean the same, wherever they are written.
func (a *Address) Same(b *Address) bool {
	return a.Prefix == b.Prefix && a.Broadcast == b.Broadcast && a.Peer == b.Peer && a.EUI64 == b.EUI64
}

// Route is a static route.
type Route struct {
	Request  api.RouteRequest `json:"request"`
	Text     string           `json:"text"` // as in route add
	Position Position         `json:"position"`
}

// Setting is a variable of sysctl.
type Setting struct {
	Name     string   `json:"name"`
	Value    string   `json:"value"`
	Position Position `json:"position"`
}

// PF is what rc.conf says of pf.
type PF struct {
	Enable   bool     `json:"enable,omitempty"`
	Rules    string   `json:"rules,omitempty"`
	Flags    []string `json:"flags,omitempty"`
	Dialect  string   `json:"dialect,omitempty"`
	States   uint32   `json:"states,omitempty"` // that the table shall have room for, 0: the usual number
	Position Position `json:"position"`
}

// Pflog is the writer of the packets that pf logs.
type Pflog struct {
	Enable bool   `json:"enable,omitempty"`
	File   string `json:"file,omitempty"`
}

// Public returns the plan without keys.
func (p *Plan) Public() *Plan {
	if p == nil {
		return nil
	}
	public := *p
	public.Interfaces = make([]*Interface, len(p.Interfaces))
	for i, ifp := range p.Interfaces {
		public.Interfaces[i] = ifp
		if ifp.Wg != nil {
			copied := *ifp
			copied.Wg = nil
			public.Interfaces[i] = &copied
		}
	}
	return &public
}

// Interface returns the interface of a name.
func (p *Plan) Interface(name string) (*Interface, bool) {
	for _, ifp := range p.Interfaces {
		if ifp.Name == name {
			return ifp, true
		}
	}
	return nil, false
}

// IsClone reports whether the plan makes the interface.
func (p *Plan) IsClone(name string) bool {
	_, ok := p.clone(name)
	return ok
}

func (p *Plan) clone(name string) (*Clone, bool) {
	for _, c := range p.Clones {
		if c.Name == name {
			return c, true
		}
	}
	return nil, false
}

// Physical returns the names of the Linux devices that the data path shall
// take: those of the interfaces that are not made by the plan, and the parents
// of vlans.
func (p *Plan) Physical() []string {
	var names []string
	add := func(name string) {
		for _, have := range names {
			if have == name {
				return
			}
		}
		if name != "" && name != "lo0" && name != "lo" && !p.IsClone(name) {
			names = append(names, name)
		}
	}
	for _, ifp := range p.Interfaces {
		if !p.IsClone(ifp.Name) && !ifp.NoAuto {
			add(p.Device(ifp.Name))
		}
	}
	for _, c := range p.Clones {
		if c.Vlan != nil {
			add(p.Device(c.Vlan.Parent))
		}
	}
	return names
}

// Device returns the Linux device of a BSD name.
func (p *Plan) Device(name string) string {
	for device, bsd := range p.Names {
		if bsd == name {
			return device
		}
	}
	return name
}
