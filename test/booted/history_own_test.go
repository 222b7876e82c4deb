package booted

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	machd1 "github.com/machd/machd/pkg/machd"
)

// A past machine, as machctl history shows it.
type pastMachine struct {
	Machine, Class, Service, Unit, Result string
	UID                                   *uint32
	From, To                              *time.Time
	Code                                  string
	Status                                *int
	Terminated                            bool
	Invocation                            string
}

// how is the part of it that says how it ended.
func (p pastMachine) how() string {
	text := p.Result
	if p.Code != "" {
		text += fmt.Sprint(" ", p.Code, " ", *p.Status)
	}
	if p.Terminated {
		text += " terminated"
	}
	return text
}

func historyOf(t *testing.T, name string) (past []pastMachine) {
	t.Helper()
	must(t, json.Unmarshal([]byte(run(t, "machctl", "history", name, "-o", "json")), &past))
	return past
}

// wantHistory waits until the machines called name that have ended did so in
// these ways, the last one last.
func wantHistory(t *testing.T, name string, want ...string) (last pastMachine) {
	t.Helper()
	eventually(t, "the history of "+name, func() error {
		var got []string
		for _, last = range historyOf(t, name) {
			got = append(got, last.how())
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("it is %q, want %q", got, want)
		}
		return nil
	})
	return last
}

// runContainer has a service of the host run a command in a container.
func runContainer(t *testing.T, w *watcher, name, command string, properties ...string) (unit string) {
	t.Helper()
	unit = name + "-by-hand.service"
	argv := append([]string{"systemd-run", "-q", "--unit=" + unit}, properties...)
	argv = append(argv, "systemd-nspawn", "-q", "--keep-unit", "-M", name, "-D", copyImage(t, "tiny", name), "sh", "-c", command)
	t.Cleanup(func() {
		observe(t, "systemctl", "kill", "--signal=KILL", unit)
		observe(t, "systemctl", "stop", unit)
		observe(t, "systemctl", "reset-failed", unit)
	})
	run(t, argv...)
	w.await(t, "MachineNew", name)
	return unit
}

func TestMachdHistorySaysHowContainersEnded(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, command string
		properties    []string
		end           func(t *testing.T, w *watcher, name, unit string)
		want          string
	}{
		{"past-well", "sleep 0.5", nil, nil, "success exited 0"},
		{"past-status", "sleep 0.5; exit 3", nil, nil, "exit-code exited 3"},
		{"past-collected", "sleep 0.5; exit 4", []string{"--collect"}, nil, "exit-code exited 4"},
		{"past-leader", "sleep infinity", nil, func(t *testing.T, w *watcher, name, _ string) {
			run(t, "machctl", "kill", "--kill-whom=leader", "-s", "KILL", name)
		}, "signal killed 9"},
		{"past-nspawn", "sleep infinity", []string{"--collect"}, func(t *testing.T, _ *watcher, _, unit string) {
			run(t, "systemctl", "kill", "--kill-whom=main", "--signal=KILL", unit)
		}, "signal killed 9"},
		{"past-terminated", "exec sleep infinity", nil, func(t *testing.T, w *watcher, name, _ string) {
			run(t, "machctl", "terminate", "--no-wait", name)
			// Its init takes no notice of what nspawn sends at first.
			run(t, "systemctl", "kill", "--signal=KILL", name+"-by-hand.service")
		}, "signal killed 9 terminated"},
		{"past-forgotten", "sleep infinity", nil, func(t *testing.T, w *watcher, name, _ string) {
			must(t, w.call(t, "UnregisterMachine", []any{name}))
		}, "unregistered"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := watch(t)
			unit := runContainer(t, w, tt.name, tt.command, tt.properties...)
			if tt.end != nil {
				tt.end(t, w, tt.name, unit)
			}
			last := wantHistory(t, tt.name, tt.want)
			if last.Unit != unit || last.Service != "systemd-nspawn" || last.Class != "container" || last.UID == nil || *last.UID != 0 ||
				last.From == nil || last.To == nil || last.To.Before(*last.From) {
				t.Errorf("%+v", last)
			}
		})
	}
}

