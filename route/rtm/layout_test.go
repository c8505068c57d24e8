package rtm

import (
	"bytes"
	_ "embed"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bsdnet/bsdnet/route/api"
)

// compiler returns a C compiler of this machine.
func compiler(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"cc", "clang", "clang-19", "/usr/lib/llvm-19/bin/clang"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("no C compiler")
	return ""
}

// A C program that knows the structures of each system, with their offsets
// checked by its compiler, reads the golden messages as a program of that
// system would.
func TestStructs(t *testing.T) {
	for _, v := range versions {
		reader := filepath.Join(t.TempDir(), v.String())
		build := exec.Command(compiler(t), "-std=c11", "-Wall", "-Werror", "-D"+strings.ToUpper(v.String()), "-o", reader, "testdata/reader.c")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		messages := golden(t, v)
		for _, s := range samples(v) {
			t.Run(v.String()+"/"+s.name, func(t *testing.T) {
				read := exec.Command(reader)
				if s.long {
					read.Args = append(read.Args, "l")
				}
				read.Stdin, read.Stderr = bytes.NewReader(messages[s.name]), os.Stderr
				got, err := read.Output()
				if err != nil {
					t.Fatal(err)
				}
				if want := fields(s); string(got) != want {
					t.Errorf("the program reads\n%swant\n%s", got, want)
				}
			})
		}
	}
}

// fields lists a message in the form of testdata/reader.c.
func fields(s sample) string {
	var out strings.Builder
	m := s.m
	fmt.Fprintf(&out, "version %d type %d index %d\n", m.Version, m.Type, m.Index)
	ifData := func() {
		d := m.Data
		fmt.Fprintf(&out, "if_data type %d physical %d addrlen %d hdrlen %d link_state %d", d.Type, d.Physical, d.Addrlen, d.Hdrlen, d.LinkState)
		if m.Version == FreeBSD {
			fmt.Fprintf(&out, " vhid %d epoch %d datalen 152", d.Vhid, d.Epoch)
		} else {
			fmt.Fprintf(&out, " recvquota %d xmitquota %d", d.Recvquota, d.Xmitquota)
		}
		fmt.Fprintf(&out, " mtu %d metric %d baudrate %d\n", d.Mtu, d.Metric, d.Baudrate)
		fmt.Fprintf(&out, "ip %d ie %d op %d oe %d colls %d ib %d ob %d imc %d omc %d iqd %d oqd %d noproto %d hwassist %d lastchange %d.%d\n",
			d.Ipackets, d.Ierrors, d.Opackets, d.Oerrors, d.Collisions, d.Ibytes, d.Obytes, d.Imcasts, d.Omcasts,
			d.Iqdrops, d.Oqdrops, d.Noproto, d.Hwassist, d.LastchangeSec, d.LastchangeUsec)
	}
	switch m.Type {
	case api.RTMIfannounce, api.RTMIeee80211:
		fmt.Fprintf(&out, "name %s what %d rest %x\n", m.Name, m.What, m.Event)
		return out.String()
	case api.RTMIfinfo:
		fmt.Fprintf(&out, "flags %#x\n", m.Flags)
		ifData()
	case api.RTMNewaddr, api.RTMDeladdr:
		fmt.Fprintf(&out, "flags %#x metric %d", m.Flags, m.Metric)
		if m.Version == DragonFly {
			fmt.Fprintf(&out, " addrflags %#x", m.AddrFlags)
		}
		fmt.Fprintln(&out)
		if s.long {
			ifData()
		}
	case api.RTMNewmaddr, api.RTMDelmaddr:
		fmt.Fprintf(&out, "flags %#x\n", m.Flags)
	default:
		fmt.Fprintf(&out, "flags %#x pid %d seq %d errno %d use %d inits %#x\n", m.Flags, m.Pid, m.Seq, m.Errno, m.Use, m.Inits)
		x := m.Metrics
		fmt.Fprintf(&out, "locks %#x mtu %d hopcount %d expire %d recvpipe %d sendpipe %d ssthresh %d rtt %d rttvar %d pksent %d",
			x.Locks, x.Mtu, x.Hopcount, x.Expire, x.Recvpipe, x.Sendpipe, x.Ssthresh, x.Rtt, x.Rttvar, x.Pksent)
		if m.Version == FreeBSD {
			fmt.Fprintf(&out, " weight %d nhidx %d\n", x.Weight, x.Nhidx)
		} else {
			fmt.Fprintf(&out, " mssopt %d msl %d iwmaxsegs %d iwcapsegs %d\n", x.Mssopt, x.Msl, x.Iwmaxsegs, x.Iwcapsegs)
		}
	}
	for i, sa := range m.Addrs {
		if sa == nil {
			continue
		}
		fmt.Fprintf(&out, "addr %d ", i)
		switch sa := sa.(type) {
		case Inet:
			a := sa.Addr.As4()
			fmt.Fprintf(&out, "in %x port %d\n", a, sa.Port)
		case Inet6:
			a := sa.Addr.As16()
			fmt.Fprintf(&out, "in6 %x port %d scope %d\n", a, sa.Port, sa.Scope)
		case Link:
			fmt.Fprintf(&out, "dl index %d type %d name %s addr %x\n", sa.Index, sa.Type, sa.Name, sa.Addr)
		case MPLS:
			fmt.Fprintf(&out, "mpls op %d label %d\n", sa.Op, sa.Label)
		case IPX:
			fmt.Fprintf(&out, "ipx family %d net %x host %x port %x\n", sa.Family(), sa.Net, sa.Host, sa.Port)
		case AppleTalk:
			fmt.Fprintf(&out, "at net %d node %d port %d\n", sa.Net, sa.Node, sa.Port)
		case Unix:
			fmt.Fprintf(&out, "un %s\n", sa.Path)
		case Raw:
			fmt.Fprintf(&out, "raw %x\n", []byte(sa))
		}
	}
	return out.String()
}

