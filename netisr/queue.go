package netisr

// Queue is where a thread gets packets from and sends them to. A thread owns
// its queues: all methods but Close are called on that thread only.
type Queue interface {
	// Receive stores up to len(burst) packets and returns their number.
	// The memory comes from, and what the queue no longer needs goes to,
	// the thread's cache.
	Receive(cache *Cache, burst []*Packet) int
	// Transmit takes packets, from the first on, and returns how many.
	// Those it did not take stay the caller's.
	Transmit(cache *Cache, burst []*Packet) int
	// Flush sends what was taken. It reports whether something could not
	// be sent yet, so that it wants to be called again.
	Flush() (again bool, err error)
	// FD returns the descriptor to poll for input, or -1.
	FD() int
	// Close ends the queue. The thread has stopped.
	Close() error
}
