package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/ifnet"
	"github.com/bsdnet/bsdnet/ifnet/wg"
	"github.com/bsdnet/bsdnet/loader"
	"github.com/bsdnet/bsdnet/pfil"
	"github.com/bsdnet/bsdnet/rc/netif"
	"github.com/bsdnet/bsdnet/route"
	"github.com/bsdnet/bsdnet/route/rtsock"
)

// Daemon runs one instance: the data path of its network namespace and
// everything slow behind it.
type Daemon struct {
	instance Instance
	log      *slog.Logger
	features *loader.Features
	mounted  Mounted
	private  netns.NsHandle
	dp       *loader.Datapath
	config   *loader.Config
	mirror   *loader.IfnetMirror
	veth     *loader.NetisrVeth
	ifnet    *ifnet.Table
	ioctl    *ifnet.Ioctl
	wg       *wg.Cloner
	pfil     *pfil.Registry
	route    *route.Table
	rtsock   *rtsock.Server
	groups   rtsock.Groups
	slow     *slowPath
	pf       *filter
	confirm  *confirmer
	netif    *netif.Netif
	pflogd   pflogWriter
	listener net.Listener
	started  time.Time
	confined atomic.Int32 // version of Landlock that restricts it, 0: none

	mu       sync.Mutex // guards record and the set of attachments
	record   *Record
	unloaded chan struct{} // closed when unload has taken everything away
	cancel   context.CancelFunc
}

// LoadRequest asks for interfaces to be put under the data path.
type LoadRequest struct {
	Interfaces []string    `json:"interfaces,omitempty"`
	Any        bool        `json:"any,omitempty"`  // every Ethernet interface there is
	None       bool        `json:"none,omitempty"` // none is needed to begin with
	Mode       loader.Mode `json:"mode,omitempty"`
	Takeover   bool        `json:"takeover,omitempty"`
	PFDialect  string      `json:"pf_dialect,omitempty"` // "" keeps what it is
	// States is how many states pf's table must have room for, 0 for the usual
	// number. Only the first load can choose.
	States uint32 `json:"states,omitempty"`
	// Boot lets interfaces be missing: they are taken as they arrive. With
	// BootPolicy, pf blocks by [BootPolicy] until a ruleset is loaded.
	Boot       bool `json:"boot,omitempty"`
	BootPolicy bool `json:"boot_policy,omitempty"`
}

// StatesMax is the largest number of states that a table can be made for.
const StatesMax = 1 << 23

// LoadReply says what load did, in lines for the user.
type LoadReply struct {
	Attached []*InterfaceRecord `json:"attached"`
	Warnings []string           `json:"warnings,omitempty"`
	Adopted  bool               `json:"adopted,omitempty"`
}

// ErrLoaded says that the instance has a daemon already.
var ErrLoaded = errors.New("loaded already")

// Start brings an instance up and puts the interfaces of the request, and
// those of an earlier daemon, under the data path. If it fails, everything is
// as it was before.
func Start(ctx context.Context, log *slog.Logger, request LoadRequest) (*Daemon, *LoadReply, error) {
	instance, err := Current()
	if err != nil {
		return nil, nil, err
	}
	release, err := lock()
	if err != nil {
		return nil, nil, err
	}
	defer release()
	if instance.answers(ctx) {
		return nil, nil, fmt.Errorf("%w: instance %s", ErrLoaded, instance.Name)
	}
	features, err := loader.Probe()
	if err != nil {
		return nil, nil, fmt.Errorf("probe kernel: %w", err)
	}
	record, err := instance.ReadRecord()
	fresh := errors.Is(err, ErrNoInstance)
	if err != nil && !fresh {
		return nil, nil, err
	}
	// Look before anything is changed.
	chosen, err := chooseInterfaces(request)
	if err != nil {
		return nil, nil, err
	}
	if fresh && len(chosen) == 0 && !request.Boot && !request.None {
		return nil, nil, fmt.Errorf("no interface to take: name one by -i, or by an ifconfig_ variable in %s", RcConf)
	}
	warnings, err := preflight(request)
	if err != nil {
		return nil, nil, err
	}
	d := &Daemon{
		instance: instance, log: log, features: features, record: record, private: netns.None(),
		started: time.Now(), unloaded: make(chan struct{}),
	}
	ctx, d.cancel = context.WithCancel(ctx)
	var before []*InterfaceRecord
	if !fresh {
		before = slices.Clone(record.Interfaces)
	}
	reply, err := d.start(ctx, request, fresh)
	if err == nil {
		err = d.listen()
	}
	if err != nil {
		err = errors.Join(err, d.giveBack(before))
		d.close()
		if fresh {
			err = errors.Join(err, instance.Remove())
		}
		return nil, nil, err
	}
	reply.Warnings = append(warnings, reply.Warnings...)
	return d, reply, nil
}

