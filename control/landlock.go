package control

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/ifnet/wg/engine"
)

// Rights of landlock(7) on files. What is not granted anywhere is denied
// everywhere; this program alone may be executed.
const (
	landlockRead  = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	landlockFile  = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	landlockFiles = landlockRead | landlockFile | unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE
	landlockTree  = landlockFiles | unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR |
		unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_REFER
	landlockDevice = landlockFile | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	landlockSelf   = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_EXECUTE
)

// landlockAll are the rights that versions of Landlock know.
var landlockAll = []uint64{
	1: unix.LANDLOCK_ACCESS_FS_MAKE_SYM<<1 - 1,
	2: unix.LANDLOCK_ACCESS_FS_REFER<<1 - 1,
	3: unix.LANDLOCK_ACCESS_FS_TRUNCATE<<1 - 1,
	4: unix.LANDLOCK_ACCESS_FS_TRUNCATE<<1 - 1,
	5: unix.LANDLOCK_ACCESS_FS_IOCTL_DEV<<1 - 1,
}

// place is a file or a tree, and what may be done there.
type place struct {
	path   string
	rights uint64
}

// places are where the daemon reads and writes once it serves.
func (d *Daemon) places() []place {
	_ = os.MkdirAll(VarDir, 0o700) // where that fails nothing can be kept there either
	list := []place{
		{"/proc", landlockRead}, {"/sys", landlockRead}, {"/etc", landlockRead}, {"/run", landlockRead}, {"/usr", landlockRead}, {"/var", landlockRead},
		{"/dev", landlockRead}, {"/dev/net/tun", landlockDevice}, {"/dev/null", landlockDevice},
		{"/proc/self/exe", landlockSelf}, {engine.PublicDir, landlockTree}, // processes of wg(4)
		{"/proc/sys/net", landlockFile}, {RunDir, landlockTree}, {BPFDir, landlockTree}, {VarDir, landlockTree}, {"/var/log", landlockFiles},
	}
	if path := d.instance.resolvconf(); path != "" {
		list = append(list, place{filepath.Dir(path), landlockFiles})
	}
	if plan := d.netif.Plan(); plan != nil {
		if file := plan.Pflog.File; filepath.IsAbs(file) {
			list = append(list, place{filepath.Dir(file), landlockFiles})
		}
		if file := plan.PF.Rules; filepath.IsAbs(file) { // a boot tries it again
			list = append(list, place{filepath.Dir(file), landlockRead})
		}
	}
	return list
}

// landlock confines all threads to places; those that do not exist are left
// out. It returns the version of Landlock, 0: the kernel has none, so that
// nothing is confined. It asks for no_new_privs to be set.
func landlock(places []place) (version int, err error) {
	v, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno == unix.ENOSYS || errno == unix.EOPNOTSUPP {
		return 0, nil
	}
	if errno != 0 {
		return 0, fmt.Errorf("confine to files: %w", errno)
	}
	version = int(v)
	all := landlockAll[min(version, len(landlockAll)-1)]
	attr := unix.LandlockRulesetAttr{Handled_access_fs: all}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr.Handled_access_fs), 0)
	if errno != 0 {
		return 0, fmt.Errorf("confine to files: %w", errno)
	}
	defer unix.Close(int(fd))
	for _, p := range places {
		if err := permit(int(fd), p, all); err != nil && !errors.Is(err, os.ErrNotExist) {
			return 0, fmt.Errorf("confine to files: %s: %w", p.path, err)
		}
	}
	if err := onAllThreads(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); err != nil {
		return 0, fmt.Errorf("confine to files: %w", err)
	}
	return version, nil
}

// permit adds a place to a ruleset; a file takes no rights of directories.
func permit(ruleset int, p place, all uint64) error {
	fd, err := unix.Open(p.path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	attr := unix.LandlockPathBeneathAttr{Allowed_access: p.rights & all, Parent_fd: int32(fd)}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&attr)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
