package control

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// What a confined process may do with files, on any thread. It runs in a
// process of its own.
func TestLandlock(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("needs root")
	}
	probed, _, failure := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if failure == unix.ENOSYS || failure == unix.EOPNOTSUPP {
		t.Skipf("the kernel has no Landlock: %v", failure)
	}
	if failure != 0 {
		t.Fatal(failure)
	}
	if os.Getenv("BSDNET_TEST_LANDLOCK") == "" {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestLandlock$", "-test.v")
		cmd.Env = append(os.Environ(), "BSDNET_TEST_LANDLOCK="+t.TempDir()) // removed by this process, which may
		out, err := cmd.CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("--- PASS: TestLandlock")) {
			t.Fatalf("%v: %s", err, out)
		}
		return
	}
	dir := os.Getenv("BSDNET_TEST_LANDLOCK")
	tree, files, beside := filepath.Join(dir, "tree"), filepath.Join(dir, "files"), filepath.Join(dir, "beside")
	for _, d := range []string{tree, files, beside} {
		if err := errors.Join(os.Mkdir(d, 0o700), os.WriteFile(filepath.Join(d, "old"), nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	version, err := landlock([]place{{tree, landlockTree}, {files, landlockFiles}, {"/proc", landlockRead}, {filepath.Join(dir, "none"), landlockTree}})
	if err != nil {
		t.Fatal(err)
	}
	if version == 0 || version > int(probed) {
		t.Fatalf("version %d of Landlock, the kernel has %d", version, probed)
	}
	write := func(parts ...string) func() error {
		return func() error { return os.WriteFile(filepath.Join(parts...), []byte("x"), 0o600) }
	}
	for _, test := range []struct {
		name string
		do   func() error
		may  bool
	}{
		{"create in the tree", write(tree, "new"), true},
		{"change in the tree", write(tree, "old"), true},
		{"make a directory", func() error { return os.MkdirAll(filepath.Join(tree, "a", "b"), 0o700) }, true},
		{"remove directories", func() error { return os.RemoveAll(filepath.Join(tree, "a")) }, true},
		{"replace a file", func() error {
			return errors.Join(write(files, "new")(), os.Rename(filepath.Join(files, "new"), filepath.Join(files, "old")))
		}, true},
		{"make a directory among files", func() error { return os.Mkdir(filepath.Join(files, "a"), 0o700) }, false},
		{"create beside", write(beside, "new"), false},
		{"change beside", write(beside, "old"), false},
		{"read beside", func() error { _, err := os.ReadFile(filepath.Join(beside, "old")); return err }, false},
		{"remove beside", func() error { return os.Remove(filepath.Join(beside, "old")) }, false},
		{"read /proc", func() error { _, err := os.ReadFile("/proc/sys/kernel/ostype"); return err }, true},
		{"run a program", func() error { return exec.Command("/bin/true").Run() }, false},
		{"mount", func() error { return unix.Mount("tmpfs", tree, "tmpfs", 0, "") }, false},
	} {
		for range 4 { // on whatever threads
			done := make(chan error, 1)
			go func() { done <- test.do() }()
			err := <-done
			if test.may && err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
			if !test.may && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EPERM) {
				t.Errorf("%s: %v, want %v", test.name, err, unix.EACCES)
			}
			if test.name == "replace a file" || test.name == "remove directories" {
				break
			}
		}
	}
}
