package labtest

import (
	"net"
	"regexp"
	"strings"
	"testing"
)

// TestScrub looks on the wire at what scrub options make of packets: of match
// rules, kept by the state for both directions, and of the older scrub rules.
func TestScrub(t *testing.T) {
	const options = "no-df random-id min-ttl 99 max-mss 1200 set-tos 0x10"
	for name, rules := range map[string]string{
		"match": "match in on em0 scrub (" + options + ")\npass\n",
		"pass":  "pass scrub (" + options + ")\n",
		"scrub": "scrub in on em0 " + options + " fragment reassemble\nscrub in on em1 max-mss 1200\npass\n",
	} {
		t.Run(name, func(t *testing.T) {
			eachMode(t, func(t *testing.T, s *site) {
				s.mustPing(families["inet"].right, true, "neighbours found")
				s.mustPing(families["inet6"].right, true, "neighbours found")
				s.pfctl("-e -f " + s.file(rules))
				syn := map[string]string{"inet": "tcp[13] & 2 != 0", "inet6": "ip6[6] == 6 and ip6[53] & 2 != 0"}
				for family, e := range families {
					seen := listen(t, s.Right, "-v", "dst "+e.right+" and tcp")
					back := listen(t, s.Left, "-v", "dst "+e.left+" and "+syn[family])
					stream(t, s.Left, s.Right, net.JoinHostPort(e.right, "7000"), net.JoinHostPort(e.right, "7000"))
					text := seen.stop(t)
					if family == "inet" {
						want(t, text, `tos 0x10, ttl (98|99),`, "mss 1200,")
						if strings.Contains(text, "DF") {
							t.Errorf("a packet still has DF: %s", firstLines(text))
						}
						ids := make(map[string]bool)
						for _, id := range regexp.MustCompile(`id (\d+),`).FindAllStringSubmatch(text, -1) {
							ids[id[1]] = true
						}
						if len(ids) < 20 || ids["0"] {
							t.Errorf("%d identifications, 0 among them: %v", len(ids), ids["0"])
						}
					} else {
						want(t, text, `class 0x10.*hlim (98|99),`, "mss 1200,")
					}
					want(t, back.stop(t), "mss 1200,")
				}
			})
		})
	}
}

func firstLines(text string) string {
	lines := strings.SplitN(text, "\n", 9)
	return strings.Join(lines[:min(8, len(lines))], "\n")
}

// want wants every expression to match somewhere in a text.
func want(t *testing.T, text string, expressions ...string) {
	t.Helper()
	for _, e := range expressions {
		if !regexp.MustCompile(e).MatchString(text) {
			t.Errorf("no %q in\n%s", e, firstLines(text))
		}
	}
}
