package rc

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/bsdnet/bsdnet/rcconf"
)

// suffixes are those of ifconfig_IF_SUFFIX that end an interface's name.
var suffixes = []string{"ipv6", "aliases", "name", "descr", "description", "fib", "fibs"}

// interfaces takes everything that configures interfaces.
func (b *builder) interfaces() {
	for _, name := range b.interfaceNames() {
		ifp := &Interface{Name: name}
		if device := b.plan.Device(name); device != name {
			ifp.Device = device
		}
		if c, ok := b.plan.clone(name); ok {
			ifp.wg = c.wg
			if c.tunnel != nil {
				tunnel := *c.tunnel
				ifp.Tunnel = &tunnel
			}
		}
		part := b.part(name)
		set := b.first(ifp, part)
		set = b.inet6(ifp, part) || set
		set = b.aliases(ifp, part) || set
		if v, ok := b.either("ifconfig_"+part+"_descr", "ifconfig_"+part+"_description"); ok {
			ifp.Description, set = v.Value, true
		}
		b.duplicates(ifp)
		b.stack(ifp)
		b.checkTunnel(ifp)
		if c, ok := b.plan.clone(name); ok && !set {
			ifp.Position, set = c.Position, true
		}
		if set {
			b.plan.Interfaces = append(b.plan.Interfaces, ifp)
		}
	}
	b.checkVlans()
}

// part is how the variables of an interface spell it: by its BSD name or, if
// nothing does, by that of its device.
func (b *builder) part(name string) string {
	part := variable(name)
	device := variable(b.plan.Device(name))
	if _, ok := b.config.Lookup("ifconfig_" + part); ok || device == part {
		return part
	}
	for _, v := range b.config.Variables {
		if rest, ok := strings.CutPrefix(v.Name, "ifconfig_"+part+"_"); ok && rest != "" {
			return part
		}
	}
	if _, ok := b.config.Lookup("ifconfig_" + device); ok {
		return device
	}
	return part
}

func (b *builder) either(names ...string) (*rcconf.Variable, bool) {
	for _, name := range names {
		if v, ok := b.get(name); ok {
			return v, true
		}
	}
	return nil, false
}

