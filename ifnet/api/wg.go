package api

import (
	"crypto/ecdh"
	"encoding/base64"
	"errors"
	"net/netip"
)

// WgKey is a key of WireGuard; its text is base64. The zero key is none.
type WgKey [32]byte

// ParseWgKey reads a key of 44 characters of base64.
func ParseWgKey(text string) (WgKey, error) {
	var key WgKey
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) != len(key) {
		return key, errors.New("invalid key")
	}
	copy(key[:], raw)
	return key, nil
}

func (k WgKey) String() string { return base64.StdEncoding.EncodeToString(k[:]) }

// Clamp makes 32 bytes a private key of X25519, as every WireGuard does.
func (k WgKey) Clamp() WgKey {
	k[0] &= 248
	k[31] = k[31]&127 | 64
	return k
}

// IsZero reports whether there is no key.
func (k WgKey) IsZero() bool { return k == WgKey{} }

// MarshalText implements encoding.TextMarshaler.
func (k WgKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *WgKey) UnmarshalText(text []byte) (err error) {
	*k, err = ParseWgKey(string(text))
	return err
}

// Public returns the public key of a private one.
func (k WgKey) Public() WgKey {
	var public WgKey
	if private, err := ecdh.X25519().NewPrivateKey(k[:]); err == nil {
		copy(public[:], private.PublicKey().Bytes())
	}
	return public
}

// WgEngine is what does the cryptography of a wg(4).
type WgEngine string

// The engines. With WgDown, the process that is to do it does not answer.
const (
	WgKernel    WgEngine = "kernel"
	WgUserspace WgEngine = "userspace"
	WgDown      WgEngine = "down"
)

// Wg is a wg(4) as it is. Secrets are there only if they were asked for.
type Wg struct {
	Engine     WgEngine `json:"engine"`
	PID        int      `json:"pid,omitempty"` // of the process in userspace
	PrivateKey *WgKey   `json:"private_key,omitempty"`
	PublicKey  *WgKey   `json:"public_key,omitempty"` // nil: there is no private key
	Port       uint16   `json:"port,omitempty"`       // 0: none yet
	Cookie     uint32   `json:"cookie,omitempty"`     // mark of the packets it sends
	Table      int      `json:"table,omitempty"`      // FIB of its socket
	Peers      []WgPeer `json:"peers,omitempty"`
	// Dropped are packets that were dropped, by reason, as far as the engine counts them.
	Dropped map[string]uint64 `json:"dropped,omitempty"`
}

// WgPeer is a peer of a wg(4).
type WgPeer struct {
	PublicKey       WgKey          `json:"public_key"`
	Description     string         `json:"description,omitempty"`
	HasPresharedKey bool           `json:"has_preshared_key,omitempty"`
	PresharedKey    *WgKey         `json:"preshared_key,omitempty"`
	Keepalive       uint16         `json:"keepalive,omitempty"` // seconds, 0: off
	Endpoint        netip.AddrPort `json:"endpoint,omitzero"`
	Tx              uint64         `json:"tx"` // bytes
	Rx              uint64         `json:"rx"`
	LastHandshake   int64          `json:"last_handshake,omitempty"` // seconds since the epoch, 0: none yet
	AllowedIPs      []netip.Prefix `json:"allowed_ips,omitempty"`
}

// WgRequest changes a wg(4); what is nil stays.
type WgRequest struct {
	Name         string          `json:"name"`
	PrivateKey   *WgKey          `json:"private_key,omitempty"`
	Port         *uint16         `json:"port,omitempty"` // 0: any
	Cookie       *uint32         `json:"cookie,omitempty"`
	Table        *int            `json:"table,omitempty"`
	ReplacePeers bool            `json:"replace_peers,omitempty"` // those that are not in Peers go
	Peers        []WgPeerRequest `json:"peers,omitempty"`
}

// WgPeerRequest adds, changes or removes one peer.
type WgPeerRequest struct {
	PublicKey    WgKey          `json:"public_key"`
	Remove       bool           `json:"remove,omitempty"`
	Description  *string        `json:"description,omitempty"`   // "" clears it
	PresharedKey *WgKey         `json:"preshared_key,omitempty"` // the zero key clears it
	Keepalive    *uint16        `json:"keepalive,omitempty"`     // seconds, 0: off
	Endpoint     netip.AddrPort `json:"endpoint,omitzero"`
	// EndpointHost and EndpointService are an endpoint whose address is still
	// to be looked up, by who makes the request.
	EndpointHost      string         `json:"endpoint_host,omitempty"`
	EndpointService   string         `json:"endpoint_service,omitempty"`
	ReplaceAllowedIPs bool           `json:"replace_allowed_ips,omitempty"`
	AllowedIPs        []netip.Prefix `json:"allowed_ips,omitempty"` // those of another peer move
	RemoveAllowedIPs  []netip.Prefix `json:"remove_allowed_ips,omitempty"`
}

// Request makes the request that brings another wg(4) to the same, with the
// secrets if they are there.
func (w *Wg) Request() *WgRequest {
	r := &WgRequest{PrivateKey: w.PrivateKey, Cookie: &w.Cookie, ReplacePeers: true}
	if w.Port != 0 {
		r.Port = &w.Port
	}
	for _, p := range w.Peers {
		r.Peers = append(r.Peers, WgPeerRequest{
			PublicKey: p.PublicKey, Description: &p.Description, PresharedKey: p.PresharedKey, Keepalive: &p.Keepalive,
			Endpoint: p.Endpoint, ReplaceAllowedIPs: true, AllowedIPs: p.AllowedIPs,
		})
	}
	return r
}
