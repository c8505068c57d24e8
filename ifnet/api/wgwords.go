package api

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Limits of the words about wg(4).
const (
	wgKeepaliveMax   = 43200
	wgDescriptionMax = 63 // IFDESCRSIZE, less the NUL
)

// WgWords collects the words of ifconfig(8) about wg(4), those of OpenBSD and
// DragonFly, into a request. The error of a word never shows a secret.
type WgWords struct {
	Request WgRequest
	peer    bool // the words are about the last peer
}

// WgArguments returns how many words follow one about wg(4), and whether it is
// one.
func WgArguments(word string) (n int, ok bool) {
	w, ok := wgWords[word]
	return w.arguments, ok
}

// Empty reports whether nothing was said.
func (w *WgWords) Empty() bool {
	r := &w.Request
	return r.PrivateKey == nil && r.Port == nil && r.Cookie == nil && r.Table == nil && !r.ReplacePeers && len(r.Peers) == 0
}

// Set takes a word and those that follow it.
func (w *WgWords) Set(word string, arguments []string) error {
	known, ok := wgWords[word]
	if !ok || len(arguments) != known.arguments {
		return fmt.Errorf("'%s' requires argument", word)
	}
	if known.ofPeer {
		if !w.peer {
			return fmt.Errorf("%s: wgpeer not set", word)
		}
		return known.peer(&w.Request.Peers[len(w.Request.Peers)-1], word, arguments)
	}
	return known.set(w, word, arguments)
}

type wgWord struct {
	arguments int
	set       func(w *WgWords, word string, arguments []string) error
	ofPeer    bool
	peer      func(p *WgPeerRequest, word string, arguments []string) error
}

func wgOf(arguments int, set func(w *WgWords, word string, arguments []string) error) wgWord {
	return wgWord{arguments: arguments, set: set}
}

func wgOfPeer(arguments int, set func(p *WgPeerRequest, word string, arguments []string) error) wgWord {
	return wgWord{arguments: arguments, ofPeer: true, peer: set}
}

var wgWords map[string]wgWord

func init() {
	clearDescription := wgOfPeer(0, func(p *WgPeerRequest, _ string, _ []string) error { p.Description = new(string); return nil })
	wgWords = map[string]wgWord{
		"wgkey":          wgOf(1, setWgKey),
		"wgport":         wgOf(1, setWgPort),
		"wgcookie":       wgOf(1, setWgCookie),
		"-wgcookie":      wgOf(0, func(w *WgWords, _ string, _ []string) error { w.Request.Cookie = new(uint32); return nil }),
		"wgrtable":       wgOf(1, setWgTable),
		"wgpeer":         wgOf(1, func(w *WgWords, word string, a []string) error { return w.addPeer(word, a[0], false) }),
		"-wgpeer":        wgOf(1, func(w *WgWords, word string, a []string) error { return w.addPeer(word, a[0], true) }),
		"-wgpeerall":     wgOf(0, func(w *WgWords, _ string, _ []string) error { w.Request.ReplacePeers = true; return nil }),
		"wgdescr":        wgOfPeer(1, setWgDescription),
		"wgdescription":  wgOfPeer(1, setWgDescription),
		"-wgdescr":       clearDescription,
		"-wgdescription": clearDescription,
		"wgendpoint":     wgOfPeer(2, setWgEndpoint),
		"wgaip":          wgOfPeer(1, setWgAllowed),
		"-wgaip":         wgOfPeer(1, setWgAllowed),
		"wgpsk":          wgOfPeer(1, setWgPresharedKey),
		"-wgpsk":         wgOfPeer(0, func(p *WgPeerRequest, _ string, _ []string) error { p.PresharedKey = new(WgKey); return nil }),
		"wgpka":          wgOfPeer(1, setWgKeepalive),
		"-wgpka":         wgOfPeer(0, func(p *WgPeerRequest, _ string, _ []string) error { p.Keepalive = new(uint16); return nil }),
	}
}

func setWgKey(w *WgWords, _ string, arguments []string) error {
	key, err := ParseWgKey(arguments[0])
	if err != nil || key.IsZero() {
		return errors.New("wgkey: invalid private key")
	}
	key = key.Clamp()
	w.Request.PrivateKey = &key
	return nil
}

