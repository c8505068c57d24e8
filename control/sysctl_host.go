package control

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// What is for the host itself, Linux's own stack does; these are its settings
// under BSD's names, so that one sysctl.conf says all.

// procSysNet holds the settings of the network namespace of who reads it.
const procSysNet = "/proc/sys/net"

// hostSysctlNodes are variables that Linux carries out, of those that this
// kernel has.
func hostSysctlNodes() map[string]sysctlNode {
	nodes := map[string]sysctlNode{
		"net.inet.icmp.bmcastecho": linuxFlag("Reply to multicast ICMP Echo Request and Timestamp packets",
			true, "ipv4/icmp_echo_ignore_broadcasts"),
		"net.inet.icmp.drop_redirect":    linuxFlag("Ignore ICMP redirects", true, "ipv4/conf/*/accept_redirects"),
		"net.inet6.icmp6.rediraccept":    linuxFlag("Accept ICMPv6 redirect messages", false, "ipv6/conf/*/accept_redirects"),
		"net.inet.ip.intr_queue_drops":   inputQueueNode("Number of packets dropped from the IP input queue", func(q InputQueue) uint64 { return q.Dropped }),
		"net.inet6.ip6.intr_queue_drops": inputQueueNode("Number of packets dropped from the IPv6 input queue", func(q InputQueue) uint64 { return q.Dropped }),
	}
	if q, err := HostInputQueue(); err == nil && q.MaxLen > 0 {
		nodes["net.inet.ip.intr_queue_maxlen"] = inputQueueNode("Maximum size of the IP input queue", func(q InputQueue) uint64 { return q.MaxLen })
	}
	for name, node := range nodes {
		if node.get(nil) == "" {
			delete(nodes, name)
		}
	}
	return nodes
}

// linuxFlag is a flag in files below procSysNet, which say the contrary if
// inverted. It is on if all of them say so.
func linuxFlag(description string, inverted bool, pattern string) sysctlNode {
	return sysctlNode{
		description: description,
		get: func(*Daemon) string {
			files, _ := filepath.Glob(filepath.Join(procSysNet, pattern))
			value := ""
			for _, file := range files {
				text, err := os.ReadFile(file)
				if err != nil {
					continue // its interface has gone
				}
				if on := strings.TrimSpace(string(text)) != "0"; on == inverted {
					return "0"
				}
				value = "1"
			}
			return value
		},
		set: func(_ *Daemon, text string) error {
			n, err := strconv.ParseUint(text, 0, 32)
			if err != nil {
				return fmt.Errorf("invalid integer '%s'", text)
			}
			value := "0"
			if (n != 0) != inverted {
				value = "1"
			}
			files, _ := filepath.Glob(filepath.Join(procSysNet, pattern))
			for _, file := range files {
				if err := os.WriteFile(file, []byte(value), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
					return err
				}
			}
			return nil
		},
	}
}

// InputQueue is the queue in front of the host's stack, that of the whole
// machine: Linux has one for each CPU and counts them for all namespaces.
type InputQueue struct {
	MaxLen    uint64 `json:"maxlen"` // packets in one of them at the most; 0: this namespace is not told
	Processed uint64 `json:"processed"`
	Dropped   uint64 `json:"dropped"`
	Squeezed  uint64 `json:"squeezed"` // times that a turn ended with packets left
}

// HostInputQueue reads the counters of the queue from softnet_stat of proc(5).
func HostInputQueue() (InputQueue, error) {
	var q InputQueue
	file, err := os.Open("/proc/net/softnet_stat")
	if err != nil {
		return q, err
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var cpu [3]uint64
		if _, err := fmt.Sscanf(lines.Text(), "%x %x %x", &cpu[0], &cpu[1], &cpu[2]); err != nil {
			return q, fmt.Errorf("read softnet_stat: %w", err)
		}
		q.Processed, q.Dropped, q.Squeezed = q.Processed+cpu[0], q.Dropped+cpu[1], q.Squeezed+cpu[2]
	}
	if text, err := os.ReadFile(filepath.Join(procSysNet, "core/netdev_max_backlog")); err == nil {
		q.MaxLen, _ = strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	}
	return q, nil
}

func inputQueueNode(description string, field func(InputQueue) uint64) sysctlNode {
	return sysctlNode{
		description: description,
		get: func(*Daemon) string {
			q, err := HostInputQueue()
			if err != nil {
				return ""
			}
			return strconv.FormatUint(field(q), 10)
		},
	}
}
