package booted

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machine1"
)

// A churn is clients that register and unregister as fast as they can, beside
// machines that stay.
type churn struct {
	machines []*machineOf
	stop     chan struct{}
	clients  sync.WaitGroup
}

// startChurn has n machines in services that come and go, and as many
// processes in one long life each.
func startChurn(t *testing.T, w *watcher, name string, n int) *churn {
	t.Helper()
	c := &churn{stop: make(chan struct{})}
	c.machines = append(c.machines, standing(t, w, name, n)...)
	for i := range n {
		p := startProcess(t, fmt.Sprintf("%s-%d", name, i))
		m := &machineOf{conn: dial(t), name: fmt.Sprintf("%s-service-%d", name, i), pid: p.pid}
		c.machines = append(c.machines, m)
		c.clients.Go(func() { m.toggle(c.stop) })
	}
	return c
}

// end ends the churn and checks what is left of it.
func (c *churn) end(t *testing.T, w *watcher) {
	t.Helper()
	close(c.stop)
	c.clients.Wait()
	calls := 0
	for _, m := range c.machines {
		calls += m.answered
		if m.err != nil {
			t.Errorf("%s: %v", m.name, m.err)
		}
	}
	t.Logf("%d calls were answered", calls)
	checkRound(t, w, c.machines)
}

// standing are n machines in scopes of their own that stay.
func standing(t *testing.T, w *watcher, name string, n int) []*machineOf {
	t.Helper()
	all := make([]*machineOf, n)
	for i := range all {
		m := &machineOf{conn: w.conn, name: fmt.Sprintf("%s-standing-%d", name, i)}
		m.startLeader(t)
		m.create(false)
		if m.is != listed {
			t.Fatalf("%s was not created: %v", m.name, m.err)
		}
		all[i] = m
	}
	return all
}

// While PID 1 reloads or executes itself anew, it forgets whom to tell of what.
func TestMachdReloadsOfPID1InChurn(t *testing.T) {
	w := watch(t)
	daemon := pid(t)
	c := startChurn(t, w, "reload-churn", 10)
	verbs := []string{"daemon-reload", "daemon-reexec", "daemon-reload", "daemon-reexec", "daemon-reload"}
	for _, verb := range verbs {
		run(t, "systemctl", verb)
	}
	c.end(t, w)
	t.Logf("survived: %q with %d machines, nothing lost", verbs, len(c.machines))
	if now := pid(t); now != daemon {
		t.Errorf("the daemon is process %d, was %d", now, daemon)
	}
}

// silence is how long PID 1 says nothing. Its watchdogs and D-Bus callers have
// patience for longer.
const silence = 20 * time.Second

// PID 1 may hang, in a file system or a debugger. What does not need it goes on
// (github.com/systemd/systemd/issues/40562).
func TestMachdAnswersWhilePID1IsSilent(t *testing.T) {
	w := watch(t)
	machines := standing(t, w, "silence", 5)
	orphan, stranger := startProcess(t, "silence-orphan"), startProcess(t, "silence-stranger")
	register(t, w, "silence-orphan", orphan)
	const clients = 100
	others := startProbe(t)
	for i := range clients {
		b := dialRaw(t, hostileUsers[i%len(hostileUsers)])
		others.add(t, b, 100*time.Millisecond, false, lookUps(machines[1+i%4].name)...)
	}
	wake := stopPID1(t)
	start := time.Now()
	// These need PID 1, and wait for it.
	var late sync.WaitGroup
	created := &machineOf{conn: dial(t), name: "silence-created"}
	created.startLeader(t)
	late.Go(func() { created.create(false) })
	terminated := &machineOf{conn: dial(t), name: machines[0].name}
	late.Go(func() { terminated.call(gone, "TerminateMachine", terminated.name) })
	// These do not.
	must(t, unix.Kill(orphan.pid, unix.SIGKILL))
	w.await(t, "MachineRemoved", "silence-orphan")
	register(t, w, "silence-stranger", stranger)
	must(t, w.call(t, "UnregisterMachine", []any{"silence-stranger"}))
	if took := time.Since(start); took > silence/2 {
		t.Errorf("what does not need PID 1 took %s", took)
	}
	time.Sleep(silence - time.Since(start))
	// A wait for PID 1 would be as long as its silence.
	if p100, own := others.longest(); own > silence/10 {
		t.Errorf("somebody who does not need PID 1 waited for %s, %s of it for the daemon", p100, own)
	}
	wake()
	late.Wait()
	for _, m := range []*machineOf{created, terminated} {
		if m.err != nil || m.answered != 1 {
			t.Errorf("%s: %d answers, %v", m.name, m.answered, m.err)
		}
	}
	w.await(t, "MachineRemoved", terminated.name)
}

