package control

import "net"

// slowPath is the netisr of an instance with its handlers.
type slowPath struct{}

func startSlowPath(d *Daemon) (*slowPath, error) { return &slowPath{}, nil }

func (s *slowPath) close() {}

func (s *slowPath) calls() map[string]call { return nil }

func (s *slowPath) sysctlNodes() map[string]sysctlNode { return nil }

func lladdrText(lladdr []byte) string { return net.HardwareAddr(lladdr).String() }
