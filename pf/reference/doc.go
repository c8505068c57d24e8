// Package reference decides packets as pf.conf(5) says, in the plainest way:
// it walks the rules one by one and keeps the states in a list. It is slow and
// meant to be read; the data path is compared with it.
//
// It follows FreeBSD: translation rules come before the filter rules and the
// first that matches counts, among the filter rules the last one does or the
// first with quick.
package reference
