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
	if *program, err = build(dir); err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		return 1
	}
	// Instances in namespaces outlive their daemon only on the host's mount.
	if out, err := exec.Command(*program, "mount").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "lab: bsdnet mount: %v: %s\n", err, out)
		return 1
	}
	return m.Run()
}

// build builds the program into a folder. Where there is no Go, as in a guest,
// it is the one that make built.
func build(dir string) (string, error) {
	if _, err := exec.LookPath("go"); err != nil {
		return Binary()
	}
	path := filepath.Join(dir, "bsdnet")
	cmd := exec.Command("go", "build", "-o", path, "./cmd/bsdnet")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if _, file, _, ok := runtime.Caller(0); ok {
		cmd.Dir = filepath.Join(filepath.Dir(file), "..", "..")
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%v: %w: %s", cmd.Args, err, out)
	}
	return path, nil
}
