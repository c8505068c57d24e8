package rc

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/bsdnet/bsdnet/pf/conf"
	"github.com/bsdnet/bsdnet/rcconf"
)

// Host is what a plan needs to know of the host that it is for.
type Host struct {
	// Devices are the names of the Ethernet devices. They matter to
	// ifconfig_DEFAULT and to names that a variable cannot spell.
	Devices []string
}

// Build makes a plan of the variables of rc.conf and the settings of
// sysctl.conf. All that is wrong is reported, not only the first.
func Build(config *rcconf.Config, settings []rcconf.Setting, host Host) (*Plan, error) {
	b := &builder{config: config, host: host, plan: &Plan{Names: make(map[string]string)}, used: make(map[string]bool)}
	b.names()
	b.clones()
	b.interfaces()
	b.routes()
	b.forwarding(settings)
	b.filter()
	b.rest()
	b.unused()
	return b.plan, errors.Join(b.errs...)
}

type builder struct {
	config *rcconf.Config
	host   Host
	plan   *Plan
	used   map[string]bool // variables that were taken
	wanted []string        // of network_interfaces, nil: all
	errs   []error
}

func at(v *rcconf.Variable) Position { return Position{v.File, v.Line} }

func (b *builder) fail(pos Position, format string, args ...any) {
	b.errs = append(b.errs, &Error{pos, fmt.Sprintf(format, args...)})
}

func (b *builder) warn(pos Position, format string, args ...any) {
	b.plan.Warnings = append(b.plan.Warnings, pos.String()+": "+fmt.Sprintf(format, args...))
}

// get takes a variable.
func (b *builder) get(name string) (*rcconf.Variable, bool) {
	v, ok := b.config.Lookup(name)
	if ok {
		b.used[name] = true
	}
	return v, ok
}

// value takes the value of a variable, "" if it is not set.
func (b *builder) value(name string) string {
	if v, ok := b.get(name); ok {
		return v.Value
	}
	return ""
}

// yes takes a variable that is YES or NO.
func (b *builder) yes(name string) bool {
	b.used[name] = true
	yes, err := b.config.Yes(name)
	if err != nil {
		b.errs = append(b.errs, err)
	}
	return yes
}

// variable is the name of an interface as a part of a variable's: what cannot
// be a part of one is an underscore.
func variable(name string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(".-/+", r) {
			return '_'
		}
		return r
	}, name)
}

// names takes ifconfig_DEVICE_name.
func (b *builder) names() {
	taken := make(map[string]string)
	for _, v := range b.config.Variables {
		spelled, ok := strings.CutSuffix(v.Name, "_name")
		if spelled, ok = cutBoth(spelled, "ifconfig_", ok); !ok {
			continue
		}
		b.used[v.Name] = true
		device := spelled
		for _, name := range b.host.Devices {
			if variable(name) == spelled {
				device = name
			}
		}
		if err := checkName(v.Value); err != nil {
			b.fail(at(v), "%s: %v", v.Name, err)
			continue
		}
		if other, ok := taken[v.Value]; ok {
			b.fail(at(v), "%s: %s is the name of %s", v.Name, v.Value, other)
			continue
		}
		if v.Value != device && slices.Contains(b.host.Devices, v.Value) {
			b.fail(at(v), "%s: %s is another interface", v.Name, v.Value)
			continue
		}
		taken[v.Value] = device
		b.plan.Names[device] = v.Value
	}
}

func cutBoth(s, prefix string, ok bool) (string, bool) {
	rest, had := strings.CutPrefix(s, prefix)
	return rest, ok && had && rest != ""
}

// checkName refuses what cannot be the name of an interface.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("no name")
	case len(name) > 15:
		return fmt.Errorf("%s: interface name too long", name)
	case strings.ContainsAny(name, "/ \t\n:") || name == "." || name == "..":
		return fmt.Errorf("%s: not the name of an interface", name)
	}
	return nil
}

// clones takes cloned_interfaces, vlans_IF and create_args_IF.
func (b *builder) clones() {
	if v, ok := b.get("cloned_interfaces"); ok {
		for _, name := range strings.Fields(v.Value) {
			b.clone(at(v), name, nil)
		}
	}
	for _, v := range b.config.Variables {
		spelled, ok := strings.CutPrefix(v.Name, "vlans_")
		if !ok || spelled == "" {
			continue
		}
		b.used[v.Name] = true
		parent := b.spelled(spelled)
		for _, child := range strings.Fields(v.Value) {
			vlan := &Vlan{Parent: parent}
			if id, err := strconv.Atoi(child); err == nil {
				if id < 1 || id > 4094 {
					b.fail(at(v), "%s: vlan %s: want a number from 1 to 4094", v.Name, child)
					continue
				}
				vlan.ID, child = id, parent+"."+child
			}
			b.clone(at(v), child, vlan)
		}
	}
}

// spelled finds the interface that a part of a variable's name means.
func (b *builder) spelled(part string) string {
	for _, names := range [][]string{b.known(), b.host.Devices} {
		for _, name := range names {
			if variable(name) == part {
				return name
			}
		}
	}
	return part
}

// known are the names that the plan has so far.
func (b *builder) known() []string {
	var names []string
	for _, name := range b.plan.Names {
		names = append(names, name)
	}
	for _, c := range b.plan.Clones {
		names = append(names, c.Name)
	}
	slices.Sort(names)
	return names
}

