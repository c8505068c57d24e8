// Package pfctl is the command pfctl(8) of OpenBSD, FreeBSD and DragonFly.
//
// The dialect chooses which flags exist and what they mean. Checking and
// printing rulesets (-n) needs nothing but files; everything else is asked
// from the running instance through [Engine].
package pfctl
