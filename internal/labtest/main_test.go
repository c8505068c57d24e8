package labtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/bsdnet/bsdnet/internal/lab"
)

// program is the binary under test.
var program string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Geteuid() != 0 {
		fmt.Println("labtest: not run: it makes network namespaces and loads BPF programs, which takes root")
		return 0
	}
	var err error
	if program, err = binary(); err != nil {
		fmt.Fprintln(os.Stderr, "labtest:", err)
		return 1
	}
	// Instances in namespaces outlive their daemon only on the host's mount.
	if out, err := exec.Command(program, "mount").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "labtest: bsdnet mount: %v: %s\n", err, out)
		return 1
	}
	return m.Run()
}

// binary returns the program that make built, or builds it.
func binary() (string, error) {
	if path, err := lab.Binary(); err == nil {
		return path, nil
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		return "", err
	}
	path := filepath.Join(root, "bin", "bsdnet")
	build := exec.Command("go", "build", "-o", path, "./cmd/bsdnet")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build bsdnet: %w: %s", err, out)
	}
	return path, nil
}
