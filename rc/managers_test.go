package rc

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestManagers(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"run/systemd/netif/links/2":              "# private\nADMIN_STATE=configured\nOPER_STATE=routable\n",
		"run/systemd/netif/links/3":              "ADMIN_STATE=unmanaged\n",
		"run/NetworkManager/devices/3":           "[device]\nmanaged=true\n",
		"run/NetworkManager/devices/2":           "[device]\nmanaged=false\n",
		"etc/network/interfaces":                 "auto lo\niface lo inet loopback\niface eth4 inet manual\n",
		"etc/network/interfaces.d/50-cloud-init": "auto eth2\niface eth2 inet dhcp\n",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	index := map[string]int{"eth2": 2, "eth3": 3, "eth4": 4}
	var got []string
	for _, m := range Managers(root, []string{"eth2", "eth3", "eth4"}, func(d string) int { return index[d] }) {
		got = append(got, m.Device+" "+m.Name)
		if !strings.Contains(m.String(), "/etc/") {
			t.Errorf("no file in %q", m)
		}
	}
	if want := "eth2 systemd-networkd, eth2 ifupdown, eth3 NetworkManager"; strings.Join(got, ", ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}
