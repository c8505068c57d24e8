package wg

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/bsdnet/bsdnet/errno"
	"github.com/bsdnet/bsdnet/ifnet/api"
)

const answer = `private_key=c809f3e5317e9575c9b5ed78b638b7ce530dabe85ddab614220241801ddf0669
listen_port=51820
fwmark=7
public_key=c5320103 
`

func TestDecode(t *testing.T) {
	text := strings.Replace(answer, "c5320103 ", strings.Repeat("ab", 32), 1) + `preshared_key=` + strings.Repeat("00", 32) + `
protocol_version=1
endpoint=[2001:db8::1]:443
last_handshake_time_sec=5
last_handshake_time_nsec=6
tx_bytes=1
rx_bytes=2
persistent_keepalive_interval=25
allowed_ip=10.0.0.0/8
allowed_ip=2001:db8::/32
errno=0

`
	var d decoder
	if err := readAnswer(strings.NewReader(text), d.line); err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(d.wg)
	if err != nil {
		t.Fatal(err)
	}
	peer := api.WgKey{}
	for i := range peer {
		peer[i] = 0xab
	}
	want := `{"engine":"","private_key":"yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=","public_key":"` + d.wg.PrivateKey.Public().String() +
		`","port":51820,"cookie":7,"peers":[{"public_key":"` + peer.String() + `","keepalive":25,"endpoint":"[2001:db8::1]:443","tx":1,"rx":2,"last_handshake":5,"allowed_ips":["10.0.0.0/8","2001:db8::/32"]}]}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestAnswers(t *testing.T) {
	for text, want := range map[string]error{
		"errno=0\n\n":                     nil,
		"errno=-98\n\n":                   errno.EADDRINUSE,
		"errno=22\n\n":                    errno.EINVAL,
		"":                                errno.EIO,
		"\n":                              errno.EIO,
		"errno=0\n":                       errno.EIO,
		"what\n\n":                        errno.EIO,
		"private_key=xy\nerrno=0\n\n":     errno.EIO,
		"errno=99999999999999999999\n\n":  errno.EIO,
		strings.Repeat("x", 1<<17) + "\n": errno.EIO,
	} {
		var d decoder
		if err := readAnswer(strings.NewReader(text), d.line); (err == nil) != (want == nil) || want != nil && !errors.Is(err, want) {
			t.Errorf("%.40q: %v, want %v", text, err, want)
		}
	}
}

func TestEncode(t *testing.T) {
	port, pka := uint16(1), uint16(2)
	r := &api.WgRequest{PrivateKey: &api.WgKey{1}, Port: &port, ReplacePeers: true, Peers: []api.WgPeerRequest{
		{PublicKey: api.WgKey{2}, Remove: true},
		{PublicKey: api.WgKey{3}, PresharedKey: &api.WgKey{}, Keepalive: &pka, Endpoint: netip.MustParseAddrPort("192.0.2.1:9"),
			ReplaceAllowedIPs: true, AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}},
	}}
	zero := strings.Repeat("00", 31)
	// The port, which may be taken, is first.
	want := "listen_port=1\nprivate_key=01" + zero + "\nreplace_peers=true\npublic_key=02" + zero + "\nremove=true\npublic_key=03" + zero +
		"\npreshared_key=00" + zero + "\nendpoint=192.0.2.1:9\npersistent_keepalive_interval=2\nreplace_allowed_ips=true\nallowed_ip=10.0.0.0/8\n"
	if got := encode(r); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(answer + "errno=0\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		var d decoder
		_ = readAnswer(strings.NewReader(text), d.line)
	})
}
