package booted

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func dependedOn(name string) string { return "machine@" + name + ".service" }

// writeUnit makes a unit of the host's, or a drop-in of one, for this test.
func writeUnit(t *testing.T, path, text string) {
	t.Helper()
	path = filepath.Join("/run/systemd/system", path)
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte(text), 0o644))
	run(t, "systemctl", "daemon-reload")
	t.Cleanup(func() {
		observe(t, "systemctl", "stop", filepath.Base(path))
		observe(t, "systemctl", "reset-failed", filepath.Base(path))
		os.Remove(path)
		run(t, "systemctl", "daemon-reload")
	})
}

// installDepended makes a guest that others depend on: /run/ready is there only
// once a unit of its own has taken its time.
func installDepended(t *testing.T, name string, takes time.Duration) {
	t.Helper()
	installGuest(t, name)
	bootWith(t, name, fmt.Sprintf("[Service]\nType=oneshot\nExecStart=sh -c 'sleep %d; touch /run/ready'\n", int(takes.Seconds())))
	t.Cleanup(func() {
		observe(t, "systemctl", "stop", dependedOn(name))
		observe(t, "machctl", "stop", "--timeout=2", "--if-running", name)
		observe(t, "systemctl", "reset-failed", dependedOn(name))
	})
}

// writeDependent makes a service that cannot do without a machine, and notes
// what it finds when it starts and stops. extra is more of its unit.
func writeDependent(t *testing.T, unit, machine, extra string) (log func() string) {
	t.Helper()
	dir := t.TempDir()
	look := fmt.Sprintf("machctl exec %s -- test -e /run/ready && echo %%s >>%s/log", machine, dir)
	writeUnit(t, unit, fmt.Sprintf("[Unit]\nBindsTo=%[1]s\nAfter=%[1]s\n%[2]s\n[Service]\nType=exec\nExecStartPre=sh -c '%[3]s'\nExecStart=sleep infinity\nExecStop=-sh -c '%[4]s'\n",
		dependedOn(machine), extra, fmt.Sprintf(look, "started"), fmt.Sprintf(look, "stopped")))
	return func() string {
		text, _ := os.ReadFile(filepath.Join(dir, "log"))
		return strings.Join(strings.Fields(string(text)), " ")
	}
}

func mainPID(t *testing.T, unit string) string {
	t.Helper()
	return run(t, "systemctl", "show", "-P", "MainPID", unit)
}

func stateOf(t *testing.T, unit string) string {
	t.Helper()
	return strings.TrimSpace(observe(t, "systemctl", "is-active", unit).Stdout)
}

