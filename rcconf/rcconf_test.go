package rcconf

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, c := range []struct{ name, text, variable, want string }{
		{"bare", "a=b\n", "a", "b"},
		{"double quotes", `ifconfig_em0="inet 192.0.2.1/24 up"`, "ifconfig_em0", "inet 192.0.2.1/24 up"},
		{"single quotes keep dollars", `a='$b "c"'`, "a", `$b "c"`},
		{"pieces", `a=b"c d"'e f'\ g`, "a", "bc de f g"},
		{"escapes in quotes", `a="\$x \" \\ \n"`, "a", `$x " \ \n`},
		{"comment", "a=b # c\n#d\n", "a", "b"},
		{"last wins", "a=1\na=2", "a", "2"},
		{"append", "l=\"vlan0\"\nl+=\" vlan1\"", "l", "vlan0 vlan1"},
		{"append to nothing", "l+=x", "l", "x"},
		{"expansion", "a=1\nb=\"${a} $a\"", "b", "1 1"},
		{"expansion of unset", "b=x${a}y", "b", "xy"},
		{"several on a line", "a=1; b=2", "b", "2"},
		{"continued", "a=\"x \\\ny\"", "a", "x y"},
		{"newline in quotes", "a='x\ny'", "a", "x\ny"},
		{"hash inside a word", "a=b#c", "a", "b#c"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config, err := Parse("rc.conf", c.text)
			if err != nil {
				t.Fatal(err)
			}
			if got := config.Get(c.variable); got != c.want {
				t.Errorf("%s = %q, want %q", c.variable, got, c.want)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"command", "a=1\nrm -rf /\nb=2\n", "rc.conf:2: not an assignment: rm -rf /"},
		{"command after assignment", "a=1 reboot\n", "rc.conf:1: a command after a: reboot"},
		{"substitution", "a=$(id)\n", "rc.conf:1: $: shell code is not run here"},
		{"backquotes", "a=\"`id`\"\n", "rc.conf:1: \"`\": shell code is not run here"},
		{"unterminated", "\n\na=\"x\n", "rc.conf:3: unterminated quote"},
		{"unterminated single", "a='x\n", "rc.conf:1: unterminated quote"},
		{"clever expansion", "a=${b:-c}\n", "rc.conf:1: ${b: only plain variables are expanded here"},
		{"pipe", "a=b|c\n", "rc.conf:1: \"|\": shell code is not run here"},
		{"bytes", "\x01\x02\n", "rc.conf:1: not an assignment: \"\\x01\\x02\""},
		{"if", "if true; then\n", "rc.conf:1: not an assignment: if true; then"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse("rc.conf", c.text)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestAllErrors(t *testing.T) {
	_, err := Parse("rc.conf", "x y\na=`b`\nc=1\n)\n")
	if err == nil || strings.Count(err.Error(), "rc.conf:") != 3 {
		t.Errorf("want three errors, got %v", err)
	}
}

func TestYes(t *testing.T) {
	config, err := Parse("rc.conf", "a=YES\nb=no\nc=maybe\n")
	if err != nil {
		t.Fatal(err)
	}
	if yes, err := config.Yes("a"); !yes || err != nil {
		t.Error(yes, err)
	}
	if yes, err := config.Yes("b"); yes || err != nil {
		t.Error(yes, err)
	}
	if _, err := config.Yes("c"); err == nil || !strings.HasPrefix(err.Error(), "rc.conf:3: ") {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("a=b\nc=\"d $a\"; e+='f' # g\n")
	f.Fuzz(func(t *testing.T, text string) {
		config, err := Parse("rc.conf", text)
		if config == nil {
			t.Fatal(err)
		}
		for _, v := range config.Variables {
			if v.Line < 1 || v.Line > strings.Count(text, "\n")+1 {
				t.Fatalf("%s at line %d of %d", v.Name, v.Line, strings.Count(text, "\n")+1)
			}
		}
	})
}
