package rtsock

import (
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/bsdnet/bsdnet/route/api"
)

func TestParseGroups(t *testing.T) {
	m := make(memberships)
	m.igmp(strings.NewReader("Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n" +
		"1\tlo        :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n" +
		"12\tem1       :     2      V3\n\t\t\t\t030201EF     1 0:00000000\t\t0\n\t\t\t\t010000E0     1 0:00000000\t\t0\n" +
		"x\tem2       :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\nnonsense\n\t\t\t\tzz\n"))
	m.igmp6(strings.NewReader("12   em1             ff020000000000000000000000000001     1 0000000C 0\n" +
		"13   em2             ff0200     1 0000000C 0\nshort\n"))
	want := memberships{
		{1, addr("224.0.0.1")}: true, {12, addr("239.1.2.3")}: true, {12, addr("224.0.0.1")}: true, {12, addr("ff02::1")}: true,
	}
	if !maps.Equal(m, want) {
		t.Errorf("%v, want %v", m, want)
	}
	if got := m.of(12); !slices.Equal(got, []netip.Addr{addr("224.0.0.1"), addr("239.1.2.3"), addr("ff02::1")}) {
		t.Errorf("%v", got)
	}
}

// A group that this host joins is told, and so is one that it leaves.
func TestGroups(t *testing.T) {
	var told []string
	var groups Groups
	refresh := func() {
		t.Helper()
		told = nil
		err := groups.Refresh(func(index int) (api.Link, bool) { return api.Link{Index: index}, true }, func(m api.Message) {
			if m.Addr.Addr() == addr("239.17.4.11") {
				told = append(told, m.Type.Text()[:len("RTM_NEWMADDR")])
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	join := func() *net.UDPConn {
		t.Helper()
		group, err := net.ListenMulticastUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(239, 17, 4, 11), Port: 0})
		if err != nil {
			t.Fatal(err)
		}
		return group
	}
	join().Close()
	refresh()
	if told != nil {
		t.Errorf("what was there before is told: %v", told)
	}
	group := join()
	refresh()
	if !slices.Equal(told, []string{"RTM_NEWMADDR"}) {
		t.Errorf("joined: %v", told)
	}
	refresh()
	if told != nil {
		t.Errorf("nothing new: %v", told)
	}
	group.Close()
	refresh()
	if !slices.Equal(told, []string{"RTM_DELMADDR"}) {
		t.Errorf("left: %v", told)
	}
}
