package wg

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/errno"
	"github.com/bsdnet/bsdnet/ifnet"
	"github.com/bsdnet/bsdnet/ifnet/api"
	"github.com/bsdnet/bsdnet/ifnet/wg/engine"
)

// Command is the word by which this program becomes the process of an
// interface: bsdnet wg NAME DIR, with the tun as descriptor TunFile and a pipe
// as ReadyFile, on which it says "ok" or what went wrong.
const (
	Command   = "wg"
	TunFile   = 3
	ReadyFile = 4
)

// startTimeout is how long a process may take until it serves.
const startTimeout = 10 * time.Second

func socketOf(dir, name string) string { return engine.Socket(dir, name) }

// process is an interface behind the socket of its process.
type process struct{ dir string }

func (p process) get(name string) (*api.Wg, error) {
	conn, err := net.DialTimeout("unix", socketOf(p.dir, name), answerTimeout)
	if err != nil {
		return nil, errno.Errorf(errno.EIO, "ask for WireGuard: %v", err)
	}
	defer conn.Close()
	var d decoder
	if err := askOn(conn, opGet, d.line); err != nil {
		return nil, err
	}
	d.wg.Engine, d.wg.PID, d.wg.Dropped = api.WgUserspace, pidOf(conn), make(map[string]uint64)
	err = askOn(conn, opStats, func(reason, count string) error {
		n, err := strconv.ParseUint(count, 10, 64)
		if n > 0 {
			d.wg.Dropped[reason] = n
		}
		return err
	})
	return &d.wg, err
}

// engine tells whether the process is there, and which it is.
func (p process) engine(name string) (api.WgEngine, int) {
	conn, err := net.DialTimeout("unix", socketOf(p.dir, name), answerTimeout)
	if err != nil {
		return api.WgDown, 0
	}
	defer conn.Close()
	return api.WgUserspace, pidOf(conn)
}

func (p process) set(name string, r *api.WgRequest) error {
	return ask(socketOf(p.dir, name), opSet+"\n"+strings.TrimSuffix(encode(r), "\n"), nothing)
}

// pidOf is the process at the other end of a unix socket, 0: not known.
func pidOf(conn net.Conn) (pid int) {
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	return pid
}

// openTun makes the tun of a name, or takes hold of it again.
func openTun(name string, flags uint16) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "/dev/net/tun")
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR | flags)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// persist makes a tun outlive those who have it open.
func persist(file *os.File) error {
	return unix.IoctlSetInt(int(file.Fd()), unix.TUNSETPERSIST, 1)
}

// removeFiles removes what the process of a name leaves, its keys above all.
func (c *Cloner) removeFiles(name string) {
	config, socket := engine.ConfigFile(c.dir, name), socketOf(c.dir, name)
	for _, path := range []string{config, config + ".new", socket} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			c.report(fmt.Errorf("forget %s: %w", name, err))
		}
	}
}

// start runs the process of an interface until it serves. The daemon may run
// no program but itself, and the process has no more rights than the daemon.
func (c *Cloner) start(clone *ifnet.Clone, tun *os.File) error {
	read, write, err := os.Pipe()
	if err != nil {
		return errno.Of(err)
	}
	defer read.Close()
	cmd := exec.Command("/proc/self/exe", Command, clone.Name, c.dir)
	cmd.Args[0] = "bsdnet"
	cmd.ExtraFiles = []*os.File{tun, write}
	cmd.Stderr = os.Stderr
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	write.Close()
	if err != nil {
		return errno.Errorf(errno.EIO, "start WireGuard: %v", err)
	}
	go func() { _ = cmd.Wait() }() // how it ends is seen by its socket
	_ = read.SetReadDeadline(time.Now().Add(startTimeout))
	line, err := bufio.NewReader(read).ReadString('\n')
	if line = strings.TrimSuffix(line, "\n"); err != nil || line != "ok" {
		_ = cmd.Process.Kill()
		if line == "" {
			line = "it ended before it served"
		}
		return errno.Errorf(errno.EIO, "start WireGuard: %s", line)
	}
	return c.watch(clone)
}

// watch is an interface whose process is looked after.
type watch struct {
	clone *ifnet.Clone
	conn  net.Conn
}

// watch starts the process of an interface again when it ends.
func (c *Cloner) watch(clone *ifnet.Clone) error {
	conn, err := net.DialTimeout("unix", socketOf(c.dir, clone.Name), answerTimeout)
	if err != nil {
		return errno.Errorf(errno.EIO, "watch WireGuard: %v", err)
	}
	w := &watch{clone, conn}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watched[clone.Index] = w
	go func() {
		_, _ = conn.Read(make([]byte, 1)) // nothing comes: it ends with the process
		conn.Close()
		c.restart(w)
	}()
	return nil
}

// unwatch forgets a tunnel and leaves its process alone.
func (c *Cloner) unwatch(index int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.kernels, index)
	if w := c.watched[index]; w != nil {
		delete(c.watched, index)
		w.conn.Close()
	}
}

// Close leaves all processes alone; they go on.
func (c *Cloner) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, w := range c.watched {
		w.conn.Close()
	}
}

// restartMax is the longest time between attempts to start a process.
const restartMax = 30 * time.Second

// restart starts a process that ended, unless its interface has gone.
func (c *Cloner) restart(w *watch) {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, restartMax) {
		time.Sleep(wait)
		c.mu.Lock()
		mine := c.watched[w.clone.Index] == w && !c.closed
		c.mu.Unlock()
		if !mine {
			return
		}
		if _, there := c.table.ByIndex(w.clone.Index); !there {
			continue // whoever forgets it calls Gone
		}
		err := c.resume(w.clone)
		if err == nil {
			c.report(fmt.Errorf("%s: the WireGuard process ended; another one goes on", w.clone.Name))
			return
		}
		c.report(fmt.Errorf("%s: the WireGuard process ended: %w", w.clone.Name, err))
	}
}

// resume watches the process of an interface that is there, or starts one.
func (c *Cloner) resume(clone *ifnet.Clone) error {
	if c.watch(clone) == nil {
		return nil
	}
	file, err := openTun(clone.Name, 0)
	if err != nil {
		return fmt.Errorf("open tun %s: %w", clone.Name, err)
	}
	defer file.Close()
	return c.start(clone, file)
}
