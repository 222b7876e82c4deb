package booted

import (
	"regexp"
	"strconv"
	"testing"
)

// machd does more than systemd-machined, and must not be let do more.
func TestMachdIsConfinedMoreThanStock(t *testing.T) {
	t.Parallel()
	ours, stock := exposure(t, "machd.service"), exposure(t, "systemd-machined.service")
	t.Logf("exposure: machd %.1f, systemd-machined %.1f", ours, stock)
	if ours >= stock {
		t.Errorf("machd is exposed %.1f, systemd-machined %.1f", ours, stock)
	}
}

var overall = regexp.MustCompile(`Overall exposure level for \S+: (\d+\.\d+)`)

// exposure is what systemd-analyze thinks of a unit's file, be it loaded or
// not.
func exposure(t *testing.T, unit string) float64 {
	t.Helper()
	out := run(t, "systemd-analyze", "security", "--no-pager", "--offline=true", "/usr/lib/systemd/system/"+unit)
	found := overall.FindStringSubmatch(out)
	if found == nil {
		t.Fatalf("systemd-analyze says:\n%s", out)
	}
	level, err := strconv.ParseFloat(found[1], 64)
	must(t, err)
	return level
}
