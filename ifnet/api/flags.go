package api

import "fmt"

// Flags are IFF_*, by the numbers of FreeBSD.
type Flags uint32

// The flags.
const (
	IffUp          Flags = 0x1
	IffBroadcast   Flags = 0x2
	IffDebug       Flags = 0x4
	IffLoopback    Flags = 0x8
	IffPointopoint Flags = 0x10
	IffRunning     Flags = 0x40
	IffNoarp       Flags = 0x80
	IffPromisc     Flags = 0x100
	IffAllmulti    Flags = 0x200
	IffOactive     Flags = 0x400
	IffSimplex     Flags = 0x800
	IffLink0       Flags = 0x1000
	IffLink1       Flags = 0x2000
	IffLink2       Flags = 0x4000
	IffMulticast   Flags = 0x8000
	IffPpromisc    Flags = 0x20000
	IffMonitor     Flags = 0x40000
	IffStaticarp   Flags = 0x80000

	// IffChangeable are those that a user may switch.
	IffChangeable = IffUp | IffDebug | IffNoarp | IffLink0 | IffLink1 | IffLink2 | IffPpromisc | IffMonitor | IffStaticarp
)

var flagNames = []bitName{
	{uint32(IffUp), "UP"}, {uint32(IffBroadcast), "BROADCAST"}, {uint32(IffDebug), "DEBUG"}, {uint32(IffLoopback), "LOOPBACK"},
	{uint32(IffPointopoint), "POINTOPOINT"}, {uint32(IffRunning), "RUNNING"}, {uint32(IffNoarp), "NOARP"}, {uint32(IffPromisc), "PROMISC"},
	{uint32(IffAllmulti), "ALLMULTI"}, {uint32(IffOactive), "OACTIVE"}, {uint32(IffSimplex), "SIMPLEX"},
	{uint32(IffLink0), "LINK0"}, {uint32(IffLink1), "LINK1"}, {uint32(IffLink2), "LINK2"}, {uint32(IffMulticast), "MULTICAST"},
	{uint32(IffPpromisc), "PPROMISC"}, {uint32(IffMonitor), "MONITOR"}, {uint32(IffStaticarp), "STATICARP"},
}

// String returns the flags as printb of ifconfig(8) does: "8843<UP,BROADCAST>".
func (f Flags) String() string { return bits(uint32(f), flagNames) }

// Capabilities are IFCAP_*, by the numbers of FreeBSD.
type Capabilities uint32

// The capabilities.
const (
	IfcapRxcsum       Capabilities = 0x1
	IfcapTxcsum       Capabilities = 0x2
	IfcapVlanMTU      Capabilities = 0x8
	IfcapVlanHwtag    Capabilities = 0x10
	IfcapJumboMTU     Capabilities = 0x20
	IfcapPolling      Capabilities = 0x40
	IfcapVlanHwcsum   Capabilities = 0x80
	IfcapTSO4         Capabilities = 0x100
	IfcapTSO6         Capabilities = 0x200
	IfcapLRO          Capabilities = 0x400
	IfcapWolUcast     Capabilities = 0x800
	IfcapWolMcast     Capabilities = 0x1000
	IfcapWolMagic     Capabilities = 0x2000
	IfcapTOE4         Capabilities = 0x4000
	IfcapTOE6         Capabilities = 0x8000
	IfcapVlanHwfilter Capabilities = 0x10000
	IfcapVlanHwtso    Capabilities = 0x40000
	IfcapLinkstate    Capabilities = 0x80000
	IfcapRxcsumIPv6   Capabilities = 0x200000
	IfcapTxcsumIPv6   Capabilities = 0x400000
)

var capabilityNames = []bitName{
	{uint32(IfcapRxcsum), "RXCSUM"}, {uint32(IfcapTxcsum), "TXCSUM"}, {uint32(IfcapVlanMTU), "VLAN_MTU"},
	{uint32(IfcapVlanHwtag), "VLAN_HWTAGGING"}, {uint32(IfcapJumboMTU), "JUMBO_MTU"}, {uint32(IfcapVlanHwcsum), "VLAN_HWCSUM"},
	{uint32(IfcapTSO4), "TSO4"}, {uint32(IfcapTSO6), "TSO6"}, {uint32(IfcapLRO), "LRO"}, {uint32(IfcapVlanHwfilter), "VLAN_HWFILTER"},
	{uint32(IfcapVlanHwtso), "VLAN_HWTSO"}, {uint32(IfcapLinkstate), "LINKSTATE"},
	{uint32(IfcapRxcsumIPv6), "RXCSUM_IPV6"}, {uint32(IfcapTxcsumIPv6), "TXCSUM_IPV6"},
}

