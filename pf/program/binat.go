package program

import "github.com/bsdnet/bsdnet/pf/conf"

// binat compiles binat rules of the main ruleset as what they mean: a nat rule
// that keeps ports for one direction and a rdr rule for the other, before all
// others of their kind. Both count as the one rule.
func (c *compiler) binat(rules []*conf.Rule) (nat, rdr []*conf.Rule) {
	for _, r := range rules {
		if r.Anchor != nil {
			c.unsupported(r.Pos, "binat-anchor")
			continue
		}
		out, in := *r, *r
		out.Action, in.Action = conf.NoNat, conf.NoRdr
		if r.Action == conf.Binat {
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
		nat, rdr = append(nat, &out), append(rdr, &in)
	}
	return nat, rdr
}

// written is the rule of the ruleset that a compiled one stands for.
func (c *compiler) written(r *conf.Rule) *conf.Rule {
	if origin, ok := c.origin[r]; ok {
		return origin
	}
	return r
}
