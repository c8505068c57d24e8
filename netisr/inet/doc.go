// Package inet reads and writes IPv4 and IPv6 packets for the slow path:
// checksums, header checks, IPv4 options and fragments, IPv6 extension headers.
//
// Functions take the packet as bytes in network order, starting with the IP
// header. They accept any bytes, change nothing unless they say so, and do not
// allocate.
package inet