// wgNumber reads a number, with the words of strtonum(3) for what is wrong.
func wgNumber(what, of, text string, most uint64) (uint64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	reason := ""
	switch {
	case errors.Is(err, strconv.ErrRange) && strings.HasPrefix(text, "-") || err == nil && n < 0:
		reason = "too small"
	case errors.Is(err, strconv.ErrRange) || err == nil && uint64(n) > most:
		reason = "too large"
	case err != nil:
		reason = "invalid"
	default:
		return uint64(n), nil
	}
	return 0, fmt.Errorf("%s: invalid %s %s: %s", what, of, text, reason)
}

func setWgPort(w *WgWords, word string, arguments []string) error {
	n, err := wgNumber(word, "port", arguments[0], 65535)
	if err != nil {
		return err
	}
	port := uint16(n)
	w.Request.Port = &port
	return nil
}

func setWgCookie(w *WgWords, word string, arguments []string) error {
	n, err := wgNumber(word, "cookie", arguments[0], 1<<32-1)
	if err != nil {
		return err
	}
	cookie := uint32(n)
	w.Request.Cookie = &cookie
	return nil
}

func setWgTable(w *WgWords, word string, arguments []string) error {
	n, err := wgNumber(word, "routing table", arguments[0], 255)
	if err != nil {
		return err
	}
	table := int(n)
	w.Request.Table = &table
	return nil
}

func (w *WgWords) addPeer(word, text string, remove bool) error {
	key, err := ParseWgKey(text)
	if err != nil || key.IsZero() {
		return fmt.Errorf("%s: invalid peer key: %s", word, text)
	}
	w.Request.Peers = append(w.Request.Peers, WgPeerRequest{PublicKey: key, Remove: remove})
	w.peer = !remove
	return nil
}

func setWgDescription(p *WgPeerRequest, word string, arguments []string) error {
	if len(arguments[0]) > wgDescriptionMax {
		return fmt.Errorf("%s: longer than %d bytes", word, wgDescriptionMax)
	}
	p.Description = &arguments[0]
	return nil
}

func setWgEndpoint(p *WgPeerRequest, word string, arguments []string) error {
	host, service := arguments[0], arguments[1]
	p.EndpointHost, p.EndpointService, p.Endpoint = host, service, netip.AddrPort{}
	addr, err := netip.ParseAddr(host)
	port, portErr := strconv.ParseUint(service, 10, 16)
	if err == nil && portErr == nil {
		if port == 0 || addr.IsUnspecified() || addr.IsMulticast() {
			return fmt.Errorf("%s: bad address: %s %s", word, host, service)
		}
		p.Endpoint, p.EndpointHost, p.EndpointService = netip.AddrPortFrom(addr.Unmap(), uint16(port)), "", ""
	}
	return nil
}

func setWgAllowed(p *WgPeerRequest, word string, arguments []string) error {
	text := arguments[0]
	prefix, err := netip.ParsePrefix(text)
	if !strings.Contains(text, "/") {
		var addr netip.Addr
		addr, err = netip.ParseAddr(text)
		prefix = netip.PrefixFrom(addr, addr.BitLen())
	}
	if err != nil || prefix.Addr().Is4In6() || strings.Contains(text, "%") {
		return fmt.Errorf("%s: bad address: %s", word, text)
	}
	if word == "-wgaip" {
		p.RemoveAllowedIPs = append(p.RemoveAllowedIPs, prefix.Masked())
		return nil
	}
	p.ReplaceAllowedIPs = true
	p.AllowedIPs = append(p.AllowedIPs, prefix.Masked())
	return nil
}

func setWgPresharedKey(p *WgPeerRequest, _ string, arguments []string) error {
	key, err := ParseWgKey(arguments[0])
	if err != nil || key.IsZero() {
		return errors.New("wgpsk: invalid key")
	}
	p.PresharedKey = &key
	return nil
}

func setWgKeepalive(p *WgPeerRequest, word string, arguments []string) error {
	n, err := wgNumber(word, "pka", arguments[0], wgKeepaliveMax)
	if err != nil {
		return err
	}
	seconds := uint16(n)
	p.Keepalive = &seconds
	return nil
}
