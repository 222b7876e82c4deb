package booted

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/machd/machd/client"
	contract "github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// newClient is a client of the daemon's, with the limit of the test.
func newClient(t *testing.T) *client.Client {
	t.Helper()
	c, err := client.Connect(t.Context())
	must(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// writeGuest puts a file into an installed guest; a link if to is an absolute
// path.
func writeGuest(t *testing.T, name, path, to string) {
	t.Helper()
	path = filepath.Join(guests, name, path)
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	os.Remove(path)
	if strings.HasPrefix(to, "/") {
		must(t, os.Symlink(to, path))
		return
	}
	must(t, os.WriteFile(path, []byte(to), 0o755))
}

// bootWith has a unit of the guest's started at boot, and nspawn not wait for it.
func bootWith(t *testing.T, name, unit string) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(settings, name+".nspawn"), []byte("[Exec]\nNotifyReady=no\n"), 0o644))
	writeGuest(t, name, "etc/systemd/system/extra.service", unit)
	writeGuest(t, name, "etc/systemd/system/multi-user.target.wants/extra.service", "/etc/systemd/system/extra.service")
}

// When a machine counts as usable, whatever runs in it.
func TestMachdWaitsUntilAMachineIsReady(t *testing.T) {
	c := newClient(t)
	for _, g := range []struct {
		name        string
		prepare     func(t *testing.T, name string)
		state, note string
		from, to    time.Duration // how long it may take
	}{
		{"ready-plain", func(t *testing.T, name string) { bootWith(t, name, "[Service]\nType=oneshot\nExecStart=true\n") },
			contract.StateReady, "", 0, patience},
		{"ready-late", func(t *testing.T, name string) { bootWith(t, name, "[Service]\nType=oneshot\nExecStart=sleep 3\n") },
			contract.StateReady, "", 2 * time.Second, patience},
		{"ready-long", func(t *testing.T, name string) { bootWith(t, name, "[Service]\nType=oneshot\nExecStart=sleep 100\n") },
			contract.StateReady, "it is still starting some of its units", 5 * time.Second, patience},
		{"ready-failing", func(t *testing.T, name string) { bootWith(t, name, "[Service]\nType=oneshot\nExecStart=false\n") },
			contract.StateDegraded, "some of its units failed", 0, patience},
		{"ready-no-bus", func(t *testing.T, name string) {
			bootWith(t, name, "[Service]\nType=oneshot\nExecStart=true\n")
			for _, unit := range []string{"dbus.socket", "dbus.service", "dbus-broker.service"} {
				writeGuest(t, name, "etc/systemd/system/"+unit, "/dev/null")
			}
		}, contract.StateReady, "it has no system bus, so there are no logins and shells", 0, 20 * time.Second},
		{"ready-other-init", func(t *testing.T, name string) {
			bootWith(t, name, "")
			replaceInit(t, name, "#!/bin/sh\nexec sleep infinity\n")
		}, contract.StateReady, "", 0, patience},
		{"ready-sysv", func(t *testing.T, name string) {
			bootWith(t, name, "")
			replaceInit(t, name, "#!/bin/sh\nwhile :; do sleep 1; done\n")
		}, contract.StateReady, "its init is not systemd; nothing else is known than that it runs", 3 * time.Second, patience},
	} {
		t.Run(g.name, func(t *testing.T) {
			installGuest(t, g.name)
			g.prepare(t, g.name)
			run(t, "systemctl", "start", serviceOf(g.name))
			begin := time.Now()
			state, note, err := c.Wait(t.Context(), g.name, contract.WaitOptions{Timeout: patience})
			took := time.Since(begin)
			if err != nil || state != g.state || note != g.note || took < g.from || took > g.to {
				t.Errorf("after %s it is %q, %q, %v, want %q, %q", took, state, note, err, g.state, g.note)
			}
			// Asked again it is no slower than a look.
			begin = time.Now()
			again, _, err := c.Wait(t.Context(), g.name, contract.WaitOptions{Timeout: patience})
			if took := time.Since(begin); err != nil || again != state || took > 5*time.Second {
				t.Errorf("asked again it is %q after %s, %v", again, took, err)
			}
		})
	}
}

