package control

import (
	"fmt"
	"os"
	"strings"
	"unsafe"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Conflict is something of the host that decides about forwarded packets,
// which bsdnet's fast path would pass by.
type Conflict struct{ What string }

// conflicts looks for filters, translations, policy rules and IPsec policies
// that Linux applies to forwarded traffic.
func conflicts() []Conflict {
	var found []Conflict
	add := func(format string, args ...any) { found = append(found, Conflict{fmt.Sprintf(format, args...)}) }
	for _, chain := range nftConflicts() {
		add("nftables chain %s filters or translates forwarded packets", chain)
	}
	for _, table := range iptablesConflicts() {
		add("%s has rules for forwarded packets", table)
	}
	if rules, err := netlink.RuleList(netlink.FAMILY_ALL); err == nil {
		for _, rule := range rules {
			switch rule.Priority {
			case 0, 32766, 32767, -1:
				continue
			}
			add("ip rule %d selects a route by policy", rule.Priority)
		}
	}
	if policies, err := netlink.XfrmPolicyList(netlink.FAMILY_ALL); err == nil && len(policies) > 0 {
		add("%d IPsec policies (ip xfrm policy)", len(policies))
	}
	return found
}

// nftConflicts names the base chains with rules at hooks that see forwarded packets.
func nftConflicts() []string {
	conn, err := nftables.New()
	if err != nil {
		return nil
	}
	chains, err := conn.ListChains()
	if err != nil {
		return nil
	}
	var names []string
	for _, chain := range chains {
		if chain.Hooknum == nil || chain.Table == nil {
			continue
		}
		switch chain.Table.Family {
		case nftables.TableFamilyIPv4, nftables.TableFamilyIPv6, nftables.TableFamilyINet:
		default:
			continue
		}
		forward := *chain.Hooknum == *nftables.ChainHookForward
		if !forward && chain.Type != nftables.ChainTypeNAT {
			continue
		}
		rules, err := conn.GetRules(chain.Table, chain)
		drops := chain.Policy != nil && *chain.Policy == nftables.ChainPolicyDrop
		if err == nil && len(rules) == 0 && !drops {
			continue
		}
		names = append(names, chain.Table.Name+" "+chain.Name)
	}
	return names
}

// iptGetinfo is struct ipt_getinfo of linux/netfilter_ipv4/ip_tables.h.
type iptGetinfo struct {
	name       [32]byte
	validHooks uint32
	hookEntry  [5]uint32
	underflow  [5]uint32
	entries    uint32
	size       uint32
}

const (
	iptSoGetInfo = 64
	hookForward  = 2
)

// iptablesConflicts names the tables of the older iptables with rules in the
// way of forwarded packets. Only tables that exist are asked, so that none is
// brought into being by looking.
func iptablesConflicts() []string {
	var names []string
	for _, family := range []struct {
		file, command string
		domain, level int
	}{
		{"/proc/net/ip_tables_names", "iptables", unix.AF_INET, unix.IPPROTO_IP},
		{"/proc/net/ip6_tables_names", "ip6tables", unix.AF_INET6, unix.IPPROTO_IPV6},
	} {
		data, err := os.ReadFile(family.file)
		if err != nil {
			continue
		}
		for _, table := range strings.Fields(string(data)) {
			if table != "filter" && table != "nat" {
				continue
			}
			info, err := iptInfo(table, family.domain, family.level)
			if err != nil {
				continue
			}
			for hook := range info.hookEntry {
				if info.validHooks&(1<<hook) == 0 || table == "filter" && hook != hookForward {
					continue
				}
				if info.hookEntry[hook] != info.underflow[hook] {
					names = append(names, family.command+" table "+table)
					break
				}
			}
		}
	}
	return names
}

func iptInfo(table string, domain, level int) (*iptGetinfo, error) {
	fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	info := &iptGetinfo{}
	copy(info.name[:], table)
	size := uint32(unsafe.Sizeof(*info))
	if _, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), iptSoGetInfo,
		uintptr(unsafe.Pointer(info)), uintptr(unsafe.Pointer(&size)), 0); errno != 0 {
		return nil, errno
	}
	return info, nil
}
