package labtest

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bsdnet/bsdnet/internal/lab"
)

// family is one of the two address families of a line.
type family struct {
	name                    string
	left, right             string
	routerLeft, routerRight string
}

var (
	inet  = family{"inet", "192.0.2.2", "198.51.100.2", "192.0.2.1", "198.51.100.1"}
	inet6 = family{"inet6", "2001:db8::2", "2001:db8:1::2", "2001:db8::1", "2001:db8:1::1"}
)

var families = []family{inet, inet6}

// pings is the outcome of a ping.
type pings struct {
	sent, received int
	text           string
}

var pingSummary = regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`)

// ping runs ping(8) to its end.
func ping(t testing.TB, host *lab.Host, args ...string) pings {
	t.Helper()
	return startPing(t, host, args...).wait(t)
}

// pingProcess is a ping that runs.
type pingProcess struct {
	cmd *exec.Cmd
	out *strings.Builder
}

func startPing(t testing.TB, host *lab.Host, args ...string) *pingProcess {
	t.Helper()
	p := &pingProcess{out: &strings.Builder{}}
	p.cmd = host.Command(context.Background(), "ping", append([]string{"-n"}, args...)...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *pingProcess) wait(t testing.TB) pings {
	t.Helper()
	_ = p.cmd.Wait() // its status says that some were lost
	result := pings{text: p.out.String()}
	match := pingSummary.FindStringSubmatch(result.text)
	if match == nil {
		t.Fatalf("ping printed no summary: %s", result.text)
	}
	result.sent, _ = strconv.Atoi(match[1])
	result.received, _ = strconv.Atoi(match[2])
	return result
}

// mustPing fails the test unless every ping is answered.
func mustPing(t testing.TB, host *lab.Host, args ...string) {
	t.Helper()
	if p := ping(t, host, args...); p.received < p.sent || p.sent == 0 {
		t.Fatalf("%s: ping %s: %s", host.Name, strings.Join(args, " "), p.text)
	}
}

var ports atomic.Int32

// serveIperf starts an iperf3 server that ends with the test.
func serveIperf(t testing.TB, host *lab.Host) (port string) {
	t.Helper()
	port = strconv.Itoa(5201 + int(ports.Add(1)))
	ctx, cancel := context.WithCancel(context.Background())
	cmd := host.Command(ctx, "iperf3", "-s", "-p", port)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // killed
	})
	eventually(t, 5*time.Second, "iperf3 listens", func() bool {
		out, err := host.Run("ss", "-Hlnt", "sport", "=", ":"+port)
		return err == nil && strings.TrimSpace(out) != ""
	})
	return port
}

// transfer is the outcome of an iperf3 run.
type transfer struct {
	Error string `json:"error"`
	End   struct {
		SumReceived struct {
			BitsPerSecond float64 `json:"bits_per_second"`
			Bytes         float64 `json:"bytes"`
		} `json:"sum_received"`
		Sum struct {
			LostPackets int `json:"lost_packets"`
			Packets     int `json:"packets"`
		} `json:"sum"`
	} `json:"end"`
}

// iperfProcess is an iperf3 client that runs.
type iperfProcess struct {
	cmd *exec.Cmd
	out *strings.Builder
}

func startIperf(t testing.TB, host *lab.Host, server, port string, args ...string) *iperfProcess {
	t.Helper()
	p := &iperfProcess{out: &strings.Builder{}}
	p.cmd = host.Command(context.Background(), "iperf3", append([]string{"-J", "-c", server, "-p", port, "--connect-timeout", "3000"}, args...)...)
	p.cmd.Stdout = p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *iperfProcess) wait() (*transfer, error) {
	waitErr := p.cmd.Wait()
	result := &transfer{}
	if err := json.Unmarshal([]byte(p.out.String()), result); err != nil {
		return nil, fmt.Errorf("iperf3: %w: %s", err, p.out.String())
	}
	if waitErr != nil || result.Error != "" {
		return nil, fmt.Errorf("iperf3: %w: %s", waitErr, result.Error)
	}
	return result, nil
}

// iperf runs iperf3 to its end; it must succeed.
func iperf(t testing.TB, host *lab.Host, server, port string, args ...string) *transfer {
	t.Helper()
	result, err := startIperf(t, host, server, port, args...).wait()
	if err != nil {
		t.Fatalf("iperf3 to %s %s: %v", server, strings.Join(args, " "), err)
	}
	return result
}

func itoa(n int) string { return strconv.Itoa(n) }

func containsFold(text, part string) bool {
	return strings.Contains(strings.ToLower(text), strings.ToLower(part))
}
