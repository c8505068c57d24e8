package control

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// capabilities are what the daemon needs once it serves; capabilities(7).
var capabilities = []int{
	unix.CAP_NET_ADMIN, unix.CAP_BPF, unix.CAP_PERFMON,
	unix.CAP_SYS_ADMIN,        // into the private namespace and out, and to let go of it
	unix.CAP_NET_RAW,          // netisr, DHCP
	unix.CAP_NET_BIND_SERVICE, // DHCP
	unix.CAP_IPC_LOCK,         // memory of AF_XDP sockets
	unix.CAP_DAC_READ_SEARCH,  // files that others own, such as a log to be continued
}

// Restrict gives up what this process does not need to serve: capabilities,
// for good, everything that an executable could add, and most of the file
// system. It concerns all threads.
func (d *Daemon) Restrict() error {
	if err := restrict(capabilities); err != nil {
		return err
	}
	version, err := landlock(d.places())
	d.confined.Store(int32(version))
	return err
}

// RestrictWg is Restrict for the process of a wg(4), which keeps its
// configuration in dir and has a socket there and in public.
func RestrictWg(dir, public string) error {
	// Marks of packets; ports below 1024.
	if err := restrict([]int{unix.CAP_NET_ADMIN, unix.CAP_NET_BIND_SERVICE}); err != nil {
		return err
	}
	_, err := landlock([]place{{"/proc", landlockRead}, {"/sys", landlockRead}, {dir, landlockTree}, {public, landlockTree}})
	return err
}

func restrict(keep []int) error {
	var want [2]uint32
	for _, c := range keep {
		want[c/32] |= 1 << (c % 32)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var have [2]unix.CapUserData
	if err := unix.Capget(&header, &have[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	text, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	last, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	var errs []error
	if have[0].Effective&(1<<unix.CAP_SETPCAP) != 0 {
		for c := range last + 1 {
			if want[c/32]&(1<<(c%32)) == 0 {
				errs = append(errs, onAllThreads(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, uintptr(c), 0))
			}
		}
	}
	errs = append(errs, onAllThreads(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0))
	for i := range have {
		kept := have[i].Permitted & want[i]
		have[i] = unix.CapUserData{Effective: kept, Permitted: kept}
	}
	errs = append(errs,
		onAllThreads(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&have[0])), 0),
		onAllThreads(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("drop privileges: %w", err)
	}
	return nil
}

// onAllThreads makes a system call that concerns one thread on all of them.
func onAllThreads(trap, a1, a2, a3 uintptr) error {
	if _, _, errno := syscall.AllThreadsSyscall6(trap, a1, a2, a3, 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}
