package control

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/bsdnet/bsdnet/bpf"
)

// sysctlNode is one variable under its BSD name.
type sysctlNode struct {
	description string
	get         func(*Daemon) string
	set         func(*Daemon, string) error // nil: read-only
	save        func(*Daemon) string        // what to set again later, nil: what get says
}

// saved is what to set to have the variable as it is now.
func (n sysctlNode) saved(d *Daemon) string {
	if n.save != nil {
		return n.save(d)
	}
	return n.get(d)
}

// flagNode is a variable that is a bit of the configuration.
func flagNode(description string, bit uint32) sysctlNode {
	return sysctlNode{
		description: description,
		get: func(d *Daemon) string {
			if d.config.Active().Flags&bit != 0 {
				return "1"
			}
			return "0"
		},
		set: func(d *Daemon, text string) error {
			value, err := strconv.ParseUint(text, 0, 32)
			if err != nil {
				return fmt.Errorf("invalid integer '%s'", text)
			}
			return d.config.Commit(func(c *bpf.Config) error {
				c.Flags &^= bit
				if value != 0 {
					c.Flags |= bit
				}
				return nil
			})
		},
	}
}

// sysctlNodes are the variables of the data path; the slow path adds its own.
var sysctlNodes = map[string]sysctlNode{
	"net.inet.ip.forwarding":   flagNode("Enable IP forwarding between interfaces", bpf.ConfigIpforwarding),
	"net.inet6.ip6.forwarding": flagNode("Enable forwarding of IPv6 packets between interfaces", bpf.ConfigIp6forwarding),
	"net.inet.ip.redirect":     flagNode("Enable sending IP redirects", bpf.ConfigSendredirects),
	"net.inet6.ip6.redirect":   flagNode("Send ICMPv6 redirects for unforwardable IPv6 packets", bpf.ConfigSend6redirects),
	"net.inet.ip.stealth":      flagNode("IP stealth mode, no TTL decrementation on forwarding", bpf.ConfigStealth),
}

// SysctlValue is one variable as it was, or became.
type SysctlValue struct {
	Name        string `json:"name"`
	Value       string `json:"value"`
	Old         string `json:"old,omitempty"` // set when the request changed it
	Description string `json:"description,omitempty"`
}

// SysctlRequest reads variables by name or prefix, or all, and sets some.
type SysctlRequest struct {
	Names []string          `json:"names,omitempty"`
	Set   map[string]string `json:"set,omitempty"`
	All   bool              `json:"all,omitempty"`
}

// UnknownNameError reports a variable that does not exist.
type UnknownNameError struct{ Name string }

func (e *UnknownNameError) Error() string { return fmt.Sprintf("unknown oid '%s'", e.Name) }

// Sysctl answers a request. Nothing is set if any name in it is wrong.
func (d *Daemon) Sysctl(request SysctlRequest) ([]SysctlValue, error) {
	nodes := d.sysctlNodes()
	var values []SysctlValue
	for name := range request.Set {
		node, ok := nodes[name]
		if !ok {
			return nil, &UnknownNameError{name}
		}
		if node.set == nil {
			return nil, fmt.Errorf("oid '%s' is read only", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(request.Set)) {
		node := nodes[name]
		old := node.get(d)
		if err := node.set(d, request.Set[name]); err != nil {
			return nil, fmt.Errorf("%s=%s: %w", name, request.Set[name], err)
		}
		d.slow.configured()
		values = append(values, SysctlValue{Name: name, Old: old, Value: node.get(d)})
		d.mu.Lock()
		if d.record.Sysctl == nil {
			d.record.Sysctl = make(map[string]string)
		}
		d.record.Sysctl[name] = node.saved(d)
		err := d.instance.writeRecord(d.record)
		d.mu.Unlock()
		if err != nil {
			return nil, err
		}
	}
	wanted := request.Names
	if request.All {
		wanted = []string{""}
	}
	for _, prefix := range wanted {
		found := false
		for _, name := range slices.Sorted(maps.Keys(nodes)) {
			if prefix == "" || name == prefix || strings.HasPrefix(name, prefix+".") {
				values = append(values, SysctlValue{Name: name, Value: nodes[name].get(d), Description: nodes[name].description})
				found = true
			}
		}
		if !found {
			return nil, &UnknownNameError{prefix}
		}
	}
	return values, nil
}

// restoreSysctl sets again what was set before a restart of the daemon and
// does not live in the data path.
func (d *Daemon) restoreSysctl() {
	nodes := d.sysctlNodes()
	for name, value := range d.record.Sysctl {
		if node, ok := nodes[name]; ok && node.set != nil {
			if err := node.set(d, value); err != nil {
				d.log.Warn("sysctl not restored", "name", name, "err", err)
			}
		}
	}
}

func (d *Daemon) sysctlNodes() map[string]sysctlNode {
	nodes := maps.Clone(sysctlNodes)
	maps.Copy(nodes, routeSysctlNodes())
	maps.Copy(nodes, hostSysctlNodes())
	if d.slow != nil {
		maps.Copy(nodes, d.slow.sysctlNodes())
	}
	return nodes
}
