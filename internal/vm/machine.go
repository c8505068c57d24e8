package vm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Machine is a Debian system that runs in QEMU from a disk of its own.
type Machine struct {
	words   []string // that run QEMU
	socket  string   // of the agent
	cmd     *exec.Cmd
	done    chan error
	console *lockedBuffer
	agent   net.Conn
	lines   chan string
	number  int
}

// lockedBuffer keeps what one goroutine writes and another reads.
type lockedBuffer struct {
	mu   sync.Mutex
	text []byte
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text = append(b.text, p...)
	return len(p), nil
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.ReplaceAll(string(b.text), "\r", "")
}

// diskInit mounts the disk and hands over to systemd.
const diskInit = `#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox --install -s /bin
for module in crc32c_generic virtio_pci virtio_blk ext4; do modprobe $module; done
mkdir /disk
for n in 1 2 3 4 5 6 7 8 9 10; do mount -t ext4 /dev/vda /disk && break; sleep 0.2; done
umount /proc /sys
mount --move /dev /disk/dev
exec switch_root /disk /lib/systemd/systemd
`

// Start boots a disk that MakeDisk made. Arguments add the network. The
// command, if any, runs QEMU: nsenter, for a namespace.
func (k *Kernel) Start(ctx context.Context, work, disk string, command, args []string) (*Machine, error) {
	image := filepath.Join(work, "boot.gz")
	if err := k.initramfs(ctx, filepath.Join(work, "boot"), image, []string{"virtio_pci", "virtio_blk", "ext4", "crc32c_generic"}, nil, diskInit); err != nil {
		return nil, err
	}
	agent := filepath.Join(work, "agent.sock")
	words := append(append([]string{}, command...),
		"qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1024", "-display", "none", "-no-reboot", "-nodefaults", "-no-user-config",
		"-kernel", filepath.Join(k.Dir, "boot", "vmlinuz-"+k.Version), "-initrd", image,
		"-append", "console=ttyS0 quiet panic=-1 mitigations=off systemd.show_status=false systemd.log_target=console systemd.log_level=warning",
		"-drive", "file="+disk+",format=raw,if=virtio,cache=unsafe",
		"-serial", "stdio", "-chardev", "socket,id=agent,path="+agent+",server=on,wait=off", "-serial", "chardev:agent")
	words = append(words, args...)
	m := &Machine{words: words, socket: agent, console: &lockedBuffer{}}
	return m, m.boot(ctx)
}

// boot starts QEMU, which ends when the guest reboots: what a reset of its
// devices forgets to reset is no subject of these tests.
func (m *Machine) boot(ctx context.Context) error {
	m.done, m.lines = make(chan error, 1), make(chan string, 4096)
	m.cmd = exec.CommandContext(ctx, m.words[0], m.words[1:]...)
	m.cmd.Stdout, m.cmd.Stderr = m.console, m.console
	if err := m.cmd.Start(); err != nil {
		return err
	}
	cmd, done := m.cmd, m.done
	go func() { done <- cmd.Wait() }()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		var err error
		if m.agent, err = net.Dial("unix", m.socket); err == nil {
			break
		}
		select {
		case err := <-m.done:
			m.done <- err // for Stop
			return fmt.Errorf("start machine: %w: %s", err, m.Console())
		default:
		}
		if time.Now().After(end) {
			return errors.Join(fmt.Errorf("start machine: %w", err), m.Stop())
		}
	}
	go read(m.agent, m.lines)
	return nil
}

// Reboot tells the system to reboot and waits until it has gone down and runs
// commands again.
func (m *Machine) Reboot(ctx context.Context) error {
	if _, err := m.Run(ctx, "systemctl reboot --no-block"); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return fmt.Errorf("reboot: it does not go down: %w", ctx.Err())
	case err := <-m.done:
		if err != nil {
			return fmt.Errorf("reboot: %w", err)
		}
	}
	m.agent.Close()
	if err := m.boot(context.WithoutCancel(ctx)); err != nil { // the machine outlives the waiting
		return err
	}
	return m.Await(ctx)
}

func read(from net.Conn, lines chan<- string) {
	defer close(lines)
	scanner := bufio.NewScanner(from)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		lines <- scanner.Text()
	}
}

// Console is all that was printed on the console so far.
func (m *Machine) Console() string { return m.console.String() }

// Await waits until the machine, just started or told to reboot, runs commands.
// Nothing is sent to it before that: input that nobody reads stops a boot.
func (m *Machine) Await(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for boot: %w", ctx.Err())
		case text, ok := <-m.lines:
			if !ok {
				return errors.New("wait for boot: machine ended")
			}
			if strings.TrimSpace(text) == "agent ready" {
				return nil
			}
		}
	}
}

// StatusError is a command of a machine that failed.
type StatusError struct {
	Line   string
	Status int
	Output string
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s: exit status %d: %s", e.Line, e.Status, strings.TrimSpace(e.Output))
}

// Run runs one line of shell in the machine, as root, and returns what it
// printed. Concurrent calls are not allowed.
func (m *Machine) Run(ctx context.Context, line string) (string, error) {
	m.number++
	if _, err := fmt.Fprintf(m.agent, "%d %s\n", m.number, line); err != nil {
		return "", err
	}
	var out strings.Builder
	for {
		select {
		case <-ctx.Done():
			return out.String(), fmt.Errorf("%s: %w", line, ctx.Err())
		case text, ok := <-m.lines:
			if !ok {
				return out.String(), fmt.Errorf("%s: machine ended", line)
			}
			fields := strings.Fields(text)
			if len(fields) == 3 && fields[0] == "agent" {
				if fields[1] != strconv.Itoa(m.number) {
					out.Reset() // of a line that nobody waits for any more
					continue
				}
				status, err := strconv.Atoi(fields[2])
				if err == nil && status != 0 {
					err = &StatusError{line, status, out.String()}
				}
				return strings.TrimSuffix(out.String(), "\n"), err
			}
			out.WriteString(text + "\n")
		}
	}
}

// Stop ends QEMU.
func (m *Machine) Stop() error {
	if m.agent != nil {
		m.agent.Close()
	}
	if err := m.cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-m.done:
	case <-time.After(5 * time.Second):
		_ = m.cmd.Process.Kill()
		<-m.done
	}
	return nil
}
