package booted

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// These tests stop the daemon, so they run before the parallel ones.

func TestRestartKeepsTheMachine(t *testing.T) {
	const name = "swap-restart"
	w, p := watch(t), startProcess(t, name)
	register(t, w, name, p)
	before := run(t, "machinectl", "show", name)
	run(t, "systemctl", "restart", "systemd-machined.service")
	if diff := cmp.Diff(before, run(t, "machinectl", "show", name)); diff != "" {
		t.Errorf("machinectl show (-before +after):\n%s", diff)
	}
}

func TestKillKeepsTheMachine(t *testing.T) {
	const name = "swap-kill"
	w, p := watch(t), startProcess(t, name)
	register(t, w, name, p)
	before := run(t, "machinectl", "show", name)
	kills := 10
	if os.Getenv("MACHD_TEST_HOST") == stock {
		kills = 1 // PID 1 starts it five times in ten seconds, then no more
		run(t, "systemctl", "reset-failed", "systemd-machined.service")
	}
	for range kills {
		owner := w.owner(t)
		run(t, "systemctl", "kill", "--signal=KILL", "systemd-machined.service")
		w.awaitLoss(t, owner)
		if diff := cmp.Diff(before, run(t, "machinectl", "show", name)); diff != "" {
			t.Fatalf("machinectl show (-before +after):\n%s", diff)
		}
	}
}

func TestMachinesSurviveTheSwapInBothDirections(t *testing.T) {
	if !onlyWithMachd(t) {
		return
	}
	const name = "swap-both"
	startGuest(t, name)
	before := essential(run(t, "machinectl", "show", name))
	owner := func() string {
		t.Helper()
		return run(t, "systemctl", "show", "-P", "ExecStart", "systemd-machined.service")
	}
	if got := owner(); !strings.Contains(got, "/usr/libexec/machd") {
		t.Fatalf("machd is not in place: %s", got)
	}

	t.Cleanup(func() {
		attempt(t, "systemctl", "enable", "machd.service", "machd.socket")
		attempt(t, "systemctl", "restart", "machd.socket", "machd.service")
	})
	run(t, "systemctl", "disable", "--now", "machd.service", "machd.socket")
	if got := essential(run(t, "machinectl", "show", name)); got != before {
		t.Errorf("systemd-machined shows\n%s\nwant\n%s", got, before)
	}
	if got := owner(); !strings.Contains(got, "systemd-machined") {
		t.Errorf("systemd-machined is not back: %s", got)
	}
	run(t, "systemctl", "enable", "machd.service")
	run(t, "systemctl", "restart", "machd.socket", "machd.service")
	if got := essential(run(t, "machinectl", "show", name)); got != before {
		t.Errorf("machd shows\n%s\nwant\n%s", got, before)
	}
	if got := owner(); !strings.Contains(got, "/usr/libexec/machd") {
		t.Errorf("machd is not back: %s", got)
	}
}

// essential is what both daemons of any version show of a machine.
func essential(show string) string {
	var kept []string
	for line := range strings.Lines(show + "\n") {
		switch key, _, _ := strings.Cut(line, "="); key {
		case "Name", "Id", "Timestamp", "TimestampMonotonic", "Service", "Unit", "Leader", "Class", "RootDirectory", "State":
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}
