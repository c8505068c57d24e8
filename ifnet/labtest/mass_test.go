package labtest

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/bsdnet/bsdnet/control"
	"github.com/bsdnet/bsdnet/ifnet/api"
	"github.com/bsdnet/bsdnet/internal/lab"
)

// requests asks the daemon of a host.
func (s *site) requests(host *lab.Host, f func(api.Backend) error) {
	s.t.Helper()
	err := host.Do(func() error {
		client, err := control.Dial()
		if err != nil {
			return err
		}
		return f(control.Ifnet{Client: client})
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// Thousands of vlans: one frame with each tag arrives at the vlan of that tag
// and at no other; and all of it goes again.
func TestVlanMass(t *testing.T) {
	count := 4000
	if testing.Short() {
		count = 1000
	}
	eachMode(t, func(t *testing.T, s *site) {
		before := s.holdings(s.Router)
		create := make([]api.CreateRequest, count)
		destroy := make([]api.Name, count)
		for n := range create {
			create[n] = api.CreateRequest{Name: "vlan", Vlan: &api.Vlan{Parent: "em0", Tag: n + 1}}
		}
		start := time.Now()
		answered := s.answering(s.Router)
		s.requests(s.Router, func(b api.Backend) error {
			names, err := b.Create(context.Background(), create)
			for n, name := range names {
				destroy[n] = api.Name{Name: name}
			}
			return err
		})
		took := time.Since(start)
		longest := answered()
		t.Logf("%d created in %v, status answered within %v", count, took, longest)
		if longest > took/2 {
			t.Errorf("status waited %v for the creation of vlans, which took %v", longest, took)
		}
		var lladdr net.HardwareAddr
		s.inside(s.Router, func() error {
			for n := range count {
				link, err := netlink.LinkByName(fmt.Sprintf("vlan%d", n))
				if err == nil {
					err = netlink.LinkSetUp(link)
				}
				if err != nil {
					return err
				}
				lladdr = link.Attrs().HardwareAddr
			}
			return nil
		})
		s.settled(s.Router, count)
		ends := make(map[int]int)
		s.inside(s.Router, func() (err error) {
			ends, err = deliveries(count, func() { s.inside(s.Left, func() error { return sendTagged("em0", lladdr, count) }) })
			return err
		})
		if wrong := s.misdelivered(ends, count); wrong != 0 {
			t.Errorf("%d of %d vlans did not get their frame and no other", wrong, count)
		}
		start = time.Now()
		s.requests(s.Router, func(b api.Backend) error { return b.Destroy(context.Background(), destroy) })
		t.Logf("%d destroyed in %v", count, time.Since(start))
		s.holds(s.Router, before)
	})
}

// answering asks for the status of a host again and again, until it is asked
// for the longest time that an answer took.
func (s *site) answering(host *lab.Host) (longest func() time.Duration) {
	stop, done := make(chan struct{}), make(chan error, 1)
	var most time.Duration
	go func() {
		done <- host.Do(func() error {
			client, err := control.Dial()
			if err != nil {
				return err
			}
			defer client.Close()
			for err == nil {
				start := time.Now()
				if _, err = control.Call[*control.Status](context.Background(), client, "status", control.None{}); err == nil {
					most = max(most, time.Since(start))
				}
				select {
				case <-stop:
					return err
				case <-time.After(20 * time.Millisecond):
				}
			}
			return err
		})
	}()
	return func() time.Duration {
		s.t.Helper()
		close(stop)
		if err := <-done; err != nil {
			s.t.Errorf("status: %v", err)
		}
		return most
	}
}

// Several processes create and destroy vlans at once; nothing is left.
func TestVlanRace(t *testing.T) {
	s := newSite(t, "tc")
	before := s.holdings(s.Router)
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for n := range 15 {
				// Tags and units that others want, too.
				name, tag := fmt.Sprintf("vlan%d", n%3), fmt.Sprint(1+(worker+n)%5)
				_, _, created := s.run(s.Router, "ifconfig", name, "create", "vlan", tag, "vlandev", "em0")
				out, errs, status := s.run(s.Router, "ifconfig", "vlan", "create")
				if status != 0 {
					t.Errorf("create: %s", errs)
				}
				if made := strings.TrimSpace(out); made != "" {
					if _, errs, status := s.run(s.Router, "ifconfig", made, "destroy"); status != 0 && !strings.Contains(errs, "does not exist") {
						t.Errorf("destroy %s: %s", made, errs)
					}
				}
				if created == 0 {
					// Somebody else may have been faster.
					s.run(s.Router, "ifconfig", name, "destroy")
				}
			}
		})
	}
	all.Wait()
	for _, name := range strings.Fields(s.ifconfig(s.Router, "-l")) {
		if strings.HasPrefix(name, "vlan") {
			s.ifconfig(s.Router, "%s destroy", name)
		}
	}
	s.holds(s.Router, before)
}

func (s *site) inside(host *lab.Host, f func() error) {
	s.t.Helper()
	if err := host.Do(f); err != nil {
		s.t.Fatal(err)
	}
}

// payload is the length of the UDP data of the frame with a tag.
func payload(tag int) int { return 32 + tag%1000 }

