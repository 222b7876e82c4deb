package booted

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	contract "github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// dropIn changes a guest's unit.
func dropIn(t *testing.T, name, text string) {
	t.Helper()
	dir := "/run/systemd/system/" + serviceOf(name) + ".d"
	must(t, os.MkdirAll(dir, 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "test.conf"), []byte(text), 0o644))
	run(t, "systemctl", "daemon-reload")
	t.Cleanup(func() {
		os.RemoveAll(dir)
		run(t, "systemctl", "daemon-reload")
	})
}

// wantStopped checks that a guest is gone for good the moment that a stop has
// returned: it can be started again at once.
func wantStopped(t *testing.T, w *watcher, name string) {
	t.Helper()
	if state := observe(t, "systemctl", "is-active", serviceOf(name)).Stdout; state == "active\n" || state == "deactivating\n" {
		t.Errorf("its unit is still %s", state)
	}
	if slices.Contains(w.list(t), name) {
		t.Error("it is still listed")
	}
	observe(t, "systemctl", "reset-failed", serviceOf(name))
	run(t, "systemctl", "start", serviceOf(name))
	observe(t, "machctl", "stop", "--timeout=2", name)
}

// Whatever a guest's init does when it is told to end, stop ends the guest, and
// says how.
func TestMachdStopInsists(t *testing.T) {
	w, c := watch(t), newClient(t)
	for _, g := range []struct {
		name    string
		prepare func(t *testing.T, name string)
		ready   bool // is waited for
		timeout time.Duration
		how     string
		within  time.Duration
	}{
		{"stop-plain", func(t *testing.T, name string) {}, true, 0, contract.StopPowerOff, patience},
		{"stop-early", func(t *testing.T, name string) {}, false, 0, contract.StopPowerOff, patience},
		{"stop-always", func(t *testing.T, name string) { dropIn(t, name, "[Service]\nRestart=always\n") },
			true, 0, contract.StopPowerOff, patience},
		{"stop-deaf", func(t *testing.T, name string) { replaceInit(t, name, "#!/bin/sh\nexec sleep infinity\n") },
			true, 0, contract.StopUnit, 10 * time.Second},
		{"stop-hung", func(t *testing.T, name string) {
			bootWith(t, name, "[Service]\nExecStart=sleep infinity\nExecStop=sleep 1000\nTimeoutStopSec=infinity\n")
		}, true, 3 * time.Second, contract.StopUnit, 20 * time.Second},
	} {
		t.Run(g.name, func(t *testing.T) {
			installGuest(t, g.name)
			bootWith(t, g.name, "[Service]\nType=oneshot\nExecStart=true\n")
			g.prepare(t, g.name)
			run(t, "systemctl", "start", serviceOf(g.name))
			if g.ready {
				_, _, err := c.Wait(t.Context(), g.name, contract.WaitOptions{})
				must(t, err)
			}
			begin := time.Now()
			how, err := c.Stop(t.Context(), g.name, contract.StopOptions{Timeout: g.timeout})
			took := time.Since(begin)
			if err != nil || how != g.how || took > g.within {
				t.Errorf("after %s it ended by %q, %v; want %q", took, how, err, g.how)
			}
			t.Logf("it took %s", took)
			wantStopped(t, w, g.name)
		})
	}
}

// An init that handles no signal by which it could be asked is not waited for.
func TestMachdStopWaitsForNoInitThatCannotHear(t *testing.T) {
	const name = "stop-busybox"
	copyImage(t, "tiny", name)
	run(t, "machctl", "start", name)
	begin := time.Now()
	how, err := newClient(t).Stop(t.Context(), name, contract.StopOptions{Timeout: 4 * notTheUnits})
	if took := time.Since(begin); err != nil || how != contract.StopUnit || took > notTheUnits {
		t.Errorf("after %s it ended by %q, %v", took, how, err)
	}
}

