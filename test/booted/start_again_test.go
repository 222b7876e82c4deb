package booted

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func startedAgain(t *testing.T, w *watcher, name string, before any, argv ...string) (leader any) {
	t.Helper()
	start := time.Now()
	run(t, argv...)
	leader = wantNewLife(t, w, name, before)
	if took := time.Since(start); took > restartedWithin {
		t.Errorf("%s took %s", strings.Join(argv, " "), took)
	}
	return leader
}

// A machine never meets its own ghost, however it ended and whoever starts it.
func TestMachdStartAgain(t *testing.T) {
	w := watch(t)
	const name = "ghost"
	unit := transientOf(name)
	copyImage(t, "c8-ns", name)
	before := traces(t, name)
	leader := startedAgain(t, w, name, nil, "machctl", "start", name)
	for range 10 {
		// PID 1 starts any unit five times in ten seconds, then no more.
		run(t, "systemctl", "reset-failed", unit)
		leader = startedAgain(t, w, name, leader, "systemctl", "restart", unit)
	}
	for range 5 {
		run(t, "systemctl", "stop", unit)
		leader = startedAgain(t, w, name, leader, "machctl", "start", name)
	}
	// Nobody waits for its end.
	for range 3 {
		run(t, "systemctl", "stop", "--no-block", unit)
		leader = startedAgain(t, w, name, leader, "machctl", "start", name)
	}
	for range 3 {
		supervisor := run(t, "systemctl", "show", "-P", "MainPID", unit)
		run(t, "kill", "-9", supervisor)
		// Until then it may be running for all that anybody can know.
		eventually(t, "it is dead", func() error {
			if observe(t, "kill", "-0", supervisor).Code == 0 {
				return errors.New("it is there")
			}
			return nil
		})
		leader = startedAgain(t, w, name, leader, "machctl", "start", name)
	}
	observe(t, "machctl", "shell", name, "/bin/systemctl", "reboot") // which ends the shell, too
	leader = wantNewLife(t, w, name, leader)
	// Its unit may be between two lives.
	run(t, "machctl", "start", name)
	run(t, "systemctl", "restart", theService)
	if got := w.properties(t, name)["Leader"]; got != leader {
		t.Errorf("its leader is %v, was %v", got, leader)
	}
	log := observe(t, "journalctl", "-q", "-o", "cat", "-u", unit).Stdout
	if strings.Contains(log, "already exists") || strings.Contains(log, "exists already") {
		t.Errorf("nspawn was refused:\n%s", log)
	}
	run(t, "machctl", "stop", name)
	wantNoTraces(t, before, name)
}

// The same of the stock unit, which nobody waits for to be ready: its system is
// stopped in the middle of its boot.
func TestMachdRestartInTheBootOfAStockUnit(t *testing.T) {
	w := watch(t)
	const name = "ghost-stock"
	copyImage(t, "c8-ns", name)
	leader := startedAgain(t, w, name, nil, "systemctl", "start", serviceOf(name))
	for range 10 {
		run(t, "systemctl", "reset-failed", serviceOf(name))
		leader = startedAgain(t, w, name, leader, "systemctl", "restart", serviceOf(name))
	}
	startedAgain(t, w, name, leader, "systemctl", "restart", theService, serviceOf(name))
	wantNoRefusal(t, name)
}

// A machine that is stopped while it boots is gone, and can be started again at
// once.
func TestMachdStopInTheBootOfAStart(t *testing.T) {
	t.Parallel()
	w := watch(t)
	const name = "early-start"
	copyImage(t, "c8-ns", name)
	before := traces(t, name)
	for range 4 {
		run(t, "machctl", "start", "--wait=registered", "--stop-timeout=2", name)
		run(t, "systemctl", "stop", transientOf(name))
	}
	startedAgain(t, w, name, nil, "machctl", "start", name)
	run(t, "machctl", "stop", name)
	wantNoTraces(t, before, name)
}

// What a killed systemd-nspawn has left, and no daemon has seen it end.
func TestMachdStartOverWhatNobodySawEnd(t *testing.T) {
	w := watch(t)
	const name = "unseen"
	unit := transientOf(name)
	copyImage(t, "c8-ns", name)
	before := traces(t, name)
	leader := startedAgain(t, w, name, nil, "machctl", "start", name)
	run(t, "systemctl", "stop", theService, "machd.socket")
	run(t, "systemctl", "kill", "--signal=KILL", unit)
	eventually(t, "its unit ends", func() error { return unitIs(t, unit, "inactive")() })
	if mounts := readFile(t, "/proc/self/mounts"); strings.Contains(mounts, name) {
		t.Errorf("its unit has left mounts:\n%s", mounts)
	}
	startedAgain(t, w, name, leader, "machctl", "start", name)
	run(t, "machctl", "stop", name)
	wantNoTraces(t, before, name)
}
