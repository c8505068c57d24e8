package rtm

import (
	"fmt"

	"github.com/bsdnet/bsdnet/route/api"
)

// Append adds a message to b as the kernel sends it on a routing socket. It
// fails where a field has no room for its value: a name of more than 15 bytes,
// a message of more than MaxLen.
func (m *Message) Append(b []byte) ([]byte, error) { return m.append(b, false, false) }

// AppendDump adds a message to b as a sysctl gives it: its length is a multiple
// of 8.
func (m *Message) AppendDump(b []byte) ([]byte, error) { return m.append(b, true, false) }

// AppendL adds a message of NET_RT_IFLISTL to b: if_msghdrl or ifa_msghdrl.
// Only FreeBSD has it.
func (m *Message) AppendL(b []byte) ([]byte, error) {
	if m.Version != FreeBSD || m.Type != api.RTMIfinfo && m.Type != api.RTMNewaddr {
		return b, fmt.Errorf("encode message type %d: no l form", m.Type)
	}
	return m.append(b, true, true)
}

func (m *Message) append(b []byte, dump, long bool) ([]byte, error) {
	l, ok := layouts[m.Version]
	if !ok {
		return b, fmt.Errorf("encode message: version %d", m.Version)
	}
	begin := len(b)
	size := headerLen(m.Version, m.Type)
	if long {
		size = sizeMsghdrl
	}
	b = append(b, make([]byte, size)...)
	header := b[begin:]
	header[offVersion], header[offType] = uint8(m.Version), uint8(m.Type)
	announce := m.Type == api.RTMIfannounce || m.Type == api.RTMIeee80211
	var addrs Addrs
	if announce {
		if len(m.Name) >= ifnamsiz {
			return b[:begin], fmt.Errorf("encode message: interface name %q is too long", m.Name)
		}
		b = append(b, m.Event...)
	} else {
		for i, sa := range m.Addrs[:m.Version.max()] {
			if sa == nil {
				continue
			}
			addrs |= Bit(i)
			var err error
			if b, err = AppendSockaddr(b, sa); err != nil {
				return b[:begin], err
			}
		}
	}
	if odd := (len(b) - begin) % 8; dump && odd != 0 {
		b = append(b, make([]byte, 8-odd)...)
	}
	if len(b)-begin > MaxLen {
		return b[:begin], fmt.Errorf("encode message: %d bytes are too many", len(b)-begin)
	}
	header = b[begin : begin+size]
	le.PutUint16(header[offMsglen:], uint16(len(b)-begin))
	switch m.Type {
	case api.RTMIfannounce, api.RTMIeee80211:
		le.PutUint16(header[offIfanIndex:], m.Index)
		copy(header[offIfanName:], m.Name)
		le.PutUint16(header[offIfanWhat:], m.What)
	case api.RTMIfinfo, api.RTMNewaddr, api.RTMDeladdr, api.RTMNewmaddr, api.RTMDelmaddr:
		m.putInterface(header, l, addrs, long)
	default:
		m.putRoute(header, addrs)
	}
	return b, nil
}

func (m *Message) putRoute(h []byte, addrs Addrs) {
	le.PutUint16(h[offRtmIndex:], m.Index)
	le.PutUint32(h[offRtmFlags:], m.Flags)
	le.PutUint32(h[offRtmAddrs:], uint32(addrs))
	le.PutUint32(h[offRtmPid:], uint32(m.Pid))
	le.PutUint32(h[offRtmSeq:], uint32(m.Seq))
	le.PutUint32(h[offRtmErrno:], uint32(m.Errno))
	le.PutUint32(h[offRtmUse:], uint32(m.Use))
	le.PutUint64(h[offRtmInits:], m.Inits)
	rmx := h[offRtmRmx:]
	for _, f := range metricOffsets {
		if at := pick(m.Version, f.freebsd, f.dragonfly); at >= 0 {
			le.PutUint64(rmx[at:], *f.field(&m.Metrics))
		}
	}
	if m.Version == DragonFly {
		le.PutUint16(rmx[offMssopt:], m.Metrics.Mssopt)
	}
}

func pick(v Version, freebsd, dragonfly int) int {
	if v == DragonFly {
		return dragonfly
	}
	return freebsd
}

func (m *Message) putInterface(h []byte, l *layout, addrs Addrs, long bool) {
	le.PutUint16(h[l.index:], m.Index)
	le.PutUint32(h[l.flags:], m.Flags)
	le.PutUint32(h[l.addrs:], uint32(addrs))
	if long {
		le.PutUint16(h[offLen:], sizeMsghdrl)
		le.PutUint16(h[offDataOff:], offLData)
		if m.Type == api.RTMNewaddr {
			le.PutUint32(h[offIfamMetric:], uint32(m.Metric))
		}
		m.Data.put(h[offLData:], m.Version)
		return
	}
	switch m.Type {
	case api.RTMIfinfo:
		m.Data.put(h[l.ifData:], m.Version)
	case api.RTMNewaddr, api.RTMDeladdr:
		le.PutUint32(h[l.ifaMetric:], uint32(m.Metric))
		if l.ifaAddrflags != 0 {
			le.PutUint32(h[l.ifaAddrflags:], uint32(m.AddrFlags))
		}
	}
}

// put writes struct if_data.
func (d *IfData) put(b []byte, v Version) {
	b[0], b[1], b[2], b[3] = d.Type, d.Physical, d.Addrlen, d.Hdrlen
	if v == DragonFly {
		b[4], b[5] = d.Recvquota, d.Xmitquota
		le.PutUint64(b[8:], uint64(d.Mtu))
		le.PutUint64(b[16:], uint64(d.Metric))
		le.PutUint64(b[24:], uint64(d.LinkState))
	} else {
		b[4], b[5] = d.LinkState, d.Vhid
		le.PutUint16(b[6:], uint16(layouts[v].sizeIfData))
		le.PutUint32(b[8:], d.Mtu)
		le.PutUint32(b[12:], d.Metric)
	}
	for _, f := range dataOffsets {
		if at := pick(v, f.freebsd, f.dragonfly); at >= 0 {
			le.PutUint64(b[at:], *f.field(d))
		}
	}
	lastchange := b[pick(v, 136, 144):]
	le.PutUint64(lastchange, uint64(d.LastchangeSec))
	le.PutUint64(lastchange[8:], uint64(d.LastchangeUsec))
}

// AppendSockaddr adds a sockaddr to b, rounded up as in a message.
func AppendSockaddr(b []byte, sa Sockaddr) ([]byte, error) {
	if link, ok := sa.(Link); ok && !link.fits() {
		return b, fmt.Errorf("encode link address of %q: too long", link.Name)
	}
	at := len(b)
	b = sa.append(b)
	return append(b, make([]byte, roundup(len(b)-at)-(len(b)-at))...), nil
}
