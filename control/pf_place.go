package control

import (
	"slices"

	"github.com/bsdnet/bsdnet/pf/conf"
)

// placeKey is the key of [PFSource.Places].
func placeKey(anchor string, action conf.Action) string {
	list := "filter"
	switch action {
	case conf.Nat, conf.NoNat:
		list = "nat"
	case conf.Rdr, conf.NoRdr:
		list = "rdr"
	case conf.Binat, conf.NoBinat:
		list = "binat"
	}
	return list + " " + anchor
}

// places are the places of the rules of a ruleset.
func places(rs *conf.Ruleset) map[string][]string {
	out := make(map[string][]string)
	rs.Main.Walk(func(a *conf.Anchor) {
		for _, list := range [][]*conf.Rule{a.Nat, a.Rdr, a.Binat, a.Filter} {
			for _, r := range list {
				key := placeKey(a.Path, r.Action)
				out[key] = append(out[key], r.Pos.String())
			}
		}
	})
	return out
}

// placesIn are the places of the rules of a ruleset that was made of sources;
// those that are not known have none.
func placesIn(rs *conf.Ruleset, sources []*PFSource) map[*conf.Rule]string {
	known := make(map[*conf.Rule]string)
	rs.Main.Walk(func(a *conf.Anchor) {
		for section, lists := range map[conf.Section][][]*conf.Rule{
			conf.SectionNat: {a.Nat, a.Rdr, a.Binat}, conf.SectionFilter: {a.Filter},
		} {
			for _, list := range lists {
				if len(list) == 0 {
					continue
				}
				written := writtenAt(sources, placeKey(a.Path, list[0].Action), section)
				for i := range min(len(list), len(written)) {
					known[list[i]] = written[i]
				}
			}
		}
	})
	return known
}

// writtenAt are the places of a list, of the last source that has it.
func writtenAt(sources []*PFSource, key string, section conf.Section) []string {
	for _, s := range slices.Backward(sources) {
		if list, ok := s.Places[key]; ok && s.Sections&section != 0 {
			return list
		}
	}
	return nil
}