func (d *Daemon) start(ctx context.Context, request LoadRequest, fresh bool) (*LoadReply, error) {
	var err error
	if d.mounted, err = Mount(); err != nil {
		return nil, err
	}
	if fresh {
		// What an instance of the same name left behind in a namespace that is gone.
		if err := d.instance.Remove(); err != nil {
			return nil, fmt.Errorf("remove leftovers: %w", err)
		}
		d.record = &Record{Cookie: d.instance.Cookie, Sysctl: make(map[string]string)}
	}
	if err := os.MkdirAll(d.instance.Dir(), 0o755); err != nil {
		return nil, err
	}
	if d.private, err = loader.OpenPrivate(d.instance.PrivateNamespace()); err != nil {
		return nil, err
	}
	if d.dp, err = loader.Open(d.instance.PinDir(), loader.Sizes{States: request.States}); err != nil {
		return nil, err
	}
	if d.config, err = loader.NewConfig(d.dp); err != nil {
		return nil, err
	}
	if !fresh {
		if err := ifnet.Sweep(d.instance.kept()); err != nil {
			return nil, fmt.Errorf("sweep up clones: %w", err)
		}
	}
	if err := d.startInterfaces(ctx); err != nil {
		return nil, err
	}
	d.record.PID = os.Getpid()
	if err := d.instance.writeRecord(d.record); err != nil {
		return nil, fmt.Errorf("write instance record: %w", err)
	}
	reply := &LoadReply{Adopted: d.dp.Adopted}
	if d.mounted == MountPrivate {
		reply.Warnings = append(reply.Warnings, "pins are in a private mount namespace: this instance does not outlive its daemon (run `bsdnet mount` on the host first)")
	}

	// The tables must be right before the first packet meets them.
	chosen, err := chooseInterfaces(request)
	if err != nil {
		return nil, err
	}
	for _, device := range d.adoptable(chosen) {
		mode, _ := loader.ChooseMode(device, d.askedMode(device, request.Mode))
		if err := d.ifnet.Own(device.Attrs().Index, mode == loader.ModeTC); err != nil {
			return nil, err
		}
	}
	if err := d.ioctl.Adopt(); err != nil {
		return nil, fmt.Errorf("adopt clones: %w", err)
	}
	d.route, err = route.New(d.ifnet, route.Maps{
		Inet: d.dp.Maps["rt_inet"], Inet6: d.dp.Maps["rt_inet6"], Fibs: d.dp.Maps["fibs"], Tables: d.dp.Maps["fib_tables"], Nexthop: d.dp.Maps["nexthop"],
		Arp: d.dp.Maps["arp"], Nd6: d.dp.Maps["nd6"], Generation: d.config.FIBGeneration(),
	}, route.Options{Log: d.log})
	if err != nil {
		return nil, err
	}
	if err := d.route.Start(); err != nil {
		return nil, fmt.Errorf("start routing: %w", err)
	}
	if err := d.startRtsock(); err != nil {
		return nil, err
	}
	if d.slow, err = startSlowPath(d); err != nil {
		return nil, fmt.Errorf("start netisr: %w", err)
	}
	if d.pf, err = startFilter(ctx, d); err != nil {
		return nil, err
	}
	if err := d.pf.setDialect(request.PFDialect); err != nil {
		return nil, err
	}
	d.restoreSysctl()
	d.confirm = newConfirmer(d)
	if request.Boot {
		d.record.Boot = true
		if err := d.await(request); err != nil {
			return nil, err
		}
	}
	if request.BootPolicy {
		if err := d.pf.startBoot(); err != nil {
			return nil, err
		}
	}
	d.forgetGone(deviceNames(d.adoptable(chosen)))
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, device := range d.adoptable(chosen) {
		entry, warning, err := d.attach(device, d.askedMode(device, request.Mode), request.Takeover)
		if err != nil {
			return nil, err
		}
		reply.Attached = append(reply.Attached, entry)
		if warning != "" {
			reply.Warnings = append(reply.Warnings, warning)
		}
	}
	if err := d.startNetif(); err != nil {
		return nil, err
	}
	go d.resume(ctx)
	go d.refresh(ctx)
	d.followArrivals(ctx)
	d.followMonitor(ctx)
	if err := d.confirm.resume(); err != nil {
		d.log.Error("a change that awaited confirmation is lost", "err", err)
	}
	return reply, nil
}

