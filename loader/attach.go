package loader

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Mode says how the input of an interface is taken.
type Mode string

// The modes. Auto chooses between the other two.
const (
	ModeAuto Mode = "auto"
	ModeXDP  Mode = "xdp"
	ModeTC   Mode = "tc"
)

// ParseMode reads the word of --mode.
func ParseMode(word string) (Mode, error) {
	switch mode := Mode(word); mode {
	case ModeAuto, ModeXDP, ModeTC:
		return mode, nil
	}
	return "", fmt.Errorf("mode %q: want auto, xdp or tc", word)
}

// ErrBusy reports an interface with somebody else's XDP program.
var ErrBusy = errors.New("another XDP program is attached")

// filterName names the clsact filters, by which adoption finds them.
const filterName = "bsdnet"

// Attachment is one interface under the data path.
type Attachment struct {
	Index int
	Name  string
	Mode  Mode
	Why   string // why this mode
}

// ChooseMode decides the build for an interface and says why. XDP is right
// where senders fill in checksums and do not leave segmentation to the
// device: on real NICs whose driver has native XDP.
func ChooseMode(device netlink.Link, asked Mode) (Mode, string) {
	if asked != ModeAuto {
		return asked, "asked for"
	}
	attrs := device.Attrs()
	if device.Type() != "device" {
		return ModeTC, fmt.Sprintf("%s: senders leave checksums and segmentation to it", device.Type())
	}
	driver := Driver(attrs.Name)
	switch driver {
	case "":
		return ModeTC, "virtual device"
	case "virtio_net", "xen-netfront", "hv_netvsc", "vmxnet3":
		return ModeTC, driver + ": senders leave checksums and segmentation to it"
	}
	return ModeXDP, "driver " + driver
}

// Driver returns the name of the driver of a device with hardware, or "".
func Driver(device string) string {
	target, err := os.Readlink(filepath.Join("/sys/class/net", device, "device", "driver"))
	if err != nil {
		return ""
	}
	return filepath.Base(target)
}

// Attach puts the data path on an interface of the current network namespace
// and pins the links. In mode auto it falls back from XDP to TC where the
// driver has no native XDP. With replace, somebody else's XDP program is
// taken off first. On failure nothing stays attached.
func (dp *Datapath) Attach(device netlink.Link, asked Mode, f *Features, replace bool) (*Attachment, error) {
	attrs := device.Attrs()
	mode, why := ChooseMode(device, asked)
	at := &Attachment{Index: attrs.Index, Name: attrs.Name, Mode: mode, Why: why}
	if attrs.Xdp != nil && attrs.Xdp.Attached && !dp.ownsXDP(attrs.Index) {
		if !replace {
			return nil, fmt.Errorf("attach to %s: %w (program %d); --takeover replaces it", attrs.Name, ErrBusy, attrs.Xdp.ProgId)
		}
		if err := netlink.LinkSetXdpFd(device, -1); err != nil {
			return nil, fmt.Errorf("replace XDP program on %s: %w", attrs.Name, err)
		}
	}
	if at.Mode == ModeXDP {
		err := dp.attachXDP(attrs.Index, "xdp", "ether_input")
		if err != nil && asked == ModeAuto && (errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, unix.EOPNOTSUPP)) {
			at.Mode, at.Why = ModeTC, why+" has no native XDP"
		} else if err != nil {
			return nil, fmt.Errorf("attach XDP to %s: %w", attrs.Name, err)
		}
	}
	if at.Mode == ModeTC {
		if err := dp.attachTC(device, ebpf.AttachTCXIngress, "ether_input", f); err != nil {
			return nil, errors.Join(fmt.Errorf("attach TC ingress to %s: %w", attrs.Name, err), dp.Detach(attrs.Index))
		}
	}
	if err := dp.attachTC(device, ebpf.AttachTCXEgress, "if_output", f); err != nil {
		return nil, errors.Join(fmt.Errorf("attach TC egress to %s: %w", attrs.Name, err), dp.Detach(attrs.Index))
	}
	if err := dp.detachOther(device, at.Mode); err != nil {
		return nil, fmt.Errorf("change %s to mode %s: %w", attrs.Name, at.Mode, err)
	}
	return at, nil
}