// A service of the host lives by a machine: it starts when the machine can be
// used, ends before it, and outlives a reboot of it.
func TestMachdServiceDependsOnAMachine(t *testing.T) {
	w := watch(t)
	const db, app = "depend-db", "depend-app.service"
	installDepended(t, db, 5*time.Second)
	log := writeDependent(t, app, db, "")

	run(t, "systemctl", "start", app)
	if got := log(); got != "started" {
		t.Fatalf("at the first try it is %q: the machine was not ready", got)
	}
	unit := w.properties(t, db)["Unit"].(string)
	for _, u := range []string{dependedOn(db), unit, app} {
		if state := stateOf(t, u); state != "active" {
			t.Errorf("%s is %s", u, state)
		}
	}

	t.Run("the machine reboots", func(t *testing.T) {
		for _, reboot := range [][]string{{"systemctl", "-M", db, "reboot"}, {"machctl", "restart", db}} {
			pid, leader := mainPID(t, app), w.properties(t, db)["Leader"]
			run(t, reboot...)
			wantNewLife(t, w, db, leader)
			time.Sleep(time.Second)
			if now := mainPID(t, app); now != pid || stateOf(t, dependedOn(db)) != "active" {
				t.Errorf("%v: the service is process %s, was %s; %s is %s", reboot, now, pid, dependedOn(db), stateOf(t, dependedOn(db)))
			}
		}
		run(t, "machctl", "exec", db, "--", "sh", "-c", "until test -e /run/ready; do sleep 0.1; done")
	})
	t.Run("the daemon restarts", func(t *testing.T) {
		pid := mainPID(t, app)
		run(t, "systemctl", "restart", theService)
		time.Sleep(time.Second)
		if now := mainPID(t, app); now != pid || stateOf(t, dependedOn(db)) != "active" {
			t.Errorf("the service is process %s, was %s; %s is %s", now, pid, dependedOn(db), stateOf(t, dependedOn(db)))
		}
	})
	t.Run("the unit is restarted", func(t *testing.T) {
		pid, leader := mainPID(t, app), w.properties(t, db)["Leader"]
		run(t, "systemctl", "restart", dependedOn(db))
		wantNewLife(t, w, db, leader)
		eventually(t, app+" runs again", unitIs(t, app, "active"))
		if now := mainPID(t, app); now == pid {
			t.Error("the service is the old one")
		}
	})
	t.Run("the unit is stopped", func(t *testing.T) {
		run(t, "systemctl", "stop", dependedOn(db))
		if state := stateOf(t, app); state != "inactive" {
			t.Errorf("%s is %s", app, state)
		}
		if slices.Contains(w.list(t), db) || stateOf(t, unit) == "active" {
			t.Errorf("the machine is still there, its unit is %s", stateOf(t, unit))
		}
		if got := log(); !strings.HasSuffix(got, "stopped") {
			t.Errorf("the machine could not be used any more when the service was stopped: %s", got)
		}
	})
	t.Run("the machine ends", func(t *testing.T) {
		for what, end := range map[string][]string{
			"by itself":    {"systemctl", "-M", db, "poweroff"},
			"by machctl":   {"machctl", "stop", db},
			"by a SIGKILL": {"systemctl", "kill", "--signal=KILL", unit},
		} {
			observe(t, "systemctl", "reset-failed", unit)
			run(t, "systemctl", "start", app)
			run(t, end...)
			eventually(t, app+" ends", func() error {
				if state := stateOf(t, app); state != "inactive" && state != "failed" {
					return fmt.Errorf("%s: it is %s", what, state)
				}
				return nil
			})
			eventually(t, dependedOn(db)+" ends", unitIs(t, dependedOn(db), "inactive"))
		}
	})
	t.Run("the machine ends while there is no daemon", func(t *testing.T) {
		observe(t, "systemctl", "reset-failed", unit)
		run(t, "systemctl", "start", app)
		run(t, "systemctl", "stop", theService, "machd.socket")
		run(t, "systemctl", "kill", "--signal=KILL", unit)
		eventually(t, unit+" ends", func() error {
			if state := stateOf(t, unit); state == "active" || state == "deactivating" {
				return fmt.Errorf("it is %s", state)
			}
			return nil
		})
		run(t, "systemctl", "start", theService)
		eventually(t, dependedOn(db)+" ends", unitIs(t, dependedOn(db), "inactive"))
		eventually(t, app+" ends", unitIs(t, app, "inactive"))
	})
}

// What keeps a machine from starting keeps all from starting that depends on it,
// and is told.
func TestMachdDependingOnWhatCannotStart(t *testing.T) {
	w := watch(t)
	t.Run("there is no image", func(t *testing.T) {
		writeDependent(t, "depend-none.service", "depend-none", "")
		begin := time.Now()
		got := observe(t, "systemctl", "start", "depend-none.service")
		if took := time.Since(begin); got.Code == 0 || !strings.Contains(got.Stderr, "dependency") || took > 20*time.Second {
			t.Errorf("after %s: exit code %d, %s", took, got.Code, got.Stderr)
		}
		eventually(t, "its log says why", func() error {
			reason := observe(t, "journalctl", "-q", "-o", "cat", "-u", dependedOn("depend-none")).Stdout
			if !strings.Contains(reason, `cannot start "depend-none"`) || !strings.Contains(reason, "image") {
				return errors.New(reason)
			}
			return nil
		})
		observe(t, "systemctl", "reset-failed", dependedOn("depend-none"))
	})
	t.Run("a mount fails", func(t *testing.T) {
		const name = "depend-mount"
		installDepended(t, name, 0)
		writeUnit(t, "srv-db.mount", "[Mount]\nWhat=none\nWhere=/srv/db\nType=nosuchfs\n")
		writeUnit(t, dependedOn(name)+".d/mount.conf", "[Unit]\nRequiresMountsFor=/srv/db\n")
		got := observe(t, "systemctl", "start", dependedOn(name))
		if got.Code == 0 || !strings.Contains(got.Stderr, "dependency") {
			t.Errorf("exit code %d, %s", got.Code, got.Stderr)
		}
		if log := observe(t, "journalctl", "-q", "-o", "cat", "-t", "systemd-nspawn", "-t", "machctl").Stdout; strings.Contains(log, name) {
			t.Errorf("something was started:\n%s", log)
		}
		if slices.Contains(w.list(t), name) {
			t.Error("it runs")
		}
	})
}

