package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"syscall"
	"testing"
)

func TestFlags(t *testing.T) {
	f := Up | Gateway | Static | Proto1 | Pinned
	if f.Letters() != "UGS1" || f.String() != "<UP,GATEWAY,STATIC,PROTO1,PINNED>" || fmt.Sprint(f.Pretty()) != "[up gateway static proto1]" {
		t.Error(f.Letters(), f, f.Pretty())
	}
	if Flags(0).String() != "" || Flags(0).Letters() != "" {
		t.Error("no flags print something")
	}
}

// An error keeps its errno on its way through the control socket, and through
// wrapping.
func TestErrors(t *testing.T) {
	b, err := json.Marshal(Errorf(EEXIST, "add %s", "x"))
	if err != nil {
		t.Fatal(err)
	}
	back := new(Error)
	if err := json.Unmarshal(b, back); err != nil || !errors.Is(back, EEXIST) || back.Error() != "add x" {
		t.Error(back, err)
	}
	for _, c := range []struct {
		err  error
		want Errno
	}{
		{fmt.Errorf("a: %w", syscall.EEXIST), EEXIST},
		{fmt.Errorf("a: %w", back), EEXIST},
		{EADDRINUSE, EADDRINUSE},
		{syscall.ENODEV, ENXIO},
		{errors.New("odd"), EIO},
	} {
		if got := ErrnoOf(c.err); got != c.want {
			t.Errorf("%v: %s, want %s", c.err, got, c.want)
		}
	}
	if (&Error{Errno: ENETUNREACH}).Error() != "Network is unreachable" || ENETUNREACH.Number() != 51 {
		t.Error("text or number of ENETUNREACH")
	}
	if Errno("EWHAT").Error() != "Unknown error: EWHAT" {
		t.Error(Errno("EWHAT").Error())
	}
}

func TestMetricsMerge(t *testing.T) {
	old := Metrics{Mtu: 1400, Hopcount: 3, Expire: 7, Locks: RTVMtu}
	got := old.Merge(Metrics{Mtu: 1300, Expire: 9}, RTVMtu)
	if want := (Metrics{Mtu: 1300, Hopcount: 3, Expire: 7}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
