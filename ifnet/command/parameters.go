package command

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/bsdnet/bsdnet/ifnet/api"
)

// parameter is a word of the command line and how many words follow it.
type parameter struct {
	words int
	set   func(l *line, value string) error
}

var parameters map[string]parameter

func init() {
	parameters = map[string]parameter{
		"create": {0, create}, "plumb": {0, create},
		"destroy": {0, func(l *line, _ string) error { l.destroy = true; return nil }},
		"unplumb": {0, func(l *line, _ string) error { l.destroy = true; return nil }},
		"alias":   {0, func(l *line, _ string) error { return l.aliased(true, false) }},
		"add":     {0, func(l *line, _ string) error { return l.aliased(true, false) }},
		"-alias":  {0, func(l *line, _ string) error { return l.aliased(false, true) }},
		"delete":  {0, func(l *line, _ string) error { return l.aliased(false, true) }},
		"remove":  {0, func(l *line, _ string) error { return l.aliased(false, true) }},
		"netmask": {1, setNetmask},
		"prefixlen": {1, func(l *line, v string) error {
			return l.number("prefixlen", v, 0, 128, func(a *address, n int) { a.bits = n })
		}},
		"broadcast": {1, func(l *line, v string) error {
			a, err := l.of("broadcast")
			if err == nil {
				a.request.Broadcast, _, err = l.lookup(v)
			}
			return err
		}},
		"eui64": {0, func(l *line, _ string) error { return l.inet6("eui64", func(a *address) { a.eui64 = true }) }},
		"anycast": {0, func(l *line, _ string) error {
			return l.inet6("anycast", func(a *address) { a.request.Flags |= api.In6Anycast })
		}},
		"deprecated": {0, func(l *line, _ string) error {
			return l.inet6("deprecated", func(a *address) { a.request.Flags |= api.In6Deprecated })
		}},
		"pltime": {1, func(l *line, v string) error { return l.lifetime("pltime", v) }},
		"vltime": {1, func(l *line, v string) error { return l.lifetime("vltime", v) }},
		"mtu":    {1, number("ioctl SIOCSIFMTU (set mtu)", api.Backend.SetMTU)},
		"metric": {1, number("ioctl SIOCSIFMETRIC (set metric)", api.Backend.SetMetric)},
		"name": {1, func(l *line, v string) error {
			l.renamed = v
			return text(setName, api.Backend.SetName)(l, v)
		}},
		"description":  {1, text("ioctl (set descr)", api.Backend.SetDescription)},
		"descr":        {1, text("ioctl (set descr)", api.Backend.SetDescription)},
		"-description": {0, text("ioctl (set descr)", api.Backend.SetDescription)},
		"-descr":       {0, text("ioctl (set descr)", api.Backend.SetDescription)},
		"group":        {1, group("ioctl SIOCAIFGROUP", api.Backend.AddGroup)},
		"-group":       {1, group("ioctl SIOCDIFGROUP", api.Backend.DeleteGroup)},
		"vlan":         {1, setTag}, "vnetid": {1, setTag},
		"media":     {1, setMedia},
		"mediaopt":  {1, func(l *line, v string) error { return l.mediaOption(v, true) }},
		"-mediaopt": {1, func(l *line, v string) error { return l.mediaOption(v, false) }},
		"vlandev":   {1, func(l *line, v string) error { l.vlan.parent = v; return nil }},
		"parent":    {1, func(l *line, v string) error { l.vlan.parent = v; return nil }},
		"-vlandev":  {0, detach},
		"-parent":   {0, detach},
		"vlanpcp":   {1, setPCP},
		"vlanproto": {1, setProto},
		"tunnel":    {2, setTunnel}, "deletetunnel": {0, deleteTunnel}, "-tunnel": {0, deleteTunnel},
		"tunnelfib":      {1, setTunnelFIB},
		"grekey":         {1, setGreKey},
		"udpport":        {1, setUDPPort},
		"ignore_source":  {0, setTunnelOption("GIFSOPTS", api.GifIgnoreSource, 0)},
		"-ignore_source": {0, setTunnelOption("GIFSOPTS", 0, api.GifIgnoreSource)},
	}
	for word, flag := range map[string]api.Flags{
		"up": api.IffUp, "debug": api.IffDebug, "promisc": api.IffPpromisc, "monitor": api.IffMonitor, "staticarp": api.IffStaticarp,
		"link0": api.IffLink0, "link1": api.IffLink1, "link2": api.IffLink2,
	} {
		parameters[word] = parameter{0, setFlag(flag, 0)}
		parameters["-"+word] = parameter{0, setFlag(0, flag)}
	}
	for word, option := range map[string]api.TunnelOptions{
		"enable_csum": api.GreEnableCsum, "enable_seq": api.GreEnableSeq, "udpencap": api.GreUDPEncap,
	} {
		parameters[word] = parameter{0, setTunnelOption("GRESOPTS", option, 0)}
		parameters["-"+word] = parameter{0, setTunnelOption("GRESOPTS", 0, option)}
	}
	parameters["down"] = parameter{0, setFlag(0, api.IffUp)}
	delete(parameters, "-up")
	parameters["arp"] = parameter{0, setFlag(0, api.IffNoarp)}
	parameters["-arp"] = parameter{0, setFlag(api.IffNoarp, 0)}
	for word, flag := range map[string]api.Nd6Flags{
		"accept_rtadv": api.Nd6AcceptRtadv, "auto_linklocal": api.Nd6AutoLinklocal, "ifdisabled": api.Nd6Ifdisabled,
		"no_dad": api.Nd6NoDad, "no_radr": api.Nd6NoRadr, "nud": api.Nd6Performnud, "no_prefer_iface": api.Nd6NoPreferIface,
	} {
		parameters[word] = parameter{0, setNd6(flag, 0)}
		parameters["-"+word] = parameter{0, setNd6(0, flag)}
	}
	for word, c := range map[string]api.Capabilities{
		"rxcsum": api.IfcapRxcsum, "txcsum": api.IfcapTxcsum, "rxcsum6": api.IfcapRxcsumIPv6, "txcsum6": api.IfcapTxcsumIPv6,
		"tso": api.IfcapTSO4 | api.IfcapTSO6, "tso4": api.IfcapTSO4, "tso6": api.IfcapTSO6, "lro": api.IfcapLRO,
		// No device here has these, which is for the request to say.
		"polling": api.IfcapPolling, "vlanhwcsum": api.IfcapVlanHwcsum, "vlanhwfilter": api.IfcapVlanHwfilter, "vlanhwtso": api.IfcapVlanHwtso,
		"wol": api.IfcapWolUcast | api.IfcapWolMcast | api.IfcapWolMagic, "wol_ucast": api.IfcapWolUcast, "wol_mcast": api.IfcapWolMcast,
		"wol_magic": api.IfcapWolMagic, "toe": api.IfcapTOE4 | api.IfcapTOE6, "toe4": api.IfcapTOE4, "toe6": api.IfcapTOE6,
		"vlanhwtag": api.IfcapVlanHwtag, "vlanmtu": api.IfcapVlanMTU,
	} {
		parameters[word] = parameter{0, setCapability(c, 0)}
		parameters["-"+word] = parameter{0, setCapability(0, c)}
	}
	for _, word := range []string{"mode", "fib", "vnet", "-vnet", "rdomain", "tsolen"} {
		parameters[word] = parameter{1, func(*line, string) error { return fmt.Errorf("'%s' is not supported", word) }}
	}
}