func (b *builder) clone(pos Position, name string, vlan *Vlan) {
	if err := checkName(name); err != nil {
		b.fail(pos, "%v", err)
		return
	}
	if strings.TrimRight(name, "0123456789") == "epair" {
		name += "a" // a pair goes by the name of its first end
	}
	if b.plan.IsClone(name) {
		b.fail(pos, "%s is made twice", name)
		return
	}
	c := &Clone{Name: name, Vlan: vlan, Position: pos}
	if parent, id, ok := strings.Cut(name, "."); ok && vlan == nil {
		n, err := strconv.Atoi(id)
		if err != nil || n < 1 || n > 4094 {
			b.fail(pos, "%s: not the name of a vlan", name)
			return
		}
		c.Vlan = &Vlan{ID: n, Parent: parent}
	}
	b.plan.Clones = append(b.plan.Clones, c)
	if v, ok := b.get("create_args_" + variable(name)); ok {
		scratch := &Interface{Name: name, Position: at(v), vlan: c.Vlan}
		b.parse(scratch, v, strings.Fields(v.Value))
		if len(scratch.Addresses) > 0 {
			b.fail(at(v), "%s: addresses belong to ifconfig_%s", v.Name, variable(name))
		}
		c.Vlan, c.wg, c.tunnel = scratch.vlan, scratch.wg, scratch.Tunnel
	}
}

// routes takes static routes and default routers.
func (b *builder) routes() {
	for _, family := range []struct{ list, prefix, router, inet string }{
		{"static_routes", "route_", "defaultrouter", "-inet"},
		{"ipv6_static_routes", "ipv6_route_", "ipv6_defaultrouter", "-inet6"},
	} {
		if v, ok := b.get(family.router); ok && v.Value != "" && !strings.EqualFold(v.Value, "NO") {
			b.route(v, append([]string{family.inet, "default"}, strings.Fields(v.Value)...))
		}
		list, ok := b.get(family.list)
		if !ok || strings.EqualFold(list.Value, "NO") {
			continue
		}
		for _, name := range strings.Fields(list.Value) {
			name, _, _ = strings.Cut(name, ":") // a route of one interface
			v, ok := b.get(family.prefix + name)
			if !ok {
				b.fail(at(list), "%s: %s%s is not set", family.list, family.prefix, name)
				continue
			}
			b.route(v, append([]string{family.inet}, strings.Fields(v.Value)...))
		}
	}
}

func (b *builder) route(v *rcconf.Variable, words []string) {
	route, err := parseRoute(at(v), words)
	if err != nil {
		b.fail(at(v), "%s: %v", v.Name, err)
		return
	}
	b.plan.Routes = append(b.plan.Routes, route)
}

// forwarding takes what opens forwarding, and the settings of sysctl.conf.
func (b *builder) forwarding(settings []rcconf.Setting) {
	for _, s := range settings {
		switch s.Name {
		case "net.inet.ip.forwarding":
			b.plan.Forwarding = s.Value != "0"
			continue
		case "net.inet6.ip6.forwarding":
			b.plan.Forwarding6 = s.Value != "0"
			continue
		}
		if strings.HasPrefix(s.Name, "net.") {
			b.plan.Sysctl = append(b.plan.Sysctl, Setting{s.Name, s.Value, Position{s.File, s.Line}})
		}
	}
	if _, ok := b.config.Lookup("gateway_enable"); ok {
		b.plan.Forwarding = b.yes("gateway_enable")
	}
	if _, ok := b.config.Lookup("ipv6_gateway_enable"); ok {
		b.plan.Forwarding6 = b.yes("ipv6_gateway_enable")
	}
}

// maxStates is what load accepts.
const maxStates = 1 << 23

// filter takes what belongs to pf.
func (b *builder) filter() {
	pf := &b.plan.PF
	pf.Enable = b.yes("pf_enable")
	pf.Rules = "/etc/pf.conf"
	if v, ok := b.get("pf_enable"); ok {
		pf.Position = at(v)
	}
	if v, ok := b.get("pf_rules"); ok {
		pf.Rules, pf.Position = v.Value, at(v)
	}
	pf.Flags = strings.Fields(b.value("pf_flags"))
	if v, ok := b.get("pf_dialect"); ok {
		if _, err := conf.ParseDialect(v.Value); err != nil {
			b.fail(at(v), "pf_dialect: %v", err)
		}
		pf.Dialect = v.Value
	}
	if v, ok := b.get("bsdnet_states"); ok {
		n, err := strconv.ParseUint(v.Value, 10, 32)
		if err != nil || n == 0 || n > maxStates {
			b.fail(at(v), "bsdnet_states: %q: want a number from 1 to %d", v.Value, maxStates)
		}
		pf.States = uint32(n)
	}
	b.plan.Pflog.Enable = b.yes("pflog_enable")
	b.plan.Pflog.File = "/var/log/pflog"
	if file := b.value("pflog_logfile"); file != "" {
		b.plan.Pflog.File = file
	}
}

// rest takes the variables that stand alone.
func (b *builder) rest() {
	b.plan.Hostname = b.value("hostname")
	if _, ok := b.config.Lookup("resolvconf_enable"); ok {
		b.plan.NoResolvconf = !b.yes("resolvconf_enable")
	}
	if v, ok := b.get("bsdnet_mode"); ok {
		b.plan.Mode = v.Value
		if !slices.Contains([]string{"auto", "xdp", "tc"}, v.Value) {
			b.fail(at(v), "bsdnet_mode: %q: want auto, xdp or tc", v.Value)
		}
	}
	b.plan.Takeover = b.yes("bsdnet_takeover")
}