// giveBack takes the data path off the interfaces that a start which failed
// had reached already, but for those that it found loaded.
func (d *Daemon) giveBack(before []*InterfaceRecord) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.record == nil {
		return nil
	}
	var errs []error
	for _, entry := range slices.Clone(d.record.Interfaces) {
		if !slices.ContainsFunc(before, func(b *InterfaceRecord) bool { return b.Index == entry.Index }) {
			errs = append(errs, d.detach(entry.Index))
		}
	}
	return errors.Join(errs...)
}

// startInterfaces fills the interface table, connects it to the data path and
// makes the netisr veth.
func (d *Daemon) startInterfaces(ctx context.Context) error {
	var err error
	if d.mirror, err = loader.NewIfnetMirror(d.dp, d.private); err != nil {
		return err
	}
	d.ifnet = ifnet.NewTable()
	d.ifnet.SetMirror(d.mirror, func(err error) { d.log.Error("data path out of step", "err", err) })
	if d.veth, err = d.dp.OpenNetisr(d.private, d.features); err != nil {
		return err
	}
	if err := d.ifnet.Follow(ctx, func(err error) { d.log.Error("interface events lost", "err", err) }); err != nil {
		return err
	}
	if err := d.startCloners(ctx); err != nil {
		return err
	}
	if err := d.ifnet.Place(d.veth.HostIndex, ifnet.RoleNetisr); err != nil {
		return err
	}
	funnel, err := d.ifnet.PlaceForeign(d.veth.FunnelIndex, ifnet.RoleFunnel)
	if err != nil {
		return err
	}
	end, _ := d.ifnet.ByIndex(d.veth.HostIndex)
	d.pfil = pfil.New(d.config, pfilInterfaces{d})
	return d.config.Commit(func(c *bpf.Config) error {
		c.Netisr, c.NetisrIfindex, c.Funnel = end.Slot, uint32(d.veth.HostIndex), funnel
		if c.Generation == 0 {
			c.Flags = bpf.ConfigSendredirects | bpf.ConfigSend6redirects
		}
		return nil
	})
}

// adoptable returns the chosen devices and those that the record has, once each.
func (d *Daemon) adoptable(chosen []netlink.Link) []netlink.Link {
	devices := append([]netlink.Link(nil), chosen...)
	seen := make(map[int]bool)
	for _, device := range devices {
		seen[device.Attrs().Index] = true
	}
	for _, entry := range d.record.Interfaces {
		if device, err := netlink.LinkByIndex(entry.Index); err == nil && !seen[entry.Index] {
			devices = append(devices, device)
		}
	}
	return devices
}

func deviceNames(devices []netlink.Link) []string {
	names := make([]string, len(devices))
	for i, device := range devices {
		names[i] = device.Attrs().Name
	}
	return names
}

// askedMode is what load asked for a device now, or else when it came.
func (d *Daemon) askedMode(device netlink.Link, asked loader.Mode) loader.Mode {
	if asked != "" && asked != loader.ModeAuto {
		return asked
	}
	for _, entry := range d.record.Interfaces {
		if entry.Index == device.Attrs().Index {
			return loader.Mode(entry.Asked)
		}
	}
	return loader.ModeAuto
}

// attach puts one device under the data path; d.mu is held.
func (d *Daemon) attach(device netlink.Link, asked loader.Mode, takeover bool) (*InterfaceRecord, string, error) {
	attrs := device.Attrs()
	entry := d.recordOf(attrs.Index)
	known := entry != nil
	if !known {
		entry = &InterfaceRecord{Index: attrs.Index, Name: attrs.Name, Asked: string(asked), Offloads: make(map[string]bool), TxQLen: &attrs.TxQLen}
	}
	mode, _ := loader.ChooseMode(device, asked)
	if err := d.ifnet.Own(attrs.Index, mode == loader.ModeTC); err != nil {
		return nil, "", err
	}
	attachment, err := d.dp.Attach(device, asked, d.features, takeover)
	if err != nil {
		if !known {
			err = errors.Join(err, d.ifnet.Disown(attrs.Index))
		}
		return nil, "", err
	}
	entry.Mode, entry.Why, entry.Asked = string(attachment.Mode), attachment.Why, string(asked)
	warning := ""
	if attachment.Mode == loader.ModeXDP {
		warning = d.keepTags(entry, device)
	}
	if !known {
		d.record.Interfaces = append(d.record.Interfaces, entry)
	}
	if err := d.ifnet.Own(attrs.Index, attachment.Mode == loader.ModeTC); err != nil {
		return nil, "", err
	}
	return entry, warning, d.instance.writeRecord(d.record)
}

