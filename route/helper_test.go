package route

import "net/netip"

// mustAddr parses an address; the empty string is none.
func mustAddr(s string) netip.Addr {
	if s == "" {
		return netip.Addr{}
	}
	return netip.MustParseAddr(s)
}

func mustPrefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