// Machines that no service of their own runs end as well, and nothing else with
// them.
func TestMachdStopsWhateverAMachineRunsIn(t *testing.T) {
	w, c := watch(t), newClient(t)
	wantStop := func(t *testing.T, name string, want string) {
		t.Helper()
		begin := time.Now()
		how, err := c.Stop(t.Context(), name, contract.StopOptions{})
		if took := time.Since(begin); err != nil || how != want || took > 10*time.Second {
			t.Errorf("after %s it ended by %q, %v; want %q", took, how, err, want)
		}
		if slices.Contains(w.list(t), name) {
			t.Error("it is still listed")
		}
	}
	t.Run("a scope of nspawn's", func(t *testing.T) {
		startByHand(t, w, "stop-scope")
		scope := w.properties(t, "stop-scope")["Unit"].(string)
		wantStop(t, "stop-scope", contract.StopUnit)
		if state := strings.TrimSpace(observe(t, "systemctl", "is-active", scope).Stdout); state != "inactive" {
			t.Errorf("its scope is %s", state)
		}
	})
	t.Run("a scope that machd made", func(t *testing.T) {
		cmd := exec.Command("sleep", "infinity")
		must(t, cmd.Start())
		go cmd.Wait()
		create(t, w, "stop-created", cmd.Process.Pid)
		wantStop(t, "stop-created", contract.StopUnit)
		if state := strings.TrimSpace(observe(t, "systemctl", "is-active", machine1.ScopeName("stop-created")).Stdout); state != "inactive" {
			t.Errorf("its scope is %s", state)
		}
	})
	t.Run("a service of somebody who registered it", func(t *testing.T) {
		p := startProcess(t, "stop-registered")
		register(t, w, "stop-registered", p)
		wantStop(t, "stop-registered", contract.StopUnit)
	})
	t.Run("cgroups of a unit of others", func(t *testing.T) {
		terms := wantNoSIGTERM(t)
		all := startTenants(t, w, "stop-tenants")
		wantStop(t, "stop-tenants-1", contract.StopUnit)
		for _, name := range []string{"stop-tenants-0", "stop-tenants-2"} {
			if !slices.Contains(w.list(t), name) {
				t.Errorf("%s has gone, too", name)
			}
		}
		if state := run(t, "systemctl", "is-active", all.homes[0].unit); state != "active" {
			t.Errorf("the unit of all is %s", state)
		}
		select {
		case <-terms:
			t.Error("whoever registered it was told to end")
		default:
		}
	})
	t.Run("what ignores SIGTERM", func(t *testing.T) {
		const unit, deaf = "stop-stubborn.service", "/run/stop-stubborn"
		run(t, "systemd-run", "-q", "--collect", "--slice=machine.slice", "--unit="+unit, "sh", "-c", "trap '' TERM; touch "+deaf+"; while :; do sleep 1; done")
		t.Cleanup(func() { observe(t, "systemctl", "kill", "--signal=KILL", unit) })
		eventually(t, "it ignores the signal", func() error { _, err := os.Stat(deaf); return err })
		pid, err := strconv.Atoi(run(t, "systemctl", "show", "-P", "MainPID", unit))
		must(t, err)
		register(t, w, "stop-stubborn", process{unit, pid})
		how, err := c.Stop(t.Context(), "stop-stubborn", contract.StopOptions{Timeout: time.Second})
		if err != nil || how != contract.StopKill {
			t.Errorf("it ended by %q, %v", how, err)
		}
	})
	t.Run("a VM", func(t *testing.T) {
		p := startProcess(t, "stop-vm")
		var path string
		must(t, w.call(t, "RegisterMachine", []any{"stop-vm", []byte{}, "tester", "vm", uint32(p.pid), ""}, &path))
		wantStop(t, "stop-vm", contract.StopUnit)
	})
	t.Run("nothing", func(t *testing.T) {
		for name, want := range map[string]error{"nosuch": machine1.ErrNoSuchMachine, "no/such": machine1.ErrNoSuchMachine, machine1.Host: machine1.ErrNotSupported} {
			if _, err := c.Stop(t.Context(), name, contract.StopOptions{}); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
		}
	})
}

