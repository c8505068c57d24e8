package control

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/bsdnet/bsdnet/route"
	"github.com/bsdnet/bsdnet/route/api"
)

// routeSysctlNodes are FreeBSD's net.route.algo: by what algorithm routes are
// looked up.
func routeSysctlNodes() map[string]sysctlNode {
	nodes := make(map[string]sysctlNode)
	for name, family := range map[string]api.Family{"inet": api.Inet, "inet6": api.Inet6} {
		prefix := "net.route.algo." + name
		nodes[prefix+".algo"] = sysctlNode{
			description: fmt.Sprintf("Set %s fib algo; %s: by the number of routes", name, route.AlgoAuto),
			get:         func(d *Daemon) string { return d.route.Algo(family).Name },
			set:         func(d *Daemon, value string) error { return d.route.SetAlgo(family, value) },
			save: func(d *Daemon) string {
				if algo := d.route.Algo(family); algo.Forced {
					return algo.Name
				}
				return route.AlgoAuto
			},
		}
		nodes[prefix+".algo_list"] = sysctlNode{
			description: fmt.Sprintf("List of %s fib algorithms", name),
			get:         func(*Daemon) string { return strings.Join(route.Algos(family), ", ") },
		}
	}
	nodes["net.route.mirror_limit"] = sysctlNode{
		description: "Routes of bsdnet that Linux holds too, at the most",
		get:         func(d *Daemon) string { return strconv.Itoa(d.route.MirrorLimit()) },
		set: func(d *Daemon, value string) error {
			limit, err := strconv.ParseUint(value, 0, 31)
			if err != nil {
				return fmt.Errorf("invalid integer '%s'", value)
			}
			d.route.SetMirrorLimit(int(limit))
			return nil
		},
	}
	return nodes
}
