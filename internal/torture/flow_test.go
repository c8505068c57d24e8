package torture

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"time"
)

// flow sends datagrams from left to right and counts what arrives.
type flow struct {
	sender    *net.UDPConn
	receivers [ports]*net.UDPConn
	number    uint64
}

func (s *site) flow() *flow {
	s.Helper()
	f := &flow{}
	err := s.Right.Do(func() (err error) {
		for i := range f.receivers {
			f.receivers[i], err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(198, 51, 100, 2), Port: mixedPass + i})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		s.Fatal(err)
	}
	err = s.Left.Do(func() (err error) {
		f.sender, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(192, 0, 2, 2)})
		return err
	})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		f.sender.Close()
		for _, r := range f.receivers {
			r.Close()
		}
	})
	return f
}

func (f *flow) send(port int) (uint64, error) {
	f.number++
	_, err := f.sender.WriteToUDP(binary.BigEndian.AppendUint64(nil, f.number), &net.UDPAddr{IP: net.IPv4(198, 51, 100, 2), Port: port})
	return f.number, err
}

// receive returns the number of the next datagram to a port; ok is false if
// none came in time.
func (f *flow) receive(port int, patience time.Duration) (number uint64, ok bool, err error) {
	r := f.receivers[port-mixedPass]
	if err := r.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return 0, false, err
	}
	var data [8]byte
	_, err = r.Read(data[:])
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return 0, false, nil
	}
	return binary.BigEndian.Uint64(data[:]), err == nil, err
}

// round sends one datagram to every port, and says which came.
func (f *flow) round() (got probe, err error) {
	first := f.number + 1
	for i := range got {
		if _, err := f.send(mixedPass + i); err != nil {
			return got, err
		}
	}
	for i := range got {
		for patience := 300 * time.Millisecond; ; {
			number, ok, err := f.receive(mixedPass+i, patience)
			if err != nil {
				return got, err
			}
			if !ok {
				break
			}
			if number >= first { // else left from an earlier round
				got[i] = true
				break
			}
		}
	}
	return got, nil
}
