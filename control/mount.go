package control

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// Mounted says how long pins of this mount namespace live.
type Mounted int

const (
	// MountShared: the bpffs is the host's; pins outlive every process.
	MountShared Mounted = iota
	// MountPrivate: the bpffs dies with the last process of this mount
	// namespace, as inside ip-netns-exec.
	MountPrivate
)

// Mount makes sure that there is a bpffs for pins. Inside a private mount
// namespace without one it first tries to mount in the host's, where
// everybody sees it; where that is refused it mounts here and says so.
func Mount() (Mounted, error) {
	if isBPFFS(BPFDir) {
		return MountShared, nil
	}
	if inHostMounts() {
		return MountShared, mountBPFFS()
	}
	if err := mountInHost(); err == nil && isBPFFS(BPFDir) {
		return MountShared, nil
	}
	return MountPrivate, mountBPFFS()
}

func isBPFFS(path string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(path, &fs) == nil && fs.Type == unix.BPF_FS_MAGIC
}

func inHostMounts() bool {
	own, err := namespaceID("/proc/self/ns/mnt")
	if err != nil {
		return false
	}
	first, err := namespaceID("/proc/1/ns/mnt")
	return err != nil || own == first
}

func mountBPFFS() error {
	if err := os.MkdirAll(RunDir, 0o755); err != nil {
		return fmt.Errorf("mount bpffs: %w", err)
	}
	if err := os.MkdirAll(BPFDir, 0o700); err != nil {
		return fmt.Errorf("mount bpffs: %w", err)
	}
	if err := unix.Mount("bpffs", BPFDir, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700"); err != nil {
		return fmt.Errorf("mount bpffs on %s: %w", BPFDir, err)
	}
	return nil
}

// mountInHost mounts from a thread that has joined the mount namespace of
// process 1; the thread ends there.
func mountInHost() error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		result <- func() error {
			fd, err := unix.Open("/proc/1/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return err
			}
			if err := unix.Setns(fd, unix.CLONE_NEWNS); err != nil {
				return err
			}
			if isBPFFS(BPFDir) {
				return nil
			}
			return mountBPFFS()
		}()
	}()
	return <-result
}

// removeFiles removes what is in an instance's folder but for the mount of its
// private namespace.
func (i Instance) removeFiles() error {
	entries, err := os.ReadDir(i.Dir())
	errs := []error{err}
	for _, entry := range entries {
		if path := filepath.Join(i.Dir(), entry.Name()); path != i.PrivateNamespace() {
			errs = append(errs, os.RemoveAll(path))
		}
	}
	return errors.Join(errs...)
}

// removeDir lets go of the private namespace of an instance and removes
// the instance's folder.
func (i Instance) removeDir() error {
	var errs []error
	if err := unix.Unmount(i.PrivateNamespace(), unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		errs = append(errs, fmt.Errorf("release private network namespace: %w", err))
	}
	if err := os.RemoveAll(i.Dir()); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// removePins removes everything pinned for an instance.
func (i Instance) removePins() error {
	var errs []error
	for _, sub := range []string{"links", "progs_xdp", "progs_tc", "maps"} {
		errs = append(errs, os.RemoveAll(filepath.Join(i.PinDir(), sub)))
	}
	return errors.Join(append(errs, os.RemoveAll(i.PinDir()))...)
}
