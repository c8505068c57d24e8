// Package control is the daemon that runs an instance of bsdnet, and the API
// by which commands talk to it.
package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Paths of all instances. They are variables for tests alone.
var (
	RunDir = "/run/bsdnet"
	BPFDir = "/run/bsdnet/bpf"
	RcConf = "/etc/bsdnet/rc.conf"
)

// Instance names what belongs to one network namespace: a folder at run time
// and a folder of pins.
type Instance struct {
	Name   string // "host", the name that ip-netns gave, or "net-INODE"
	Cookie uint64 // the namespace's cookie, never used twice until a reboot
}

// Dir is the instance's folder below /run.
func (i Instance) Dir() string { return filepath.Join(RunDir, i.Name) }

// PinDir is the instance's folder on the bpffs.
func (i Instance) PinDir() string { return filepath.Join(BPFDir, i.Name) }

// Socket is where the daemon listens.
func (i Instance) Socket() string { return filepath.Join(i.Dir(), "control.sock") }

// PrivateNamespace is the file that holds the private network namespace.
func (i Instance) PrivateNamespace() string { return filepath.Join(i.Dir(), "netns") }

// Log is where a daemon without a supervisor writes.
func (i Instance) Log() string { return filepath.Join(RunDir, i.Name+".log") }

// kept is the file of what bsdnet alone knows of interfaces.
func (i Instance) kept() string { return filepath.Join(i.Dir(), "ifnet.json") }

// wgDir is for the processes of wg(4). Their configurations have keys in them.
func (i Instance) wgDir() string { return filepath.Join(i.Dir(), "wg") }

func (i Instance) record() string { return filepath.Join(i.Dir(), "instance.json") }

// Current returns the instance of the network namespace that the process runs
// in, whether or not it has been loaded.
func Current() (Instance, error) {
	// A thread of the daemon, also the first one, may be in the private
	// namespace at this moment; one that runs a goroutine that is not locked is not.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := namespaceID("/proc/thread-self/ns/net")
	if err != nil {
		return Instance{}, fmt.Errorf("find own network namespace: %w", err)
	}
	cookie, err := namespaceCookie()
	if err != nil {
		return Instance{}, fmt.Errorf("read cookie of network namespace: %w", err)
	}
	return Instance{Name: namespaceName(own), Cookie: cookie}, nil
}

type fileID struct{ device, inode uint64 }

func namespaceID(path string) (fileID, error) {
	info, err := os.Stat(path)
	if err != nil {
		return fileID{}, err
	}
	stat := info.Sys().(*syscall.Stat_t)
	return fileID{uint64(stat.Dev), stat.Ino}, nil
}

// firstNamespace is the network namespace of process 1. It is asked for once: a
// daemon that has given up its privileges may not look there.
var firstNamespace = sync.OnceValues(func() (fileID, error) { return namespaceID("/proc/1/ns/net") })

func namespaceName(own fileID) string {
	if first, err := firstNamespace(); err == nil && first == own {
		return "host"
	}
	entries, _ := os.ReadDir("/run/netns")
	for _, entry := range entries {
		if id, err := namespaceID(filepath.Join("/run/netns", entry.Name())); err == nil && id == own {
			if name := entry.Name(); name != "host" && name != "bpf" {
				return name
			}
		}
	}
	return fmt.Sprintf("net-%d", own.inode)
}

func namespaceCookie() (uint64, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	return unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
}

// Record is what an instance keeps on disk while it is loaded: whose it is,
// and what to restore when it goes.
type Record struct {
	Cookie     uint64             `json:"cookie"`
	PID        int                `json:"pid"`
	Interfaces []*InterfaceRecord `json:"interfaces"`
	Sysctl     map[string]string  `json:"sysctl,omitempty"`
	Awaited    []Awaited          `json:"awaited,omitempty"`
	Boot       bool               `json:"boot,omitempty"` // it is the host's from boot on
}

// InterfaceRecord is one owned interface and what was changed on it.
type InterfaceRecord struct {
	Index    int             `json:"index"`
	Name     string          `json:"name"`
	Asked    string          `json:"asked"`
	Mode     string          `json:"mode"`
	Why      string          `json:"why"`
	Offloads map[string]bool `json:"offloads,omitempty"` // as they were before
	TxQLen   *int            `json:"txqlen,omitempty"`   // likewise
}

// ErrNoInstance says that this network namespace has no instance.
var ErrNoInstance = errors.New("no bsdnet instance in this network namespace")

// ReadRecord reads what a loaded instance keeps. It returns ErrNoInstance if
// there is none, also if what is there belongs to a namespace that is gone.
func (i Instance) ReadRecord() (*Record, error) {
	record, err := readRecord(i.record())
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNoInstance
	}
	if err != nil {
		return nil, err
	}
	if record.Cookie != i.Cookie {
		return nil, ErrNoInstance
	}
	return record, nil
}

func readRecord(path string) (*Record, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	record := &Record{}
	if err := json.Unmarshal(data, record); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return record, nil
}

// writeRecord replaces the record as a whole.
func (i Instance) writeRecord(record *Record) error {
	data, err := json.MarshalIndent(record, "", "\t")
	if err != nil {
		return err
	}
	// Commands of the reader group look here for the instance.
	temporary := i.record() + ".new"
	if err := os.WriteFile(temporary, append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(temporary, i.record())
}