// A guest that reboots is another machine each time.
func TestMachdHistoryOfAGuest(t *testing.T) {
	t.Parallel()
	const name = "past-guest"
	w := watch(t)
	startGuest(t, name)
	w.await(t, "MachineNew", name)
	run(t, "machinectl", "reboot", name)
	w.await(t, "MachineNew", name)
	wantHistory(t, name, "reboot exited 133")
	eventually(t, "the guest is up", unitIs(t, serviceOf(name), "active"))
	run(t, "machinectl", "poweroff", name)
	wantHistory(t, name, "reboot exited 133", "success exited 0")
	if got := run(t, "machctl", "history", name, "-n", "1", "--no-legend"); !strings.Contains(got, "exit status 0") {
		t.Errorf("the last one: %s", got)
	}
}

// What is in a scope is known by its leader, whoever that is a child of.
func TestMachdHistoryOfAProcess(t *testing.T) {
	t.Parallel()
	const name = "past-process"
	w := watch(t)
	cmd := exec.Command("sh", "-c", "read line; exit 5")
	in, err := cmd.StdinPipe()
	must(t, err)
	must(t, cmd.Start())
	create(t, w, name, cmd.Process.Pid)
	must(t, in.Close())
	_ = cmd.Wait()
	last := wantHistory(t, name, "exit-code exited 5")
	if last.Service != "tester" {
		t.Errorf("%+v", last)
	}
}

// What does not end when its unit is stopped is killed in the end.
func TestMachdHistoryOfATimeout(t *testing.T) {
	t.Parallel()
	const name = "past-slow"
	w := watch(t)
	p := startProcess(t, name, "-p", "KillSignal=SIGCONT", "-p", "TimeoutStopSec=1")
	register(t, w, name, p)
	run(t, "systemctl", "stop", p.unit)
	wantHistory(t, name, "timeout killed 9")
}

// Anybody may write to the journal, and nobody but the daemon into the history.
func TestMachdHistoryCannotBeForged(t *testing.T) {
	t.Parallel()
	const name = "past-forged"
	entry := "MESSAGE_ID=" + machd1.MessageMachineEnded + "\nNAME=" + name + "\nMESSAGE=x\n" + machd1.FieldResult + "=signal\n" +
		"_UID=0\n_SYSTEMD_UNIT=machd.service\n"
	// What alice writes is in a journal of her own, and of daemon in the system's.
	for _, user := range []string{"alice", "daemon"} {
		o := observeAs(t, user, "sh", "-c", "printf '"+strings.ReplaceAll(entry, "\n", `\n`)+"' | logger --journald")
		if o.Code != 0 {
			t.Fatal(o.Stderr)
		}
		uid := "_UID=" + run(t, "id", "-u", user)
		eventually(t, "the entry is in the journal", func() error {
			if run(t, "journalctl", "-q", "-o", "cat", uid, "NAME="+name, "MESSAGE_ID="+machd1.MessageMachineEnded) == "" {
				return fmt.Errorf("it is not")
			}
			return nil
		})
	}
	wantHistory(t, name)
}

func TestMachdHistoryIsForThoseWhoMayReadTheJournal(t *testing.T) {
	t.Parallel()
	o := observeAs(t, "alice", "machctl", "history")
	if o.Code != 4 || !strings.Contains(o.Stderr, "machctl: hint: run it as root or as a member of the group systemd-journal\n") {
		t.Errorf("%+v", o)
	}
}

// The next daemon tells of what ended while there was none.
func TestMachdHistoryOfWhatNobodySaw(t *testing.T) {
	const name = "past-unseen"
	w := watch(t)
	unit := runContainer(t, w, name, "sleep infinity")
	run(t, "systemctl", "stop", "systemd-machined.service", "systemd-machined.socket")
	run(t, "systemctl", "kill", "--signal=KILL", unit)
	eventually(t, "the container is gone", unitIs(t, unit, "failed"))
	run(t, "systemctl", "start", "systemd-machined.socket", "systemd-machined.service")
	wantHistory(t, name, "missed")
}

// A restart of the daemon ends no machine.
func TestMachdHistoryOverARestart(t *testing.T) {
	const name = "past-restart"
	w := watch(t)
	leader := startProcess(t, name)
	register(t, w, name, leader)
	run(t, "systemctl", "restart", "systemd-machined.service")
	wantHistory(t, name)
	run(t, "kill", "-KILL", strconv.Itoa(leader.pid))
	wantHistory(t, name, "signal killed 9")
}
