package ifnet

import (
	"context"
	"fmt"
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

// mediaSpeed is the Mbit/s of a subtype.
func mediaSpeed(subtype string) (int, bool) {
	for speed, name := range mediaNames {
		if strings.EqualFold(name, subtype) || strings.EqualFold(strings.TrimSuffix(name, "/UTP"), subtype) {
			return speed, true
		}
	}
	return 0, false
}

// mediaModes are the modes of twisted pair by their bits in linux/ethtool.h.
var mediaModes = []struct {
	bit   uint32
	speed int
	full  bool
}{
	{1 << 0, 10, false}, {1 << 1, 10, true}, {1 << 2, 100, false}, {1 << 3, 100, true}, {1 << 4, 1000, false}, {1 << 5, 1000, true}, {1 << 12, 10000, true},
}

func mediaText(speed int, full bool) string {
	name := mediaNames[speed]
	if name == "" {
		name = fmt.Sprintf("%dMbit", speed)
	}
	if full {
		return name + " <full-duplex>"
	}
	return name + " <half-duplex>"
}

// mediaOf reads what an Ethernet device says of its medium.
func mediaOf(ifp *Ifnet) *api.Media {
	m := &api.Media{Current: api.MediaAuto, Status: "no carrier"}
	media, err := loader.GetMedia(ifp.Device)
	if err == nil {
		if !media.Autoneg && media.Supported&loader.MediaAutoneg != 0 || ifp.Type == "tuntap" || ifp.Type == "tun" {
			m.Current = "Ethernet " + mediaText(media.Speed, media.Full)
		}
		if media.Supported&loader.MediaAutoneg != 0 {
			m.All = append(m.All, "autoselect")
		}
		for _, mode := range mediaModes {
			if media.Supported&mode.bit != 0 {
				m.All = append(m.All, strings.NewReplacer(" <half-duplex>", "", " <full-duplex>", " mediaopt full-duplex").Replace(mediaText(mode.speed, mode.full)))
			}
		}
	}
	if !ifp.Up || !ifp.Running {
		return m
	}
	m.Status = "active"
	if err != nil || media.Speed <= 0 {
		return m
	}
	m.Active = mediaText(media.Speed, media.Full)
	return m
}

// SetMedia implements api.Backend.
func (i *Ioctl) SetMedia(_ context.Context, r api.MediaRequest) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	ifp, err := i.find(r.Name)
	if err != nil {
		return err
	}
	if len(ifp.Lladdr) != 6 || ifp.Loopback {
		return errno.EOPNOTSUPP
	}
	media, err := loader.GetMedia(ifp.Device)
	if err != nil {
		return failed(err)
	}
	if r.Subtype == "autoselect" {
		media.Autoneg, media.Advertise = true, media.Supported
		return failed(loader.SetMedia(ifp.Device, media))
	}
	if r.Subtype != "" {
		speed, ok := mediaSpeed(r.Subtype)
		if !ok {
			return errno.EINVAL
		}
		media.Speed, media.Full = speed, speed >= 1000 // there is no other
	}
	if r.Full != nil {
		media.Full = *r.Full
	}
	return failed(loader.SetMedia(ifp.Device, fixed(media)))
}

// fixed makes a device keep to one speed and duplex. From a gigabit on, both
// ends negotiate in any case (IEEE 802.3, 40.5): one mode alone is offered.
func fixed(media *loader.Media) *loader.Media {
	media.Autoneg = false
	for _, mode := range mediaModes {
		if mode.speed >= 1000 && mode.speed == media.Speed && mode.full == media.Full && media.Supported&loader.MediaAutoneg != 0 {
			const pauses = 1<<13 | 1<<14
			media.Autoneg, media.Advertise = true, mode.bit|loader.MediaAutoneg|media.Supported&pauses
		}
	}
	return media
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
	if r.Set != 0 { // what is not there is off already
		return errno.EINVAL
	}
	return nil
}
