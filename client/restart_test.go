package client_test

import (
	"errors"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/client"
	"github.com/machd/machd/client/internal/machine1test"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

const c8nsUnit = "systemd-nspawn@c8-ns.service"

// following is the machine that comes up when c8-ns is restarted.
func following() machine1test.Machine {
	m := machine1test.C8NS()
	m.Properties["TimestampMonotonic"] = uint64(1671234567)
	return m
}

// job is the property Job of a unit.
func job(id uint32) any {
	return struct {
		ID   uint32
		Path dbus.ObjectPath
	}{id, "/org/freedesktop/systemd1/job/1"}
}

func unitWith(state string, jobID uint32) machine1test.Unit {
	return machine1test.Unit{Properties: map[string]any{"ActiveState": state, "Job": job(jobID)}}
}

type restart struct {
	client.Launched
	err error
}

// restartUnheard begins a restart and returns once the daemon has it, and
// replaces the daemon after meanwhile.
func restartUnheard(t *testing.T, meanwhile func(*machine1test.World)) (*machine1test.World, <-chan restart) {
	t.Helper()
	w, c := connect(t)
	w.Add(machine1test.C8NS())
	w.SetUnit(c8nsUnit, unitWith("active", 0))
	w.Hang("RestartMachine")
	done := make(chan restart, 1)
	go func() {
		l, err := c.Restart(t.Context(), "c8-ns", machd.StopOptions{})
		done <- restart{l, err}
	}()
	w.AwaitCall("RestartMachine")
	meanwhile(w)
	if err := w.ReplaceMachined(); err != nil {
		t.Fatal(err)
	}
	return w, done
}

func wantRestarted(t *testing.T, w *machine1test.World, done <-chan restart, asked int) {
	t.Helper()
	got := <-done
	if want := (client.Launched{Unit: c8nsUnit, State: machd.StateReady}); got.err != nil || got.Launched != want {
		t.Errorf("%+v, %v, want %+v", got.Launched, got.err, want)
	}
	n := 0
	for _, call := range w.Calls() {
		if call == "RestartMachine c8-ns map[]" {
			n++
		}
	}
	if n != asked {
		t.Errorf("asked %d times, want %d: %q", n, asked, w.Calls())
	}
}

func TestARestartThatTheNextDaemonFindsDone(t *testing.T) {
	t.Parallel()
	w, done := restartUnheard(t, func(w *machine1test.World) { w.Add(following()) })
	wantRestarted(t, w, done, 1)
}

func TestARestartThatTheNextDaemonFindsHalfDone(t *testing.T) {
	t.Parallel()
	w, done := restartUnheard(t, func(w *machine1test.World) {
		w.Remove("c8-ns")
		w.SetUnit(c8nsUnit, unitWith("inactive", 7))
	})
	w.AwaitCall("Get org.freedesktop.systemd1.Unit ActiveState")
	w.Add(following())
	wantRestarted(t, w, done, 1)
}

func TestARestartThatTheNextDaemonFindsNothingOf(t *testing.T) {
	t.Parallel()
	w, done := restartUnheard(t, func(*machine1test.World) {})
	wantRestarted(t, w, done, 2)
}

func TestARestartWhoseUnitDoesNotComeUpAgain(t *testing.T) {
	t.Parallel()
	for state, text := range map[string]string{
		"failed":   `cannot restart "c8-ns": cannot start "c8-ns": systemd-nspawn@c8-ns.service failed with result "exit-code"`,
		"inactive": `cannot restart "c8-ns": systemd-nspawn@c8-ns.service has ended and does not run again: job failed`,
	} {
		_, done := restartUnheard(t, func(w *machine1test.World) {
			w.Remove("c8-ns")
			u := unitWith(state, 0)
			u.Properties["Result"] = "exit-code"
			w.SetUnit(c8nsUnit, u)
		})
		if got := <-done; !errors.Is(got.err, machine1.ErrJobFailed) || got.err.Error() != text {
			t.Errorf("%s: %v", state, got.err)
		}
	}
}

// It may be the one that was to be ended.
func TestARestartOfAMachineThatIsNotListedIsNotRepeated(t *testing.T) {
	t.Parallel()
	w, c := connect(t)
	w.Hang("RestartMachine")
	done := make(chan error, 1)
	go func() {
		_, err := c.Restart(t.Context(), "c8-ns", machd.StopOptions{})
		done <- err
	}()
	w.AwaitCall("RestartMachine")
	w.Add(machine1test.C8NS())
	if err := w.ReplaceMachined(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, machine1.ErrNoReply) {
		t.Errorf("got %v, want ErrNoReply", err)
	}
}
