package metrics_test

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

var (
	descriptor = regexp.MustCompile(`^# (TYPE|UNIT|HELP) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$`)
	sample     = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[^{}]*\}|) (\S+)$`)
	labels     = regexp.MustCompile(`^\{([a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"(?:,[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*")*)\}$`)
)

// suffixes are what the samples of a kind have behind the family's name.
var suffixes = map[string]string{"gauge": "", "counter": "_total", "info": "_info"}

// parse reads OpenMetrics text and returns the samples of each family. It is as
// strict as the specification about what it knows, and knows the kinds above.
func parse(text string) (map[string]map[string]string, error) {
	body, ok := strings.CutSuffix(text, "# EOF\n")
	if !ok {
		return nil, fmt.Errorf("the end is missing")
	}
	families := map[string]map[string]string{}
	name, kind, described := "", "", map[string]bool{}
	for line := range strings.Lines(body) {
		line, ok = strings.CutSuffix(line, "\n")
		if !ok {
			return nil, fmt.Errorf("%q has no end", line)
		}
		if d := descriptor.FindStringSubmatch(line); d != nil {
			switch {
			case d[1] == "TYPE":
				if families[d[2]] != nil {
					return nil, fmt.Errorf("%s is there twice, or in parts", d[2])
				}
				if _, known := suffixes[d[3]]; !known {
					return nil, fmt.Errorf("%s is a %s", d[2], d[3])
				}
				name, kind, described = d[2], d[3], map[string]bool{}
				families[name] = map[string]string{}
			case d[2] != name || len(families[name]) > 0 || described[d[1]]:
				return nil, fmt.Errorf("%q is out of place", line)
			case d[1] == "UNIT" && !strings.HasSuffix(name, "_"+d[3]):
				return nil, fmt.Errorf("%s is not in %s", name, d[3])
			}
			described[d[1]] = true
			continue
		}
		s := sample.FindStringSubmatch(line)
		if s == nil || s[2] != "" && !labels.MatchString(s[2]) {
			return nil, fmt.Errorf("%q is no sample", line)
		}
		if s[1] != name+suffixes[kind] {
			return nil, fmt.Errorf("%q is no sample of the %s %s", line, kind, name)
		}
		value, err := strconv.ParseFloat(s[3], 64)
		if err != nil || kind == "info" && value != 1 || kind == "counter" && value < 0 {
			return nil, fmt.Errorf("%q: not a value of a %s", line, kind)
		}
		if _, twice := families[name][s[1]+s[2]]; twice {
			return nil, fmt.Errorf("%q is there twice", line)
		}
		families[name][s[1]+s[2]] = s[3]
	}
	return families, nil
}