func create(l *line, _ string) error {
	l.create = true
	return nil
}

// aliased says that the address before or after the word is one more, or is to go.
func (l *line) aliased(alias, remove bool) error {
	if l.address != nil && l.address.addr.IsValid() {
		l.address.alias, l.address.remove = alias, remove
		return nil
	}
	l.alias, l.remove = alias, remove
	return nil
}

func setNetmask(l *line, value string) error {
	a, err := l.of("netmask")
	if err == nil {
		a.bits, err = netmask(value)
	}
	return err
}

func (l *line) number(name, value string, least, most int, set func(a *address, n int)) error {
	a, err := l.of(name)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < least || n > most {
		return fmt.Errorf("%s: bad value", value)
	}
	set(a, n)
	return nil
}

func (l *line) inet6(name string, set func(a *address)) error {
	a, err := l.of(name)
	if err != nil {
		return err
	}
	if a.family != inet6 {
		return fmt.Errorf("%s not allowed for the AF", name)
	}
	set(a)
	return nil
}

func (l *line) lifetime(name, value string) error {
	n, err := strconv.ParseUint(value, 0, 32)
	if value == "infty" || value == "infinity" {
		n, err = uint64(api.Infinite), nil
	}
	if err != nil {
		return fmt.Errorf("invalid %s", value)
	}
	return l.inet6(name, func(a *address) {
		seconds := uint32(n)
		if name == "pltime" {
			a.request.Pltime = &seconds
		} else {
			a.request.Vltime = &seconds
		}
	})
}

