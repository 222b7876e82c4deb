package booted

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	machd1 "github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// A command runs beside the test.
type command struct {
	*exec.Cmd
	stderr bytes.Buffer
}

func begin(t *testing.T, argv ...string) *command {
	t.Helper()
	c := &command{Cmd: exec.Command(argv[0], argv[1:]...)}
	c.Stderr = &c.stderr
	must(t, c.Start())
	return c
}

// A daemon that is killed or restarted in the middle of a start leaves it to the
// one that comes next: it goes on, or is taken back. Whoever waits is told
// which.
func TestMachdStartOutlivesTheDaemon(t *testing.T) {
	const name = "handed-over"
	copyImage(t, "c8-ns", name)
	before := traces(t, name)
	started := 0
	for _, how := range [][]string{{"systemctl", "kill", "--signal=KILL", theService}, {"systemctl", "restart", theService}} {
		for _, after := range []time.Duration{0, 30 * time.Millisecond, 80 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond} {
			start := begin(t, "machctl", "start", name)
			time.Sleep(after)
			run(t, how...)
			err := start.Wait()
			if err == nil {
				started++
				if got := observe(t, "systemctl", "-M", name, "is-system-running", "--wait").Stdout; got != "running\n" {
					t.Errorf("%q after %s: its system is %s", how, after, got)
				}
				run(t, "machctl", "stop", name)
			} else if start.ProcessState.ExitCode() != 1 || start.stderr.Len() == 0 {
				t.Errorf("%q after %s: %v\n%s", how, after, err, &start.stderr)
			} else {
				t.Logf("%q after %s: taken back: %s", how, after, &start.stderr)
			}
			eventually(t, "the daemon has done with it", func() error {
				if left, _ := filepath.Glob("/run/machd/starts/*"); len(left) > 0 {
					return errors.New("there is still its record")
				}
				return nil
			})
			wantNoTraces(t, before, name)
		}
	}
	// nspawn gives up if the daemon dies while it registers, and never else.
	if started < 5 {
		t.Errorf("%d of 10 starts came to an end", started)
	}
}

// systemd-nspawn 262 lets a container run that it could not register.
// That is no start, and one that the next daemon gives another try if it finds
// it: the daemon before may have gone in that very moment.
func TestMachdStartThatRegistersNothing(t *testing.T) {
	const name = "unregistered"
	installTiny(t, name)
	before := traces(t, name)
	once := filepath.Join(t.TempDir(), "once")
	command := "systemd-nspawn --keep-unit --private-network --machine=" + name + " %s --as-pid2 sleep infinity"
	writeUnit(t, serviceOf(name)+".d/10-test.conf", fmt.Sprintf("[Service]\nExecStart=\nExecStart=sh -c 'rm %s && exec %s; exec %s'\n",
		once, fmt.Sprintf(command, "--register=no"), fmt.Sprintf(command, "")))
	for _, killed := range []bool{false, true} {
		must(t, os.WriteFile(once, nil, 0o644))
		start := begin(t, "machctl", "start", "--wait=registered", name)
		eventually(t, "it runs", func() error {
			if state := show(t, serviceOf(name), "ActiveState"); state != "active" {
				return errors.New(state)
			}
			return nil
		})
		if killed {
			run(t, "systemctl", "kill", "--signal=KILL", theService)
		}
		err := start.Wait()
		if !killed {
			if want := serviceOf(name) + " was ended again: it runs, and has not registered a machine"; err == nil || !strings.Contains(start.stderr.String(), want) {
				t.Errorf("got %v, %s, want %s", err, &start.stderr, want)
			}
			run(t, "systemctl", "reset-failed", serviceOf(name)) // the administrator's stays, for him to see
			wantNoTraces(t, before, name)
			continue
		}
		if err != nil {
			t.Errorf("after the daemon was killed: %v\n%s", err, &start.stderr)
		}
		if unit := watch(t).properties(t, name)["Unit"]; unit != serviceOf(name) {
			t.Errorf("the machine runs in %v", unit)
		}
		run(t, "machctl", "terminate", name)
	}
}

