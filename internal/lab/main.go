package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// Main is the TestMain of packages whose tests run bsdnet: it builds the
// program of this source, tells the tests where it is, and mounts the bpffs
// that instances need. It returns the exit code. Without root it runs nothing.
func Main(m *testing.M, program *string) int {
	if os.Geteuid() != 0 {
		fmt.Println("lab: not run: it makes network namespaces and loads BPF programs, which takes root")
		return 0
	}
	dir, err := os.MkdirTemp("", "bsdnet-lab-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	*program = filepath.Join(dir, "bsdnet")
	build := exec.Command("go", "build", "-o", *program, "./cmd/bsdnet")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if _, file, _, ok := runtime.Caller(0); ok {
		build.Dir = filepath.Join(filepath.Dir(file), "..", "..")
	}
	// Instances in namespaces outlive their daemon only on the host's mount.
	for _, cmd := range []*exec.Cmd{build, exec.Command(*program, "mount")} {
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "lab: %v: %v: %s\n", cmd.Args, err, out)
			return 1
		}
	}
	return m.Run()
}