// keepTags makes the device leave vlan tags in the frames, where XDP looks
// for them, and remembers how it was. What a veth sends may come to XDP, too.
func (d *Daemon) keepTags(entry *InterfaceRecord, device netlink.Link) string {
	offloads := []loader.Offload{loader.OffloadRxVlan, loader.OffloadRxStag}
	if device.Type() == "veth" {
		offloads = append(offloads, loader.OffloadTxVlan, loader.OffloadTxStag)
	}
	for _, offload := range offloads {
		on, err := loader.GetOffload(entry.Name, offload)
		if err != nil || !on {
			continue
		}
		if err := loader.SetOffload(entry.Name, offload, false); err != nil {
			return fmt.Sprintf("%s keeps vlan tags beside the frames, where XDP does not see them, and cannot be told not to: %v; use --mode tc for vlans", entry.Name, err)
		}
		if _, ok := entry.Offloads[offload.Name]; !ok {
			entry.Offloads[offload.Name] = true
		}
	}
	return ""
}

func (d *Daemon) recordOf(index int) *InterfaceRecord {
	for _, entry := range d.record.Interfaces {
		if entry.Index == index {
			return entry
		}
	}
	return nil
}

// Load puts further interfaces under a running instance.
func (d *Daemon) Load(request LoadRequest) (*LoadReply, error) {
	chosen, err := chooseInterfaces(request)
	if err != nil {
		return nil, err
	}
	warnings, err := preflight(request)
	if err != nil {
		return nil, err
	}
	if room := d.pf.engine.Capacity(); request.States > room {
		return nil, fmt.Errorf("the state table was made for %d states; unload first to make another", room)
	}
	if err := d.pf.setDialect(request.PFDialect); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	reply := &LoadReply{Warnings: warnings}
	for _, device := range chosen {
		fresh := d.recordOf(device.Attrs().Index) == nil
		entry, warning, err := d.attach(device, d.askedMode(device, request.Mode), request.Takeover)
		if err != nil {
			for _, done := range reply.Attached {
				err = errors.Join(err, d.detach(done.Index))
			}
			return nil, err
		}
		if fresh {
			reply.Attached = append(reply.Attached, entry)
		}
		if warning != "" {
			reply.Warnings = append(reply.Warnings, warning)
		}
	}
	return reply, nil
}

// detach gives an interface back to the host; d.mu is held.
func (d *Daemon) detach(index int) error {
	errs := []error{d.dp.Detach(index), d.ifnet.Disown(index)}
	for i, entry := range d.record.Interfaces {
		if entry.Index == index {
			errs = append(errs, entry.restore())
			d.record.Interfaces = append(d.record.Interfaces[:i], d.record.Interfaces[i+1:]...)
			break
		}
	}
	return errors.Join(append(errs, d.instance.writeRecord(d.record))...)
}

// refresh looks at what no event tells, every few seconds.
func (d *Daemon) refresh(ctx context.Context) {
	ticker := time.NewTicker(2 * time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			d.ifnet.Refresh()
			d.tellGroups()
			if d.replaced() {
				d.log.Error("the instance was taken away, or belongs to another network namespace of its name")
				return
			}
		}
	}
}

// replaced ends a daemon that no command can reach any more: its place is gone
// or belongs to another network namespace, since its own was deleted, and
// lives on by the daemon alone.
func (d *Daemon) replaced() bool {
	record, err := readRecord(d.instance.record())
	gone := errors.Is(err, os.ErrNotExist)
	if !gone && (err != nil || record.Cookie == d.instance.Cookie) {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-d.unloaded:
	default:
		close(d.unloaded)
	}
	return true
}

// pfilInterfaces writes the lists of an interface's own head.
type pfilInterfaces struct{ d *Daemon }

func (p pfilInterfaces) SetPfil(name string, in, out uint64) error {
	ifp, ok := p.d.ifnet.ByName(name)
	if !ok || !ifp.HasSlot {
		return fmt.Errorf("%s: %w", name, ifnet.ErrNotFound)
	}
	return p.d.mirror.SetPfil(ifp.Slot, in, out)
}

// close lets go of everything in this process; what is pinned stays in force.
func (d *Daemon) close() {
	d.cancel()
	if d.listener != nil {
		d.listener.Close()
	}
	if d.confirm != nil {
		d.confirm.close()
	}
	if d.netif != nil {
		d.netif.Close()
	}
	d.pflogd.close()
	if d.slow != nil {
		d.slow.close()
	}
	d.pf.close()
	if d.rtsock != nil {
		d.rtsock.Close()
	}
	if d.route != nil {
		d.route.Close()
	}
	if d.mirror != nil {
		d.mirror.Close()
	}
	if d.config != nil {
		d.config.Close()
	}
	if d.dp != nil {
		d.dp.Close()
	}
	if d.private.IsOpen() {
		d.private.Close()
	}
}
