// Package netisr runs the slow path: threads that take packets out of the
// data path, hand them to protocol handlers, and put them back.
//
// It is the kernel's netisr of the BSDs in user space. There is one [Thread]
// for each CPU, locked to a system thread and bound to its CPU. A thread owns
// the queues ([Queue], AF_XDP sockets) that feed it, and a bounded message
// port with one queue for each protocol. Protocols are registered by number;
// a packet is handled where it arrived or handed to the thread that its flow
// hash names, as the dispatch policy says. A full port drops and counts, it
// never blocks. [Netisr.Stats] is what netstat -Q prints.
//
// Packets arrive with a header of the data path before the frame
// ([bpf.NetisrHeader]): why the packet left, where it came from, where it was
// going. They go back with the same header, in which the field Resume says
// where the data path goes on.
//
// The memory of packets comes from a [Pool] that is shared with the kernel,
// so a packet can cross from any thread to any other without a copy. In the
// steady state nothing is allocated per packet.
package netisr
