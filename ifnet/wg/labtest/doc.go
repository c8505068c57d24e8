// Package labtest runs WireGuard of bsdnet against that of others, in network
// namespaces.
package labtest
