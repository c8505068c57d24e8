package route

import (
	"net/netip"

	"github.com/gaissmai/bart"
)

// oracle is an independent table of longest prefixes.
type oracle struct{ table bart.Table[string] }

func newOracle(routes map[netip.Prefix]string) *oracle {
	o := new(oracle)
	for dst, says := range routes {
		o.table.Insert(dst, says)
	}
	return o
}

func (o *oracle) insert(dst netip.Prefix, says string) { o.table.Insert(dst, says) }
func (o *oracle) delete(dst netip.Prefix)              { o.table.Delete(dst) }
func (o *oracle) size() int                            { return o.table.Size() }

func (o *oracle) lookup(addr netip.Addr) string {
	if says, ok := o.table.Lookup(addr); ok {
		return says
	}
	return "no route"
}
