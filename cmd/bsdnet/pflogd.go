package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/bsdnet/bsdnet/control"
	"github.com/bsdnet/bsdnet/pf/pflog"
)

const pflogdUsage = "usage: pflogd [-x] [-f filename] [-i interface] [-s size] [-n count]"

// pflogd writes logged packets to a file that tcpdump reads.
type pflogd struct {
	path   string
	size   int64 // bytes after which the file is turned over, 0: never
	keep   int   // old files
	number uint8 // of pflogN
	mu     sync.Mutex
	file   *os.File
	writer *pflog.Writer
	pf     *control.PF
}

// pflogdMain is pflogd(8). It stays in the foreground; SIGHUP makes it open
// its file again, and by -s it turns files over by itself.
func pflogdMain(ctx context.Context, args []string) int {
	d := &pflogd{path: "/var/log/pflog", keep: 5}
	for i := 0; i < len(args); i++ {
		if args[i] == "-D" || args[i] == "-x" {
			continue
		}
		if i+1 >= len(args) || len(args[i]) != 2 {
			fmt.Fprintln(os.Stderr, pflogdUsage)
			return exitError
		}
		var err error
		switch args[i] {
		case "-f":
			d.path = args[i+1]
		case "-i":
			d.number, err = pflogNumber(args[i+1])
		case "-s":
			d.size, err = strconv.ParseInt(args[i+1], 10, 64)
		case "-n":
			d.keep, err = strconv.Atoi(args[i+1])
		default:
			err = fmt.Errorf("illegal option -- %s", args[i][1:])
		}
		if err != nil || d.size < 0 || d.keep < 0 {
			fmt.Fprintf(os.Stderr, "pflogd: %s: %v\n%s\n", args[i], err, pflogdUsage)
			return exitError
		}
		i++
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := d.run(ctx); err != nil {
		return report("pflogd", err)
	}
	return 0
}

func (d *pflogd) run(ctx context.Context) error {
	client, err := control.Dial()
	if err != nil {
		return err
	}
	if d.pf, err = control.NewPF(ctx, client, os.Stderr); err != nil {
		return err
	}
	if err := d.open(); err != nil {
		return err
	}
	defer func() { d.file.Close() }()
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	go func() {
		for range hup {
			d.mu.Lock()
			err := errors.Join(d.file.Close(), d.open())
			d.mu.Unlock()
			if err != nil {
				fmt.Fprintf(os.Stderr, "pflogd: %v\n", err)
			}
		}
	}()
	return d.pf.Log(ctx, d.write)
}

// open opens the file, to go on with it if it has been begun.
func (d *pflogd) open() error {
	file, err := os.OpenFile(d.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		return errors.Join(err, file.Close())
	}
	writer, err := pflog.NewWriter(file, d.pf.Dialect(), info.Size() == 0)
	if err != nil {
		return errors.Join(err, file.Close())
	}
	d.file, d.writer = file, writer
	return nil
}

// pflogNumber is the N of pflogN.
func pflogNumber(name string) (uint8, error) {
	text, ok := strings.CutPrefix(name, "pflog")
	n, err := strconv.ParseUint(text, 10, 8)
	if !ok || err != nil {
		return 0, errors.New("not a pflog interface")
	}
	return uint8(n), nil
}

func (d *pflogd) write(record *pflog.Record) error {
	if record.LogInterface != d.number {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.writer.Write(record); err != nil {
		return err
	}
	info, err := d.file.Stat()
	if err != nil || d.size == 0 || info.Size() < d.size {
		return err
	}
	return d.turnOver()
}

// turnOver makes the file the first of the old ones and begins a new one.
func (d *pflogd) turnOver() error {
	errs := []error{d.file.Close()}
	name := func(n int) string { return d.path + "." + strconv.Itoa(n) }
	for n := d.keep; n > 0; n-- {
		from := d.path
		if n > 1 {
			from = name(n - 1)
		}
		if err := os.Rename(from, name(n)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if d.keep == 0 {
		errs = append(errs, os.Remove(d.path))
	}
	return errors.Join(append(errs, d.open())...)
}