// machctl restart never meets a ghost, nor do stop and start, without pause.
func TestMachdRestartsTenTimes(t *testing.T) {
	w := watch(t)
	const name = "verbs-again"
	installGuest(t, name)
	bootWith(t, name, "[Service]\nType=oneshot\nExecStart=true\n")
	run(t, "machctl", "start", name)
	leader := wantNewLife(t, w, name, nil)
	restart := func(how string, argv ...[]string) {
		t.Helper()
		observe(t, "systemctl", "reset-failed", w.properties(t, name)["Unit"].(string))
		begin := time.Now()
		for _, args := range argv {
			run(t, args...)
		}
		took := time.Since(begin)
		p := w.properties(t, name) // at once: it is usable
		if p["State"] != "running" || p["Leader"] == leader || took > restartedWithin {
			t.Errorf("%s: after %s it is %v, its leader is %v, was %v", how, took, p["State"], p["Leader"], leader)
		}
		leader = p["Leader"]
		run(t, "systemctl", "-M", name, "is-system-running", "--wait")
	}
	for i := range 10 {
		restart(fmt.Sprint("restart ", i), []string{"machctl", "restart", name})
	}
	for i := range 3 {
		restart(fmt.Sprint("stop and start ", i), []string{"machctl", "stop", name}, []string{"machctl", "start", name})
	}
	// Stopped while it boots: by machctl, at any moment.
	run(t, "machctl", "stop", name)
	for i := range 5 {
		run(t, "machctl", "start", "--wait=registered", name)
		time.Sleep(time.Duration(i) * 100 * time.Millisecond)
		begin := time.Now()
		run(t, "machctl", "stop", name)
		if took := time.Since(begin); took > restartedWithin {
			t.Errorf("a stop in the boot took %s", took)
		}
	}
	run(t, "machctl", "start", name)
	leader = wantNewLife(t, w, name, leader)
	// Its supervisor is killed.
	unit := w.properties(t, name)["Unit"].(string)
	pid, err := strconv.Atoi(run(t, "systemctl", "show", "-P", "MainPID", unit))
	must(t, err)
	must(t, exec.Command("kill", "-9", strconv.Itoa(pid)).Run())
	eventually(t, "PID 1 has seen its end", func() error { // until then the machine runs, and a start has nothing to do
		if _, err := os.Stat("/proc/" + strconv.Itoa(pid)); !os.IsNotExist(err) {
			return fmt.Errorf("process %d is there: %v", pid, err)
		}
		return nil
	})
	run(t, "machctl", "start", name)
	wantNewLife(t, w, name, leader)
	run(t, "machctl", "stop", "--all")
	if left := w.list(t); len(left) > 0 {
		t.Errorf("there are still %v", left)
	}
}

// A machine that PID 1 starts again whenever it ends can be restarted, too.
func TestMachdRestartsWhatComesBack(t *testing.T) {
	w := watch(t)
	for _, policy := range []string{"always", "on-success"} {
		name := "again-" + policy
		installGuest(t, name)
		bootWith(t, name, "[Service]\nType=oneshot\nExecStart=true\n")
		dropIn(t, name, "[Service]\nRestart="+policy+"\n")
		run(t, "machctl", "start", name)
		leader := wantNewLife(t, w, name, nil)
		for range 2 {
			run(t, "machctl", "restart", name)
			p := w.properties(t, name)
			if p["State"] != "running" || p["Leader"] == leader {
				t.Errorf("Restart=%s: it is %v, its leader is %v, was %v", policy, p["State"], p["Leader"], leader)
			}
			leader = p["Leader"]
		}
		run(t, "machctl", "stop", name)
		wantStopped(t, w, name)
	}
}

