package control

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// lock keeps those who load and unload apart, of all instances. The folder
// itself is what is locked, so that no file is left behind.
func lock() (release func(), err error) {
	if err := os.MkdirAll(RunDir, 0o755); err != nil {
		return nil, err
	}
	dir, err := os.Open(RunDir)
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		dir.Close()
		return nil, fmt.Errorf("lock %s: %w", RunDir, err)
	}
	return func() { dir.Close() }, nil
}