// Machines may depend on one another; machines.target starts and stops them in
// their order, also those that the stock unit carries.
func TestMachdMachinesInTheirOrder(t *testing.T) {
	w := watch(t)
	const db, app, web = "order-db", "order-app", "order-web"
	for _, name := range []string{db, app, web} {
		installDepended(t, name, 2*time.Second)
	}
	for name, before := range map[string]string{app: db, web: app} {
		writeUnit(t, dependedOn(name)+".d/order.conf", fmt.Sprintf("[Unit]\nRequires=%[1]s\nAfter=%[1]s\n", dependedOn(before)))
	}
	log := writeDependent(t, "order-host.service", app, "")
	run(t, "machctl", "enable", db, app, web)
	run(t, "machinectl", "enable", db) // both, which do not fight
	t.Cleanup(func() { observe(t, "machctl", "disable", db, app, web) })
	begun := func(name string) uint64 { return w.properties(t, name)["TimestampMonotonic"].(uint64) }
	for range 2 {
		run(t, "systemctl", "start", "order-host.service", "machines.target")
		for _, name := range []string{db, app, web} {
			eventually(t, dependedOn(name)+" is up", unitIs(t, dependedOn(name), "active"))
		}
		const usec = 2_000_000
		if a, b, c := begun(db), begun(app), begun(web); b < a+usec || c < b+usec {
			t.Errorf("they began at %d, %d and %d µs: not each when the one before was ready", a, b, c)
		}
		run(t, "systemctl", "is-active", "order-host.service")
		run(t, "systemctl", "stop", "machines.target")
		for _, name := range []string{db, app, web} {
			eventually(t, name+" is gone", func() error {
				if slices.Contains(w.list(t), name) {
					return fmt.Errorf("%s is there", name)
				}
				return nil
			})
			eventually(t, dependedOn(name)+" ends", unitIs(t, dependedOn(name), "inactive"))
		}
	}
	if got := log(); got != "started stopped started stopped" {
		t.Errorf("the service of the host has seen %q", got)
	}
	wantNoRefusal(t, db)
	if left := observe(t, "systemctl", "list-units", "--failed", "--plain", "--no-legend", "machine*order*", "systemd-nspawn@order*").Stdout; left != "" {
		t.Errorf("failed:\n%s", left)
	}
}

// What stands for a machine ends with it: once a stop has returned a start is a
// start, whichever way, and nothing stands for a machine that is not there.
func TestMachdStartedAgainAfterItsEnd(t *testing.T) {
	w := watch(t)
	const name = "depend-again"
	unit := transientOf(name)
	installDepended(t, name, 0)
	t.Cleanup(func() { observe(t, "machctl", "disable", name) })
	enabled := []string{"machctl", "enable", "--now", name}
	for what, c := range map[string]struct {
		end, start []string
		late       bool // nobody waits for its end
	}{
		"stopped, and started by its name":   {[]string{"machctl", "stop", name}, enabled, false},
		"stopped, and started by PID 1":      {[]string{"machctl", "stop", name}, []string{"systemctl", "start", dependedOn(name)}, false},
		"stopped, and started by itself":     {[]string{"machctl", "stop", name}, []string{"machctl", "start", name}, false},
		"terminated":                         {[]string{"machctl", "terminate", name}, enabled, false},
		"terminated, and started by PID 1":   {[]string{"machctl", "terminate", name}, []string{"systemctl", "start", dependedOn(name)}, false},
		"terminated, which nobody waits for": {[]string{"machctl", "terminate", "--no-wait", name}, enabled, false},
		"killed":                             {[]string{"systemctl", "kill", "--signal=KILL", unit}, enabled, true},
		"killed, and started by itself":      {[]string{"systemctl", "kill", "--signal=KILL", unit}, []string{"machctl", "start", name}, true},
	} {
		t.Run(what, func(t *testing.T) {
			for range 2 {
				observe(t, "systemctl", "reset-failed", unit, dependedOn(name))
				run(t, enabled...)
				leader := w.properties(t, name)["Leader"]
				run(t, c.end...)
				if c.late {
					// Until then it may be running for all that anybody can know.
					eventually(t, "it is over", func() error {
						if slices.Contains(w.list(t), name) {
							return errors.New("it is there")
						}
						return nil
					})
				}
				run(t, c.start...)
				// What is still going on about the end must not take it along.
				settled := func() error {
					if jobs := observe(t, "systemctl", "list-jobs", "--no-legend", "*"+name+"*").Stdout; strings.TrimSpace(jobs) != "" {
						return errors.New(jobs)
					}
					return nil
				}
				eventually(t, "PID 1 is done", settled)
				if !slices.Contains(w.list(t), name) {
					t.Fatalf("it is not there; %s is %s, %s is %s", unit, stateOf(t, unit), dependedOn(name), stateOf(t, dependedOn(name)))
				}
				if now := w.properties(t, name)["Leader"]; now == leader {
					t.Fatal("it is the one that was to end")
				}
				run(t, "machctl", "stop", name)
				eventually(t, dependedOn(name)+" ends", unitIs(t, dependedOn(name), "inactive"))
			}
		})
	}
	t.Run("it ends while it is being started", func(t *testing.T) {
		for range 2 {
			observe(t, "systemctl", "reset-failed", unit, dependedOn(name))
			run(t, "systemctl", "start", "--no-block", dependedOn(name))
			eventually(t, "it is there", func() error {
				if !slices.Contains(w.list(t), name) {
					return errors.New("it is not")
				}
				return nil
			})
			observe(t, "machctl", "stop", name)
			eventually(t, dependedOn(name)+" ends", func() error {
				if state := stateOf(t, dependedOn(name)); state != "inactive" && state != "failed" {
					return errors.New(state)
				}
				return nil
			})
		}
	})
}

