// Package labtest holds tests of ifconfig and of cloned interfaces with real
// traffic between network namespaces. They need root.
package labtest
