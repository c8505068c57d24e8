//go:build vm

package vm

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/ifnet/api"
	"github.com/bsdnet/bsdnet/internal/lab"
)

// wgScript is the guest's part: Linux's own WireGuard first, then bsdnet, which
// finds it there, with the same key.
const wgScript = `export PATH=/usr/bin:/bin
set -e
ip addr add 192.0.2.2/24 dev eth0
ip link set eth0 up
ip link add wg9 type wireguard
wg set wg9 private-key /key listen-port 51829 peer NEAR endpoint 192.0.2.1:51820 allowed-ips 10.7.0.1/32
ip addr add 10.7.0.2/24 dev wg9
ip link set wg9 up
ping -c 3 -W 5 10.7.0.1
ping -c 3 -s 1300 10.7.0.1
ip link del wg9
echo kernel-to-userspace
bsdnet mount
bsdnet load -i eth0 --mode tc
bsdnet ifconfig wg0 create wgkey $(cat /key) wgport 51829 wgpeer NEAR wgendpoint 192.0.2.1 51820 wgaip 10.7.0.1/32 wgdescr near inet 10.7.0.2/24
ping -c 3 -W 5 10.7.0.1
bsdnet ifconfig wg0
bsdnet status
wg show wg0
kill -9 $(bsdnet status --json | sed -n 's/.*"pid": \([0-9]*\),/\1/p' | head -1)
ping -c 1 -W 5 10.7.0.1
bsdnet load
ping -c 1 -W 5 10.7.0.1
echo "block drop in on wg0 proto icmp" > /tmp/pf.conf
bsdnet pfctl -e -f /tmp/pf.conf
if ping -c 1 -W 2 10.7.0.1; then echo pf lets it pass; exit 1; fi
bsdnet pfctl -d
bsdnet ifconfig wg0 wgpeer NEAR -wgaip 10.7.0.1/32
bsdnet ifconfig wg0 wgpeer NEAR wgaip 10.7.0.0/24 wgpka 5
ping -c 1 -W 5 10.7.0.1
bsdnet ifconfig wg0
if bsdnet ifconfig wg0 wgpeer $(wg pubkey < /key); then echo own key taken; exit 1; fi
bsdnet ifconfig wg0 destroy
bsdnet unload
echo kernel-by-bsdnet
`

// TestVMWireGuard runs a tunnel between bsdnet here, in userspace, and Debian's
// kernel in a guest: without bsdnet there, and with it.
func TestVMWireGuard(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	kernel, err := FetchKernel(ctx, filepath.Join(root, ".cache", "kernel"))
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(root, "bin", "bsdnet")
	host := lab.MustHost(t, "wgvm")
	near, far := api.WgKey{8, 2, 3}.Clamp(), api.WgKey{16, 5, 6}.Clamp()
	host.MustRun(t, program, "mount")
	for _, args := range []string{"tuntap add tap0 mode tap", "addr add 192.0.2.1/24 dev tap0", "link set tap0 up"} {
		host.MustRun(t, "ip", strings.Fields(args)...)
	}
	host.MustRun(t, program, "load", "-i", "tap0", "--mode", "tc")
	t.Cleanup(func() { host.MustRun(t, program, "unload") })
	host.MustRun(t, program, "ifconfig", "wg0", "create", "wgkey", near.String(), "wgport", "51820",
		"wgpeer", far.Public().String(), "wgaip", "10.7.0.2/32", "inet", "10.7.0.1/24")

	work := t.TempDir()
	key := filepath.Join(work, "key")
	if err := os.WriteFile(key, []byte(far.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"/key": key, "/usr/bin/bsdnet": program}
	if err := AddPrograms(ctx, files, "ip", "ping", "wg"); err != nil {
		t.Fatal(err)
	}
	var out string
	err = host.Do(func() (err error) { // the tap is in its namespace
		out, err = kernel.Run(ctx, work, Guest{
			Modules: []string{"virtio_pci", "virtio_net", "veth", "cls_bpf", "sch_ingress", "wireguard", "tcp_diag"},
			Files:   files, Memory: 2048,
			Args:   []string{"-nic", "tap,ifname=tap0,script=no,downscript=no,model=virtio-net-pci"},
			Script: strings.ReplaceAll(wgScript, "NEAR", near.Public().String()),
		})
		return err
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		"kernel-to-userspace", "kernel-by-bsdnet", "\twireguard: kernel\n", "wg0: WireGuard: kernel\n",
		fmt.Sprintf("\twgpeer: %s\n\t\twgdescr: near\n\t\twgendpoint: 192.0.2.1 51820\n", near.Public()), "\t\twgaip: 10.7.0.0/24\n",
		"this is the key of the interface itself", "\twgport: 51829\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the guest does not say %q", want)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
}
