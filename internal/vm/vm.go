// Package vm boots Debian's kernel in QEMU, in software emulation, with an
// initramfs that holds given programs and a script to run. It is for tests on
// kernels other than the running one.
package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Kernel is an unpacked kernel package.
type Kernel struct {
	Dir     string // where the package was unpacked
	Version string // such as 6.1.0-40-amd64
}

// FetchKernel downloads and unpacks Debian's kernel into dir, unless it is
// there. On Debian 12 that is a 6.1.
func FetchKernel(ctx context.Context, dir string) (*Kernel, error) {
	if k, err := findKernel(dir); err == nil && k.indexed() {
		return k, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	out, err := output(ctx, dir, "apt-cache", "depends", "linux-image-amd64")
	if err != nil {
		return nil, err
	}
	name := ""
	for line := range strings.Lines(out) {
		if fields := strings.Fields(line); len(fields) == 2 && strings.HasSuffix(fields[0], "Depends:") && strings.HasPrefix(fields[1], "linux-image-") {
			name = fields[1]
		}
	}
	if name == "" {
		return nil, errors.New("fetch kernel: apt knows no linux-image-amd64")
	}
	if _, err := output(ctx, dir, "apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", name); err != nil {
		return nil, err
	}
	packages, _ := filepath.Glob(filepath.Join(dir, name+"_*.deb"))
	if len(packages) == 0 {
		return nil, fmt.Errorf("fetch kernel: %s did not arrive", name)
	}
	if _, err := output(ctx, dir, "dpkg", "-x", packages[0], dir); err != nil {
		return nil, err
	}
	k, err := findKernel(dir)
	if err != nil {
		return nil, err
	}
	_, err = output(ctx, dir, "depmod", "-b", dir, k.Version)
	return k, err
}

func findKernel(dir string) (*Kernel, error) {
	images, _ := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if len(images) == 0 {
		return nil, fmt.Errorf("no kernel in %s", dir)
	}
	return &Kernel{Dir: dir, Version: strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")}, nil
}

// indexed reports whether depmod has been here, the last step of fetching.
func (k *Kernel) indexed() bool {
	_, err := os.Stat(filepath.Join(k.Dir, "lib", "modules", k.Version, "modules.dep"))
	return err == nil
}

func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), nil
}

// Guest is what boots.
type Guest struct {
	Modules []string          // to load, with what they depend on
	Files   map[string]string // path in the guest -> path here
	Script  string            // what /init runs, by busybox sh, when all is mounted
	Memory  int               // MiB; 0: 768
	Args    []string          // more arguments for QEMU
}

const marker = "guest-exit-status="

// Run boots the guest and returns what it printed. It fails if the script
// fails or the guest does not get so far.
func (k *Kernel) Run(ctx context.Context, work string, guest Guest) (string, error) {
	image := filepath.Join(work, "initramfs.gz")
	if err := k.pack(ctx, filepath.Join(work, "root"), image, guest); err != nil {
		return "", err
	}
	memory := guest.Memory
	if memory == 0 {
		memory = 768
	}
	args := append([]string{
		"-accel", "tcg", "-cpu", "max", "-m", fmt.Sprint(memory), "-nographic", "-no-reboot",
		"-kernel", filepath.Join(k.Dir, "boot", "vmlinuz-"+k.Version), "-initrd", image,
		"-append", "console=ttyS0 quiet panic=-1",
	}, guest.Args...)
	if len(guest.Args) == 0 {
		args = append(args, "-nic", "none")
	}
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", args...)
	out, err := cmd.CombinedOutput()
	text := strings.ReplaceAll(string(out), "\r", "")
	if err != nil {
		return text, fmt.Errorf("run guest: %w", err)
	}
	_, rest, ok := strings.Cut(text, marker)
	if !ok {
		return text, errors.New("run guest: it did not finish")
	}
	if status := strings.Fields(rest)[0]; status != "0" {
		return text, fmt.Errorf("run guest: script exited with status %s", status)
	}
	return text, nil
}

// pack makes the initramfs of a guest.
func (k *Kernel) pack(ctx context.Context, root, image string, guest Guest) error {
	return k.initramfs(ctx, root, image, guest.Modules, guest.Files, initScript(guest))
}

// initramfs packs busybox, modules with what they depend on, files and what
// runs first.
func (k *Kernel) initramfs(ctx context.Context, root, image string, modules []string, added map[string]string, init string) error {
	for _, dir := range []string{"bin", "proc", "sys", "dev", "run", "tmp", "etc"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	files := map[string]string{"bin/busybox": "/bin/busybox"}
	for to, from := range added {
		files[strings.TrimPrefix(to, "/")] = from
	}
	if err := copyFiles(root, files); err != nil {
		return err
	}
	if err := k.installModules(ctx, root, modules); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(root, "init"), []byte(init), 0o755); err != nil {
		return err
	}
	_, err := output(ctx, root, "sh", "-c", "find . | cpio -o -H newc --quiet | gzip -1 > "+image)
	return err
}

// installModules puts modules, with what they depend on, into a file tree.
func (k *Kernel) installModules(ctx context.Context, root string, modules []string) error {
	files := make(map[string]string)
	for _, module := range modules {
		out, err := output(ctx, root, "modprobe", "-d", k.Dir, "-S", k.Version, "--show-depends", module)
		if err != nil {
			return err
		}
		for line := range strings.Lines(out) {
			if fields := strings.Fields(line); len(fields) >= 2 && fields[0] == "insmod" {
				relative, err := filepath.Rel(k.Dir, fields[1])
				if err != nil {
					return err
				}
				files[relative] = fields[1]
			}
		}
	}
	for _, name := range []string{"modules.order", "modules.builtin", "modules.builtin.modinfo"} {
		path := filepath.Join("lib", "modules", k.Version, name)
		if from := filepath.Join(k.Dir, path); exists(from) {
			files[path] = from
		}
	}
	if err := copyFiles(root, files); err != nil {
		return err
	}
	_, err := output(ctx, root, "depmod", "-b", root, k.Version)
	return err
}

// copyFiles copies files into a tree: path in it -> path here.
func copyFiles(root string, files map[string]string) error {
	for to, from := range files {
		data, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		path := filepath.Join(root, to)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		info, err := os.Stat(from)
		if err != nil {
			return err
		}
		if err := os.WriteFile(path, data, info.Mode().Perm()|0o444); err != nil {
			return err
		}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func initScript(guest Guest) string {
	return `#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/tmp
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
mount -t bpf bpf /sys/fs/bpf
for module in ` + strings.Join(guest.Modules, " ") + `; do modprobe $module; done
ip link set lo up
(
` + guest.Script + `
)
echo ` + marker + `$?
poweroff -f
`
}
