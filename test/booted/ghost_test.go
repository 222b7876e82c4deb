package booted

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// restartedWithin is how long a restart of a guest may take, on a slow machine.
const restartedWithin = 30 * time.Second

// wantNewLife waits until a machine runs with another leader than before, and
// returns that.
func wantNewLife(t *testing.T, w *watcher, name string, before any) (leader any) {
	t.Helper()
	eventually(t, name+" runs again", func() error {
		p, err := w.lookUp(t, name)
		if err != nil {
			return err
		}
		leader = p["Leader"]
		if p["State"] != "running" || leader == before {
			return fmt.Errorf("it is %v, its leader is %v, was %v", p["State"], leader, before)
		}
		return nil
	})
	return leader
}

// A guest that is restarted never meets its own ghost.
func TestMachdGuestRestartsTenTimes(t *testing.T) {
	w := watch(t)
	const name = "again"
	startGuest(t, name)
	leader := wantNewLife(t, w, name, nil)
	for i := range 10 {
		// PID 1 starts any unit five times in ten seconds, then no more.
		run(t, "systemctl", "reset-failed", serviceOf(name))
		start := time.Now()
		run(t, "systemctl", "restart", serviceOf(name))
		leader = wantNewLife(t, w, name, leader)
		if took := time.Since(start); took > restartedWithin {
			t.Errorf("restart %d took %s", i, took)
		}
	}
	// From inside, by the client, and together with the daemon.
	observe(t, "machctl", "shell", name, "/bin/systemctl", "reboot") // which may end it
	leader = wantNewLife(t, w, name, leader)
	eventually(t, "it is up again", unitIs(t, serviceOf(name), "active"))
	run(t, "machctl", "reboot", name)
	leader = wantNewLife(t, w, name, leader)
	eventually(t, "it is up again", unitIs(t, serviceOf(name), "active"))
	run(t, "systemctl", "reset-failed", serviceOf(name))
	run(t, "systemctl", "restart", theService, serviceOf(name))
	wantNewLife(t, w, name, leader)
	wantNoRefusal(t, name)
}

func wantNoRefusal(t *testing.T, name string) {
	t.Helper()
	log := observe(t, "journalctl", "-q", "-o", "cat", "-u", serviceOf(name)).Stdout
	if strings.Contains(log, "already exists") || strings.Contains(log, "exists already") {
		t.Errorf("nspawn was refused:\n%s", log)
	}
}

// A guest that is stopped while it boots may not hear of it, and is killed in
// the end. Then it is gone, and can be started again at once.
func TestMachdGuestIsStoppedInItsBoot(t *testing.T) {
	w := watch(t)
	const name = "early"
	installGuest(t, name)
	must(t, os.WriteFile(filepath.Join(settings, name+".nspawn"), []byte("[Exec]\nNotifyReady=no\n"), 0o644))
	dropIn := "/run/systemd/system/" + serviceOf(name) + ".d/test.conf"
	must(t, os.MkdirAll(filepath.Dir(dropIn), 0o755))
	must(t, os.WriteFile(dropIn, []byte("[Service]\nTimeoutStopSec=1s\n"), 0o644))
	run(t, "systemctl", "daemon-reload")
	t.Cleanup(func() {
		os.RemoveAll(filepath.Dir(dropIn))
		run(t, "systemctl", "daemon-reload")
	})
	for range 5 {
		observe(t, "systemctl", "reset-failed", serviceOf(name))
		run(t, "systemctl", "start", serviceOf(name))
		w.await(t, "MachineNew", name)
		run(t, "systemctl", "stop", serviceOf(name))
		w.await(t, "MachineRemoved", name)
	}
	wantNoRefusal(t, name)
	if files := stateFiles(t); len(files) > 0 {
		t.Errorf("there are still %v", files)
	}
}

// A guest whose systemd-nspawn is killed can be started again at once, although
// nspawn refuses to start over what it has left mounted.
func TestMachdGuestOfAKilledNspawn(t *testing.T) {
	w := watch(t)
	const name = "orphan"
	startGuest(t, name)
	for range 3 {
		run(t, "systemctl", "reset-failed", serviceOf(name)) // the starts so far
		leader := w.properties(t, name)["Leader"]
		run(t, "systemctl", "kill", "--kill-whom=main", "--signal=KILL", serviceOf(name))
		eventually(t, "PID 1 notices", func() error {
			if state := run(t, "systemctl", "show", "-P", "ActiveState", serviceOf(name)); state == "active" {
				return errors.New("it is active")
			}
			return nil
		})
		run(t, "systemctl", "start", serviceOf(name))
		wantNewLife(t, w, name, leader)
	}
	// Nobody may have seen it end.
	leader := w.properties(t, name)["Leader"]
	run(t, "systemctl", "stop", theService, "machd.socket")
	run(t, "systemctl", "kill", "--signal=KILL", serviceOf(name))
	eventually(t, "its unit ends", unitIs(t, serviceOf(name), "failed"))
	run(t, "systemctl", "reset-failed", serviceOf(name))
	run(t, "machctl", "list") // the next daemon finds what is left
	run(t, "systemctl", "start", serviceOf(name))
	wantNewLife(t, w, name, leader)
	wantNoRefusal(t, name)
}
