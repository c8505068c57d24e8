package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/bsdnet/bsdnet/control"
)

func metricsCommand() *cli.Command {
	return &cli.Command{
		Name:  "metrics",
		Usage: "print the metrics of the instance for Prometheus, or serve them",
		Description: "With --listen it serves them on http://ADDRESS/metrics until it is ended. It is a process of its own and needs\n" +
			"no more than the group " + control.ReaderGroup + "; the daemon itself listens to no network.",
		Flags: []cli.Flag{&cli.StringFlag{Name: "listen", Usage: "serve on `ADDRESS`, such as 127.0.0.1:9633"}},
		Action: func(c *cli.Context) error {
			if c.Args().Len() > 0 {
				return usageError{fmt.Errorf("metrics: unexpected argument: %s", c.Args().First())}
			}
			if address := c.String("listen"); address != "" {
				return serveMetrics(c.Context, address)
			}
			client, err := control.Dial()
			if err != nil {
				return err
			}
			return client.Metrics(c.Context, os.Stdout)
		},
	}
}

// serveMetrics asks the daemon anew for every request, so that it outlives it.
func serveMetrics(ctx context.Context, address string) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		var text bytes.Buffer
		client, err := control.Dial()
		if err == nil {
			err = client.Metrics(r.Context(), &text)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_, _ = w.Write(text.Bytes()) // the peer went away
	})
	server := &http.Server{Addr: address, Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second}
	go func() {
		<-ctx.Done()
		server.Close()
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("metrics: %w", err)
	}
	return nil
}
