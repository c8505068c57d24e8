package rc

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Manager is another program of the host that configures an interface.
type Manager struct {
	Name   string // "systemd-networkd", "NetworkManager" or "ifupdown"
	Device string
	Advice string // what to write to hand the interface over
}

func (m Manager) String() string {
	return fmt.Sprintf("%s is configured by %s, too: %s", m.Device, m.Name, m.Advice)
}

// Managers finds out which programs manage devices, by what they keep below
// root, "/" of a running host. index gives the Linux index of a device.
func Managers(root string, devices []string, index func(device string) int) []Manager {
	var found []Manager
	ifupdown := ifupdownInterfaces(root)
	for _, device := range devices {
		number := strconv.Itoa(index(device))
		state := readKey(filepath.Join(root, "run/systemd/netif/links", number), "ADMIN_STATE")
		if state != "" && state != "unmanaged" {
			found = append(found, Manager{"systemd-networkd", device, fmt.Sprintf(
				"write [Match] Name=%s and [Link] Unmanaged=yes to /etc/systemd/network/05-bsdnet-%s.network", device, device)})
		}
		if readKey(filepath.Join(root, "run/NetworkManager/devices", number), "managed") == "true" {
			found = append(found, Manager{"NetworkManager", device, fmt.Sprintf(
				"write [keyfile] unmanaged-devices=interface-name:%s to /etc/NetworkManager/conf.d/bsdnet.conf", device)})
		}
		if file, ok := ifupdown[device]; ok {
			found = append(found, Manager{"ifupdown", device, "remove its iface lines from " + file})
		}
	}
	return found
}

// readKey reads KEY=VALUE of a file, "" if it is not there.
func readKey(file, key string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for _, line := range strings.Split(string(data), "\n") {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), key+"="); ok {
			return value
		}
	}
	return ""
}

// ifupdownInterfaces are the interfaces of interfaces(5), with the file that
// says so. Those of the method manual are nobody's.
func ifupdownInterfaces(root string) map[string]string {
	files, _ := filepath.Glob(filepath.Join(root, "etc/network/interfaces.d/*")) // the pattern is good
	files = append([]string{filepath.Join(root, "etc/network/interfaces")}, files...)
	found := make(map[string]string)
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for _, line := range strings.Split(string(data), "\n") {
			words := strings.Fields(line)
			if len(words) >= 4 && words[0] == "iface" && words[3] != "manual" && words[1] != "lo" {
				found[words[1]] = "/" + strings.TrimPrefix(strings.TrimPrefix(file, root), "/")
			}
		}
	}
	return found
}