// String returns the capabilities in the form of ifconfig(8).
func (c Capabilities) String() string { return bits(uint32(c), capabilityNames) }

// Nd6Flags are ND6_IFF_*, by the numbers of FreeBSD.
type Nd6Flags uint32

// The flags of IPv6.
const (
	Nd6Performnud    Nd6Flags = 0x1
	Nd6AcceptRtadv   Nd6Flags = 0x2
	Nd6Ifdisabled    Nd6Flags = 0x8
	Nd6AutoLinklocal Nd6Flags = 0x20
	Nd6NoRadr        Nd6Flags = 0x40
	Nd6NoPreferIface Nd6Flags = 0x80
	Nd6NoDad         Nd6Flags = 0x100
)

var nd6Names = []bitName{
	{uint32(Nd6Performnud), "PERFORMNUD"}, {uint32(Nd6AcceptRtadv), "ACCEPT_RTADV"}, {uint32(Nd6Ifdisabled), "IFDISABLED"},
	{uint32(Nd6AutoLinklocal), "AUTO_LINKLOCAL"}, {uint32(Nd6NoRadr), "NO_RADR"}, {uint32(Nd6NoPreferIface), "NO_PREFER_IFACE"},
	{uint32(Nd6NoDad), "NO_DAD"},
}

// String returns the flags in the form of ifconfig(8).
func (f Nd6Flags) String() string { return bits(uint32(f), nd6Names) }

// In6Flags are IN6_IFF_* of an IPv6 address, by the numbers of FreeBSD.
type In6Flags uint32

// The flags of an address.
const (
	In6Anycast    In6Flags = 0x1
	In6Tentative  In6Flags = 0x2
	In6Duplicated In6Flags = 0x4
	In6Detached   In6Flags = 0x8
	In6Deprecated In6Flags = 0x10
	In6Nodad      In6Flags = 0x20
	In6Autoconf   In6Flags = 0x40
	In6Temporary  In6Flags = 0x80
)

// TunnelOptions are the options of gif(4) and gre(4), those of the former by
// the numbers of FreeBSD, those of the latter by them shifted.
type TunnelOptions uint32

// greShift is how far the options of gre(4) are shifted.
const greShift = 8

// The options of tunnels.
const (
	GifIgnoreSource TunnelOptions = 0x2             // take packets of any source
	GreEnableCsum   TunnelOptions = 0x1 << greShift // send checksums
	GreEnableSeq    TunnelOptions = 0x2 << greShift // send sequence numbers, and drop what is old
	GreUDPEncap     TunnelOptions = 0x4 << greShift // in UDP (RFC 8086)

	GifOptions = GifIgnoreSource
	GreOptions = GreEnableCsum | GreEnableSeq | GreUDPEncap
)

var (
	gifOptionNames = []bitName{{uint32(GifIgnoreSource), "IGNORE_SOURCE"}}
	greOptionNames = []bitName{
		{uint32(GreEnableCsum >> greShift), "ENABLE_CSUM"}, {uint32(GreEnableSeq >> greShift), "ENABLE_SEQ"},
		{uint32(GreUDPEncap >> greShift), "UDPENCAP"},
	}
)

// Gif returns the options of a gif(4) in the form of ifconfig(8).
func (o TunnelOptions) Gif() string { return bits(uint32(o), gifOptionNames) }

// Gre returns the options of a gre(4) in the form of ifconfig(8).
func (o TunnelOptions) Gre() string { return bits(uint32(o>>greShift), greOptionNames) }

type bitName struct {
	bit  uint32
	name string
}

func bits(value uint32, names []bitName) string {
	text := fmt.Sprintf("%x", value)
	separator := "<"
	for _, n := range names {
		if value&n.bit != 0 {
			text += separator + n.name
			separator = ","
		}
	}
	if separator == "," {
		text += ">"
	}
	return text
}

// Types of interfaces, IFT_*.
const (
	IftEther   = 6
	IftPPP     = 23
	IftLoop    = 24
	IftTunnel  = 131
	IftL2vlan  = 135
	IftBridge  = 209
	IftLagg    = 161
	IftGif     = 240
	IftWg      = 251 // OpenBSD
	IftPropvir = 53
	IftStf     = 215
)
