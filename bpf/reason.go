package bpf

// Reason says why a packet left the data path; see enum reason in bsdnet.h.
type Reason uint32

type reasonText struct{ name, text string }

// Reasons is the number of reasons.
const Reasons = int(ReasonMax)

// String returns the reason's name as counters and metrics show it, such as "ip_badsum".
func (r Reason) String() string {
	if int(r) < len(reasonTexts) {
		return reasonTexts[r].name
	}
	return "reason_unknown"
}

// Text returns the words of netstat -s for the reason, such as "bad header checksums".
func (r Reason) Text() string {
	if int(r) < len(reasonTexts) {
		return reasonTexts[r].text
	}
	return "unknown reason"
}

// Dropped reports whether a packet that left for this reason went nowhere.
func (r Reason) Dropped() bool { return r == ReasonUnset || r >= ReasonNetisrDown && r < ReasonMax }

// Queued reports whether a packet that left for this reason went to netisr.
func (r Reason) Queued() bool { return r >= ReasonNetisrARP && r < ReasonNetisrDown }
