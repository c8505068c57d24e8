package vm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// systemPackages are what a small Debian with systemd is made of.
var systemPackages = []string{
	"systemd", "systemd-sysv", "udev", "dbus", "kmod", "bash", "dash", "coreutils", "libc-bin", "base-files", "base-passwd",
	"login", "passwd", "mount", "util-linux", "procps", "grep", "sed", "diffutils",
	"iproute2", "iputils-ping", "netcat-openbsd", "curl",
}

// fetchSystem builds a Debian file tree as a tar archive in dir, unless there
// is one of the same packages of the same month, and returns its path.
func fetchSystem(ctx context.Context, dir string) (string, error) {
	const suite = "bookworm"
	sum := sha256.Sum256([]byte(suite + strings.Join(systemPackages, " ") + time.Now().Format("2006-01")))
	path := filepath.Join(dir, "debian-"+hex.EncodeToString(sum[:6])+".tar")
	if exists(path) {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	partial := path + ".new.tar"
	defer os.Remove(partial)
	_, err := output(ctx, dir, "mmdebstrap", "--mode=root", "--variant=custom", "--format=tar",
		"--include="+strings.Join(systemPackages, ","),
		`--aptopt=Acquire::Languages "none"`, `--aptopt=Apt::Install-Recommends "false"`,
		"--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*", "--dpkgopt=path-exclude=/usr/share/doc/*",
		suite, partial)
	if err != nil {
		return "", fmt.Errorf("build system image: %w", err)
	}
	return path, os.Rename(partial, path)
}

// Disk is what is put into a Debian system before it boots.
type Disk struct {
	Modules []string          // that udev may load, with what they depend on
	Files   map[string]string // path in the guest -> path here
	Texts   map[string]string // path in the guest -> content
	Enable  []string          // units that are started at boot
	Mask    []string          // units that must not start
}

// agentUnit runs commands that come by the second serial line: a number and a
// line for the shell; output goes back, and then the number and the status.
const agentUnit = `[Unit]
Description=commands by the second serial line
DefaultDependencies=no
After=sysinit.target

[Service]
ExecStart=/bin/bash /usr/lib/agent
Restart=always
`

const agentScript = `exec </dev/ttyS1 >/dev/ttyS1 2>&1
stty raw -echo
printf '\nagent ready\n'
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
while read -r number line; do
	(eval "$line") </dev/null
	printf '\nagent %s %s\n' "$number" "$?"
done
`

// MakeDisk builds a bootable Debian system with systemd as an ext4 image at
// path; archives are kept in cache.
func (k *Kernel) MakeDisk(ctx context.Context, cache, work, path string, disk Disk) error {
	archive, err := fetchSystem(ctx, cache)
	if err != nil {
		return err
	}
	root := filepath.Join(work, "system")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(root)
	if _, err := output(ctx, root, "tar", "-xf", archive, "--exclude=./dev/*"); err != nil {
		return err
	}
	if err := k.installModules(ctx, root, disk.Modules); err != nil {
		return err
	}
	if err := copyFiles(root, disk.Files); err != nil {
		return err
	}
	texts := map[string]string{
		"/etc/systemd/system/agent.service": agentUnit,
		"/usr/lib/agent":                    agentScript,
		"/etc/fstab":                        "",
	}
	for to, text := range disk.Texts {
		texts[to] = text
	}
	for to, text := range texts {
		name := filepath.Join(root, to)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			return err
		}
	}
	if _, err := output(ctx, root, "systemctl", append([]string{"--root=" + root, "enable", "--quiet"}, disk.Enable...)...); err != nil && len(disk.Enable) > 0 {
		return err
	}
	if err := enableAgent(root); err != nil {
		return err
	}
	for _, unit := range disk.Mask {
		link := filepath.Join(root, "etc/systemd/system", unit)
		if err := os.RemoveAll(link); err != nil {
			return err
		}
		if err := os.Symlink("/dev/null", link); err != nil {
			return err
		}
	}
	_, err = output(ctx, work, "mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-d", root, path, "700M")
	return err
}

func enableAgent(root string) error {
	wants := filepath.Join(root, "etc/systemd/system/basic.target.wants")
	if err := os.MkdirAll(wants, 0o755); err != nil {
		return err
	}
	return os.Symlink("/etc/systemd/system/agent.service", filepath.Join(wants, "agent.service"))
}
