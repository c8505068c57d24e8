package ifnet

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/bsdnet/bsdnet/errno"
	"github.com/bsdnet/bsdnet/ifnet/api"
	"github.com/bsdnet/bsdnet/loader"
)

// mediaNames are the subtypes of ifmedia(4) for twisted pair, by Mbit/s.
var mediaNames = map[int]string{
	10: "10baseT/UTP", 100: "100baseTX", 1000: "1000baseT", 2500: "2500Base-T", 5000: "5000Base-T", 10000: "10Gbase-T",
	25000: "25GBase-T", 40000: "40Gbase-CR4", 50000: "50GBase-CR2", 100000: "100GBase-CR4", 200000: "200GBase-CR4", 400000: "400GBase-CR8",
}

// mediaOf reads what an Ethernet device says of its medium.
func mediaOf(ifp *Ifnet) *api.Media {
	m := &api.Media{Current: "Ethernet autoselect", Status: "no carrier"}
	if !ifp.Up || !ifp.Running {
		return m
	}
	m.Status = "active"
	speed, err := strconv.Atoi(readAttribute(ifp.Device, "speed"))
	if err != nil || speed <= 0 {
		return m
	}
	m.Active = mediaNames[speed]
	if m.Active == "" {
		m.Active = fmt.Sprintf("%dMbit", speed)
	}
	if duplex := readAttribute(ifp.Device, "duplex"); duplex == "full" || duplex == "half" {
		m.Active += " <" + duplex + "-duplex>"
	}
	return m
}

func readAttribute(device, name string) string {
	data, err := os.ReadFile(filepath.Join("/sys/class/net", device, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// offloads are the capabilities that Linux can switch.
var offloads = []struct {
	capability api.Capabilities
	offload    loader.Offload
}{
	{api.IfcapRxcsum | api.IfcapRxcsumIPv6, loader.OffloadRxChecksum},
	{api.IfcapTxcsum | api.IfcapTxcsumIPv6, loader.OffloadTxChecksum},
	{api.IfcapTSO4 | api.IfcapTSO6, loader.OffloadTSO},
	{api.IfcapLRO, loader.OffloadLRO},
	{api.IfcapVlanHwtag, loader.OffloadRxVlan},
}

// capabilitiesOf reads which offloads a device has and which are on.
func capabilitiesOf(device string) (has, on api.Capabilities) {
	for _, o := range offloads {
		enabled, err := loader.GetOffload(device, o.offload)
		if err != nil {
			continue
		}
		has |= o.capability
		if enabled {
			on |= o.capability
		}
	}
	has |= api.IfcapVlanMTU | api.IfcapLinkstate
	return has, on | api.IfcapVlanMTU | api.IfcapLinkstate
}

// SetCapabilities implements api.Backend.
func (i *Ioctl) SetCapabilities(_ context.Context, r api.CapabilitiesRequest) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	ifp, err := i.find(r.Name)
	if err != nil {
		return err
	}
	for _, o := range offloads {
		set, clear := r.Set&o.capability != 0, r.Clear&o.capability != 0
		if !set && !clear {
			continue
		}
		r.Set, r.Clear = r.Set&^o.capability, r.Clear&^o.capability
		if o.offload == loader.OffloadRxVlan && set && ifp.Owned && !ifp.TC {
			return errno.Errorf(errno.EINVAL, "%s runs in XDP, which sees no tags that the device took off", ifp.Name)
		}
		if err := loader.SetOffload(ifp.Device, o.offload, set); err != nil {
			return errno.EINVAL
		}
	}
	if r.Set != 0 || r.Clear != 0 {
		return errno.EINVAL
	}
	return nil
}
