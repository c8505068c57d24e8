package conf

// at is the number of bits a curve grants in x milliseconds, times 1000.
func (c ServiceCurve) at(x float64) float64 {
	d := float64(c.Milliseconds)
	if x <= d {
		return x * float64(c.M1)
	}
	return d*float64(c.M1) + (x-d)*float64(c.M2)
}

// sumUnder reports whether the sum of curves stays below or at another. Curves
// have two straight pieces, so the bends decide.
func sumUnder(curves []ServiceCurve, limit ServiceCurve) bool {
	bends := []float64{0, float64(limit.Milliseconds)}
	var last uint64
	for _, c := range curves {
		bends = append(bends, float64(c.Milliseconds))
		last += c.M2
	}
	for _, x := range bends {
		var sum float64
		for _, c := range curves {
			sum += c.at(x)
		}
		if sum > limit.at(x) {
			return false
		}
	}
	return last <= limit.M2
}

// resolve turns percentages into bits a second of a reference.
func (c ALTQCurve) resolve(ref uint64) ServiceCurve {
	if !c.Used {
		return ServiceCurve{}
	}
	return ServiceCurve{M1: c.M1.of(ref), Milliseconds: c.Milliseconds, M2: c.M2.of(ref)}
}

// checkCurves admits a queue of hfsc or fairq: the curves of the children must
// fit into their parent, and real-time ones into 80 % of the interface.
func (p *parser) checkCurves(q, root, parent *ALTQ, ref uint64) bool {
	refuse := func(format string, args ...any) bool {
		p.warn(SeverityError, "pfctl: "+format, args...)
		return false
	}
	q.LinkShare = q.Options.LinkShare.resolve(ref)
	q.RealTime = q.Options.RealTime.resolve(ref)
	q.UpperLimit = q.Options.UpperLimit.resolve(ref)
	if parent == nil {
		q.LinkShare = ServiceCurve{M1: root.Bandwidth, M2: root.Bandwidth}
		return true
	}
	if parent.Options.Default {
		return refuse("adding %s would make default queue %s not a leaf", q.Queue, q.Parent)
	}
	if q.Options.Default {
		root.defaultClasses++
	}
	if q.LinkShare.M2 == 0 {
		q.LinkShare.M2 = q.Bandwidth
	}
	curves := []ServiceCurve{q.RealTime, q.LinkShare, q.UpperLimit}
	if q.Scheduler == SchedulerHFSC {
		for _, c := range curves {
			if c.M1 > 0 && c.M2 == 0 {
				return refuse("m2 is zero for %s", q.Queue)
			}
		}
		for _, c := range curves {
			if c.M1 < c.M2 && c.M1 != 0 {
				return refuse("m1 must be zero for convex curve: %s", q.Queue)
			}
		}
	}
	if q.RealTime.M2 != 0 {
		parent.childRealTimes = append(parent.childRealTimes, q.RealTime)
		most := ServiceCurve{M2: root.Bandwidth / 100 * 80}
		if !sumUnder(parent.childRealTimes, most) {
			return refuse("real-time sc exceeds 80%% of the interface bandwidth (%s)", rateText(most.M2))
		}
	}
	if q.LinkShare.M2 != 0 {
		parent.childShares = append(parent.childShares, q.LinkShare)
		if !sumUnder(parent.childShares, parent.LinkShare) {
			if q.Scheduler == SchedulerFAIRQ {
				return refuse("link-sharing sc exceeds parent's sc")
			}
			return refuse("linkshare sc exceeds parent's sc")
		}
	}
	if q.UpperLimit.M2 != 0 {
		switch {
		case q.UpperLimit.M1 > root.Bandwidth || q.UpperLimit.M2 > root.Bandwidth:
			return refuse("upper-limit larger than interface bandwidth")
		case q.RealTime.M2 > q.UpperLimit.M2:
			return refuse("upper-limit sc smaller than real-time sc")
		}
	}
	return true
}
