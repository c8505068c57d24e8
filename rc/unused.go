package rc

import "strings"

// notYet are variables of parts that do not exist here yet, by prefix, with
// what they want.
var notYet = []struct{ prefix, what string }{
	{"firewall_", "ipfw is not there yet"},
	{"dummynet_", "dummynet is not there yet"},
	{"natd_", "natd is not there yet: use pf"},
	{"ipfilter_", "ipfilter is not there yet: use pf"},
	{"ipnat_", "ipfilter is not there yet: use pf"},
	{"ipmon_", "ipfilter is not there yet: use pf"},
	{"ipfs_", "ipfilter is not there yet: use pf"},
	{"pfsync_", "pfsync is not there yet"},
	{"ftpproxy_", "ftp-proxy is not there yet"},
	{"wlans_", "wireless networks are not there yet"},
	{"wpa_supplicant_", "wireless networks are not there yet"},
	{"hostapd_", "wireless networks are not there yet"},
	{"autobridge_", "bridges are not there yet"},
	{"ppp_", "ppp is not there yet"},
	{"netif_ipexpand_max", "it has no effect here"},
	{"rtadvd_", "no router advertisements are sent yet"},
	{"route6d_", "run a routing daemon of Linux"},
	{"routed_", "run a routing daemon of Linux"},
	{"mrouted_", "multicast routing is not there yet"},
	{"mroute6d_", "multicast routing is not there yet"},
	{"static_arp_", "static ARP entries at boot are not there yet: use arp -s"},
	{"static_ndp_", "static neighbours at boot are not there yet: use ndp -s"},
	{"ipv6_cpe_wanif", "it has no effect here"},
	{"ipv6_privacy", "it has no effect here"},
	{"ipsec_", "ipsec is not there yet"},
	{"gif_interfaces", "gif is not there yet"},
	{"gifconfig_", "gif is not there yet"},
	{"fec_interfaces", "lagg is not there yet"},
	{"stf_", "stf is not there yet"},
	{"arpproxy_all", "it has no effect here"},
	{"tcp_", "the host's sockets are Linux's"},
	{"icmp_", "it has no effect here"},
	{"dhclient_", "the DHCP client is bsdnet's own"},
	{"background_dhclient", "it has no effect here"},
	{"netwait_", "it has no effect here"},
	{"defaultrouter_", "there is one routing table"},
	{"pflog_", "it has no effect here"},
	{"pf_", "it has no effect here"},
}

// noNews are variables whose wish is fulfilled anyway.
var noNews = []string{
	"rtsold_enable", "rtsold_flags", "rtsol_flags", "ipv6_activate_all_interfaces", "ipv6_network_interfaces",
	"ipv6_default_interface", "ip6addrctl_enable", "ip6addrctl_policy", "netif_enable", "routing_enable", "synchronous_dhclient",
	"ipv6_enable", "network_interfaces", "resolv_enable", "hostname", "defaultroute_delay", "defaultroute_carrier_delay",
}

// networkPrefixes begin the names of network variables.
var networkPrefixes = []string{
	"ifconfig_", "ipv6_", "ipv4_", "ip6", "route_", "vlans_", "create_args_", "cloned_", "static_", "defaultrouter", "gateway_",
	"network_", "pf", "firewall_", "bsdnet_", "netif_", "arp", "dhclient", "rtsol", "nd6_",
}

// unused warns of network variables that nothing has taken. Others are
// ignored in silence, as rc(8) does.
func (b *builder) unused() {
	for _, v := range b.config.Variables {
		if b.used[v.Name] || contains(noNews, v.Name) {
			continue
		}
		if what, ok := lookupNotYet(v.Name); ok {
			if yes, err := b.config.Yes(v.Name); err != nil || yes { // NO asks for nothing
				b.warn(at(v), "%s: %s", v.Name, what)
			}
			continue
		}
		for _, prefix := range networkPrefixes {
			if strings.HasPrefix(v.Name, prefix) {
				what := "unknown network variable"
				if prefix == "ifconfig_" && b.wanted != nil && v.Name != "ifconfig_DEFAULT" {
					what = "not one of network_interfaces"
				}
				b.warn(at(v), "%s: %s", v.Name, what)
				break
			}
		}
	}
}

func lookupNotYet(name string) (string, bool) {
	for _, entry := range notYet {
		if name == entry.prefix || strings.HasPrefix(name, entry.prefix) && strings.HasSuffix(entry.prefix, "_") {
			return entry.what, true
		}
	}
	return "", false
}

func contains(list []string, s string) bool {
	for _, one := range list {
		if one == s {
			return true
		}
	}
	return false
}
