// Command demo shows bsdnet at work on this machine: a router between two
// hosts, all three of them network namespaces, with real traffic through it,
// and the same router on plain Linux for comparison. It removes all it made.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/bsdnet/bsdnet/internal/bench"
	"github.com/bsdnet/bsdnet/internal/lab"
)

func main() {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "demo: must be root: it makes network namespaces and loads BPF programs")
		os.Exit(1)
	}
	d := &demo{}
	start := time.Now()
	err := d.run()
	if closeErr := d.close(); err == nil {
		err = closeErr
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "\ndemo: FAILED: %v\n", err)
		os.Exit(1)
	}
	fmt.Printf("\nVerdict: it works. %s (%.0f s)\n", d.verdict, time.Since(start).Seconds())
}

type demo struct {
	line    *lab.Line
	bsdnet  string
	loaded  bool
	verdict string
}

func title(text string) { fmt.Printf("\n== %s\n", text) }

func (d *demo) run() error {
	var err error
	if d.bsdnet, err = lab.Binary(); err != nil {
		return err
	}
	title("Three hosts in a row: left - router - right")
	if d.line, err = lab.NewLine("demo"); err != nil {
		return err
	}
	fmt.Println("left 192.0.2.2, 2001:db8::2 --- em0 router em1 --- right 198.51.100.2, 2001:db8:1::2")

	title("The router on plain Linux")
	if _, err := d.line.Router.Run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"); err != nil {
		return err
	}
	linuxTCP, err := d.tcp()
	if err != nil {
		return err
	}
	fmt.Printf("one TCP stream: %.1f Gbit/s\n", linuxTCP)
	linuxRate, err := d.smallPackets()
	if err != nil {
		return err
	}
	fmt.Printf("64-byte UDP:    %.2f million packets a second\n", linuxRate/1e6)
	if _, err := d.line.Router.Run("sysctl", "-qw", "net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0"); err != nil {
		return err
	}

	title("The same router on bsdnet")
	if out, err := exec.Command(d.bsdnet, "mount").CombinedOutput(); err != nil {
		return fmt.Errorf("bsdnet mount: %w: %s", err, out)
	}
	if err := d.show("load", "-i", "em0", "-i", "em1"); err != nil {
		return err
	}
	d.loaded = true
	if err := d.unforwarded(); err != nil {
		return err
	}
	if err := d.show("sysctl", "net.inet.ip.forwarding=1", "net.inet6.ip6.forwarding=1"); err != nil {
		return err
	}
	if err := d.traffic(); err != nil {
		return err
	}
	tcp, err := d.tcp()
	if err != nil {
		return err
	}
	fmt.Printf("one TCP stream: %.1f Gbit/s, %.0f %% of Linux\n", tcp, 100*tcp/linuxTCP)

	title("Once more in native XDP, for small packets")
	if err := d.show("unload"); err != nil {
		return err
	}
	if err := d.show("load", "-i", "em0", "-i", "em1", "--mode", "xdp"); err != nil {
		return err
	}
	if err := d.show("sysctl", "-q", "net.inet.ip.forwarding=1", "net.inet6.ip6.forwarding=1"); err != nil {
		return err
	}
	rate, err := d.smallPackets()
	if err != nil {
		return err
	}
	fmt.Printf("64-byte UDP:    %.2f million packets a second, %.1f times Linux\n", rate/1e6, rate/linuxRate)

	title("What the data path says of it")
	if err := d.show("status"); err != nil {
		return err
	}
	if err := d.show("netstat", "-s", "-z"); err != nil {
		return err
	}
	if err := d.show("netstat", "-rn"); err != nil {
		return err
	}
	title("The stages, as bpftool sees them")
	if err := d.stages(); err != nil {
		return err
	}
	title("Unload")
	if err := d.show("unload"); err != nil {
		return err
	}
	d.loaded = false
	d.verdict = fmt.Sprintf("TCP at %.0f %% of Linux forwarding with all offloads, small packets at %.1f times Linux in XDP.", 100*tcp/linuxTCP, rate/linuxRate)
	return nil
}

// show runs bsdnet in the router and prints the command and what it printed.
func (d *demo) show(args ...string) error {
	fmt.Printf("# bsdnet %s\n", strings.Join(args, " "))
	out, err := d.line.Router.Run(d.bsdnet, args...)
	fmt.Print(out)
	return err
}

// unforwarded proves that nothing is forwarded before it is asked for.
func (d *demo) unforwarded() error {
	if _, err := d.line.Left.Run("ping", "-c", "1", "-W", "1", "198.51.100.2"); err == nil {
		return fmt.Errorf("the router forwards although forwarding is off")
	}
	fmt.Println("forwarding is off, as on a BSD: a ping does not get through")
	return nil
}

