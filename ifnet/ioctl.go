package ifnet

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/bpf"
	"github.com/bsdnet/bsdnet/errno"
	"github.com/bsdnet/bsdnet/ifnet/api"
)

// Ioctl answers the requests of netintro(4) about the interfaces of a table.
// It changes the kernel's devices, and the table follows. It works in the
// network namespace of the process. Its methods may be called concurrently.
type Ioctl struct {
	table   *Table
	data    func(slot uint32) (bpf.IfData, error)
	mu      sync.Mutex // one request changes things at a time
	state   *state
	cloners []Cloner

	changed map[int]bool // interfaces that cloners have not been told of
	wake    chan struct{}
	noted   sync.Mutex // guards changed
}

var _ api.Backend = (*Ioctl)(nil)

// NewIoctl makes the requests of a table that follows the kernel. path is the
// file of what outlives the daemon; data reads counters of the data path.
func NewIoctl(table *Table, path string, data func(slot uint32) (bpf.IfData, error)) (*Ioctl, error) {
	state, err := readState(path)
	if err != nil {
		return nil, fmt.Errorf("read what is kept of interfaces: %w", err)
	}
	i := &Ioctl{table: table, state: state, data: data, changed: make(map[int]bool), wake: make(chan struct{}, 1)}
	for index, k := range state.kept {
		ifp, ok := table.ByIndex(index)
		if ok && k.Clone != nil {
			k.Device = ifp.Device // nobody else gets its index: it was renamed
		}
		if !ok || ifp.Device != k.Device {
			delete(state.kept, index)
			continue
		}
		if k.Name != "" {
			table.SetAlias(k.Device, k.Name)
		}
		table.setUserGroups(index, k.Groups)
		table.setMonitor(index, k.Flags&api.IffMonitor != 0)
		if k.Clone != nil {
			table.setCloner(index, k.Clone.Cloner)
			if k.Clone.Stack != 0 {
				table.Reserved(index, k.Clone.Stack)
			}
		}
	}
	return i, nil
}

// find returns an interface by name.
func (i *Ioctl) find(name string) (*Ifnet, error) {
	ifp, ok := i.table.ByName(name)
	if !ok {
		return nil, errno.Errorf(errno.ENXIO, "interface %s does not exist", name)
	}
	return ifp, nil
}

// link returns the kernel's device of a name.
func (i *Ioctl) link(name string) (*Ifnet, netlink.Link, error) {
	ifp, err := i.find(name)
	if err != nil {
		return nil, nil, err
	}
	link, err := netlink.LinkByIndex(ifp.Index)
	if err != nil {
		return nil, nil, errno.Errorf(errno.ENXIO, "interface %s does not exist", name)
	}
	return ifp, link, nil
}

// settle takes the kernel's present view of an interface into the table, so
// that whoever asks next sees what was changed.
func (i *Ioctl) settle(index int) error {
	i.table.Settle(index)
	return nil
}

// failed turns an error of the kernel into that of a request.
func failed(err error) error {
	if err == nil {
		return nil
	}
	return errno.Of(err)
}

// Limits of ether_ioctl and if_ioctl.
const (
	mtuMin           = 72
	mtuMax           = 65535
	descriptionMax   = 1023 // net.ifdescr_maxlen, less the NUL
	linuxAliasMax    = 255  // IFALIASZ, less the NUL
	groupNameMax     = 15
	interfaceNameMax = unix.IFNAMSIZ - 1
)

// SetMTU implements api.Backend.
func (i *Ioctl) SetMTU(_ context.Context, r api.NumberRequest) error {
	if r.Value < mtuMin || r.Value > mtuMax {
		return errno.EINVAL
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	ifp, link, err := i.link(r.Name)
	if err != nil {
		return err
	}
	if limiter, ok := i.clonerOf(ifp).(mtuLimiter); ok {
		if limit := limiter.MTULimit(ifp); limit != 0 && r.Value > limit {
			return errno.EINVAL
		}
	}
	if m, ok := i.clonerOf(ifp).(mtuMinimum); ok && r.Value < m.MTUMinimum() {
		return errno.EINVAL
	}
	if err := netlink.LinkSetMTU(link, r.Value); err != nil {
		return failed(err)
	}
	return i.settle(ifp.Index)
}

// SetMetric implements api.Backend.
func (i *Ioctl) SetMetric(_ context.Context, r api.NumberRequest) error {
	return i.keep(r.Name, func(k *Kept) error { k.Metric = r.Value; return nil })
}

// keep changes what is kept of an interface.
func (i *Ioctl) keep(name string, change func(*Kept) error) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	ifp, err := i.find(name)
	if err != nil {
		return err
	}
	if err := change(i.state.of(ifp)); err != nil {
		return err
	}
	return i.state.write()
}