func lookUps(machine string) []rawCall {
	all := toManager("GetAll", "s", stringOf(machine1.MachineInterface))
	all.path, all.iface = string(machine1.MachinePath(machine)), "org.freedesktop.DBus.Properties"
	return []rawCall{
		toManager("GetMachine", "s", stringOf(machine)), all,
		toManager("ListMachines", "", nil), toManager("GetMachineUIDShift", "s", stringOf(machine)),
	}
}

// stopPID1 makes PID 1 do nothing until the returned function is called: as a
// debugger does, since no signal of its own name space can stop it.
func stopPID1(t *testing.T) (wake func()) {
	t.Helper()
	stopped, end, ended := make(chan error), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		// Only the thread that stopped it can let it go, and does so when it ends.
		runtime.LockOSThread()
		err := unix.PtraceSeize(1)
		if err == nil {
			err = unix.PtraceInterrupt(1)
		}
		if err == nil {
			var status unix.WaitStatus
			_, err = unix.Wait4(1, &status, unix.WALL, nil)
		}
		stopped <- err
		<-end
		if err == nil {
			unix.PtraceDetach(1)
		}
	}()
	must(t, <-stopped)
	wake = sync.OnceFunc(func() {
		close(end)
		<-ended
	})
	t.Cleanup(wake)
	return wake
}

// Every client of the bus loses its connection at once, in the middle of calls.
func TestMachdBusRestartsInChurn(t *testing.T) {
	for _, broker := range []string{"dbus-broker", "dbus-daemon"} {
		t.Run(broker, func(t *testing.T) {
			t.Cleanup(func() { run(t, "systemctl", "restart", "systemd-logind.service", "polkit.service") })
			useBroker(t, broker)
			w := watch(t)
			all := standing(t, w, broker, 20)
			for i := range 5 {
				p := startProcess(t, fmt.Sprintf("%s-%d", broker, i))
				all = append(all, &machineOf{name: fmt.Sprintf("%s-service-%d", broker, i), pid: p.pid})
			}
			const restarts = 4
			for range restarts {
				stop := make(chan struct{})
				var clients sync.WaitGroup
				for _, m := range all {
					m.conn = dial(t)
					if m.leader == nil {
						clients.Go(func() { m.toggle(stop) })
					}
				}
				restartBus(t)
				close(stop)
				clients.Wait()
				w = watch(t)
				checkRound(t, w, all)
				for _, m := range all {
					if m.err != nil {
						t.Fatalf("%s: %v", m.name, m.err)
					}
				}
			}
			t.Logf("survived: %d restarts of %s with %d machines, nothing lost", restarts, broker, len(all))
		})
	}
}

// useBroker has the host's bus served by that program, until the test's end.
func useBroker(t *testing.T, program string) {
	t.Helper()
	if program == "dbus-broker" {
		return // that is what the host has
	}
	const dropIn = "/run/systemd/system/dbus-broker.service.d/test.conf"
	must(t, os.MkdirAll(filepath.Dir(dropIn), 0o755))
	must(t, os.WriteFile(dropIn, []byte("[Service]\nExecStart=\n"+
		"ExecStart=dbus-daemon --system --address=systemd: --nofork --nopidfile --systemd-activation --syslog-only\nExecReload=\n"), 0o644))
	run(t, "systemctl", "daemon-reload")
	t.Cleanup(func() {
		os.RemoveAll(filepath.Dir(dropIn))
		run(t, "systemctl", "daemon-reload")
		restartBus(t)
	})
	restartBus(t)
}

// restartBus restarts it although PID 1 would rather not do that so often.
func restartBus(t *testing.T) {
	t.Helper()
	run(t, "systemctl", "reset-failed", "dbus-broker.service")
	run(t, "systemctl", "restart", "dbus-broker.service")
}
