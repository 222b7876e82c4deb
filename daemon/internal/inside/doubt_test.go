package inside_test

import (
	"bufio"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/machd/machd/daemon/internal/inside"
	"github.com/machd/machd/pkg/machine1"
)

// Where the machine's files let doubt that a shell can begin, its service
// manager has the last word.
func TestShellThatCannotBegin(t *testing.T) {
	t.Parallel()
	tests := []struct {
		user, path string
		kind       error // nil is success
		says       []string
	}{
		{"unknown", "/bin/true", machine1.ErrInvalidArgs, []string{`no user "unknown" in machine m`, "getent passwd"}},
		{"unable", "/no/such", machine1.ErrInvalidArgs, []string{`"/no/such"`, "machine m", `user "unable"`}},
		{"locked", "/bin/true", errFailed, []string{`User "locked"`, "machine m", "booting"}},
		{"crashed", "/bin/true", errFailed, []string{`"/bin/true"`, "status 11"}},
		{"quick", "/bin/true", nil, nil},
	}
	m := startBusMachine(t, &shiftedIDs)
	g := newGuard(t)
	for _, test := range tests {
		p, err := g.StartShell(t.Context(), m.leader, "m", inside.Shell{User: test.user, Path: test.path})
		if test.kind == nil {
			if err != nil {
				t.Errorf("%s: %v", test.user, err)
				continue
			}
			p.Close()
			continue
		}
		if err == nil {
			p.Close()
			t.Errorf("%s: the shell began", test.user)
			continue
		}
		if machine1.ErrorName(err) != machine1.ErrorName(test.kind) {
			t.Errorf("%s: the error is %s: %v", test.user, machine1.ErrorName(err), err)
		}
		for _, text := range test.says {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %q lacks %q", test.user, err, text)
			}
		}
	}
	for _, c := range m.calls(t) {
		if c.Values["Type"] != "exec" || c.Values["AddRef"] != "true" {
			t.Errorf("the unit of %s was not waited for: %v", c.Values["User"], c.Values)
		}
	}
}

// errFailed is an error without a name of its own.
var errFailed = errors.New("failed")

// Only shells that are in doubt are waited for.
func TestWhichShellsAreInDoubt(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		order   order // before
		shell   inside.Shell
		doubted bool
	}{
		{"root", order{}, inside.Shell{}, false},
		{"a user of the list", order{}, inside.Shell{User: "daemon", Path: "/bin/true"}, false},
		{"a number of the list", order{}, inside.Shell{User: "1", Path: "/bin/true"}, false},
		{"a user who is not in the list", order{}, inside.Shell{User: "quick", Path: "/bin/true"}, true},
		{"a number that is not in the list", order{}, inside.Shell{User: "54321", Path: "/bin/true"}, true},
		{"no program", order{}, inside.Shell{Path: "/no/such"}, true},
		{"a directory", order{}, inside.Shell{Path: "/etc"}, true},
		{"a file that is no program", order{}, inside.Shell{Path: "/etc/passwd"}, true},
		{"a user while nobody may log in", order{Do: "write", Path: "/run/nologin"}, inside.Shell{User: "daemon", Path: "/bin/true"}, true},
		{"root while nobody may log in", order{}, inside.Shell{Path: "/bin/true"}, false},
	}
	m := startBusMachine(t, &shiftedIDs)
	g := newGuard(t)
	for i, test := range tests {
		if test.order.Do != "" {
			m.do(t, test.order)
		}
		p, err := g.StartShell(t.Context(), m.leader, "m", test.shell)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		p.Close()
		calls := m.calls(t)
		if len(calls) != i+1 {
			t.Fatalf("%s: %d calls", test.name, len(calls))
		}
		if doubted := calls[i].Values["Type"] == "exec"; doubted != test.doubted {
			t.Errorf("%s: waited for: %t", test.name, doubted)
		}
	}
}

// A machine may take its time, as it does while it boots: the terminal is
// handed out then, and shows it if the program cannot be run after all.
func TestShellThatBeginsLate(t *testing.T) {
	t.Parallel()
	m := startBusMachine(t, &shiftedIDs)
	start := time.Now()
	p, err := newGuard(t).StartShell(t.Context(), m.leader, "m", inside.Shell{User: "late", Path: "/bin/true"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if took := time.Since(start); took < 2*time.Second || took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	terminal := bufio.NewReader(p.Master)
	checkLateFailure(t, m, terminal)
	if line, err := terminal.ReadString('\n'); err == nil {
		t.Errorf("the terminal is not hung up; it shows %q", line)
	}
}

// checkLateFailure ends the start of a shell of the user late, and wants to read
// of it.
func checkLateFailure(t *testing.T, m *fakeMachine, terminal *bufio.Reader) {
	t.Helper()
	m.do(t, order{Do: "fail the late"})
	for range 3 { // what the fake wrote on each of its descriptors
		if _, err := terminal.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	line, err := terminal.ReadString('\n')
	if err != nil || !strings.Contains(line, `no user "late" in machine m`) {
		t.Errorf("the terminal shows %q, %v", line, err)
	}
}

// systemd older than 240 does not know how to wait for the program.
func TestShellOfAnOldSystemd(t *testing.T) {
	t.Parallel()
	m := startBusMachine(t, nil)
	p, err := newGuard(t).StartShell(t.Context(), m.leader, "m", inside.Shell{User: "oldtimer", Path: "/bin/true"})
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	calls := m.calls(t)
	if len(calls) != 2 || calls[1].Values["Type"] != "" || calls[1].Values["User"] != "oldtimer" {
		t.Errorf("got %v, want a second try without a type", calls)
	}
}

// A bus alone is not enough.
func TestBusWithoutServiceManager(t *testing.T) {
	t.Parallel()
	m := startBusMachine(t, nil)
	m.do(t, order{Do: "leave the bus"})
	_, err := newGuard(t).StartLogin(t.Context(), m.leader, "m")
	const want = "There is no service manager on the system bus of container m."
	if !errors.Is(err, machine1.ErrFileNotFound) || err.Error() != want {
		t.Errorf("got %v, want %q", err, want)
	}
}

// Whoever asked waits no longer than a person does.
func TestSilentServiceManager(t *testing.T) {
	t.Parallel()
	m := startBusMachine(t, nil)
	m.do(t, order{Do: "fall silent"})
	start := time.Now()
	_, err := newGuard(t).StartShell(t.Context(), m.leader, "m", inside.Shell{})
	if !errors.Is(err, machine1.ErrTimeout) || !strings.Contains(err.Error(), "service manager does not answer") {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
}
