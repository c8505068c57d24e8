package pfctl

import (
	"strings"

	"github.com/bsdnet/bsdnet/pf/conf"
)

// dialect is what differs between the BSDs on the command line.
type dialect struct {
	flags string // for getopt(3)
	usage string
	// The modifiers of -F, -s and -T and the levels of -x, which may be
	// shortened. Of several that fit, the first is meant; OpenBSD refuses.
	flush, show, table, debug []string
}

var optimizations = []string{"none", "basic", "profile"}

var dialects = [...]dialect{
	conf.OpenBSD: {
		flags: "a:dD:eqf:F:ghi:k:K:L:Nno:Pp:R:rS:s:t:T:vV:x:z",
		usage: `usage: pfctl [-deghNnPqrvz] [-a anchor] [-D macro=value] [-F modifier] [-f file]
	[-i interface] [-K key] [-k key] [-L statefile] [-o level]
	[-p device] [-S statefile] [-s modifier [-R id]]
	[-t table -T command [address ...]] [-V rdomain] [-x level]
`,
		flush: []string{"rules", "Sources", "states", "info", "Tables", "osfp", "Reset", "all"},
		show: []string{"queue", "rules", "Anchors", "Sources", "states", "info", "Interfaces", "labels",
			"timeouts", "memory", "Tables", "osfp", "all"},
		table: []string{"kill", "flush", "add", "delete", "replace", "show", "test", "zero", "expire"},
		debug: []string{"debug", "info", "notice", "warning", "error", "crit", "alert", "emerg"},
	},
	conf.FreeBSD: {
		flags: "a:AdD:eqf:F:ghi:k:K:mMnNOo:Pp:rRs:St:T:vx:z",
		usage: `usage: pfctl [-AdeghMmNnOPqRSrvz] [-a anchor] [-D macro=value] [-F modifier]
	[-f file] [-i interface] [-K host | network]
	[-k host | network | gateway | label | id] [-o level] [-p device]
	[-s modifier] [-t table -T command [address ...]] [-x level]
`,
		flush: []string{"nat", "queue", "rules", "Sources", "states", "info", "Tables", "osfp", "all",
			"ethernet", "Reset"},
		show: []string{"ether", "nat", "queue", "rules", "Anchors", "Sources", "states", "info",
			"Interfaces", "labels", "timeouts", "memory", "Tables", "osfp", "Running", "all", "creatorids"},
		table: []string{"kill", "flush", "add", "delete", "load", "replace", "show", "test", "zero",
			"expire", "reset"},
		debug: []string{"none", "urgent", "misc", "loud"},
	},
	conf.DragonFly: {
		flags: "a:AdD:eqf:F:ghi:k:K:mnNOo:p:rRs:t:T:vx:z",
		usage: `usage: pfctl [-AdeghmNnOqRrvz] [-a anchor] [-D macro=value] [-F modifier]
	[-f file] [-i interface] [-K host | network]
	[-k host | network | label | id] [-o level] [-p device]
	[-s modifier] [-t table -T command [address ...]] [-x level]
`,
		flush: []string{"nat", "queue", "rules", "Sources", "states", "info", "Tables", "osfp", "all"},
		show: []string{"nat", "queue", "rules", "Anchors", "Sources", "states", "info", "Interfaces",
			"labels", "timeouts", "memory", "Tables", "osfp", "Running", "all"},
		table: []string{"kill", "flush", "add", "delete", "load", "replace", "show", "test", "zero", "expire"},
		debug: []string{"none", "urgent", "misc", "loud"},
	},
}

// lookup finds a modifier by its beginning.
func lookup(word string, list []string) (found string, ambiguous bool) {
	if word == "" {
		return "", false
	}
	for _, item := range list {
		if strings.HasPrefix(item, word) {
			if found != "" {
				return found, true
			}
			found = item
		}
	}
	return found, false
}
