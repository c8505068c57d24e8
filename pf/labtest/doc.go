// Package labtest runs pfctl against instances in network namespaces, with
// real traffic, in both builds of the data path.
package labtest
