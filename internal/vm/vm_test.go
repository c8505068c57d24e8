//go:build vm

package vm

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestVMStages loads every program on Debian's kernel, prints what the
// verifier's look at each cost there, and runs the table tests of the stages.
func TestVMStages(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	kernel, err := FetchKernel(ctx, filepath.Join(root, ".cache", "kernel"))
	if err != nil {
		t.Fatal(err)
	}
	work := t.TempDir()
	files := make(map[string]string)
	for _, name := range []string{"bpf", "loader"} {
		binary := filepath.Join(work, name+".test")
		cmd := exec.CommandContext(ctx, "go", "test", "-c", "-o", binary, "./"+name)
		cmd.Dir = root
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", name, err, out)
		}
		files["/"+name+".test"] = binary
	}
	out, err := kernel.Run(ctx, work, Guest{
		Modules: []string{"veth", "cls_bpf", "sch_ingress"},
		Files:   files,
		Script: `/bpf.test -test.run TestVerifier -test.v &&
/loader.test -test.run 'TestStages' -test.v > /tmp/out; status=$?
grep -cE '^    --- PASS' /tmp/out; grep -A5 -E -- '--- FAIL' /tmp/out; tail -n 3 /tmp/out
exit $status`,
	})
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "verifier ") {
			fmt.Printf("%s on %s\n", strings.TrimRight(line, "\n"), kernel.Version)
		}
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s:\n%s", kernel.Version, out[strings.LastIndex(out, "verifier"):])
}
