package main

import (
	"strings"
	"testing"

	"github.com/bsdnet/bsdnet/control"
)

func TestPrintDomains(t *testing.T) {
	var out strings.Builder
	err := printDomains(&out, []control.Domain{
		{Family: 2, Name: "inet", Present: true, Protosws: []control.Protosw{
			{Name: "ip", Where: "data path", Input: "ip_input", Timer: "reassembly", Counters: map[string]uint64{"fragments": 4, "badoptions": 1}},
			{Type: "stream", Protocol: 6, Name: "tcp", Where: "Linux"},
		}},
		{Family: 6, Name: "ns"}, {Family: 7, Name: "iso"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `Domain  Family  Type    Protocol  Name  Where      Input     Error  Timer       Counters
inet    2       -       0         ip    data path  ip_input  -      reassembly  badoptions 1, fragments 4
inet    2       stream  6         tcp   Linux      -         -      -           -
No stack here (EAFNOSUPPORT): ns (6), iso (7)
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}
