//go:build bench

package bench

import (
	"strings"
	"testing"

	"github.com/bsdnet/bsdnet/pf/conf"
	"github.com/bsdnet/bsdnet/pf/program"
)

// anyHost is a host that has all that a ruleset names.
type anyHost struct{}

func (anyHost) Slot(string) (uint32, bool)                { return 1, true }
func (anyHost) Group(string) (uint32, bool)               { return 0, false }
func (anyHost) Counters(program.Identity) (uint32, error) { return 1, nil }
func (anyHost) Settings(conf.Timeouts) (uint16, error)    { return 1, nil }
func (anyHost) HasTable(string) bool                      { return false }

// BenchmarkLoad is what pfctl and the daemon do to a file of 10,000 rules
// before it goes to the kernel.
func BenchmarkLoad(b *testing.B) {
	filters, err := ReadClassBench(fixtures + "/acl1_10k.gz")
	if err != nil {
		b.Skip("no ClassBench sets here")
	}
	text := PFConf(filters, false)
	read := func(text string) *conf.Ruleset {
		rs, err := conf.Load("pf.conf", strings.NewReader(text), conf.Config{Dialect: conf.FreeBSD})
		if err != nil {
			b.Fatal(err)
		}
		return rs
	}
	stage := func(name string, do func()) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				do()
			}
		})
	}
	stage("parse", func() { read(text) })
	stage("parse and optimize", func() {
		rs := read(text)
		conf.Optimize(rs, conf.OptimizeOptions{Level: conf.OptimizeBasic})
		rs.Finish()
	})
	rs := read(text)
	rs.Finish()
	stage("check", func() {
		if errs := program.Unenforced(rs); len(errs) > 0 {
			b.Fatal(errs)
		}
	})
	stage("print", func() {
		var out strings.Builder
		if err := conf.Format(&out, rs, conf.FormatOptions{AnchorPaths: true}); err != nil {
			b.Fatal(err)
		}
	})
	stage("compile", func() {
		if _, errs := program.Compile(rs, anyHost{}); len(errs) > 0 {
			b.Fatal(errs)
		}
	})
}