func number(what string, request func(api.Backend, context.Context, api.NumberRequest) error) func(*line, string) error {
	return func(l *line, value string) error {
		n, err := strconv.Atoi(value)
		if err != nil {
			return fmt.Errorf("%s: bad value", value)
		}
		l.step(what, func(ctx context.Context, b api.Backend, name string) error {
			return request(b, ctx, api.NumberRequest{Name: name, Value: n})
		})
		return nil
	}
}

func text(what string, request func(api.Backend, context.Context, api.TextRequest) error) func(*line, string) error {
	return func(l *line, value string) error {
		l.step(what, func(ctx context.Context, b api.Backend, name string) error {
			return request(b, ctx, api.TextRequest{Name: name, Value: value})
		})
		return nil
	}
}

func group(what string, request func(api.Backend, context.Context, api.TextRequest) error) func(*line, string) error {
	return func(l *line, value string) error {
		if value != "" && strings.ContainsAny(value[len(value)-1:], "0123456789") {
			return fmt.Errorf("%s: group names may not end in a digit", value)
		}
		if len(value) >= 16 {
			return fmt.Errorf("%s: group name too long", value)
		}
		return text(what, request)(l, value)
	}
}

func setFlag(set, clear api.Flags) func(*line, string) error {
	return func(l *line, _ string) error {
		l.step("ioctl (SIOCSIFFLAGS)", func(ctx context.Context, b api.Backend, name string) error {
			return b.SetFlags(ctx, api.FlagsRequest{Name: name, Set: set, Clear: clear})
		})
		return nil
	}
}

func setNd6(set, clear api.Nd6Flags) func(*line, string) error {
	return func(l *line, _ string) error {
		l.step("ioctl(SIOCSIFINFO_IN6)", func(ctx context.Context, b api.Backend, name string) error {
			return b.SetNd6(ctx, api.Nd6Request{Name: name, Set: set, Clear: clear})
		})
		return nil
	}
}

func setCapability(set, clear api.Capabilities) func(*line, string) error {
	return func(l *line, _ string) error {
		l.step("ioctl (SIOCSIFCAP)", func(ctx context.Context, b api.Backend, name string) error {
			return b.SetCapabilities(ctx, api.CapabilitiesRequest{Name: name, Set: set, Clear: clear})
		})
		return nil
	}
}

func setTag(l *line, value string) error {
	n, err := strconv.ParseUint(value, 0, 64)
	if err != nil {
		return fmt.Errorf("invalid value for vlan")
	}
	if n > 0xffff {
		return fmt.Errorf("value for vlan out of range")
	}
	l.vlan.tag = int(n)
	return nil
}

func setPCP(l *line, value string) error {
	n, err := strconv.Atoi(value)
	if err != nil {
		return fmt.Errorf("invalid value for vlanpcp")
	}
	if n < 0 || n > 7 {
		return fmt.Errorf("value for vlanpcp out of range")
	}
	l.vlan.pcp = n
	return nil
}

func setProto(l *line, value string) error {
	switch strings.ToLower(value) {
	case "802.1q", "8021q", "dot1q":
		l.vlan.proto = api.Vlan8021Q
	case "802.1ad", "8021ad", "qinq":
		l.vlan.proto = api.Vlan8021AD
	default:
		return fmt.Errorf("invalid value for vlanproto")
	}
	return nil
}

func detach(l *line, _ string) error {
	l.vlan.detach = true
	return nil
}
