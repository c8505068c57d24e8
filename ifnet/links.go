package ifnet

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// device is what the kernel says of a link. The netlink package knows all of
// it but how often the carrier was lost, and Linux tells nobody of a loss of
// less than a second: its events are no more than one a second for most links.
type device struct {
	netlink.Link
	carrierDowns uint32
}

// parseDevice reads a message of RTM_NEWLINK or RTM_DELLINK.
func parseDevice(message []byte) (device, error) {
	link, err := netlink.LinkDeserialize(nil, message)
	if err != nil {
		return device{}, fmt.Errorf("parse link: %w", err)
	}
	d := device{Link: link}
	attrs, err := nl.ParseRouteAttr(message[unix.SizeofIfInfomsg:])
	if err != nil {
		return device{}, fmt.Errorf("parse link: %w", err)
	}
	for _, attr := range attrs {
		if attr.Attr.Type == unix.IFLA_CARRIER_DOWN_COUNT && len(attr.Value) == 4 {
			d.carrierDowns = nl.NativeEndian().Uint32(attr.Value)
		}
	}
	return d, nil
}

// readDevices asks for one link or, for index 0, all, in the network namespace
// of the socket; without one, of the calling thread.
func readDevices(socket *nl.SocketHandle, index int) ([]device, error) {
	flags := unix.NLM_F_ACK
	if index == 0 {
		flags = unix.NLM_F_DUMP
	}
	request := nl.NewNetlinkRequest(unix.RTM_GETLINK, flags)
	if socket != nil {
		request.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: socket}
	}
	message := nl.NewIfInfomsg(unix.AF_UNSPEC)
	message.Index = int32(index)
	request.AddData(message)
	answers, err := request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	if err != nil {
		return nil, err
	}
	devices := make([]device, 0, len(answers))
	for _, answer := range answers {
		d, err := parseDevice(answer)
		if err != nil {
			return nil, err
		}
		devices = append(devices, d)
	}
	return devices, nil
}

// deviceEvent says that a link is as it says, or gone.
type deviceEvent struct {
	device
	gone bool
}

// subscribeDevices sends the events of the links of a namespace until done is
// closed. The channel is closed then, and when an event is lost.
func subscribeDevices(ns netns.NsHandle, done <-chan struct{}) (<-chan deviceEvent, error) {
	socket, err := nl.SubscribeAt(ns, netns.None(), unix.NETLINK_ROUTE, unix.RTNLGRP_LINK)
	if err != nil {
		return nil, err
	}
	if err := socket.SetReceiveBufferSize(eventBuffer, true); err != nil {
		socket.Close()
		return nil, err
	}
	go func() {
		<-done
		socket.Close()
	}()
	events := make(chan deviceEvent, 256)
	go func() {
		defer close(events)
		for receiveDevices(socket, events, done) == nil {
		}
	}()
	return events, nil
}

// errStopped says that nobody wants events any more.
var errStopped = errors.New("stopped")

// receiveDevices takes what one receive gives.
func receiveDevices(socket *nl.NetlinkSocket, events chan<- deviceEvent, done <-chan struct{}) error {
	messages, from, err := socket.Receive()
	if err != nil {
		return err
	}
	if from.Pid != nl.PidKernel {
		return nil // anybody may send to a socket of netlink
	}
	for _, m := range messages {
		known := m.Header.Type == unix.RTM_NEWLINK || m.Header.Type == unix.RTM_DELLINK
		// What a bridge says of its ports is not the whole of them.
		if !known || len(m.Data) < unix.SizeofIfInfomsg || m.Data[0] == unix.AF_BRIDGE {
			continue
		}
		d, err := parseDevice(m.Data)
		if err != nil {
			return err
		}
		select {
		case events <- deviceEvent{d, m.Header.Type == unix.RTM_DELLINK}:
		case <-done:
			return errStopped
		}
	}
	return nil
}