// sendTagged sends one frame with each tag, at most as fast as sockets take them.
func sendTagged(device string, to net.HardwareAddr, count int) error {
	i, err := net.InterfaceByName(device)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for tag := 1; tag <= count; tag++ {
		udp := payload(tag)
		frame := make([]byte, 0, 1500)
		frame = append(append(frame, to...), 2, 0, 0x5e, 0, 0x53, 0x99, 0x81, 0x00)
		frame = binary.BigEndian.AppendUint16(frame, uint16(tag))
		frame = append(frame, 8, 0, 0x45, 0)
		frame = binary.BigEndian.AppendUint16(frame, uint16(28+udp))
		frame = append(frame, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 2, 192, 0, 2, 1)
		header := frame[18:]
		var sum uint32
		for n := 0; n < 20; n += 2 {
			sum += uint32(binary.BigEndian.Uint16(header[n:]))
		}
		binary.BigEndian.PutUint16(header[10:], ^uint16(sum+sum>>16))
		frame = append(frame, 0x30, 0x39, 0, 9)
		frame = binary.BigEndian.AppendUint16(frame, uint16(8+udp))
		frame = append(frame, 0, 0)
		frame = binary.BigEndian.AppendUint16(frame, uint16(tag))
		frame = append(frame, make([]byte, udp-2)...)
		if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: i.Index}); err != nil {
			return err
		}
		if tag%100 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	return nil
}

// deliveries returns where frames of sendTagged came in: the index of the
// device by tag. A frame that comes twice, or with a wrong length, has index -1.
func deliveries(count int, send func()) (map[int]int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_IP)))
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 2}),
	)
	if err != nil {
		return nil, err
	}
	send()
	ends := make(map[int]int)
	packet := make([]byte, 2048)
	for {
		n, from, err := unix.Recvfrom(fd, packet, 0)
		if errors.Is(err, unix.EAGAIN) {
			return ends, nil
		}
		if err != nil {
			return nil, err
		}
		if n < 30 || !bytes.Equal(packet[12:16], []byte{192, 0, 2, 2}) || packet[9] != unix.IPPROTO_UDP {
			continue
		}
		tag := int(binary.BigEndian.Uint16(packet[28:]))
		end := from.(*unix.SockaddrLinklayer).Ifindex
		if _, twice := ends[tag]; twice || n != 28+payload(tag) {
			end = -1
		}
		ends[tag] = end
		if len(ends) == count {
			_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 200000})
		}
	}
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

// misdelivered counts tags whose frame did not come in by their vlan.
func (s *site) misdelivered(ends map[int]int, count int) (wrong int) {
	s.inside(s.Router, func() error {
		links, err := netlink.LinkList()
		for _, link := range links {
			var unit int
			if _, bad := fmt.Sscanf(link.Attrs().Name, "vlan%d", &unit); bad == nil && ends[unit+1] != link.Attrs().Index {
				wrong++
			}
		}
		return err
	})
	return wrong + count - len(ends)
}

// settled waits until the daemon knows that so many vlans are up.
func (s *site) settled(host *lab.Host, count int) {
	s.t.Helper()
	for range 300 {
		up := 0
		s.requests(host, func(b api.Backend) error {
			all, err := b.Interfaces(context.Background(), api.Name{})
			for _, i := range all {
				if i.Vlan != nil && i.Flags&api.IffUp != 0 && i.Flags&api.IffRunning != 0 {
					up++
				}
			}
			return err
		})
		if up == count {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.t.Error("vlans do not come up")
}

// holdings is what clones may leave behind.
type holdings struct{ Devices, Private, Tags, Files int }

func (s *site) holdings(host *lab.Host) (h holdings) {
	s.t.Helper()
	lines := func(text string) int { return len(strings.Split(strings.TrimSpace(text), "\n")) }
	h.Devices = lines(s.ip(host, "-br", "link"))
	private, err := host.Run("nsenter", "--net=/run/bsdnet/"+host.Name+"/netns", "ip", "-br", "link")
	if err != nil {
		s.t.Fatal(err)
	}
	h.Private = lines(private)
	var tags []json.RawMessage
	if err := json.Unmarshal([]byte(host.MustRun(s.t, "bpftool", "-j", "map", "dump", "pinned", "/run/bsdnet/bpf/"+host.Name+"/maps/vlan")), &tags); err != nil {
		s.t.Fatal(err)
	}
	h.Tags = len(tags)
	var status struct {
		PID int `json:"pid"`
	}
	if err := json.Unmarshal([]byte(s.must(host, "status", "--json")), &status); err != nil {
		s.t.Fatal(err)
	}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", status.PID))
	if err != nil {
		s.t.Fatal(err)
	}
	h.Files = len(files)
	return h
}

// holds waits until a host holds no more than before; connections of commands
// that ended may take a moment.
func (s *site) holds(host *lab.Host, before holdings) {
	s.t.Helper()
	var now holdings
	for range 50 {
		if now = s.holdings(host); now.Devices == before.Devices && now.Private == before.Private && now.Tags == before.Tags && now.Files <= before.Files+2 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.t.Errorf("before %+v, now %+v", before, now)
}
