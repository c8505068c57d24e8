package torture

import "testing"

// Ports of the two rulesets. A packet is judged twice, on its way in and on
// its way out: mixedPass passes under either ruleset alone, but not in by one
// and out by the other; mixedBlock is blocked by either alone, but would pass
// in by the first and out by the second.
const (
	mixedPass = 2000 + iota
	mixedBlock
	onlyFirst
	onlySecond
	neither
	ports = 5
)

const common = `
table <t> persist
block drop
pass quick proto icmp
pass quick proto icmp6
pass quick proto tcp flags S/SA keep state
`

const firstRules = common + `
pass in quick proto udp to port 2000 no state tag first
pass out quick proto udp to port 2000 no state tagged first
pass in quick proto udp to port 2001 no state
pass quick proto udp to port 2002 no state
`

const secondRules = common + `
pass in quick proto udp to port 2000 no state
pass out quick proto udp to port 2000 no state ! tagged first
pass out quick proto udp to port 2001 no state
pass quick proto udp to port 2003 no state
`

// probe is whether a packet to each port came through.
type probe [ports]bool

var (
	byFirst  = probe{true, false, true, false, false}
	bySecond = probe{true, false, false, true, false}
)

// probe sends packets to all ports until none of those that a whole ruleset
// passes is missing, or three times.
func (s *site) probe(f *flow) (got probe) {
	s.Helper()
	for range 3 {
		p, err := f.round()
		if err != nil {
			s.Fatal(err)
		}
		for i := range p {
			got[i] = got[i] || p[i]
		}
		if got == byFirst || got == bySecond {
			break
		}
	}
	return got
}

func TestProbe(t *testing.T) {
	eachMode(t, func(t *testing.T, s *site) {
		f := s.flow()
		s.bsdnet("pfctl", "-e")
		for _, c := range []struct {
			rules string
			want  probe
		}{{firstRules, byFirst}, {secondRules, bySecond}, {"pass no state\n", probe{true, true, true, true, true}}} {
			s.bsdnet("pfctl", "-f", s.file(c.rules))
			if got := s.probe(f); got != c.want {
				t.Errorf("came through: %v, want %v, by\n%s", got, c.want, c.rules)
			}
		}
	})
}
