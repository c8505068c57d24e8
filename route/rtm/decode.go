package rtm

import (
	"bytes"
	"net/netip"
	"slices"

	"github.com/bsdnet/bsdnet/errno"
	"github.com/bsdnet/bsdnet/route/api"
)

// Next cuts the first message off a dump. EINVAL: what is left is no message.
func Next(b []byte) (message, rest []byte, err error) {
	if len(b) < 4 {
		return nil, nil, errno.EINVAL
	}
	length := int(le.Uint16(b[offMsglen:]))
	if length < 4 || length > len(b) {
		return nil, nil, errno.EINVAL
	}
	return b[:length], b[length:], nil
}

// Decode reads a message of the kernel, of either system. It fails with EINVAL
// where a length reaches beyond the message or what it must hold is missing,
// EPROTONOSUPPORT for another version, EOPNOTSUPP for a type that is not known.
// It keeps nothing of b.
func Decode(b []byte) (*Message, error) {
	b, _, err := Next(b)
	if err != nil {
		return nil, err
	}
	m := &Message{Version: Version(b[offVersion]), Type: api.MessageType(b[offType])}
	if !m.Version.Known() {
		return nil, errno.EPROTONOSUPPORT
	}
	if m.Type == 0 || m.Type > api.RTMIeee80211 {
		return nil, errno.EOPNOTSUPP
	}
	size := headerLen(m.Version, m.Type)
	if len(b) < size {
		return nil, errno.EINVAL
	}
	body := b[size:]
	switch m.Type {
	case api.RTMIfannounce, api.RTMIeee80211:
		m.Index = le.Uint16(b[offIfanIndex:])
		name := b[offIfanName : offIfanName+ifnamsiz]
		end := bytes.IndexByte(name, 0)
		if end < 0 {
			return nil, errno.EINVAL
		}
		m.Name = string(name[:end])
		m.What = le.Uint16(b[offIfanWhat:])
		if m.Type == api.RTMIeee80211 && len(body) > 0 {
			m.Event = slices.Clone(body)
		}
		return m, nil
	case api.RTMIfinfo, api.RTMNewaddr, api.RTMDeladdr, api.RTMNewmaddr, api.RTMDelmaddr:
		return m, m.addrs(m.getInterface(b), body)
	}
	return m, m.addrs(m.getRoute(b), body)
}

// DecodeL reads a message of NET_RT_IFLISTL, as [Decode] does the others.
func DecodeL(b []byte) (*Message, error) {
	b, _, err := Next(b)
	if err != nil {
		return nil, err
	}
	m := &Message{Version: Version(b[offVersion]), Type: api.MessageType(b[offType])}
	switch {
	case m.Version != FreeBSD:
		return nil, errno.EPROTONOSUPPORT
	case m.Type != api.RTMIfinfo && m.Type != api.RTMNewaddr:
		return nil, errno.EOPNOTSUPP
	case len(b) < sizeMsghdrl:
		return nil, errno.EINVAL
	}
	size, data := int(le.Uint16(b[offLen:])), int(le.Uint16(b[offDataOff:]))
	if size > len(b) || data+layouts[FreeBSD].sizeIfData > size {
		return nil, errno.EINVAL
	}
	l := layouts[FreeBSD]
	m.Index, m.Flags = le.Uint16(b[l.index:]), le.Uint32(b[l.flags:])
	if m.Type == api.RTMNewaddr {
		m.Metric = int32(le.Uint32(b[offIfamMetric:]))
	}
	m.Data.get(b[data:], FreeBSD)
	return m, m.addrs(Addrs(le.Uint32(b[l.addrs:])), b[size:])
}

// DecodeRequest reads what a program wrote to a routing socket of a system, in
// the order of the checks of route_output: EINVAL if the length is not that of
// the message or of a rt_msghdr, EPROTONOSUPPORT for another version, EINVAL
// for a sockaddr that reaches beyond the end. Bits of rtm_addrs without bytes
// are ignored; a sockaddr of length 0 is 0.0.0.0 and the last. With an error
// about sockaddrs the message comes too, without them, for the answer.
func DecodeRequest(v Version, b []byte) (*Message, error) {
	if len(b) < sizeRtMsghdr || len(b) != int(le.Uint16(b[offMsglen:])) {
		return nil, errno.EINVAL
	}
	if Version(b[offVersion]) != v {
		return nil, errno.EPROTONOSUPPORT
	}
	m := &Message{Version: v, Type: api.MessageType(b[offType])}
	bits, body := m.getRoute(b), b[sizeRtMsghdr:]
	for i := range v.max() {
		if bits&Bit(i) == 0 || len(body) == 0 {
			continue
		}
		length := int(body[0])
		if length > len(body) {
			m.Addrs = [addrMax]Sockaddr{}
			return m, errno.EINVAL
		}
		if length == 0 {
			m.Addrs[i] = zero
			break
		}
		m.Addrs[i] = m.sockaddr(i, body, length)
		body = body[min(roundup(length), len(body)):]
	}
	return m, nil
}

