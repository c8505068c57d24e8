package program

import "github.com/bsdnet/bsdnet/pf/conf"

// binatRules are the binat rules of an anchor as what they mean.
type binatRules struct{ nat, rdr []*conf.Rule }

// binat compiles the binat rules of an anchor as what they mean: a nat rule
// that keeps ports for one direction and a rdr rule for the other. Both count
// as the one rule.
func (c *compiler) binat(anchor *conf.Anchor) binatRules {
	if known, ok := c.binatOf[anchor]; ok {
		return known
	}
	var rules binatRules
	for _, r := range anchor.Binat {
		out, in := *r, *r
		out.Action, in.Action = conf.NoNat, conf.NoRdr
		switch {
		case r.Anchor != nil:
			in.Src, in.Dst = r.Dst, conf.RuleAddr{} // what its rules translate to is asked by them
		case r.Action == conf.Binat:
			if r.Nat == nil || len(r.Nat.Addrs) != 1 || r.Src.Addr.Kind != conf.AddrPrefix {
				c.unsupported(r.Pos, "this form of binat")
				continue
			}
			outside := r.Nat.Addrs[0]
			inside := conf.PoolAddr{Addr: r.Src.Addr}
			out.Action, in.Action = conf.Nat, conf.Rdr
			out.Nat = &conf.Pool{Addrs: []conf.PoolAddr{outside}, Type: conf.PoolBitmask}
			in.Src, in.Dst, in.Nat = r.Dst, conf.RuleAddr{Addr: outside.Addr}, nil
			in.Rdr = &conf.Pool{Addrs: []conf.PoolAddr{inside}, Type: conf.PoolBitmask}
		}
		c.origin[&out], c.origin[&in] = r, r
		rules.nat, rules.rdr = append(rules.nat, &out), append(rules.rdr, &in)
	}
	c.binatOf[anchor] = rules
	return rules
}

// written is the rule of the ruleset that a compiled one stands for.
func (c *compiler) written(r *conf.Rule) *conf.Rule {
	if origin, ok := c.origin[r]; ok {
		return origin
	}
	return r
}
