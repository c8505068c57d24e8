package fibalgo

import "github.com/bsdnet/bsdnet/bpf"

// level is one step of a look-up.
type level struct {
	bits   int  // of the address that it takes
	ranges bool // a list of ranges; else an array by index
}

// Plan is one way to compile a table.
type Plan struct {
	Name   string // as sysctl names it
	Algo   uint32 // enum fib_algo of the ABI
	levels []level
	inet   bool
	// perRoute is how many words a route takes at the most in usual tables.
	perRoute int
}

// The plans.
var (
	DXR = &Plan{Name: "dxr", Algo: bpf.FibDxr, inet: true, perRoute: 8,
		levels: []level{{bits: 20}, {bits: 12, ranges: true}}}
	DIR24_8 = &Plan{Name: "dir24_8", Algo: bpf.FibDir248, inet: true, perRoute: 8,
		levels: []level{{bits: 24}, {bits: 8}}}
	DXR6 = &Plan{Name: "dxr6", Algo: bpf.FibDxr6, perRoute: 48,
		levels: []level{{bits: 16}, {bits: 8}, {bits: 8}, {bits: 32, ranges: true}, {bits: 32, ranges: true}, {bits: 32, ranges: true}}}
	MTrie6 = &Plan{Name: "mtrie6", Algo: bpf.FibMtrie6, perRoute: 512,
		levels: []level{{bits: 16}, {bits: 8}, {bits: 8}, {bits: 8}, {bits: 8}, {bits: 8}, {bits: 8}, {bits: 8}, {bits: 8},
			{bits: 8}, {bits: 8}, {bits: 8}, {bits: 8}, {bits: 8}, {bits: 8}}}
)

// Size returns how many words a table of so many routes should have, with room
// to grow. A table that turns out larger says so by ErrFull.
func (p *Plan) Size(routes int) int {
	return 1<<p.levels[0].bits + (routes+routes/4+1024)*p.perRoute
}
