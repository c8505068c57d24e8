package control

import (
	"context"
	"errors"
	"os"
	"sync"

	"github.com/bsdnet/bsdnet/pf/conf"
	"github.com/bsdnet/bsdnet/pf/pflog"
	"github.com/bsdnet/bsdnet/rc"
)

// pflogWriter writes what pf logs to a file, as pflogd(8) does.
type pflogWriter struct {
	mu   sync.Mutex
	path string
	stop context.CancelFunc
	done chan struct{}
}

// pflog makes the writer what a plan says.
func (d *Daemon) pflog(plan *rc.Plan) {
	w := &d.pflogd
	w.mu.Lock()
	defer w.mu.Unlock()
	path := ""
	if plan != nil && plan.Pflog.Enable {
		path = plan.Pflog.File
	}
	if path == w.path {
		return
	}
	if w.stop != nil {
		w.stop()
		<-w.done
		w.stop = nil
	}
	w.path = path
	if path == "" {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	w.stop, w.done = stop, make(chan struct{})
	records := d.pf.log.Listen(ctx)
	dialect := d.pf.dialect
	go func() {
		defer close(w.done)
		if err := writePflog(path, dialect, records); err != nil {
			d.log.Error("pflog: writing ended", "file", path, "err", err)
		}
	}()
}

func (w *pflogWriter) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stop != nil {
		w.stop()
		<-w.done
		w.stop = nil
	}
}

// writePflog writes records until there are no more. A file that was moved
// away is begun anew.
func writePflog(path string, dialect conf.Dialect, records <-chan *pflog.Record) (err error) {
	var file *os.File
	var writer *pflog.Writer
	defer func() {
		if file != nil {
			err = errors.Join(err, file.Close())
		}
	}()
	for record := range records {
		if file != nil && !sameFile(file, path) {
			if err := file.Close(); err != nil {
				return err
			}
			file = nil
		}
		if file == nil {
			if file, err = os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
				return err
			}
			info, err := file.Stat()
			if err != nil {
				return err
			}
			if writer, err = pflog.NewWriter(file, dialect, info.Size() == 0); err != nil {
				return err
			}
		}
		if err := writer.Write(record); err != nil {
			return err
		}
	}
	return nil
}

func sameFile(file *os.File, path string) bool {
	have, err1 := file.Stat()
	there, err2 := os.Stat(path)
	return err1 == nil && err2 == nil && os.SameFile(have, there)
}
