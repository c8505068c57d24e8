package api

import (
	"encoding/json"
	"strings"
	"testing"
)

const (
	wgPrivate = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
	wgPublic  = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw="
)

// set gives a line of words to a request.
func set(w *WgWords, line string) error {
	for words := strings.Fields(line); len(words) > 0; {
		n, ok := WgArguments(words[0])
		if !ok {
			return nil
		}
		n = min(n, len(words)-1)
		if err := w.Set(words[0], words[1:1+n]); err != nil {
			return err
		}
		words = words[1+n:]
	}
	return nil
}

func TestWgWords(t *testing.T) {
	for _, test := range []struct{ line, want string }{
		{"wgkey " + wgPrivate + " wgport 51820 wgcookie 7", `{"name":"","private_key":"yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=","port":51820,"cookie":7}`},
		{"wgport 0 -wgcookie wgrtable 3 -wgpeerall", `{"name":"","port":0,"cookie":0,"table":3,"replace_peers":true}`},
		{"wgpeer " + wgPublic + " wgendpoint 192.0.2.1 51820 wgaip 10.0.0.1/8 wgaip 2001:db8::/32 wgaip 10.9.9.9 wgpka 25 wgdescr home",
			`{"name":"","peers":[{"public_key":"HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=","description":"home","keepalive":25,"endpoint":"192.0.2.1:51820","replace_allowed_ips":true,"allowed_ips":["10.0.0.0/8","2001:db8::/32","10.9.9.9/32"]}]}`},
		{"wgpeer " + wgPublic + " wgendpoint vpn.example.net 51820 -wgpsk -wgpka -wgdescr -wgaip 10.0.0.0/8",
			`{"name":"","peers":[{"public_key":"HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=","description":"","preshared_key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","keepalive":0,"endpoint_host":"vpn.example.net","endpoint_service":"51820","remove_allowed_ips":["10.0.0.0/8"]}]}`},
		{"-wgpeer " + wgPublic, `{"name":"","peers":[{"public_key":"HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=","remove":true}]}`},
		{"wgpeer " + wgPublic + " wgendpoint 2001:db8::1 443", `{"name":"","peers":[{"public_key":"HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=","endpoint":"[2001:db8::1]:443"}]}`},

		{"wgkey abc", "wgkey: invalid private key"},
		{"wgport -1", "wgport: invalid port -1: too small"},
		{"wgport 99999999999999999999", "wgport: invalid port 99999999999999999999: too large"},
		{"wgpka 1", "wgpka: wgpeer not set"},
		{"-wgpeer " + wgPublic + " wgpka 1", "wgpka: wgpeer not set"},
		{"wgpeer " + wgPublic + " wgaip ::ffff:1.2.3.4/128", "wgaip: bad address: ::ffff:1.2.3.4/128"},
		{"wgpeer " + wgPublic + " wgaip fe80::1%em0", "wgaip: bad address: fe80::1%em0"},
		{"wgpeer " + wgPublic + " wgendpoint 192.0.2.1 0", "wgendpoint: bad address: 192.0.2.1 0"},
		{"wgpeer " + wgPublic + " wgpsk " + wgPrivate[1:], "wgpsk: invalid key"},
		{"wgpeer " + wgPublic + " wgdescr " + strings.Repeat("x", 64), "wgdescr: longer than 63 bytes"},
		{"wgendpoint 192.0.2.1", "'wgendpoint' requires argument"},
	} {
		var w WgWords
		got := ""
		if err := set(&w, test.line); err != nil {
			got = err.Error()
		} else if data, err := json.Marshal(w.Request); err != nil {
			t.Fatal(err)
		} else {
			got = string(data)
		}
		if got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.line, got, test.want)
		}
	}
}

func TestWgKey(t *testing.T) {
	private, err := ParseWgKey(wgPrivate)
	if err != nil || private.Public().String() != wgPublic {
		t.Errorf("the public key of %s is %s, %v", wgPrivate, private.Public(), err)
	}
}

// What is wrong with a secret does not show it.
func FuzzWgWords(f *testing.F) {
	f.Add("wgkey " + wgPrivate + " wgpeer " + wgPublic + " wgendpoint 192.0.2.1 51820 wgaip 10.0.0.0/8 wgpsk x wgpka 25")
	f.Fuzz(func(t *testing.T, line string) {
		var w WgWords
		err := set(&w, line)
		words := strings.Fields(line)
		for i := 1; err != nil && i < len(words); i++ {
			if secret := words[i-1] == "wgkey" || words[i-1] == "wgpsk"; secret && len(words[i]) > 20 && strings.Contains(err.Error(), words[i]) {
				t.Errorf("%q shows a secret", err)
			}
		}
	})
}
