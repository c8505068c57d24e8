package wg

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/bsdnet/bsdnet/errno"
	"github.com/bsdnet/bsdnet/ifnet/api"
)

// The protocol of https://www.wireguard.com/xplatform/ between the daemon and
// the process of an interface, and what the latter understands besides.
const (
	opSet    = "set=1"
	opGet    = "get=1"
	opStats  = "stats=1"
	opRename = "rename=" // with the new name
)

// answerTimeout is how long the process of an interface may take to answer.
const answerTimeout = 3 * time.Second

// ask sends a request and calls line for each line of the answer.
func ask(socket, request string, line func(key, value string) error) error {
	conn, err := net.DialTimeout("unix", socket, answerTimeout)
	if err != nil {
		return errno.Errorf(errno.EIO, "ask for WireGuard: %v", err)
	}
	defer conn.Close()
	return askOn(conn, request, line)
}

func askOn(conn net.Conn, request string, line func(key, value string) error) error {
	if err := conn.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, request+"\n\n"); err != nil {
		return errno.Errorf(errno.EIO, "ask for WireGuard: %v", err)
	}
	if err := readAnswer(conn, line); err != nil {
		return err
	}
	return conn.SetDeadline(time.Time{})
}

// readAnswer reads lines up to the empty one. The errno is the last line.
func readAnswer(r io.Reader, line func(key, value string) error) error {
	scanner := bufio.NewScanner(r)
	code := -1
	for scanner.Scan() {
		text := scanner.Text()
		if text == "" {
			switch {
			case code > 0:
				return errno.Of(syscall.Errno(code))
			case code < 0:
				return errno.Errorf(errno.EIO, "WireGuard: an answer without errno")
			}
			return nil
		}
		key, value, ok := strings.Cut(text, "=")
		if !ok {
			return errno.Errorf(errno.EIO, "WireGuard: answer %q", text)
		}
		if key == "errno" {
			n, err := strconv.Atoi(value)
			if err != nil {
				return errno.Errorf(errno.EIO, "WireGuard: errno %q", value)
			}
			code = max(n, -n) // wireguard-go's are negative
			continue
		}
		if err := line(key, value); err != nil {
			return err
		}
	}
	if err := scanner.Err(); err != nil {
		return errno.Errorf(errno.EIO, "read answer of WireGuard: %v", err)
	}
	return errno.Errorf(errno.EIO, "WireGuard: an answer without an end")
}

// decoder takes the lines of a get answer into a Wg.
type decoder struct {
	wg   api.Wg
	peer *api.WgPeer
}

func (d *decoder) line(key, value string) (err error) {
	number := func(bits int) uint64 {
		var n uint64
		n, err = strconv.ParseUint(value, 10, bits)
		return n
	}
	if key == "public_key" {
		var public api.WgKey
		if public, err = parseHex(value); err != nil {
			return err
		}
		d.wg.Peers = append(d.wg.Peers, api.WgPeer{PublicKey: public})
		d.peer = &d.wg.Peers[len(d.wg.Peers)-1]
		return nil
	}
	if d.peer == nil {
		switch key {
		case "private_key":
			var private api.WgKey
			if private, err = parseHex(value); err == nil && !private.IsZero() {
				public := private.Public()
				d.wg.PrivateKey, d.wg.PublicKey = &private, &public
			}
		case "listen_port":
			d.wg.Port = uint16(number(16))
		case "fwmark":
			d.wg.Cookie = uint32(number(32))
		}
		return err
	}
	p := d.peer
	switch key {
	case "preshared_key":
		var shared api.WgKey
		if shared, err = parseHex(value); err == nil && !shared.IsZero() {
			p.PresharedKey, p.HasPresharedKey = &shared, true
		}
	case "endpoint":
		p.Endpoint, err = netip.ParseAddrPort(value)
	case "persistent_keepalive_interval":
		p.Keepalive = uint16(number(16))
	case "tx_bytes":
		p.Tx = number(64)
	case "rx_bytes":
		p.Rx = number(64)
	case "last_handshake_time_sec":
		p.LastHandshake = int64(number(63))
	case "allowed_ip":
		var prefix netip.Prefix
		if prefix, err = netip.ParsePrefix(value); err == nil {
			p.AllowedIPs = append(p.AllowedIPs, prefix)
		}
	}
	return err
}

func parseHex(text string) (api.WgKey, error) {
	var key api.WgKey
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != len(key) {
		return key, errno.Errorf(errno.EIO, "WireGuard: not a key") // which it may be: not to be shown
	}
	copy(key[:], raw)
	return key, nil
}

// encode makes the lines of a set request. What can fail comes first: then
// nothing else has been changed.
func encode(r *api.WgRequest) string {
	var b strings.Builder
	line := func(key string, value any) { fmt.Fprintf(&b, "%s=%v\n", key, value) }
	if r.Port != nil {
		line("listen_port", *r.Port)
	}
	if r.Cookie != nil {
		line("fwmark", *r.Cookie)
	}
	if r.PrivateKey != nil {
		line("private_key", hex.EncodeToString(r.PrivateKey[:]))
	}
	if r.ReplacePeers {
		line("replace_peers", true)
	}
	for _, p := range r.Peers {
		line("public_key", hex.EncodeToString(p.PublicKey[:]))
		if p.Remove {
			line("remove", true)
			continue
		}
		if p.PresharedKey != nil {
			line("preshared_key", hex.EncodeToString(p.PresharedKey[:]))
		}
		if p.Endpoint.IsValid() {
			line("endpoint", p.Endpoint)
		}
		if p.Keepalive != nil {
			line("persistent_keepalive_interval", *p.Keepalive)
		}
		if p.ReplaceAllowedIPs {
			line("replace_allowed_ips", true)
		}
		for _, prefix := range p.AllowedIPs {
			line("allowed_ip", prefix)
		}
	}
	return b.String()
}
