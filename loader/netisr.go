package loader

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// NetisrName is the device, in the host's namespace, through which frames
// reach the daemon and come back.
const NetisrName = "netisr0"

// privateIndexBase is where interface indexes of the private namespace
// start: apart from those of the host, in number and in slot.
const privateIndexBase = 1<<20 + 8192

// FunnelIndex is the index of the daemon's end of the netisr veth.
const FunnelIndex = privateIndexBase

// netisrMTU leaves room for the header before the largest packet.
const netisrMTU = 65535

// InNamespace runs do on a locked thread inside a network namespace. The
// thread is given up if it cannot return to its own.
func InNamespace(ns netns.NsHandle, do func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		own, err := netns.Get()
		if err != nil {
			result <- err
			return
		}
		defer own.Close()
		if err := netns.Set(ns); err != nil {
			result <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		err = do()
		if back := netns.Set(own); back == nil {
			runtime.UnlockOSThread()
		}
		result <- err
	}()
	return <-result
}

// OpenPrivate opens the private network namespace of an instance, held by a
// bind mount at path, or creates it.
func OpenPrivate(path string) (netns.NsHandle, error) {
	if ns, err := netns.GetFromPath(path); err == nil {
		var fs unix.Statfs_t
		if unix.Statfs(path, &fs) == nil && fs.Type == unix.NSFS_MAGIC {
			return ns, nil
		}
		ns.Close()
	}
	type made struct {
		ns  netns.NsHandle
		err error
	}
	result := make(chan made, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread dies in the new namespace
		ns, err := newPrivate(path)
		result <- made{ns, err}
	}()
	m := <-result
	return m.ns, m.err
}

func newPrivate(path string) (netns.NsHandle, error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return netns.None(), fmt.Errorf("create private network namespace: %w", err)
	}
	ns, err := netns.Get()
	if err != nil {
		return netns.None(), err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o600)
	if err != nil {
		ns.Close()
		return netns.None(), fmt.Errorf("hold private network namespace: %w", err)
	}
	f.Close()
	from := fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())
	if err := unix.Mount(from, path, "", unix.MS_BIND, ""); err != nil {
		ns.Close()
		return netns.None(), fmt.Errorf("hold private network namespace: %w", err)
	}
	return ns, nil
}

// NetisrVeth is the pair that joins the data path and the daemon.
type NetisrVeth struct {
	HostIndex   int // netisr0, in the host's namespace
	FunnelIndex int // in the private namespace
	Queues      int
}

// OpenNetisr creates the netisr veth or finds it, and puts its programs on
// both ends. It must be called in the host's namespace.
func (dp *Datapath) OpenNetisr(private netns.NsHandle, f *Features) (*NetisrVeth, error) {
	host, err := netns.Get()
	if err != nil {
		return nil, err
	}
	defer host.Close()
	queues := min(runtime.NumCPU(), 64)
	veth := &NetisrVeth{FunnelIndex: FunnelIndex, Queues: queues}
	err = InNamespace(private, func() error {
		funnel, err := netlink.LinkByIndex(FunnelIndex)
		if err != nil {
			if funnel, err = createNetisr(host, queues); err != nil {
				return err
			}
		}
		veth.Queues = max(1, funnel.Attrs().NumRxQueues)
		if err := prepareNetisr(funnel); err != nil {
			return err
		}
		return dp.attachXDP(FunnelIndex, "funnel_xdp", "netisr_funnel")
	})
	if err != nil {
		return nil, fmt.Errorf("open netisr: %w", err)
	}
	end, err := netlink.LinkByName(NetisrName)
	if err != nil {
		return nil, fmt.Errorf("open netisr: find %s: %w", NetisrName, err)
	}
	veth.HostIndex = end.Attrs().Index
	if err := prepareNetisr(end); err != nil {
		return nil, fmt.Errorf("open netisr: %w", err)
	}
	if err := dp.attachXDP(veth.HostIndex, "xdp", "netisr_input"); err != nil {
		return nil, fmt.Errorf("open netisr: attach to %s: %w", NetisrName, err)
	}
	if err := dp.attachTC(end, ebpf.AttachTCXIngress, "netisr_output", f); err != nil {
		return nil, fmt.Errorf("open netisr: attach to %s: %w", NetisrName, err)
	}
	return veth, nil
}

func createNetisr(host netns.NsHandle, queues int) (netlink.Link, error) {
	err := netlink.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{
			Name: NetisrName, Index: FunnelIndex, MTU: netisrMTU, TxQLen: 1000,
			NumTxQueues: queues, NumRxQueues: queues,
		},
		PeerName:        NetisrName,
		PeerMTU:         netisrMTU,
		PeerNumTxQueues: uint32(queues),
		PeerNumRxQueues: uint32(queues),
		PeerNamespace:   netlink.NsFd(int(host)),
	})
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", NetisrName, err)
	}
	return netlink.LinkByIndex(FunnelIndex)
}

// prepareNetisr silences one end and brings it up: no IPv6 on it, and no
// offloads that would leave checksums or segments to a device that is none.
func prepareNetisr(end netlink.Link) error {
	name := end.Attrs().Name
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("turn off IPv6 on %s: %w", name, err)
	}
	if err := SetOffload(name, OffloadTxChecksum, false); err != nil {
		return fmt.Errorf("turn off checksum offload on %s: %w", name, err)
	}
	if err := netlink.LinkSetARPOff(end); err != nil {
		return fmt.Errorf("turn off ARP on %s: %w", name, err)
	}
	return netlink.LinkSetUp(end)
}
