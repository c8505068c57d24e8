// Package labtest runs tunnels between hosts in network namespaces, and with
// kernels that are not bsdnet's.
package labtest