// A stop that what stands for the machine, or depends on that, waits for itself
// does not wait for these in return.
func TestMachdStopWithinTheStopOfWhatDepends(t *testing.T) {
	w := watch(t)
	const name, app = "depend-within", "depend-within.service"
	installDepended(t, name, 0)
	writeUnit(t, app, fmt.Sprintf("[Unit]\nBindsTo=%[1]s\nAfter=%[1]s\n[Service]\nType=exec\nExecStart=sleep infinity\nExecStop=machctl stop %[2]s\n",
		dependedOn(name), name))
	for _, stopped := range []string{app, dependedOn(name)} {
		run(t, "systemctl", "start", app)
		begin := time.Now()
		run(t, "systemctl", "stop", stopped)
		// PID 1 would end by force what takes 90 s.
		if took := time.Since(begin); took > 45*time.Second {
			t.Errorf("the stop of %s took %s", stopped, took)
		}
		eventually(t, dependedOn(name)+" ends", unitIs(t, dependedOn(name), "inactive"))
		eventually(t, app+" ends", unitIs(t, app, "inactive"))
		if slices.Contains(w.list(t), name) {
			t.Errorf("%s: the machine is still there", stopped)
		}
	}
}

// A machine that runs already is not started anew, whoever started it, and not
// taken for one of another name.
func TestMachdDependedUnitOfARunningMachine(t *testing.T) {
	w := watch(t)
	for name, start := range map[string][]string{
		"running-stock": {"systemctl", "start", serviceOf("running-stock")},
		"running-verb":  {"machctl", "start", "running-verb"},
	} {
		installDepended(t, name, 0)
		run(t, start...)
		leader := w.properties(t, name)["Leader"]
		run(t, "systemctl", "start", dependedOn(name))
		if now := w.properties(t, name)["Leader"]; now != leader {
			t.Errorf("%s was started anew", name)
		}
		run(t, "systemctl", "stop", dependedOn(name))
		if slices.Contains(w.list(t), name) {
			t.Errorf("%s is still there", name)
		}
	}
}

// The settings of a machine say which others it needs, however it is started.
func TestMachdSettingsOrderMachines(t *testing.T) {
	w := watch(t)
	const db, web = "settings-db", "settings-web"
	for _, name := range []string{db, web} {
		installDepended(t, name, 2*time.Second)
	}
	file := filepath.Join(settings, web+".nspawn")
	text, err := os.ReadFile(file)
	must(t, err)
	must(t, os.WriteFile(file, append(text, "[X-Machd]\nRequires="+db+"\n"...), 0o644))
	run(t, "systemctl", "daemon-reload")
	t.Cleanup(func() { run(t, "systemctl", "daemon-reload") })
	for _, start := range [][]string{{"systemctl", "start", dependedOn(web)}, {"machctl", "start", web}} {
		run(t, start...)
		begun := func(name string) uint64 { return w.properties(t, name)["TimestampMonotonic"].(uint64) }
		if a, b := begun(db), begun(web); b < a+2_000_000 {
			t.Errorf("%v: they began at %d and %d µs: not the one when the other was ready", start, a, b)
		}
		// What is needed takes along what needs it.
		run(t, "systemctl", "stop", dependedOn(db))
		eventually(t, "both are gone", func() error {
			if left := w.list(t); len(left) > 0 {
				return fmt.Errorf("there are still %v", left)
			}
			return nil
		})
	}
}
