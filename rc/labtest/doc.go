// Package labtest tests rc.conf, DHCP and router advertisements with real
// hosts in network namespaces and a foreign server.
package labtest
