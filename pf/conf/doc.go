// Package conf reads, expands, optimizes and prints the configuration language
// of pf, the BSD packet filter.
//
// It accepts the union of what OpenBSD, FreeBSD and DragonFly accept. The
// [Dialect] chooses what is left open by the text: defaults, warnings, and the
// way rules print. The package knows no kernel, keeps no global state and gives
// the same result on every host: interface tables, name resolution and files
// are inputs ([Config]), and the names of services, protocols, users and ICMP
// types come from tables inside the package.
//
// The way of a configuration:
//
//	text → File (syntax tree, positions) → Ruleset (expanded, numbered) → Optimize → Format
//
// [Parse] makes the tree, [File.Ruleset] expands it, [Load] does both. A
// [Ruleset] carries everything in resolved form: addresses as [net/netip]
// values, ports and protocols as numbers, options with their units. Printing a
// Ruleset and loading the text again gives the same Ruleset.
//
// Sources: pf.conf(5) and pfctl(8) of OpenBSD 7.8, FreeBSD 14 and DragonFly 6.
package conf
