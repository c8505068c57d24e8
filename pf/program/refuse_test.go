package program

import (
	"strings"
	"testing"

	"github.com/bsdnet/bsdnet/pf/conf"
)

func TestRefusedOptionHasItsLine(t *testing.T) {
	rs, err := conf.Load("pf.conf", strings.NewReader("set skip on lo0\nset syncookies always\npass\n"), conf.Config{Dialect: conf.FreeBSD})
	if err != nil {
		t.Fatal(err)
	}
	errs := Unenforced(rs)
	if want := "pf.conf:2: set syncookies is not enforced yet"; len(errs) != 1 || errs[0].Error() != want {
		t.Errorf("got %v, want %s", errs, want)
	}
}

// What a rule calls prints as the kernel would give it back, and so that it can
// be read again.
func TestAnchorNames(t *testing.T) {
	rs, err := conf.Load("pf.conf", strings.NewReader("nat-anchor \"ftp-proxy/*\"\nanchor \"a/b\"\nanchor \"/c\"\n"), conf.Config{Dialect: conf.FreeBSD})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range append(rs.Main.Nat, rs.Main.Filter...) {
		got = append(got, r.Text(conf.FreeBSD, conf.FormatOptions{AnchorPaths: true}))
	}
	if want := `nat-anchor "ftp-proxy/*" all; anchor "a/b" all; anchor "/c" all`; strings.Join(got, "; ") != want {
		t.Errorf("got %s, want %s", strings.Join(got, "; "), want)
	}
}