// SetDescription implements api.Backend.
func (i *Ioctl) SetDescription(_ context.Context, r api.TextRequest) error {
	if len(r.Value) > descriptionMax {
		return errno.ENAMETOOLONG
	}
	if strings.ContainsRune(r.Value, 0) {
		return errno.EINVAL
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	ifp, link, err := i.link(r.Name)
	if err != nil {
		return err
	}
	k := i.state.of(ifp)
	k.Description = ""
	alias := r.Value
	if len(alias) > linuxAliasMax {
		k.Description, alias = r.Value, ""
	}
	if err := netlink.LinkSetAlias(link, alias); err != nil {
		return failed(err)
	}
	if err := i.state.write(); err != nil {
		return err
	}
	return i.settle(ifp.Index)
}

// SetName implements api.Backend.
func (i *Ioctl) SetName(_ context.Context, r api.TextRequest) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	ifp, link, err := i.link(r.Name)
	if err != nil {
		return err
	}
	if err := checkName(r.Value); err != nil {
		return err
	}
	if r.Value == ifp.Name {
		return nil
	}
	if other, ok := i.table.ByName(r.Value); ok && other.Index != ifp.Index {
		return errno.EEXIST
	}
	if ifp.Loopback && ifp.Cloner == "" {
		return errno.EINVAL
	}
	k := i.state.of(ifp)
	k.Name = r.Value
	// Kernels before 6.2 rename no interface that is up: the name is bsdnet's then.
	if k.Clone != nil && netlink.LinkSetName(link, r.Value) == nil {
		i.table.SetAlias(ifp.Device, "")
		before := k.Device
		k.Device, k.Name, k.Clone.Name = r.Value, "", r.Value
		if c, ok := i.cloner(k.Clone.Cloner).(renamer); ok {
			if err := c.Renamed(k.Clone, before); err != nil {
				return err
			}
		}
		if err := i.settle(ifp.Index); err != nil {
			return err
		}
		return i.state.write()
	}
	if k.Name == ifp.Device {
		k.Name = ""
	}
	if k.Clone != nil {
		k.Clone.Name = r.Value
	}
	i.table.SetAlias(ifp.Device, k.Name)
	return i.state.write()
}

// checkName says whether Linux and the BSDs would take a name.
func checkName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return errno.EINVAL
	case len(name) > interfaceNameMax:
		return errno.ENAMETOOLONG
	case strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("/:%", r) }):
		return errno.EINVAL
	}
	return nil
}

// SetLladdr implements api.Backend.
func (i *Ioctl) SetLladdr(_ context.Context, r api.TextRequest) error {
	address, err := net.ParseMAC(r.Value)
	if err != nil || len(address) != 6 || address[0]&1 != 0 {
		return errno.EINVAL
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	ifp, link, err := i.link(r.Name)
	if err != nil {
		return err
	}
	if len(ifp.Lladdr) != 6 || ifp.Loopback {
		return errno.EINVAL
	}
	if err := netlink.LinkSetHardwareAddr(link, address); err != nil {
		return failed(err)
	}
	return i.settle(ifp.Index)
}

// AddGroup implements api.Backend.
func (i *Ioctl) AddGroup(_ context.Context, r api.TextRequest) error {
	if r.Value == "" || len(r.Value) > groupNameMax {
		return errno.EINVAL
	}
	if last := r.Value[len(r.Value)-1]; last >= '0' && last <= '9' {
		return errno.EINVAL
	}
	return i.group(r.Name, func(ifp *Ifnet, groups []string) ([]string, error) {
		if ifp.InGroup(r.Value) {
			return nil, errno.EEXIST
		}
		return append(slices.Clone(groups), r.Value), nil
	})
}

// DeleteGroup implements api.Backend.
func (i *Ioctl) DeleteGroup(_ context.Context, r api.TextRequest) error {
	return i.group(r.Name, func(_ *Ifnet, groups []string) ([]string, error) {
		if !slices.Contains(groups, r.Value) {
			return nil, errno.ENOENT
		}
		return slices.DeleteFunc(slices.Clone(groups), func(g string) bool { return g == r.Value }), nil
	})
}

func (i *Ioctl) group(name string, change func(ifp *Ifnet, groups []string) ([]string, error)) error {
	return i.keep(name, func(k *Kept) error {
		ifp, ok := i.table.ByIndex(k.Index)
		if !ok {
			return errno.ENXIO
		}
		groups, err := change(ifp, k.Groups)
		if err != nil {
			return err
		}
		k.Groups = groups
		i.table.setUserGroups(k.Index, groups)
		return nil
	})
}

// sysctl writes a setting of a device below /proc/sys/net. A device without
// the protocol has none.
func sysctl(family, device, name, value string) error {
	err := os.WriteFile(filepath.Join("/proc/sys/net", family, "conf", device, name), []byte(value), 0)
	if os.IsNotExist(err) {
		return nil
	}
	return err
}

func readSysctl(family, device, name string) string {
	data, err := os.ReadFile(filepath.Join("/proc/sys/net", family, "conf", device, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}
