package control

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What a restricted process no longer may. It runs in a process of its own.
func TestRestrict(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("needs root")
	}
	if os.Getenv("BSDNET_TEST_RESTRICT") == "" {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestRestrict$", "-test.v")
		cmd.Env = append(os.Environ(), "BSDNET_TEST_RESTRICT=1")
		out, err := cmd.CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("--- PASS: TestRestrict")) {
			t.Fatalf("%v: %s", err, out)
		}
		return
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	forbidden := map[string]func() error{
		"chown":        func() error { return os.Chown(file, 12345, 12345) },
		"mknod":        func() error { return unix.Mknod(file+".device", unix.S_IFBLK|0o600, 0) },
		"chroot":       func() error { return unix.Chroot("/") },
		"set the time": func() error { return unix.Settimeofday(&unix.Timeval{Sec: time.Now().Unix()}) },
		"shrink the bounding set": func() error {
			return unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_NET_ADMIN, 0, 0, 0) // needs CAP_SETPCAP
		},
	}
	if err := forbidden["chown"](); err != nil {
		t.Fatalf("before: %v", err)
	}
	if err := os.Chown(file, 0, 0); err != nil {
		t.Fatal(err)
	}
	if err := restrict(capabilities); errors.Is(err, unix.ENOTSUP) {
		t.Fatal("built with cgo, unlike the product: set CGO_ENABLED=0")
	} else if err != nil {
		t.Fatal(err)
	}
	for name, do := range forbidden {
		for range 4 { // on whatever threads
			done := make(chan error, 1)
			go func() { done <- do() }()
			if err := <-done; !errors.Is(err, unix.EPERM) {
				t.Errorf("%s: %v, want %v", name, err, unix.EPERM)
			}
		}
	}
	if fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0); err != nil {
		t.Errorf("a raw socket: %v", err)
	} else {
		unix.Close(fd)
	}
	// Root gets nothing back by running a program.
	status, err := exec.Command("cat", "/proc/self/status").Output()
	if err != nil || !bytes.Contains(status, []byte("NoNewPrivs:\t1")) || bytes.Contains(status, []byte("CapEff:\t000001ffffffffff")) {
		t.Errorf("a program that it runs: %v: %s", err, status)
	}
}