// interfaceNames are the interfaces that the file knows, in order.
func (b *builder) interfaceNames() []string {
	var names []string
	add := func(name string) {
		if bsd, ok := b.plan.Names[name]; ok {
			name = bsd
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	known := b.known()
	for _, v := range b.config.Variables {
		for _, prefix := range []string{"ifconfig_", "ipv6_ifconfig_", "ipv4_addrs_"} {
			if rest, ok := strings.CutPrefix(v.Name, prefix); ok && rest != "" && rest != "DEFAULT" {
				add(b.nameIn(rest, known))
				break
			}
		}
	}
	for _, c := range b.plan.Clones {
		add(c.Name)
	}
	list := b.value("network_interfaces")
	if list != "" && list != "auto" {
		wanted := strings.Fields(list)
		for _, name := range wanted {
			add(name)
		}
		names = slices.DeleteFunc(names, func(name string) bool {
			return !slices.Contains(wanted, name) && !b.plan.IsClone(name)
		})
		b.wanted = wanted
	} else if _, ok := b.config.Lookup("ifconfig_DEFAULT"); ok {
		for _, device := range b.host.Devices {
			add(device)
		}
	}
	return names
}

// nameIn finds the interface in what follows ifconfig_ in a variable's name.
func (b *builder) nameIn(rest string, known []string) string {
	best := ""
	for _, name := range append(slices.Clone(known), b.host.Devices...) {
		spelled := variable(name)
		if (rest == spelled || strings.HasPrefix(rest, spelled+"_")) && len(spelled) > len(variable(best)) {
			best = name
		}
	}
	if best != "" {
		return best
	}
	if i := strings.LastIndexByte(rest, '_'); i > 0 && isSuffix(rest[i+1:]) {
		return rest[:i]
	}
	return rest
}

func isSuffix(s string) bool {
	if number, ok := strings.CutPrefix(s, "alias"); ok {
		if _, err := strconv.Atoi(number); err == nil {
			return true
		}
	}
	return slices.Contains(suffixes, s)
}

// first takes ifconfig_IF, or ifconfig_DEFAULT where that is not set.
func (b *builder) first(ifp *Interface, part string) bool {
	v, ok := b.get("ifconfig_" + part)
	if !ok {
		if v, ok = b.config.Lookup("ifconfig_DEFAULT"); !ok || ifp.Name == "lo0" {
			return false
		}
		b.used["ifconfig_DEFAULT"] = true
	}
	ifp.Position = at(v)
	var rest []string
	for _, word := range strings.Fields(v.Value) {
		switch strings.ToUpper(word) {
		case "DHCP":
			ifp.DHCP = DHCPOn
			if b.yes("synchronous_dhclient") {
				ifp.DHCP = DHCPSync
			}
		case "SYNCDHCP":
			ifp.DHCP = DHCPSync
		case "NOSYNCDHCP":
			ifp.DHCP = DHCPOn
		case "NOAUTO":
			ifp.NoAuto = true
		case "WPA", "HOSTAP":
			b.fail(at(v), "%s: %s: wireless networks are not there yet", v.Name, word)
		default:
			rest = append(rest, word)
		}
	}
	b.parse(ifp, v, rest)
	return true
}

func (b *builder) parse(ifp *Interface, v *rcconf.Variable, words []string) {
	err := parseIfconfig(ifp, at(v), words, func(format string, args ...any) { b.warn(at(v), format, args...) })
	if err != nil {
		err.(*Error).Message = v.Name + ": " + err.(*Error).Message
		b.errs = append(b.errs, err)
	}
	if ifp.Position.File == "" {
		ifp.Position = at(v)
	}
}

// inet6 takes the variables of IPv6, the old ones too.
func (b *builder) inet6(ifp *Interface, part string) bool {
	set := false
	for _, name := range []string{"ifconfig_" + part + "_ipv6", "ipv6_ifconfig_" + part} {
		v, ok := b.get(name)
		if !ok {
			continue
		}
		set = true
		words := strings.Fields(v.Value)
		if len(words) > 0 && words[0] != "inet6" {
			if strings.HasPrefix(name, "ifconfig_") && strings.ContainsAny(words[0], ":") {
				b.fail(at(v), "%s: an address without the word inet6", name)
				continue
			}
			words = append([]string{"inet6"}, words...)
		}
		b.parse(ifp, v, words)
	}
	if v, ok := b.get("ipv6_prefix_" + part); ok {
		set = true
		for _, prefix := range strings.Fields(v.Value) {
			p, err := netip.ParsePrefix(strings.TrimSuffix(prefix, ":") + "::/64")
			if err != nil {
				b.fail(at(v), "%s: %s: want the first 64 bits of addresses", v.Name, prefix)
				continue
			}
			ifp.Addresses = append(ifp.Addresses, &Address{Prefix: p, EUI64: true, Position: at(v)})
		}
	}
	static6 := slices.ContainsFunc(ifp.Addresses, func(a *Address) bool { return a.Prefix.Addr().Is6() })
	if _, ok := b.config.Lookup("ipv6_enable"); ok && b.yes("ipv6_enable") && !static6 && ifp.Name != "lo0" {
		if gateway, _ := b.config.Yes("ipv6_gateway_enable"); !gateway {
			ifp.AcceptRTAdv = true // as DragonFly's rtsol does
		}
	}
	return set
}

// aliases takes ifconfig_IF_aliasN, _aliases and ipv4_addrs_IF.
func (b *builder) aliases(ifp *Interface, part string) bool {
	set := false
	for _, prefix := range []string{"ifconfig_" + part + "_alias", "ipv6_ifconfig_" + part + "_alias"} {
		for n := 0; ; n++ {
			v, ok := b.get(prefix + strconv.Itoa(n))
			if !ok {
				break
			}
			words := strings.Fields(v.Value)
			if strings.HasPrefix(prefix, "ipv6_") && len(words) > 0 && words[0] != "inet6" {
				words = append([]string{"inet6"}, words...)
			}
			set = true
			b.parse(ifp, v, words)
		}
		for _, v := range b.config.Variables {
			if number, ok := strings.CutPrefix(v.Name, prefix); ok && !b.used[v.Name] {
				if _, err := strconv.Atoi(number); err == nil {
					b.used[v.Name] = true
					b.warn(at(v), "%s is not reached: the numbers before it have a gap", v.Name)
				}
			}
		}
	}
	if v, ok := b.get("ifconfig_" + part + "_aliases"); ok {
		set = true
		b.aliasList(ifp, v, strings.Fields(v.Value))
	}
	if v, ok := b.get("ipv4_addrs_" + part); ok {
		set = true
		for _, word := range strings.Fields(v.Value) {
			b.aliasList(ifp, v, []string{"inet", word})
		}
	}
	return set
}

// aliasList takes "inet A/LEN ... inet6 B/LEN ...", where the last number of
// an address may be a range.
func (b *builder) aliasList(ifp *Interface, v *rcconf.Variable, words []string) {
	for len(words) > 0 {
		if words[0] != "inet" && words[0] != "inet6" {
			b.fail(at(v), "%s: %s: want inet or inet6", v.Name, words[0])
			return
		}
		end := 1
		for end < len(words) && words[end] != "inet" && words[end] != "inet6" {
			end++
		}
		if end == 1 {
			b.fail(at(v), "%s: %s without an address", v.Name, words[0])
			return
		}
		expanded, err := expandRange(words[1])
		if err != nil {
			b.fail(at(v), "%s: %v", v.Name, err)
			return
		}
		for _, address := range expanded {
			b.parse(ifp, v, append([]string{words[0], address}, words[2:end]...))
		}
		words = words[end:]
	}
}

// expandRange makes A.B.C.D-E/LEN the addresses that it means: the first has
// the length, the others are single ones, as on FreeBSD.
func expandRange(word string) ([]string, error) {
	address, length, _ := strings.Cut(word, "/")
	head, tail, ok := strings.Cut(address, "-")
	if !ok {
		return []string{word}, nil
	}
	i := strings.LastIndexAny(head, ".:")
	base := 10
	if i >= 0 && head[i] == ':' {
		base = 16
	}
	first, err1 := strconv.ParseUint(head[i+1:], base, 16)
	last, err2 := strconv.ParseUint(tail, base, 16)
	if i < 0 || err1 != nil || err2 != nil || last < first || last-first > 255 || length == "" {
		return nil, fmt.Errorf("%s: bad range of addresses", word)
	}
	single := "/32"
	if base == 16 {
		single = "/" + length
	}
	var list []string
	for n := first; n <= last; n++ {
		suffix := single
		if n == first {
			suffix = "/" + length
		}
		list = append(list, head[:i+1]+strconv.FormatUint(n, base)+suffix)
	}
	return list, nil
}

// duplicates refuses an address that is given twice.
func (b *builder) duplicates(ifp *Interface) {
	seen := make(map[netip.Addr]*Address)
	for _, a := range ifp.Addresses {
		if a.EUI64 {
			continue
		}
		if first, ok := seen[a.Prefix.Addr()]; ok {
			b.fail(a.Position, "%s: %s is given twice, first at %s", ifp.Name, a.Prefix.Addr(), first.Position)
		}
		seen[a.Prefix.Addr()] = a
	}
}

// stack gives the tag that ifconfig_IF names to the clone, and a wg(4) its
// peers.
func (b *builder) stack(ifp *Interface) {
	if !ifp.wg.Empty() {
		if strings.TrimRight(ifp.Name, "0123456789") != "wg" || !b.plan.IsClone(ifp.Name) {
			b.fail(ifp.Position, "%s: words about wg for what is none: name it in cloned_interfaces", ifp.Name)
		}
		ifp.Wg = &ifp.wg.Request
	}
	if ifp.vlan == nil {
		return
	}
	c, ok := b.plan.clone(ifp.Name)
	if !ok {
		b.fail(ifp.Position, "%s: a vlan that nothing makes: name it in cloned_interfaces", ifp.Name)
		return
	}
	if c.Vlan == nil {
		c.Vlan = &Vlan{}
	}
	v := ifp.vlan
	if v.ID != 0 {
		c.Vlan.ID = v.ID
	}
	if v.Parent != "" {
		c.Vlan.Parent = v.Parent
	}
	if v.Protocol != "" {
		c.Vlan.Protocol = v.Protocol
	}
	if v.Priority != 0 {
		c.Vlan.Priority = v.Priority
	}
}

// checkVlans looks at the vlans together: whole, distinct, and parents made
// before their children.
func (b *builder) checkVlans() {
	type tag struct {
		parent, protocol string
		id               int
	}
	seen := make(map[tag]string)
	for _, c := range b.plan.Clones {
		v := c.Vlan
		if v == nil {
			if !clonable(c.CreateName()) {
				b.fail(c.Position, "%s: no such interface can be made", c.Name)
			}
			continue
		}
		if bsd, ok := b.plan.Names[v.Parent]; ok {
			v.Parent = bsd
		}
		if v.ID == 0 || v.Parent == "" {
			b.fail(c.Position, "%s: a vlan wants both vlan and vlandev", c.Name)
			continue
		}
		protocol := v.Protocol
		if protocol == "" {
			protocol = "802.1Q"
		}
		key := tag{v.Parent, protocol, v.ID}
		if first, ok := seen[key]; ok {
			b.fail(c.Position, "%s: vlan %d of %s is %s already", c.Name, v.ID, v.Parent, first)
		}
		seen[key] = c.Name
	}
	b.order()
}

// clonable reports whether a name is a cloner's with a unit that it takes.
func clonable(name string) bool {
	driver := strings.TrimRight(name, "0123456789")
	unit, err := strconv.Atoi(name[len(driver):])
	return err == nil && slices.Contains(cloners, driver) && strconv.Itoa(unit) == name[len(driver):] && unit <= unitMax
}

// unitMax is IF_MAXUNIT of FreeBSD.
const unitMax = 0x7fff

// order sorts the clones so that parents come first.
func (b *builder) order() {
	var sorted []*Clone
	made := make(map[string]bool)
	rest := b.plan.Clones
	for len(rest) > 0 {
		var later []*Clone
		for _, c := range rest {
			if c.Vlan != nil && b.plan.IsClone(c.Vlan.Parent) && !made[c.Vlan.Parent] {
				later = append(later, c)
				continue
			}
			made[c.Name] = true
			sorted = append(sorted, c)
		}
		if len(later) == len(rest) {
			b.fail(rest[0].Position, "%s: vlans that stand on one another in a circle", rest[0].Name)
			return
		}
		rest = later
	}
	b.plan.Clones = sorted
}
