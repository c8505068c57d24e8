package labtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// program is the binary under test.
var program string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Geteuid() != 0 {
		fmt.Println("labtest: not run: it makes network namespaces and loads BPF programs, which takes root")
		return 0
	}
	dir, err := os.MkdirTemp("", "if-labtest-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "labtest:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "bsdnet")
	build := exec.Command("go", "build", "-o", program, "./cmd/bsdnet")
	build.Dir, build.Env = filepath.Join("..", ".."), append(os.Environ(), "CGO_ENABLED=0")
	// Instances in namespaces outlive their daemon only on the host's mount.
	for _, cmd := range []*exec.Cmd{build, exec.Command(program, "mount")} {
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "labtest: %v: %v: %s\n", cmd.Args, err, out)
			return 1
		}
	}
	return m.Run()
}