// A protected machine is ended by nobody who does not insist.
func TestMachdProtectsAMachine(t *testing.T) {
	w := watch(t)
	const name = "protected"
	installGuest(t, name)
	bootWith(t, name, "[Service]\nType=oneshot\nExecStart=true\n")
	t.Cleanup(func() { observe(t, "machctl", "stop", "--force", "--if-running", "--timeout=2", name) })
	run(t, "machctl", "start", "--protect", "--restart=always", name)
	p := w.properties(t, name)
	for _, argv := range [][]string{
		{"machctl", "stop", name}, {"machctl", "restart", name}, {"machctl", "terminate", name}, {"machctl", "reboot", name},
		{"machctl", "kill", name}, {"machinectl", "poweroff", name}, {"machinectl", "terminate", name},
		{"systemctl", "stop", p["Unit"].(string)},
	} {
		if got := observe(t, argv...); got.Code == 0 {
			t.Errorf("%q: exit code 0", argv)
		} else if argv[0] == "machctl" && !strings.Contains(got.Stderr, "protected") {
			t.Errorf("%q says %s", argv, got.Stderr)
		}
	}
	if now := w.properties(t, name); now["Leader"] != p["Leader"] || now["State"] != "running" {
		t.Errorf("its leader is %v, was %v, and it is %v", now["Leader"], p["Leader"], now["State"])
	}
	run(t, "machctl", "stop", "--force", name)
	if slices.Contains(w.list(t), name) {
		t.Error("it is still there, or again")
	}
	if state := strings.TrimSpace(observe(t, "systemctl", "is-active", p["Unit"].(string)).Stdout); state != "inactive" {
		t.Errorf("its unit is %s", state)
	}
}

// The same over Varlink.
func TestMachdEndsOverVarlink(t *testing.T) {
	w := watch(t)
	const name, socket = "stop-varlink", "/run/systemd/machine/io.systemd.Machine"
	installGuest(t, name)
	run(t, "systemctl", "start", serviceOf(name))
	call := func(method, in string) outcome {
		return observe(t, "varlinkctl", "call", "-j", "--timeout=60", socket, contract.MachineVarlink+"."+method, in)
	}
	for _, c := range []struct{ method, in, want string }{
		{"Wait", `{"name":"stop-varlink"}`, `"state":"ready"`},
		{"Restart", `{"name":"stop-varlink","timeoutUsec":60000000}`, `"unit":"systemd-nspawn@stop-varlink.service"`},
		{"Stop", `{"name":"stop-varlink"}`, `"how":"poweroff"`},
		{"Stop", `{"name":"stop-varlink"}`, "io.systemd.Machine.NoSuchMachine"},
		{"Wait", `{"name":"stop-varlink"}`, "io.systemd.Machine.NoSuchMachine"},
		{"Stop", `{"name":".host"}`, "io.systemd.Machine.NotSupported"},
		{"Stop", `{"name":"x","timeoutUsec":-1}`, "nvalid"},
	} {
		got := call(c.method, c.in)
		if !strings.Contains(got.Stdout+got.Stderr, c.want) {
			t.Errorf("%s %s: %+v, want %s", c.method, c.in, got, c.want)
		}
	}
	if slices.Contains(w.list(t), name) {
		t.Error("it is still listed")
	}
}

// A daemon that is killed or restarted in the middle of a stop is followed by one
// that goes on with it.
func TestMachdStopOutlivesTheDaemon(t *testing.T) {
	w := watch(t)
	const name = "stop-outlived"
	installGuest(t, name)
	bootWith(t, name, "[Service]\nExecStart=sleep infinity\nExecStop=sleep 1000\nTimeoutStopSec=infinity\n")
	for _, how := range [][]string{{"systemctl", "kill", "--signal=KILL", theService}, {"systemctl", "restart", theService}} {
		run(t, "machctl", "start", name)
		stop := begin(t, "machctl", "stop", "--timeout=4", name)
		time.Sleep(time.Second)
		run(t, how...)
		if err := stop.Wait(); err != nil {
			t.Errorf("%q: stop ends with %v:\n%s", how, err, &stop.stderr)
		}
		if slices.Contains(w.list(t), name) {
			t.Errorf("%q: it is still listed", how)
		}
	}
}