// zero is what the kernels take for a sockaddr of length 0.
var zero = Inet{Addr: netip.IPv4Unspecified()}

// addrs reads the sockaddrs that a header announces.
func (m *Message) addrs(bits Addrs, b []byte) error {
	for i := range m.Version.max() {
		if bits&Bit(i) == 0 {
			continue
		}
		if len(b) == 0 {
			return errno.EINVAL
		}
		length := int(b[0])
		if roundup(length) > len(b) {
			return errno.EINVAL
		}
		m.Addrs[i] = m.sockaddr(i, b, length)
		b = b[roundup(length):]
	}
	return nil
}

// sockaddr reads the sockaddr at the beginning of b for a place in the message.
// A mask ends with its length; what follows is not part of it.
func (m *Message) sockaddr(index int, b []byte, length int) Sockaddr {
	slot := b[:min(roundup(length), len(b))]
	if index == Netmask || index == Genmask {
		whole := length == sizeInet && b[1] == AFInet || length == sizeInet6 && b[1] == AFInet6
		if !whole {
			return rawOf(b[:length])
		}
	}
	return parseSockaddr(m.Version, b[:length], slot)
}

func (m *Message) getRoute(b []byte) Addrs {
	m.Index = le.Uint16(b[offRtmIndex:])
	m.Flags = le.Uint32(b[offRtmFlags:])
	m.Pid = int32(le.Uint32(b[offRtmPid:]))
	m.Seq = int32(le.Uint32(b[offRtmSeq:]))
	m.Errno = int32(le.Uint32(b[offRtmErrno:]))
	m.Use = int32(le.Uint32(b[offRtmUse:]))
	m.Inits = le.Uint64(b[offRtmInits:])
	rmx := b[offRtmRmx:]
	for _, f := range metricOffsets {
		if at := pick(m.Version, f.freebsd, f.dragonfly); at >= 0 {
			*f.field(&m.Metrics) = le.Uint64(rmx[at:])
		}
	}
	if m.Version == DragonFly {
		m.Metrics.Mssopt = le.Uint16(rmx[offMssopt:])
	}
	return Addrs(le.Uint32(b[offRtmAddrs:]))
}

func (m *Message) getInterface(b []byte) Addrs {
	l := layouts[m.Version]
	m.Index = le.Uint16(b[l.index:])
	m.Flags = le.Uint32(b[l.flags:])
	switch m.Type {
	case api.RTMIfinfo:
		m.Data.get(b[l.ifData:], m.Version)
	case api.RTMNewaddr, api.RTMDeladdr:
		m.Metric = int32(le.Uint32(b[l.ifaMetric:]))
		if l.ifaAddrflags != 0 {
			m.AddrFlags = int32(le.Uint32(b[l.ifaAddrflags:]))
		}
	}
	return Addrs(le.Uint32(b[l.addrs:]))
}

// get reads struct if_data.
func (d *IfData) get(b []byte, v Version) {
	d.Type, d.Physical, d.Addrlen, d.Hdrlen = b[0], b[1], b[2], b[3]
	if v == DragonFly {
		d.Recvquota, d.Xmitquota = b[4], b[5]
		d.Mtu, d.Metric, d.LinkState = le.Uint32(b[8:]), le.Uint32(b[16:]), b[24]
	} else {
		d.LinkState, d.Vhid = b[4], b[5]
		d.Mtu, d.Metric = le.Uint32(b[8:]), le.Uint32(b[12:])
	}
	for _, f := range dataOffsets {
		if at := pick(v, f.freebsd, f.dragonfly); at >= 0 {
			*f.field(d) = le.Uint64(b[at:])
		}
	}
	lastchange := b[pick(v, 136, 144):]
	d.LastchangeSec = int64(le.Uint64(lastchange))
	d.LastchangeUsec = int64(le.Uint64(lastchange[8:]))
}

// CutSockaddr reads the sockaddr at the beginning of b and returns what follows
// it. EINVAL: it reaches beyond the end.
func CutSockaddr(v Version, b []byte) (Sockaddr, []byte, error) {
	if len(b) == 0 || int(b[0]) > len(b) {
		return nil, nil, errno.EINVAL
	}
	end := min(roundup(int(b[0])), len(b))
	return parseSockaddr(v, b[:b[0]], b[:end]), b[end:], nil
}
