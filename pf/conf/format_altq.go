package conf

import (
	"fmt"
	"strconv"
	"strings"
)

// rateText is a bandwidth as pfctl prints it, "100Kb" or "1.54Mb". Where that
// would read as another bandwidth, it is in bits.
func rateText(rate uint64) string {
	text := roundedRate(float64(rate))
	v, unit := splitFloat(text)
	if len(unit) > 1 {
		v *= map[byte]float64{'K': 1e3, 'M': 1e6, 'G': 1e9}[unit[0]]
	}
	if roundedRate(float64(uint64(v))) != text {
		return strconv.FormatUint(rate, 10) + "b"
	}
	return text
}

func roundedRate(v float64) string {
	units := []string{"", "K", "M", "G"}
	i := 0
	for ; v >= 1000 && i < len(units)-1; i++ {
		v /= 1000
	}
	if int64(v*100)%100 != 0 {
		return fmt.Sprintf("%.2f%sb", v, units[i])
	}
	return fmt.Sprintf("%d%sb", int64(v), units[i])
}

// bandwidthText is the bandwidth of an interface or queue, if it needs saying.
func (a *ALTQ) bandwidthText() string {
	switch {
	case a.Written.Percent > 0 && a.Written.Percent < 100:
		return fmt.Sprintf("bandwidth %d%% ", a.Written.Percent)
	case a.Written.Percent > 0:
		return ""
	}
	return "bandwidth " + rateText(a.Bandwidth) + " "
}

// text is the altq line up to its queues.
func (a *ALTQ) text() string {
	s := "altq "
	if a.Interface != "" {
		s += "on " + nameText(a.Interface) + " "
	}
	options := a.optionsText()
	if options == "" {
		options = a.Scheduler.String() + " "
	}
	s += options + a.bandwidthText()
	if a.Limit != defaultQueueLimit {
		s += fmt.Sprintf("qlimit %d ", a.Limit)
	}
	return s + fmt.Sprintf("tbrsize %d ", a.TBRSize)
}

// queueText is a queue line up to the queues below it.
func (a *ALTQ) queueText(withInterface bool) string {
	s := "queue " + numberNameText(a.Queue) + " "
	if withInterface {
		s += "on " + nameText(a.Interface) + " "
	}
	if a.Scheduler.classful() {
		s += a.bandwidthText()
	}
	if a.Priority != defaultQueuePriority {
		s += fmt.Sprintf("priority %d ", a.Priority)
	}
	if a.Limit != defaultQueueLimit {
		s += fmt.Sprintf("qlimit %d ", a.Limit)
	}
	return s + a.optionsText()
}

// optionsText is the discipline with its options; empty if it has none.
func (a *ALTQ) optionsText() string {
	o := &a.Options
	var words []string
	add := func(set bool, text string) {
		if set {
			words = append(words, text)
		}
	}
	if a.Scheduler == SchedulerCoDel {
		add(o.Target != 0, fmt.Sprintf("target %d", o.Target))
		add(o.Interval != 0, fmt.Sprintf("interval %d", o.Interval))
		add(o.ECN, "ecn")
	} else {
		add(o.RED, "red")
		add(o.ECN, "ecn")
		add(o.RIO, "rio")
		add(o.CoDel, "codel")
		add(o.Borrow, "borrow")
		add(o.Default, "default")
		add(o.RealTime.Used, curveText("realtime", o.RealTime, a.RealTime))
		add(o.LinkShare.Used && (a.LinkShare.M2 != a.Bandwidth || a.LinkShare.Milliseconds != 0 || a.Queue == ""),
			curveText("linkshare", o.LinkShare, a.LinkShare))
		add(o.UpperLimit.Used, curveText("upperlimit", o.UpperLimit, a.UpperLimit))
	}
	if words == nil {
		return ""
	}
	return a.Scheduler.String() + "( " + strings.Join(words, " ") + " ) "
}

func curveText(name string, c ALTQCurve, resolved ServiceCurve) string {
	rate := func(b Bandwidth, bits uint64) string {
		if b.Percent > 0 {
			return fmt.Sprintf("%d%%", b.Percent)
		}
		return rateText(bits)
	}
	if c.Milliseconds == 0 {
		return name + " " + rate(c.M2, resolved.M2)
	}
	return fmt.Sprintf("%s(%s %d %s)", name, rate(c.M1, resolved.M1), c.Milliseconds, rate(c.M2, resolved.M2))
}
