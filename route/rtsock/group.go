package rtsock

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/bsdnet/bsdnet/route/api"
)

// membership is a multicast group on an interface.
type membership struct {
	index int
	group netip.Addr
}

type memberships map[membership]bool

// of returns the groups of an interface in order.
func (m memberships) of(index int) []netip.Addr {
	var list []netip.Addr
	for member := range m {
		if member.index == index {
			list = append(list, member.group)
		}
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return list
}

// readGroups reads the groups that this host is in, in the network namespace of
// the daemon. Linux tells of changes only since 6.14, so they are read.
func readGroups() (memberships, error) {
	// A thread may be in another namespace, one that is locked is not.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	m := make(memberships)
	for file, parse := range map[string]func(memberships, io.Reader){"igmp": memberships.igmp, "igmp6": memberships.igmp6} {
		f, err := os.Open("/proc/thread-self/net/" + file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // without the family
		}
		if err != nil {
			return nil, err
		}
		parse(m, f)
		f.Close()
	}
	return m, nil
}

// igmp reads /proc/net/igmp: a line of each interface, which begins with its
// index, and indented ones of its groups, as a 32-bit number of this machine.
func (m memberships) igmp(r io.Reader) {
	index := 0
	for lines := bufio.NewScanner(r); lines.Scan(); {
		line := lines.Text()
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if !strings.HasPrefix(line, "\t") {
			index, _ = strconv.Atoi(fields[0])
			continue
		}
		number, err := strconv.ParseUint(fields[0], 16, 32)
		if err != nil || index == 0 {
			continue
		}
		var octets [4]byte
		binary.NativeEndian.PutUint32(octets[:], uint32(number))
		m[membership{index, netip.AddrFrom4(octets)}] = true
	}
}

// igmp6 reads /proc/net/igmp6: index, name and group in hexadecimal.
func (m memberships) igmp6(r io.Reader) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 3 {
			continue
		}
		index, err := strconv.Atoi(fields[0])
		octets, bad := hex.DecodeString(fields[2])
		if err != nil || bad != nil || len(octets) != 16 {
			continue
		}
		m[membership{index, netip.AddrFrom16([16]byte(octets))}] = true
	}
}

// Groups watches the multicast groups of this host.
type Groups struct {
	known memberships
}

// Refresh tells what changed since it was called last; the first time, nothing.
// link returns the interface of an index.
func (g *Groups) Refresh(link func(index int) (api.Link, bool), tell func(api.Message)) error {
	now, err := readGroups()
	if err != nil {
		return err
	}
	before := g.known
	g.known = now
	if before == nil {
		return nil
	}
	compare := func(typ api.MessageType, have, other memberships) {
		members := slices.SortedFunc(maps.Keys(have), func(a, b membership) int {
			if a.index != b.index {
				return a.index - b.index
			}
			return a.group.Compare(b.group)
		})
		for _, member := range members {
			if other[member] {
				continue
			}
			if l, ok := link(member.index); ok {
				tell(api.Message{Type: typ, Link: l, Addr: netip.PrefixFrom(member.group, member.group.BitLen())})
			}
		}
	}
	compare(api.RTMDelmaddr, before, now)
	compare(api.RTMNewmaddr, now, before)
	return nil
}