// traffic sends ping and traceroute through the router, in both families.
func (d *demo) traffic() error {
	for _, c := range [][]string{
		{"ping", "-c", "3", "-i", "0.2", "198.51.100.2"},
		{"ping", "-c", "3", "-i", "0.2", "2001:db8:1::2"},
		{"traceroute", "-n", "-q", "1", "-w", "1", "198.51.100.2"},
		{"traceroute", "-n", "-6", "-q", "1", "-w", "1", "2001:db8:1::2"},
	} {
		fmt.Printf("left# %s\n", strings.Join(c, " "))
		out, err := d.line.Left.Run(c[0], c[1:]...)
		fmt.Print(indent(out))
		if err != nil {
			return err
		}
		if c[0] == "traceroute" && !strings.Contains(out, "192.0.2.1") && !strings.Contains(out, "2001:db8::1 ") {
			return fmt.Errorf("traceroute does not show the router")
		}
	}
	return nil
}

func indent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString("  " + line)
	}
	return b.String()
}

// tcp measures one TCP stream from left to right, in Gbit/s.
func (d *demo) tcp() (float64, error) {
	if _, err := d.line.Right.Run("iperf3", "-s", "-D", "-1"); err != nil {
		return 0, err
	}
	time.Sleep(300 * time.Millisecond)
	out, err := d.line.Left.Run("iperf3", "-c", "198.51.100.2", "-t", "3", "-J")
	if err != nil {
		return 0, err
	}
	var result struct {
		End struct {
			SumReceived struct {
				BitsPerSecond float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	if err := json.Unmarshal([]byte(out), &result); err != nil {
		return 0, fmt.Errorf("read iperf3: %w", err)
	}
	return result.End.SumReceived.BitsPerSecond / 1e9, nil
}

// smallPackets measures 64-byte UDP through the router, in packets a second.
func (d *demo) smallPackets() (float64, error) {
	// Frames from XDP are lost in a veth whose other end does not poll.
	for _, device := range []string{"em0", "em1"} {
		if err := d.line.Router.Offloads(device, true, "gro"); err != nil {
			return 0, err
		}
	}
	sink, err := bench.NewSink(d.line.Right, "em0")
	if err != nil {
		return 0, err
	}
	defer sink.Close()
	src, err := d.line.Left.Lladdr("em0")
	if err != nil {
		return 0, err
	}
	dst, err := d.line.Router.Lladdr("em0")
	if err != nil {
		return 0, err
	}
	right, err := d.line.Right.Lladdr("em0")
	if err != nil {
		return 0, err
	}
	if _, err := d.line.Router.Run("ip", "neigh", "replace", "198.51.100.2", "lladdr", right.String(), "dev", "em1", "nud", "permanent"); err != nil {
		return 0, err
	}
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: []byte{192, 0, 2, 2}, DstIP: []byte{198, 51, 100, 2}}
	udp := &layers.UDP{SrcPort: 1000, DstPort: 2000}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		return 0, err
	}
	buffer := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: src, DstMAC: dst, EthernetType: layers.EthernetTypeIPv4}, ip, udp, gopacket.Payload(make([]byte, 18))); err != nil {
		return 0, err
	}
	flow, err := bench.NewFlow(d.line.Left, "em0", buffer.Bytes())
	if err != nil {
		return 0, err
	}
	defer flow.Close()
	time.Sleep(2500 * time.Millisecond) // the daemon notices how the sink can be reached
	return bench.Rate(flow, sink, 2*time.Second)
}

// stages lists the programs of the data path by name.
func (d *demo) stages() error {
	out, err := exec.Command("bpftool", "-j", "prog", "show").Output()
	if err != nil {
		return fmt.Errorf("bpftool prog show: %w", err)
	}
	var programs []struct {
		ID   int    `json:"id"`
		Type string `json:"type"`
		Name string `json:"name"`
	}
	if err := json.Unmarshal(out, &programs); err != nil {
		return fmt.Errorf("read bpftool: %w", err)
	}
	for _, kind := range []string{"xdp", "sched_cls"} {
		var names []string
		for _, p := range programs {
			if p.Type == kind && p.Name != "sink" && p.Name != "generator" {
				names = append(names, p.Name)
			}
		}
		fmt.Printf("%-9s %s\n", kind, strings.Join(names, " "))
	}
	return nil
}

// close removes what the demo made.
func (d *demo) close() error {
	if d.line == nil {
		return nil
	}
	if d.loaded {
		if _, err := d.line.Router.Run(d.bsdnet, "unload"); err != nil {
			fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		}
	}
	return d.line.Close()
}