// A restart goes on in PID 1. It is lost only if systemd-nspawn was about to
// register when the daemon was killed: it gives up then, and nobody knows any
// more with what the machine was started. Who asked is told.
func TestMachdRestartOutlivesTheDaemon(t *testing.T) {
	const name = "restarted-over"
	copyImage(t, "c8-ns", name)
	run(t, "machctl", "start", name)
	t.Cleanup(func() { observe(t, "machctl", "terminate", name) })
	show := func(property string) string { return run(t, "machctl", "show", "-P", property, name) }
	leader, restarted := show("Leader"), 0
	for _, after := range []time.Duration{0, 30 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond, 700 * time.Millisecond} {
		observe(t, "systemctl", "reset-failed", transientOf(name)) // or it was started too often
		restart := begin(t, "machctl", "restart", name)
		time.Sleep(after)
		run(t, "systemctl", "kill", "--signal=KILL", theService)
		if err := restart.Wait(); err != nil {
			said := restart.stderr.String()
			if restart.ProcessState.ExitCode() != 1 || !strings.Contains(said, `cannot restart "`+name+`": `) || !strings.Contains(said, transientOf(name)) {
				t.Errorf("the daemon killed after %s: %v\n%s", after, err, &restart.stderr)
			}
			t.Logf("the daemon killed after %s: lost: %s", after, said)
			observe(t, "systemctl", "reset-failed", transientOf(name))
			run(t, "machctl", "start", name)
			leader = show("Leader")
			continue
		}
		restarted++
		state, now := show("State"), show("Leader")
		if state != "running" || now == leader {
			t.Errorf("the daemon killed after %s: it is %s, its leader is %s, was %s", after, state, now, leader)
		}
		leader = now
	}
	if restarted < 3 {
		t.Errorf("%d of 6 restarts came to an end", restarted)
	}
}

// A machine can be started while the kernel still clears away what one of its
// name had that was killed.
func TestMachdStartAfterAKill(t *testing.T) {
	t.Parallel()
	const name, itsLink = "killed-once", "/sys/class/net/ve-killed-once"
	installTiny(t, name)
	run(t, "machctl", "start", "--wait=registered", name)
	leader := run(t, "machctl", "show", "-P", "Leader", name)
	stays := begin(t, "nsenter", "-t", leader, "-n", "sleep", "2")
	eventually(t, "somebody has its network name space", func() error {
		if comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", stays.Process.Pid)); string(comm) != "sleep\n" {
			return errors.New(string(comm))
		}
		return nil
	})
	endAtOnce(t, transientOf(name))
	if _, err := os.Stat(itsLink); err != nil {
		t.Fatal(err)
	}
	run(t, "machctl", "start", "--wait=registered", name)
	must(t, stays.Wait())
	endAtOnce(t, transientOf(name))
}

// Whoever asked for a start may leave; it goes on. Who asks for the same
// meanwhile waits with him, who asks for another machine of that name is
// refused.
func TestMachdStartGoesOnWithoutItsCaller(t *testing.T) {
	t.Parallel()
	const name = "left-alone"
	copyImage(t, "c8-ns", name)
	leaves := begin(t, "machctl", "start", name, "--hostname=first")
	eventually(t, "it is begun", func() error {
		if observe(t, "test", "-e", "/run/machd/starts/"+name).Code != 0 {
			return errors.New("there is no record")
		}
		return nil
	})
	must(t, leaves.Process.Kill())
	_ = leaves.Wait()
	o := observe(t, "machctl", "start", name, "--hostname=second")
	wantEnd(t, o, 6, `cannot start "`+name+`": Machine '`+name+`' is being started already, with other options`)
	run(t, "machctl", "start", name)
	if got := run(t, "systemd-run", "-q", "--wait", "-P", "-M", name, "hostname"); got != "first" {
		t.Errorf("it is called %s", got)
	}
}

// Everybody is told of what starts, and what does not.
func TestMachdTellsOfStarts(t *testing.T) {
	t.Parallel()
	const name = "told"
	w := watch(t)
	must(t, w.conn.AddMatchSignal(dbus.WithMatchInterface(machd1.ManagerInterface)))
	copyImage(t, "tiny", name)
	run(t, "machctl", "start", "--no-wait", name, "--no-boot", "--", "sleep", "infinity")
	w.awaitSignal(t, machd1.ManagerInterface+".MachineReady", name, machine1.MachinePath(name))
	run(t, "machctl", "terminate", name)
	run(t, "machctl", "start", "--no-wait", name, "--no-boot", "--", "/no/such")
	w.awaitSignal(t, machd1.ManagerInterface+".MachineFailed", name, transientOf(name),
		transientOf(name)+` failed with result "exit-code", exit status 1`)
}

// Many at the same time.
func TestMachdStartsTwentyAtOnce(t *testing.T) {
	const count = 20
	before := traces(t, "crowd-")
	names := make([]string, count)
	for i := range names {
		names[i] = "crowd-" + string(rune('a'+i))
		copyImage(t, "tiny", names[i])
	}
	start := time.Now()
	o := observe(t, "machctl", "start", "crowd-*", "--no-boot", "--", "sleep", "infinity")
	t.Logf("%d at once: %s", count, time.Since(start))
	wantEnd(t, o, 0, "machctl: started 20 of 20\n")
	if got := len(watch(t).list(t)); got < count {
		t.Errorf("%d machines run", got)
	}
	run(t, append([]string{"machctl", "terminate"}, names...)...)
	for _, name := range names {
		clearAway(t, name)
	}
	wantNoTraces(t, before, "crowd-")
}
