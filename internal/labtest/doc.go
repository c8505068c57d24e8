// Package labtest proves the router on the wire: real hosts in network
// namespaces, real traffic through the bsdnet binary, in both builds of the
// data path and both families, and what happens when things break. The tests
// need root; each of them asserts that unload leaves nothing behind.
package labtest
