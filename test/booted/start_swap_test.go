package booted

import (
	"strings"
	"testing"
)

// Machines that machd has started, and units that depend on some, do not stand
// in the way of systemd-machined when it comes back.
func TestMachdStartedMachinesOutliveASwap(t *testing.T) {
	const name = "outlives"
	run(t, "machctl", "start", name, "--image=tiny", "--", "/bin/sleep", "infinity")
	t.Cleanup(func() { observe(t, "machctl", "terminate", name) })
	run(t, "systemctl", "start", "machine@"+name+".service")
	listed := func() string { return run(t, "machinectl", "list", "--no-legend") }
	before := listed()
	if !strings.Contains(before, name) {
		t.Fatalf("it is not listed: %q", before)
	}
	useStock(t)
	if got := listed(); got != before {
		t.Errorf("under systemd-machined %q is listed, before it was %q", got, before)
	}
	useMachd(t)
	if got := listed(); got != before {
		t.Errorf("afterwards %q is listed, before it was %q", got, before)
	}
	run(t, "machctl", "stop", name)
}
