package control

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/bsdnet/bsdnet/pf/conf"
)

// metrics collects what an instance counts, when it is asked. The names of pf's
// are the words of pfctl -s info.
type metrics struct{ daemon *Daemon }

var (
	metricUp         = prometheus.NewDesc("bsdnet_healthy", "1 if the instance is healthy.", nil, nil)
	metricGeneration = prometheus.NewDesc("bsdnet_config_generation", "Commits of the configuration.", nil, nil)
	metricReason     = prometheus.NewDesc("bsdnet_packets_total", "Packets by the reason why they left the data path.", []string{"reason", "kind"}, nil)
	metricRoutes     = prometheus.NewDesc("bsdnet_routes", "Entries of the routing tables.", []string{"table"}, nil)
	metricIfPackets  = prometheus.NewDesc("bsdnet_interface_packets_total", "Packets of an interface.", []string{"interface", "direction"}, nil)
	metricIfBytes    = prometheus.NewDesc("bsdnet_interface_bytes_total", "Bytes of an interface.", []string{"interface", "direction"}, nil)
	metricIfDrops    = prometheus.NewDesc("bsdnet_interface_input_drops_total", "Input packets that were dropped.", []string{"interface"}, nil)
	metricIfNoproto  = prometheus.NewDesc("bsdnet_interface_noproto_total", "Input packets that went up to Linux unhandled.", []string{"interface"}, nil)
	metricIfUp       = prometheus.NewDesc("bsdnet_interface_up", "1 if the interface is up.", []string{"interface"}, nil)

	metricPFEnabled = prometheus.NewDesc("pf_enabled", "1 if pf is enabled.", nil, nil)
	metricPFBoot    = prometheus.NewDesc("pf_boot_fallback", "1 if pf.conf is not in force since boot: the previous ruleset or the built-in policy is.", nil, nil)
	metricPFPending = prometheus.NewDesc("bsdnet_change_unconfirmed", "1 if a change awaits confirmation.", nil, nil)
	metricPFStates  = prometheus.NewDesc("pf_states", "Entries of the state table.", nil, nil)
	metricPFLimit   = prometheus.NewDesc("pf_limit", "Hard limits of pf.", []string{"pool"}, nil)
	metricPFFlows   = prometheus.NewDesc("bsdnet_pf_flow_packets_total", "Packets that went the short way of established ones.", nil, nil)
	metricPFTable   = prometheus.NewDesc("pf_state_table_total", "Searches, inserts and removals of the state table.", []string{"operation"}, nil)
	metricPFCounter = prometheus.NewDesc("pf_counter_total", "Counters of pfctl -s info.", []string{"counter"}, nil)
)

// Describe implements prometheus.Collector. What there is depends on the
// instance, so nothing is promised.
func (metrics) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (m metrics) Collect(out chan<- prometheus.Metric) {
	d := m.daemon
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	counter := func(desc *prometheus.Desc, value uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(value), labels...)
	}
	fail := func(desc *prometheus.Desc, err error) { out <- prometheus.NewInvalidMetric(desc, err) }

	status, err := d.Status()
	if err != nil {
		fail(metricUp, err)
		return
	}
	gauge(metricUp, number(status.Healthy))
	gauge(metricGeneration, float64(status.Generation))
	gauge(metricPFPending, number(status.Pending != nil))
	for table, n := range map[string]int{
		"rib": status.Routes.Routes, "fib": status.Routes.Forwarding, "nexthop": status.Routes.Nexthops, "neighbour": status.Routes.Neighbours,
	} {
		gauge(metricRoutes, float64(n), table)
	}
	for _, i := range status.Interfaces {
		if !i.Present {
			continue
		}
		gauge(metricIfUp, number(i.Up), i.Name)
		counter(metricIfPackets, i.Data.Ipackets, i.Name, "in")
		counter(metricIfPackets, i.Data.Opackets, i.Name, "out")
		counter(metricIfBytes, i.Data.Ibytes, i.Name, "in")
		counter(metricIfBytes, i.Data.Obytes, i.Name, "out")
		counter(metricIfDrops, i.Data.Iqdrops, i.Name)
		counter(metricIfNoproto, i.Data.Noproto, i.Name)
	}
	reasons, err := d.Reasons()
	if err != nil {
		fail(metricReason, err)
		return
	}
	for _, r := range reasons {
		counter(metricReason, r.Packets, r.Name, r.Kind)
	}

	info, err := d.pf.engine.Info(d.pf.enabled())
	if err != nil {
		fail(metricPFEnabled, err)
		return
	}
	gauge(metricPFEnabled, number(info.Running))
	gauge(metricPFBoot, number(d.pf.bootProblem() != ""))
	gauge(metricPFStates, float64(info.Entries))
	for _, c := range info.States {
		counter(metricPFTable, c.Count, c.Name)
	}
	counter(metricPFFlows, info.Flows)
	for _, c := range info.Counters {
		counter(metricPFCounter, c.Count, strings.ReplaceAll(c.Name, "-", "_"))
	}
	options := d.pf.engine.Options()
	for l := conf.Limit(0); l < conf.LimitCount; l++ {
		if options.Limits[l] != 0 {
			gauge(metricPFLimit, float64(options.Limits[l]), l.String())
		}
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// metricsHandler answers GET /metrics on the control socket, to all who may
// read.
func (d *Daemon) metricsHandler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics{d})
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}

// Metrics writes the metrics of the instance in the text format of Prometheus.
func (c *Client) Metrics(ctx context.Context, w io.Writer) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://bsdnet/metrics", nil)
	if err != nil {
		return err
	}
	reply, err := c.http.Do(r)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDaemonDown, err)
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		return &APIError{Message: "metrics: status " + strconv.Itoa(reply.StatusCode)}
	}
	_, err = io.Copy(w, reply.Body)
	return err
}
