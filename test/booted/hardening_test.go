package booted

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"testing"
)

// forNetworks is what machd is let do that systemd-machined is not: it sets up
// the network of machines, and answers DHCP and DNS there.
var forNetworks = []string{
	"CapabilityBoundingSet=~CAP_NET_ADMIN",
	"CapabilityBoundingSet=~CAP_NET_(BIND_SERVICE|BROADCAST|RAW)",
	"IPAddressDeny=",
	"RestrictAddressFamilies=~AF_PACKET",
}

// machd does more than systemd-machined, and must not be let do more but for
// networks. What it is let do less must be worth that.
func TestMachdIsConfinedLikeStock(t *testing.T) {
	t.Parallel()
	ours, stock := exposure(t, "machd.service"), exposure(t, "systemd-machined.service")
	t.Logf("exposure: machd %.1f, systemd-machined %.1f", ours, stock)
	if ours > stock {
		t.Errorf("machd is exposed %.1f, systemd-machined %.1f", ours, stock)
	}
	confined, stockConfined := confinement(t, "machd.service"), confinement(t, "systemd-machined.service")
	for _, setting := range stockConfined {
		if !slices.Contains(confined, setting) && !slices.Contains(forNetworks, setting) {
			t.Errorf("machd lacks %s, which systemd-machined has", setting)
		}
	}
}

var overall = regexp.MustCompile(`Overall exposure level for \S+: (\d+\.\d+)`)

// exposure is what systemd-analyze thinks of a unit's file, be it loaded or
// not.
func exposure(t *testing.T, unit string) float64 {
	t.Helper()
	out := analyze(t, unit)
	found := overall.FindStringSubmatch(out)
	if found == nil {
		t.Fatalf("systemd-analyze says:\n%s", out)
	}
	level, err := strconv.ParseFloat(found[1], 64)
	must(t, err)
	return level
}

// confinement are the settings that a unit has, of those that systemd-analyze
// looks at, and those that do not matter for it.
func confinement(t *testing.T, unit string) (names []string) {
	t.Helper()
	var all []struct {
		Name string
		Set  *bool // null: does not matter
	}
	must(t, json.Unmarshal([]byte(analyze(t, unit, "--json=short")), &all))
	for _, s := range all {
		if s.Set == nil || *s.Set {
			names = append(names, s.Name)
		}
	}
	if len(names) == 0 {
		t.Fatalf("systemd-analyze says nothing of %s", unit)
	}
	return names
}

func analyze(t *testing.T, unit string, options ...string) string {
	t.Helper()
	command := []string{"systemd-analyze", "security", "--no-pager", "--offline=true", "/usr/lib/systemd/system/" + unit}
	return run(t, append(command, options...)...)
}
