package inside_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/machd/machd/daemon/internal/inside"
	"github.com/machd/machd/pkg/machine1"
)

func TestStartLogin(t *testing.T) {
	t.Parallel()
	for _, kind := range kindsOfIDs {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			m := startBusMachine(t, kind.ids)
			p, err := newGuard(t).StartLogin(t.Context(), m.leader, "m")
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			checkLoginCall(t, p, m.calls(t))
		})
	}
}

func checkLoginCall(t *testing.T, p *inside.PTY, calls []call) {
	t.Helper()
	want := []call{{Method: "StartUnit", Unit: fmt.Sprintf("container-getty@%d.service", p.N), Mode: "replace"}}
	if diff := cmp.Diff(want, calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestStartShell(t *testing.T) {
	t.Parallel()
	for _, kind := range kindsOfIDs {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			m := startBusMachine(t, kind.ids)
			p, err := newGuard(t).StartShell(t.Context(), m.leader, "m", inside.Shell{
				User: "daemon", Path: "/bin/echo", Args: []string{"echo", "hi there"}, Environment: []string{"A=b"},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			checkShellCall(t, p, m.calls(t))
		})
	}
}

func checkShellCall(t *testing.T, p *inside.PTY, calls []call) {
	t.Helper()
	want := []call{{
		Method: "StartTransientUnit", Unit: fmt.Sprintf("container-shell@%d.service", p.N), Mode: "fail",
		Types: map[string]string{
			"Description": "s", "StandardInputFileDescriptor": "h", "StandardOutputFileDescriptor": "h",
			"StandardErrorFileDescriptor": "h", "SendSIGHUP": "b", "IgnoreSIGPIPE": "b", "KillMode": "s",
			"TTYPath": "s", "TTYReset": "b", "UtmpIdentifier": "s", "UtmpMode": "s", "PAMName": "s",
			"WorkingDirectory": "s", "User": "s", "Environment": "as", "ExecStart": "a(sasb)",
		},
		Values: map[string]string{
			"Description": "Shell for User daemon", "SendSIGHUP": "true", "IgnoreSIGPIPE": "false", "KillMode": "mixed",
			"TTYPath": p.Path, "TTYReset": "true", "UtmpIdentifier": fmt.Sprintf("pts/%d", p.N), "UtmpMode": "user",
			"PAMName": "login", "WorkingDirectory": "-~", "User": "daemon", "Environment": "[A=b]",
			"ExecStart": "[[/bin/echo [echo hi there] true]]",
		},
	}}
	if diff := cmp.Diff(want, calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	terminal := bufio.NewReader(p.Master)
	for _, want := range []string{"StandardInput", "StandardOutput", "StandardError"} {
		line, err := terminal.ReadString('\n')
		if err != nil || strings.TrimSpace(line) != want+"FileDescriptor" {
			t.Errorf("read %q, %v from the terminal; want what went to %s", line, err, want)
		}
	}
}

func TestWhatTheServiceManagerSaysIsPassedOn(t *testing.T) {
	t.Parallel()
	m := startBusMachine(t, &shiftedIDs)
	_, err := newGuard(t).StartShell(t.Context(), m.leader, "m", inside.Shell{User: "refused"})
	if !errors.Is(err, machine1.ErrAccessDenied) || err.Error() != "No ?[31mway." {
		t.Errorf("got %v, want the manager's text without control characters", err)
	}
}

func TestNoBus(t *testing.T) {
	t.Parallel()
	m := startMachine(t, bare, true)
	const want = "There is no system bus in container appc."
	_, err := newGuard(t).StartLogin(t.Context(), m.leader, "appc")
	if !errors.Is(err, machine1.ErrFileNotFound) || err.Error() != want {
		t.Errorf("login: got %v, want %q", err, want)
	}
	_, err = newGuard(t).StartShell(t.Context(), m.leader, "appc", inside.Shell{})
	if !errors.Is(err, machine1.ErrFileNotFound) || err.Error() != want {
		t.Errorf("shell: got %v, want %q", err, want)
	}
}

func TestWhatIsNoBus(t *testing.T) {
	t.Parallel()
	const socket = "/run/dbus/system_bus_socket"
	tests := []struct {
		name  string
		order order
		fails string
	}{
		{"a file", order{Do: "write", Path: socket}, "no socket"},
		{"a FIFO", order{Do: "fifo", Path: socket}, "no socket"},
		{"a link to /proc/1/root", order{Do: "symlink", Path: socket, Text: "/proc/1/root" + socket}, "too many levels"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := startMachine(t, bare, false)
			m.do(t, test.order)
			_, err := newGuard(t).StartLogin(t.Context(), m.leader, "m")
			if err == nil || !strings.Contains(err.Error(), test.fails) {
				t.Errorf("got %v, want an error with %q", err, test.fails)
			}
		})
	}
}

func TestHostileBus(t *testing.T) {
	t.Parallel()
	tests := []struct {
		how, fails string
		slow       bool
	}{
		{"refuses", "does not accept us", false},
		{"hangs up", "hung up", false},
		{"endless line", "no sense", false},
		{"huge message", "more than we listen to", false},
		{"endless messages", "more than we listen to", false},
		{"noise", "no sense", false},
		{"silent", "does not answer", true},
		{"silent after the greeting", "does not answer", true},
		{"full queue", "does not answer", true},
	}
	for _, test := range tests {
		t.Run(test.how, func(t *testing.T) {
			t.Parallel()
			if test.slow && testing.Short() {
				t.Skip("takes seconds")
			}
			m := startMachine(t, bare, true)
			m.do(t, order{Do: "hostile bus", Text: test.how})
			g := newGuard(t)
			start := time.Now()
			_, err := g.StartLogin(t.Context(), m.leader, "m")
			if err == nil || !strings.Contains(err.Error(), test.fails) {
				t.Errorf("got %v, want an error with %q", err, test.fails)
			}
			if took := time.Since(start); took > 8*time.Second || !test.slow && took > 4*time.Second {
				t.Errorf("it took %v", took)
			}
			m.do(t, order{Do: "write", Path: "/etc/os-release", Text: osRelease})
			if _, err := g.OSRelease(t.Context(), m.leader); err != nil {
				t.Errorf("the next caller: %v", err)
			}
		})
	}
}

// Not parallel: it counts descriptors.
func TestFailedLoginsLeaveNothingOpen(t *testing.T) {
	m := startMachine(t, bare, true)
	g := newGuard(t)
	m.do(t, order{Do: "hostile bus", Text: "hangs up"})
	g.StartLogin(t.Context(), m.leader, "m") // opens what stays open for ever, as epoll
	before := descriptors(t)
	for range 20 {
		if _, err := g.StartLogin(t.Context(), m.leader, "m"); err == nil {
			t.Fatal("a login succeeded")
		}
	}
	eventually(t, "descriptors go back", func() bool { return descriptors(t) <= before })
}

// Not parallel: it sets the address of the host's bus.
func TestStartShellOnTheHost(t *testing.T) {
	p, err := newGuard(t).OpenPTY(t.Context(), nil)
	if err != nil {
		t.Skipf("this host gives no terminal: %v", err)
	}
	p.Close()
	address := "unix:path=" + filepath.Join(t.TempDir(), "bus")
	daemon := exec.Command("dbus-daemon", "--session", "--nofork", "--print-address=1", "--address="+address)
	output, err := daemon.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := daemon.Start(); err != nil {
		t.Skipf("no bus can be started: %v", err)
	}
	t.Cleanup(func() { daemon.Process.Kill(); daemon.Wait() })
	if _, err := bufio.NewReader(output).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	systemd, err := newFakeSystemd(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
	p, err = newGuard(t).StartShell(t.Context(), nil, machine1.Host, inside.Shell{
		User: "daemon", Path: "/bin/echo", Args: []string{"echo", "hi there"}, Environment: []string{"A=b"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	systemd.mu.Lock()
	defer systemd.mu.Unlock()
	checkShellCall(t, p, systemd.seen)
}

// startBusMachine starts a machine with a bus on which nobody but its own root
// may talk to the service manager.
func startBusMachine(tb testing.TB, ids *idMaps) *fakeMachine {
	tb.Helper()
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		tb.Skip("there is no dbus-daemon")
	}
	m := startMapped(tb, whole, ids)
	m.do(tb, order{Do: "bus"})
	return m
}

func (m *fakeMachine) calls(tb testing.TB) (list []call) {
	tb.Helper()
	if err := json.Unmarshal([]byte(m.do(tb, order{Do: "calls"})), &list); err != nil {
		tb.Fatal(err)
	}
	return list
}

func BenchmarkStartLogin(b *testing.B) {
	m := startBusMachine(b, &shiftedIDs)
	g := inside.NewGuard(nil)
	for b.Loop() {
		p, err := g.StartLogin(b.Context(), m.leader, "m")
		if err != nil {
			b.Fatal(err)
		}
		p.Close()
	}
}
