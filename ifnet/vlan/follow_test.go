package vlan

import (
	"testing"

	"github.com/bsdnet/bsdnet/ifnet"
	"github.com/bsdnet/bsdnet/ifnet/api"
)

func TestDemanded(t *testing.T) {
	parent := &ifnet.Ifnet{Lladdr: []byte{2, 0, 0, 0, 0, 1}}
	same := &ifnet.Ifnet{Lladdr: []byte{2, 0, 0, 0, 0, 1}}
	own := &ifnet.Ifnet{Lladdr: []byte{2, 0, 0, 0, 0, 2}}
	promisc := &ifnet.Ifnet{Lladdr: parent.Lladdr, Promisc: true}
	everything := api.IffAllmulti | api.IffPpromisc
	for name, c := range map[string]struct {
		up      []*ifnet.Ifnet
		filters bool
		want    api.Flags
	}{
		"none-up":        {nil, true, 0},
		"same-address":   {[]*ifnet.Ifnet{same}, false, api.IffAllmulti},
		"own-address":    {[]*ifnet.Ifnet{same, own}, false, everything},
		"promiscuous":    {[]*ifnet.Ifnet{promisc}, false, everything},
		"device-filters": {[]*ifnet.Ifnet{same}, true, everything},
	} {
		if got := demanded(parent, c.up, c.filters); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