//go:embed testdata/bsd.go.txt
var bsdConstants string

//go:embed testdata/parse.go.txt
var parseMain string

// golang.org/x/net/route, built for each system but with the constants of that
// system in place of package syscall, reads the golden messages too. Of
// DragonFly it can read only routes: it takes the other structures to be in
// FreeBSD's order (golang.org/issue/46674).
func TestAgainstNetRoute(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "golang.org/x/net").Output()
	if err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(strings.TrimSpace(string(out)), "route")
	for _, v := range versions {
		parser := buildNetRoute(t, source, v)
		messages := golden(t, v)
		for _, s := range samples(v) {
			if s.long || s.name == "every family" || s.m.Type == api.RTMIeee80211 ||
				v == DragonFly && headerLen(v, s.m.Type) != sizeRtMsghdr {
				continue
			}
			if s.m.Type == api.RTMIfinfo && s.m.Addrs[Ifp] == nil {
				continue // passed over by it
			}
			t.Run(v.String()+"/"+s.name, func(t *testing.T) {
				parse := exec.Command(parser)
				parse.Stdin, parse.Stderr = strings.NewReader(hex.EncodeToString(messages[s.name])), os.Stderr
				got, err := parse.Output()
				if err != nil {
					t.Fatal(err)
				}
				if want := netRouteFields(s.m); string(got) != want {
					t.Errorf("x/net/route reads\n%swant\n%s", got, want)
				}
			})
		}
	}
}

// buildNetRoute builds testdata/parse.go.txt with a copy of x/net/route.
func buildNetRoute(t *testing.T, source string, v Version) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	system, layout := "freebsd", "interface_freebsd.go"
	sizes := "zsys_freebsd_amd64.go"
	if v == DragonFly {
		system, layout, sizes = "dragonfly", "interface_classic.go", "zsys_dragonfly.go"
	}
	for _, name := range []string{
		"address.go", "binary.go", "interface.go", "interface_announce.go", "interface_multicast.go", "message.go",
		"route.go", "route_classic.go", "sys.go", layout, "sys_" + system + ".go", sizes,
	} {
		text, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			t.Fatal(err)
		}
		code := strings.ReplaceAll(string(text), `"syscall"`, `syscall "parse/bsd"`)
		if at := strings.Index(code, "//go:build"); at >= 0 {
			line, _, _ := strings.Cut(code[at:], "\n")
			code = strings.Replace(code, line, "", 1)
		}
		code = strings.ReplaceAll(code, "runtime.GOOS", fmt.Sprintf("%q", system))
		code = strings.Replace(code, "\t\"runtime\"\n", "", 1)
		write("route/"+strings.ReplaceAll(strings.ReplaceAll(name, "_"+system, "_system"), "_amd64", ""), code)
	}
	write("route/sysctl.go", "package route\n\nfunc sysctl([]int32, *byte, *uintptr, *byte, uintptr) error { return nil }\n")
	release := map[Version]string{FreeBSD: "1400097", DragonFly: "600400"}[v]
	write("bsd/bsd.go", strings.ReplaceAll(bsdConstants, "OSRELDATE", release))
	write("main.go", parseMain)
	write("go.mod", "module parse\n\ngo 1.26\n")
	build := exec.Command("go", "build", "-o", "parser", ".")
	build.Dir = dir
	build.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "CGO_ENABLED=0", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return filepath.Join(dir, "parser")
}

// netRouteFields lists a message in the form of testdata/parse.go.txt. Masks of
// DragonFly and genmasks are left out: the parser knows no radix masks.
func netRouteFields(m *Message) string {
	var out strings.Builder
	route := headerLen(m.Version, m.Type) == sizeRtMsghdr
	fmt.Fprintf(&out, "version %d type %d index %d", m.Version, m.Type, m.Index)
	switch {
	case route:
		fmt.Fprintf(&out, " flags %#x pid %d seq %d", m.Flags, m.Pid, m.Seq)
	case m.Type == api.RTMIfannounce:
		fmt.Fprintf(&out, " name %s what %d", m.Name, m.What)
	case m.Type == api.RTMIfinfo:
		fmt.Fprintf(&out, " flags %#x name em0 mtu %d", m.Flags, m.Data.Mtu)
	default:
		fmt.Fprintf(&out, " flags %#x", m.Flags)
	}
	fmt.Fprintln(&out)
	for i, sa := range m.Addrs {
		if m.Version == DragonFly && i == Netmask || i == Genmask || i > Brd {
			continue
		}
		switch sa := sa.(type) {
		case Inet:
			fmt.Fprintf(&out, "addr %d %s\n", i, sa.Addr)
		case Inet6:
			fmt.Fprintf(&out, "addr %d %s zone %d\n", i, sa.Addr, sa.Scope)
		case Link:
			fmt.Fprintf(&out, "addr %d link %d %q %x\n", i, sa.Index, sa.Name, sa.Addr)
		}
	}
	return out.String()
}
