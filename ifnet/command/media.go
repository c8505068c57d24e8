package command

import (
	"context"
	"fmt"
	"strings"

	"github.com/bsdnet/bsdnet/ifnet/api"
)

func (l *line) mediaRequest() *api.MediaRequest {
	if l.media == nil {
		l.media = &api.MediaRequest{}
	}
	return l.media
}

// setMedia takes a subtype of Ethernet. Which of them there are is known to
// the device.
func setMedia(l *line, value string) error {
	if strings.EqualFold(value, "auto") {
		value = "autoselect"
	}
	if !strings.EqualFold(value, "autoselect") && !strings.ContainsAny(value[:min(1, len(value))], "0123456789") {
		return fmt.Errorf("unknown Ethernet media subtype: %s", value)
	}
	l.mediaRequest().Subtype = value
	return nil
}

// mediaOption takes options, separated by commas.
func (l *line) mediaOption(value string, on bool) error {
	for _, option := range strings.Split(value, ",") {
		full := on
		switch strings.ToLower(option) {
		case "full-duplex", "fdx":
		case "half-duplex", "hdx":
			full = !on
		default:
			return fmt.Errorf("unknown Ethernet media option: %s", option)
		}
		l.mediaRequest().Full = &full
	}
	return nil
}

// finishMedia makes one request of what was said of the medium.
func (l *line) finishMedia() {
	if l.media == nil {
		return
	}
	r := *l.media
	l.step("SIOCSIFMEDIA (media)", func(ctx context.Context, b api.Backend, name string) error {
		r.Name = name
		return b.SetMedia(ctx, r)
	})
}
