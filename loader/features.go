package loader

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
)

// Features is what the running kernel offers of what bsdnet can use.
type Features struct {
	BTF bool // type information of the kernel
	TCX bool // TC programs by link (6.6)
}

// MissingFeatureError reports something without which there is no data path.
type MissingFeatureError struct {
	Name string
	Err  error
}

func (e *MissingFeatureError) Error() string { return fmt.Sprintf("%s: %v", e.Name, e.Err) }
func (e *MissingFeatureError) Unwrap() error { return e.Err }

// Probe asks the kernel. It fails with a MissingFeatureError if the data path
// cannot be loaded at all; it changes nothing.
func Probe() (*Features, error) {
	f := &Features{}
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err == nil {
		f.BTF = true
	}
	for _, kind := range []ebpf.ProgramType{ebpf.XDP, ebpf.SchedCLS} {
		if err := features.HaveProgramType(kind); err != nil {
			return nil, &MissingFeatureError{fmt.Sprintf("programs of type %v", kind), plain(err)}
		}
	}
	for _, kind := range []ebpf.MapType{ebpf.LPMTrie, ebpf.DevMap, ebpf.XSKMap, ebpf.ProgramArray} {
		if err := features.HaveMapType(kind); err != nil {
			return nil, &MissingFeatureError{fmt.Sprintf("maps of type %v", kind), plain(err)}
		}
	}
	if err := features.HaveProgramHelper(ebpf.XDP, asm.FnXdpGetBuffLen); err != nil {
		return nil, &MissingFeatureError{"XDP with several buffers (Linux 5.18)", plain(err)}
	}
	f.TCX = haveTCX()
	return f, nil
}

// plain turns a refused probe into words that say what to do.
func plain(err error) error {
	if errors.Is(err, os.ErrPermission) {
		return errors.New("not permitted (run as root, with CAP_BPF and CAP_NET_ADMIN)")
	}
	return err
}

// haveTCX tries to attach a program to an interface that does not exist: a
// kernel that knows tcx complains of the interface, one that does not of the
// attach type.
func haveTCX() bool {
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type:         ebpf.SchedCLS,
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		License:      "Dual BSD/GPL",
	})
	if err != nil {
		return false
	}
	defer program.Close()
	l, err := link.AttachTCX(link.TCXOptions{Program: program, Attach: ebpf.AttachTCXIngress, Interface: 1 << 30})
	if err == nil {
		l.Close()
		return true
	}
	return !errors.Is(err, ebpf.ErrNotSupported)
}
