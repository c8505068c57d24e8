package control

import (
	"reflect"
	"strings"
	"testing"
)

func TestLinuxCounters(t *testing.T) {
	all := make(map[string]map[string]uint64)
	parseSnmp(all, strings.NewReader("Ip: Forwarding InReceives InDelivers\nIp: 1 20 10\n"+
		"Tcp: RtoMin InSegs OutSegs\nTcp: 200 7 0\nUdp: InDatagrams NoPorts\nUdp: 3 4\nodd\nUdpLite: InDatagrams\n"))
	parseSnmp6(all, strings.NewReader("Ip6InReceives\t9\nIp6InDelivers\t8\nUdp6InDatagrams 5\nIcmp6InMsgs 6\nIcmp6InMsgs x\nbad\n"))
	want := map[string]map[string]uint64{
		"Ip": {"InDelivers": 10}, "Tcp": {"InSegs": 7}, "Udp": {"InDatagrams": 3, "NoPorts": 4},
		"Ip6": {"InDelivers": 8}, "Udp6": {"InDatagrams": 5}, "Icmp6": {"InMsgs": 6},
	}
	if !reflect.DeepEqual(all, want) {
		t.Errorf("%v, want %v", all, want)
	}
}

func TestCounters(t *testing.T) {
	got := counters(struct {
		A uint64 `json:"a"`
		B uint64 `json:"b"`
		C string `json:"c"`
	}{7, 0, "x"})
	if !reflect.DeepEqual(got, map[string]uint64{"a": 7}) {
		t.Errorf("%v", got)
	}
}
