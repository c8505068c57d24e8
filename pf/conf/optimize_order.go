package conf

// The fields that the kernel skips by, in its order.
const skipCount = 9

// skipKeys are what a rule has in each field; nil never equals another.
func skipKeys(r *Rule) [skipCount]any {
	var k [skipCount]any
	if r.Interface != "" {
		k[0] = struct {
			name string
			not  bool
		}{r.Interface, r.InterfaceNot}
	}
	if r.Direction != InOut {
		k[1] = r.Direction
	}
	if r.RoutingDomain != 0 {
		k[2] = struct {
			domain Optional
			not    bool
		}{r.RoutingDomain, r.InterfaceNot}
	}
	if r.Family != Unspecified {
		k[3] = r.Family
	}
	if r.Protocol != 0 {
		k[4] = r.Protocol
	}
	addr := func(a *RuleAddr) any {
		switch a.Addr.Kind {
		case AddrPrefix:
			// The kernel sees no bits set in these.
			if a.Addr.IP.IsUnspecified() {
				return nil
			}
		case AddrInterface, AddrNoRoute, AddrURPFFailed, AddrTable:
		default:
			return nil
		}
		return a.place()
	}
	port := func(a *RuleAddr) any {
		if a.Port.Op == OpNone {
			return nil
		}
		return a.Port
	}
	k[5], k[6] = addr(&r.Src), port(&r.Src)
	k[7], k[8] = addr(&r.Dst), port(&r.Dst)
	return k
}

// skipList are the rules with the same value in a field.
type skipList struct {
	rules []*orderedRule
	count int
	field int
	at    int // index in the lists of its field
}

// orderedRule is a rule with the list it is in for each field.
type orderedRule struct {
	*Rule
	keys  [skipCount]any
	lists [skipCount]*skipList
	moved bool
}

// maxReordered is the number of rules of a block up to which they are put into
// another order; it is quadratic work for little gain beyond.
const maxReordered = 4000

// reorder puts rules that have most in common next to each other, for long skip
// steps.
func reorder(rules []*Rule) []*Rule {
	if len(rules) > maxReordered {
		return rules
	}
	ordered := make([]*orderedRule, len(rules))
	for i, r := range rules {
		ordered[i] = &orderedRule{Rule: r, keys: skipKeys(r)}
	}
	var out []*Rule
	for _, r := range reorderBlock(ordered) {
		out = append(out, r.Rule)
	}
	return out
}

// skipOrder holds the lists of every field, the longest first.
type skipOrder [skipCount][]*skipList

func (o *skipOrder) append(l *skipList, r *orderedRule) {
	l.count++
	l.rules = append(l.rules, r)
	r.lists[l.field] = l
	lists := o[l.field]
	for l.at > 0 && lists[l.at-1].count < l.count {
		o.swap(l.field, l.at-1)
	}
}

// swap exchanges a list with the next one.
func (o *skipOrder) swap(field, i int) {
	lists := o[field]
	lists[i], lists[i+1] = lists[i+1], lists[i]
	lists[i].at, lists[i+1].at = i, i+1
}

func (o *skipOrder) removeFirst(field int) {
	o[field] = o[field][1:]
	for i, l := range o[field] {
		l.at = i
	}
}

// remove takes a rule out of the lists of the other fields.
func (o *skipOrder) remove(r *orderedRule, active *skipList) {
	for field := range o {
		lists := o[field]
		if len(lists) == 0 || lists[0].count <= 1 {
			continue
		}
		l := r.lists[field]
		if l == nil || l == active {
			continue
		}
		for i, x := range l.rules {
			if x == r {
				l.rules = append(l.rules[:i], l.rules[i+1:]...)
				l.count--
				break
			}
		}
		for l.at+1 < len(lists) && lists[l.at+1].count > l.count {
			o.swap(field, l.at)
		}
	}
}

func reorderBlock(rules []*orderedRule) []*orderedRule {
	var order skipOrder
	useful := false
	for field := range order {
		known := make(map[any]*skipList)
		for _, r := range rules {
			k := r.keys[field]
			l := known[k]
			if l == nil || k == nil {
				l = &skipList{field: field, at: len(order[field])}
				order[field] = append(order[field], l)
				if k != nil {
					known[k] = l
				}
			}
			order.append(l, r)
		}
		// What all have, or every one differently, orders nothing.
		switch first := order[field][0]; {
		case first.count == len(rules) || first.count == 1:
			first.count = 0
		default:
			useful = true
		}
	}
	if !useful {
		return rules
	}
	var split, own []*orderedRule
	left := len(rules)
	for left > 0 {
		largest, best := 1, -1
		for field := range order {
			if l := order[field]; len(l) > 0 && l[0].count > largest {
				largest, best = l[0].count, field
			}
		}
		if best < 0 {
			for _, r := range rules {
				if !r.moved {
					own = append(own, r)
				}
			}
			break
		}
		l := order[best][0]
		order.removeFirst(best)
		common := l.rules
		for _, r := range common {
			r.moved = true
			left--
			order.remove(r, l)
		}
		if l.count > 2 {
			block := append([]*orderedRule(nil), common...)
			for _, r := range block {
				r.lists = [skipCount]*skipList{}
			}
			for _, r := range block {
				r.moved = false
			}
			split = append(split, reorderBlock(block)...)
			for _, r := range block {
				r.moved = true
			}
		} else {
			own = append(own, common...)
		}
	}
	return append(split, own...)
}
