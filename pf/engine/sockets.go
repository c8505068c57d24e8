package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
)

// socketReader lists the sockets of all processes by an iterator of the kernel
// (bpf_iter__task_file), which needs no right to look into processes.
type socketReader struct{ iterator *link.Iter }

// Offsets in struct bpf_iter__task_file and struct bpf_iter_meta, which are ABI.
const (
	iterMeta, iterTask, iterFile = 0, 8, 24
	metaSeq                      = 0
	socketRecord                 = 16 // inode and process
)

func newSocketReader() (*socketReader, error) {
	var offsets [3]int16
	for i, m := range []struct{ of, member string }{{"file", "f_inode"}, {"inode", "i_ino"}, {"task_struct", "tgid"}} {
		offset, err := memberOffset(m.of, m.member)
		if err != nil {
			return nil, fmt.Errorf("list sockets: %w", err)
		}
		offsets[i] = offset
	}
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "pf_sockets", Type: ebpf.Tracing, AttachType: ebpf.AttachTraceIter, AttachTo: "task_file", License: "Dual BSD/GPL",
		Instructions: socketInstructions(offsets[0], offsets[1], offsets[2]),
	})
	if err != nil {
		return nil, fmt.Errorf("list sockets: %w", err)
	}
	defer program.Close()
	iterator, err := link.AttachIter(link.IterOptions{Program: program})
	if err != nil {
		return nil, fmt.Errorf("list sockets: %w", err)
	}
	return &socketReader{iterator}, nil
}

// socketInstructions write inode and process of each file that is a socket.
func socketInstructions(fileInode, inodeNumber, tgid int16) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(asm.R7, asm.R6, iterFile, asm.DWord),
		asm.JEq.Imm(asm.R7, 0, "out"),
		asm.LoadMem(asm.R8, asm.R6, iterTask, asm.DWord),
		asm.JEq.Imm(asm.R8, 0, "out"),
		asm.Mov.Reg(asm.R1, asm.R7),
		asm.FnSockFromFile.Call(),
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.LoadMem(asm.R1, asm.R7, fileInode, asm.DWord),
		asm.LoadMem(asm.R1, asm.R1, inodeNumber, asm.DWord),
		asm.StoreMem(asm.R10, -socketRecord, asm.R1, asm.DWord),
		asm.LoadMem(asm.R1, asm.R8, tgid, asm.Word),
		asm.StoreMem(asm.R10, -socketRecord+8, asm.R1, asm.DWord),
		asm.LoadMem(asm.R1, asm.R6, iterMeta, asm.DWord),
		asm.LoadMem(asm.R1, asm.R1, metaSeq, asm.DWord),
		asm.Mov.Reg(asm.R2, asm.R10),
		asm.Add.Imm(asm.R2, -socketRecord),
		asm.Mov.Imm(asm.R3, socketRecord),
		asm.FnSeqWrite.Call(),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
		asm.Return(),
	}
}

// memberOffset is the place of a member of a structure of the running kernel.
func memberOffset(of, member string) (int16, error) {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		return 0, err
	}
	var s *btf.Struct
	if err := spec.TypeByName(of, &s); err != nil {
		return 0, err
	}
	offset, ok := offsetIn(s.Members, member)
	if !ok || offset > 1<<15-8 {
		return 0, fmt.Errorf("struct %s has no %s", of, member)
	}
	return int16(offset), nil
}

// offsetIn looks into members without a name, too.
func offsetIn(members []btf.Member, name string) (uint32, bool) {
	for _, m := range members {
		if m.Name == name {
			return m.Offset.Bytes(), true
		}
		if m.Name != "" {
			continue
		}
		var inner []btf.Member
		switch t := btf.UnderlyingType(m.Type).(type) {
		case *btf.Struct:
			inner = t.Members
		case *btf.Union:
			inner = t.Members
		}
		if offset, ok := offsetIn(inner, name); ok {
			return m.Offset.Bytes() + offset, true
		}
	}
	return 0, false
}

// read returns a process of each socket by the socket's inode.
func (r *socketReader) read() (map[uint32]uint32, error) {
	list, err := r.iterator.Open()
	if err != nil {
		return nil, fmt.Errorf("list sockets: %w", err)
	}
	defer list.Close()
	owners := make(map[uint32]uint32)
	for {
		var record [socketRecord]byte
		if _, err := io.ReadFull(list, record[:]); err != nil {
			if errors.Is(err, io.EOF) {
				return owners, nil
			}
			return nil, fmt.Errorf("list sockets: %w", err)
		}
		inode, pid := binary.NativeEndian.Uint64(record[:]), binary.NativeEndian.Uint64(record[8:])
		owners[uint32(inode)] = uint32(pid)
	}
}

func (r *socketReader) close() error { return r.iterator.Close() }
