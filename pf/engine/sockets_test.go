package engine

import (
	"net"
	"os"
	"syscall"
	"testing"
)

// The kernel's list has this process's sockets and names it as their owner.
func TestSocketReader(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("needs root")
	}
	r, err := newSocketReader()
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	inode := inodeOf(t, conn)
	owners, err := r.read()
	if err != nil {
		t.Fatal(err)
	}
	if pid := owners[inode]; pid != uint32(os.Getpid()) {
		t.Errorf("socket %d is of process %d, want %d", inode, pid, os.Getpid())
	}
	conn.Close()
	if owners, err = r.read(); err != nil {
		t.Fatal(err)
	}
	if pid, ok := owners[inode]; ok {
		t.Errorf("closed socket %d is of process %d", inode, pid)
	}
}

func inodeOf(t *testing.T, conn *net.UDPConn) (inode uint32) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		var stat syscall.Stat_t
		if err := syscall.Fstat(int(fd), &stat); err != nil {
			t.Error(err)
		}
		inode = uint32(stat.Ino)
	})
	if err != nil {
		t.Fatal(err)
	}
	return inode
}
