// Package fibalgo compiles routing tables into the words that the data path
// looks addresses up in: DXR and DIR-24-8 for IPv4, DXR with more levels and a
// multibit trie for IPv6.
//
// All of them are multibit tries that differ in their plan: how many bits of
// the address each level takes, and whether a node of that level is an array
// indexed by these bits or a sorted list of ranges (Zec, Rizzo, Mikuc, "DXR:
// Towards a Billion Routing Lookups per Second in Software", 2012; Gupta, Lin,
// McKeown, "Routing Lookups in Hardware at Memory Access Speeds", 1998). The
// layout of the words is described in bpf/c/bsdnet.h and read by bpf/c/fib.h.
//
// A [Table] may be read by others at any time. Each change becomes visible to
// them by stores of single words: an address is found as it was before the
// change or as it is after it. Words that are taken out of use keep what they
// say until [Table.Free].
package fibalgo
