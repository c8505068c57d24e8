package main

import (
	"github.com/bsdnet/bsdnet/control"
)

// total sums the counters of interfaces.
func total(all []control.InterfaceCounters) (sum control.Counters) {
	for _, i := range all {
		sum.Ipackets += i.Data.Ipackets
		sum.Ibytes += i.Data.Ibytes
		sum.Iqdrops += i.Data.Iqdrops
		sum.Opackets += i.Data.Opackets
		sum.Obytes += i.Data.Obytes
	}
	return sum
}