// detachOther takes the input of another mode off, from which the interface
// has been changed. For a moment both are there: what XDP takes TC never sees.
func (dp *Datapath) detachOther(device netlink.Link, mode Mode) error {
	hook := "xdp"
	if mode == ModeXDP {
		hook = "tc_ingress"
		if err := deleteFilters(device, netlink.HANDLE_MIN_INGRESS); err != nil {
			return err
		}
	}
	if err := os.Remove(linkPath(dp.Dir, hook, device.Attrs().Index)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func linkPath(dir, hook string, index int) string {
	return filepath.Join(linkDir(dir), fmt.Sprintf("%s_%d", hook, index))
}

func (dp *Datapath) ownsXDP(index int) bool {
	_, err := os.Stat(linkPath(dp.Dir, "xdp", index))
	return err == nil
}

// attachXDP attaches in native mode, or updates the link that is pinned under
// the hook's name.
func (dp *Datapath) attachXDP(index int, hook, program string) error {
	path := linkPath(dp.Dir, hook, index)
	if adopted, err := updateLink(path, dp.Programs[XDP][program]); adopted || err != nil {
		return err
	}
	l, err := link.AttachXDP(link.XDPOptions{Program: dp.Programs[XDP][program], Interface: index, Flags: link.XDPDriverMode})
	if err != nil {
		return err
	}
	defer l.Close()
	return l.Pin(path)
}

// attachTC attaches by tcx, or by clsact where the kernel has no tcx.
func (dp *Datapath) attachTC(device netlink.Link, where ebpf.AttachType, program string, f *Features) error {
	index := device.Attrs().Index
	if !f.TCX {
		return attachClsact(device, where, dp.Programs[TC][program])
	}
	hook := "tc_ingress"
	if where == ebpf.AttachTCXEgress {
		hook = "tc_egress"
	}
	path := linkPath(dp.Dir, hook, index)
	if adopted, err := updateLink(path, dp.Programs[TC][program]); adopted || err != nil {
		return err
	}
	l, err := link.AttachTCX(link.TCXOptions{Program: dp.Programs[TC][program], Attach: where, Interface: index})
	if err != nil {
		return err
	}
	defer l.Close()
	return l.Pin(path)
}

// updateLink makes a pinned link run program. It reports false where there is
// no link, or one whose interface is gone.
func updateLink(path string, program *ebpf.Program) (bool, error) {
	l, err := link.LoadPinnedLink(path, nil)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer l.Close()
	if err := l.Update(program); err != nil {
		return false, os.Remove(path)
	}
	return true, nil
}

func clsactParent(where ebpf.AttachType) uint32 {
	if where == ebpf.AttachTCXEgress {
		return netlink.HANDLE_MIN_EGRESS
	}
	return netlink.HANDLE_MIN_INGRESS
}

// attachClsact replaces the filter named bsdnet, or adds it.
func attachClsact(device netlink.Link, where ebpf.AttachType, program *ebpf.Program) error {
	qdisc := &netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{
			LinkIndex: device.Attrs().Index,
			Handle:    netlink.MakeHandle(0xffff, 0),
			Parent:    netlink.HANDLE_CLSACT,
		},
		QdiscType: "clsact",
	}
	if err := netlink.QdiscAdd(qdisc); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("add clsact: %w", err)
	}
	return netlink.FilterReplace(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: device.Attrs().Index,
			Parent:    clsactParent(where),
			Handle:    1,
			Protocol:  unix.ETH_P_ALL,
			Priority:  1,
		},
		Fd:           program.FD(),
		Name:         filterName,
		DirectAction: true,
	})
}

// Detach takes the data path off an interface. It needs no programs, only the
// pins, so that it works whatever became of the daemon.
func (dp *Datapath) Detach(index int) error { return detach(dp.Dir, index) }

// DetachPinned is Detach for a data path that is pinned in dir and not open.
func DetachPinned(dir string, index int) error { return detach(dir, index) }

func detach(dir string, index int) error {
	var errs []error
	for _, hook := range []string{"xdp", "tc_ingress", "tc_egress"} {
		if err := os.Remove(linkPath(dir, hook, index)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	device, err := netlink.LinkByIndex(index)
	if err != nil {
		return errors.Join(errs...) // the interface is gone and its filters with it
	}
	return errors.Join(append(errs, detachClsact(device))...)
}

// filtersOn returns the filters named bsdnet, and how many there are in all.
func filtersOn(device netlink.Link, parent uint32) (own []netlink.Filter, all int) {
	filters, err := netlink.FilterList(device, parent)
	if err != nil {
		return nil, 0 // no qdisc
	}
	for _, filter := range filters {
		if f, ok := filter.(*netlink.BpfFilter); ok && f.Name == filterName {
			own = append(own, f)
		}
	}
	return own, len(filters)
}

func deleteFilters(device netlink.Link, parent uint32) error {
	var errs []error
	own, _ := filtersOn(device, parent)
	for _, filter := range own {
		errs = append(errs, netlink.FilterDel(filter))
	}
	return errors.Join(errs...)
}

// detachClsact removes the filters named bsdnet, and the clsact qdisc if
// nothing else uses it.
func detachClsact(device netlink.Link) error {
	var errs []error
	ours, others := 0, 0
	for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
		own, all := filtersOn(device, parent)
		ours, others = ours+len(own), others+all-len(own)
		errs = append(errs, deleteFilters(device, parent))
	}
	if ours > 0 && others == 0 {
		qdiscs, err := netlink.QdiscList(device)
		errs = append(errs, err)
		for _, qdisc := range qdiscs {
			if qdisc.Type() == "clsact" {
				errs = append(errs, netlink.QdiscDel(qdisc))
			}
		}
	}
	return errors.Join(errs...)
}
