package route

import (
	"net/netip"

	"github.com/bsdnet/bsdnet/route/api"
)

// mustAddr parses an address; the empty string is none.
func mustAddr(s string) netip.Addr {
	if s == "" {
		return netip.Addr{}
	}
	return netip.MustParseAddr(s)
}

func mustPrefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

var routeFilterAll = api.RouteFilter{}
