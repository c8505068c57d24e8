package conf

import "strings"

// reservedWords are the keywords of each BSD's grammar: where a name is wanted,
// they need quotes.
var reservedWords = [...]string{
	FreeBSD: `all allow-opts altq anchor antispoof any bandwidth binat binat-anchor bitmask block
block-policy bridge-to buckets cbq code codelq debug divert-reply divert-to dnpipe dnqueue drop
dup-to ether fail-policy fairq fastroute file fingerprints flags floating flush for fragment from
global group hfsc hogs hostid icmp-type icmp6-type if-bound in include inet inet6 interval keep
keepcounters l3 label limit linkshare load log loginterface map-e-portset match max max-mss
max-src-conn max-src-conn-rate max-src-nodes max-src-states min-ttl modulate nat nat-anchor no
no-df no-route no-sync on optimization os out overload pass port prio priority priq probability
proto qlimit queue quick random random-id rdr rdr-anchor realtime reassemble reply-to
require-order return return-icmp return-icmp6 return-rst ridentifier round-robin route route-to
rtable rule ruleset-optimization scrub set set-tos skip sloppy source-hash source-track state
state-defaults state-policy static-port sticky-address syncookies synproxy table tag tagged target
tbrsize timeout to tos ttl upperlimit urpf-failed user`,

	OpenBSD: `af-to all allow-opts anchor antispoof any bandwidth binat-to bitmask block block-policy
burst code debug default delay divert-packet divert-reply divert-to drop dup-to file fingerprints
flags floating flows flush for fragment from global group hostid icmp-type icmp6-type if-bound in
include inet inet6 keep label least-states limit load log loginterface match matches max max-mss
max-pkt-rate max-src-conn max-src-conn-rate max-src-nodes max-src-states min min-ttl modulate
nat-to no no-df no-route no-sync on once optimization os out overload parent pass pflow port prio
probability proto qlimit quantum queue quick random random-id rdomain rdr-to reassemble received-on
reply-to return return-icmp return-icmp6 return-rst round-robin route route-to rtable rule
ruleset-optimization scrub set skip sloppy source-hash source-track state state-defaults
state-policy static-port sticky-address syncookies synproxy table tag tagged timeout to tos ttl
urpf-failed user weight`,

	DragonFly: `all allow-opts altq anchor antispoof any bandwidth binat binat-anchor bitmask block
block-policy buckets cbq code crop debug divert-reply divert-to drop drop-ovl dup-to fairq
fastroute file fingerprints flags floating flush for fragment from global group hash-only hfsc hogs
hostid icmp-type icmp6-type if-bound in include inet inet6 keep keep-policy label limit linkshare
load log loginterface max max-mss max-src-conn max-src-conn-rate max-src-nodes max-src-states
min-ttl modulate nat nat-anchor no no-df no-pickups no-route no-sync on optimization os out
overload pass pickups port priority priq probability proto qlimit queue quick random random-id rdr
rdr-anchor realtime reassemble reply-to require-order return return-icmp return-icmp6 return-rst
round-robin route route-to rtable rule ruleset-optimization scrub set set-tos skip sloppy
source-hash source-track state state-policy static-port sticky-address synproxy table tag tagged
tbrsize timeout to tos ttl upperlimit urpf-failed user`,
}

// moreWords are keywords of newer releases, recognised where they make sense
// and reserved nowhere.
const moreWords = `allow-related max-pkt-size endpoint-independent prefer-ipv6-nexthop`

var reserved, anyKeyword = func() (perDialect [len(reservedWords)]map[string]bool, union map[string]bool) {
	union = make(map[string]bool)
	for d, words := range reservedWords {
		perDialect[d] = make(map[string]bool)
		for _, w := range strings.Fields(words) {
			perDialect[d][w] = true
			union[w] = true
		}
	}
	for _, w := range strings.Fields(moreWords) {
		union[w] = true
	}
	return perDialect, union
}()

// keyword reports whether a word is a keyword of any dialect.
func keyword(word string) bool { return anyKeyword[word] }