// replaceInit gives a guest another init.
func replaceInit(t *testing.T, name, script string) {
	t.Helper()
	for _, path := range []string{"usr/lib/systemd/systemd", "lib/systemd/systemd"} {
		os.Remove(filepath.Join(guests, name, path))
	}
	writeGuest(t, name, "usr/sbin/init", script)
}

// Nobody waits for a machine that has gone, nor longer than he wants to.
func TestMachdWaitEnds(t *testing.T) {
	w, c := watch(t), newClient(t)
	const name = "ready-never"
	installGuest(t, name)
	// The bus is there, and users are kept out until the end of the boot.
	bootWith(t, name, "[Unit]\nBefore=systemd-user-sessions.service\n[Service]\nType=oneshot\nExecStart=sleep 1000\n")
	run(t, "systemctl", "start", serviceOf(name))
	w.await(t, "MachineNew", name)

	begin := time.Now()
	_, _, err := c.Wait(t.Context(), name, contract.WaitOptions{Timeout: 3 * time.Second})
	if took := time.Since(begin); !errors.Is(err, machine1.ErrTimeout) || !strings.Contains(err.Error(), "not ready in time") || took > 10*time.Second {
		t.Errorf("after %s: %v", took, err)
	}
	failed := make(chan error, 1)
	go func() {
		_, _, err := c.Wait(context.Background(), name, contract.WaitOptions{Timeout: time.Hour})
		failed <- err
	}()
	time.Sleep(500 * time.Millisecond)
	run(t, "systemctl", "kill", "--signal=KILL", serviceOf(name))
	begin = time.Now()
	select {
	case err := <-failed:
		if !errors.Is(err, machine1.ErrNoSuchMachine) || !strings.Contains(err.Error(), "ended before it was ready") {
			t.Errorf("its end is told as %v", err)
		}
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("it is told after %s", took)
		}
	case <-time.After(patience):
		t.Error("somebody still waits for a machine that has gone")
	}
	for name, want := range map[string]error{"nosuch": machine1.ErrNoSuchMachine, machine1.Host: nil} {
		if _, _, err := c.Wait(t.Context(), name, contract.WaitOptions{}); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
}

// Who does not wait for a start may wait later, when the machine is not listed yet.
func TestMachdWaitsForAQueuedMachine(t *testing.T) {
	c := newClient(t)
	const name, broken = "ready-queued", "ready-broken"
	installGuest(t, name)
	installGuest(t, broken)
	must(t, os.WriteFile(filepath.Join(settings, broken+".nspawn"), []byte("[Files]\nBind=/nosuch\n"), 0o644))
	for _, wait := range []func() error{
		func() error {
			state, _, err := c.Wait(t.Context(), name, contract.WaitOptions{})
			if err == nil && state != contract.StateReady {
				err = errors.New(state)
			}
			return err
		},
		func() error {
			if got := observe(t, "varlinkctl", "call", machine1.VarlinkSocket, contract.MachineVarlink+".Wait", `{"name":"`+name+`"}`); got.Code != 0 {
				return errors.New(got.Stderr)
			}
			return nil
		},
	} {
		l, err := c.Launch(t.Context(), name, contract.StartOptions{Wait: contract.WaitNo})
		must(t, err)
		must(t, wait())
		t.Logf("it was %s", l.State)
		run(t, "machctl", "stop", name)
	}
	// As the stock unit.
	run(t, "systemctl", "start", "--no-block", serviceOf(name))
	state, _, err := c.Wait(t.Context(), name, contract.WaitOptions{})
	must(t, err)
	if state != contract.StateReady {
		t.Errorf("the stock unit's is %s", state)
	}
	run(t, "machctl", "stop", name)

	// Either may be told of how it failed.
	_, err = c.Launch(t.Context(), broken, contract.StartOptions{Wait: contract.WaitNo})
	if err == nil {
		_, _, err = c.Wait(t.Context(), broken, contract.WaitOptions{})
	}
	if !errors.Is(err, machine1.ErrJobFailed) && !errors.Is(err, machine1.ErrNoSuchMachine) {
		t.Errorf("one that does not start: %v", err)
	}
	if _, _, err := c.Wait(t.Context(), "no-such", contract.WaitOptions{}); !errors.Is(err, machine1.ErrNoSuchMachine) {
		t.Errorf("none at all: %v", err)
	}
}
