package launch

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/unit"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

func (p *pid1) Ending(ctx context.Context, name string) (unit.Ending, error) {
	r, err := p.LastRun(ctx, name)
	return unit.Ending{
		State: r.State, HasJob: r.HasJob, MainPID: r.MainPID, RefusesStop: strings.HasPrefix(name, "kept"),
		Frozen: strings.HasPrefix(name, "paused"), ComesBack: strings.HasPrefix(name, "comes-back"),
	}, err
}

func (p *pid1) Restart(_ context.Context, name, _ string) (dbus.ObjectPath, error) {
	p.note("restart %s", name)
	return "/job/3", nil
}

func (p *pid1) Thaw(_ context.Context, name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, "thaw "+name)
	return nil
}

// Which unit is ended with a machine, and which is none of its business.
func TestCarrierOfAMachine(t *testing.T) {
	t.Parallel()
	self, err := proc.Open(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	w := newWorld(t)
	w.pid1.set("runs-it.service", unit.Run{State: "active", MainPID: uint32(os.Getpid())})
	w.pid1.set("runs-others.service", unit.Run{State: "active", MainPID: 1})
	w.pid1.set("m.scope", unit.Run{State: "active"})
	w.pid1.set("session-1.scope", unit.Run{State: "active"})
	for name, c := range map[string]struct {
		m    machine.Machine
		want string
	}{
		"the whole of a unit":              {machine.Machine{Unit: "any.service"}, "any.service"},
		"below what its supervisor is":     {machine.Machine{Unit: "runs-it.service", Subgroup: "payload", Supervisor: self}, "runs-it.service"},
		"below what another one is":        {machine.Machine{Unit: "runs-others.service", Subgroup: "payload", Supervisor: self}, ""},
		"below it, without a supervisor":   {machine.Machine{Unit: "runs-it.service", Subgroup: "payload"}, ""},
		"below it, and not root's":         {machine.Machine{Unit: "runs-it.service", Subgroup: "payload", Supervisor: self, UID: 1000}, ""},
		"below the scope of its name":      {machine.Machine{Unit: "m.scope", Subgroup: "payload", Supervisor: self}, "m.scope"},
		"below a scope of somebody else's": {machine.Machine{Unit: "session-1.scope", Subgroup: "payload", Supervisor: self}, ""},
		"nothing":                          {machine.Machine{}, ""},
	} {
		c.m.Name = "m"
		e, err := w.ending(t.Context(), c.m, machd.StopOptions{})
		if err != nil || e.carrier != c.want {
			t.Errorf("%s: %q, %v, want %q", name, e.carrier, err, c.want)
		}
	}
	if _, err := w.ending(t.Context(), machine.Machine{Name: machine1.Host, Class: machine1.ClassHost}, machd.StopOptions{}); !errors.Is(err, machine1.ErrNotSupported) {
		t.Errorf("the host: %v", err)
	}
	w.pid1.set("kept.service", unit.Run{State: "active"})
	kept := machine.Machine{Name: "m", Unit: "kept.service"}
	if _, err := w.ending(t.Context(), kept, machd.StopOptions{}); !errors.Is(err, unix.EBUSY) {
		t.Errorf("a protected one: %v", err)
	}
	if _, err := w.ending(t.Context(), kept, machd.StopOptions{Force: true}); err != nil {
		t.Errorf("a protected one by force: %v", err)
	}
}

// A machine that is paused has to go on to hear that it shall end.
func TestWhatIsPausedIsThawed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, unitName := range []string{"paused.service", "runs.service"} {
		w.pid1.set(unitName, unit.Run{State: "active"})
		if _, err := w.ending(t.Context(), machine.Machine{Name: "m", Unit: unitName}, machd.StopOptions{}); err != nil {
			t.Error(err)
		}
	}
	if want := []string{"thaw paused.service"}; !slices.Equal(w.pid1.asked, want) {
		t.Errorf("PID 1 was asked for %q, want %q", w.pid1.asked, want)
	}
}

// end has the machine and its unit gone once a call to PID 1 begins with this.
func (w *world) endUpon(t *testing.T, call string) {
	t.Helper()
	go func() {
		for t.Context().Err() == nil {
			w.pid1.mu.Lock()
			asked := slices.ContainsFunc(w.pid1.asked, func(a string) bool { return strings.HasPrefix(a, call) })
			w.pid1.mu.Unlock()
			if asked {
				break
			}
			time.Sleep(time.Millisecond)
		}
		_ = w.machines.Unregister(context.Background(), name)
		w.pid1.set(itsUnit, unit.Run{State: "inactive"})
		w.UnitEvent(unit.Event{Kind: unit.UnitChanged, Unit: itsUnit})
	}()
}

// The steps to a machine's end, and that the one which worked is told.
func TestStopEscalates(t *testing.T) {
	t.Parallel()
	// The leader hears nothing that an init would, so it is not asked.
	for how, upon := range map[string]string{machd.StopUnit: "stop " + itsUnit, machd.StopKill: "kill " + itsUnit + " 9"} {
		w := newWorld(t)
		w.register(t, name)
		w.pid1.set(itsUnit, unit.Run{State: "active"})
		m, _ := w.machines.View().Get(name)
		w.endUpon(t, upon)
		// The fake has the unit inactive once it was told to stop; the machine
		// stays listed until endUpon.
		got, err := w.Stop(t.Context(), m, machd.StopOptions{Timeout: time.Second})
		if err != nil || got != how {
			t.Errorf("it ended by %q, %v, want %q", got, err, how)
		}
		again, err := w.Stop(t.Context(), m, machd.StopOptions{})
		if err != nil || again != machd.StopGone {
			t.Errorf("the next one ended it by %q, %v", again, err)
		}
	}
}

// An init is waited for, once its unit was told to stop, if it handles a signal
// by which it may be asked to shut down.
func TestWhichInitsAreWaitedFor(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		signals []unix.Signal
		want    bool
	}{
		{nil, false},
		{[]unix.Signal{unix.SIGTSTP}, false}, // that of busybox
		{[]unix.Signal{unix.SIGTTIN, unix.SIGTTOU, unix.SIGCONT, unix.SIGCHLD, unix.SIGSEGV}, false},
		{[]unix.Signal{unix.SIGTSTP, unix.SIGPWR}, true},
		{[]unix.Signal{signalHalt, unix.SIGCHLD}, true},
	} {
		var heard proc.Signals
		for _, s := range c.signals {
			heard |= 1 << (s - 1)
		}
		if got := asksAny(heard); got != c.want {
			t.Errorf("%v: %t", c.signals, got)
		}
	}
}

// A leader that is dead goes in a moment, however often it was looked at before it
// was.
func TestDeadLeaderIsGivenAMoment(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.register(t, name)
	listed := stillListed{w.machines.View()}
	m, _ := listed.View().Get(name)
	e := &ending{l: New(Config{Machines: listed, Units: w.pid1, Log: slog.New(slog.DiscardHandler)}), m: m, carrier: m.Unit}
	if err := m.Leader.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); m.Leader.Alive() && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	for n := range patientLooks {
		if _, last := e.powerOff(t.Context(), 10*patientLooks+n); last {
			t.Fatalf("it is given up after %d looks", n)
		}
	}
	if _, last := e.powerOff(t.Context(), 20*patientLooks); !last {
		t.Error("it is waited for without end")
	}
}

// stillListed are machines that do not change.
type stillListed struct{ view *machine.View }

func (s stillListed) View() *machine.View         { return s.view }
func (s stillListed) Terminating(machine.Machine) {}

// What PID 1 starts again when it ends is stopped first, lest it come back before
// it is; but not to restart it, as PID 1 would drop the job that does that.
func TestRestartOfWhatComesBackIsNoStop(t *testing.T) {
	t.Parallel()
	const service = "comes-back.service"
	for restarted, want := range map[bool][]string{
		false: {"stop " + service},
		true:  {"hold " + service, "restart " + service, "let go of " + service},
	} {
		w := newWorld(t)
		w.register(t, name)
		w.pid1.set(service, unit.Run{State: "active"})
		m, _ := w.machines.View().Get(name)
		m.Unit = service
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if restarted {
			_, _ = w.Restart(ctx, m, machd.StopOptions{})
		} else {
			_, _ = w.Stop(ctx, m, machd.StopOptions{})
		}
		if got := w.took(); !slices.Equal(got, want) {
			t.Errorf("restarted: %t; PID 1 was asked to %q, want %q", restarted, got, want)
		}
	}
}

func TestStopOfWhatIsNotListed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, err := w.StopUnregistered(t.Context(), "m", machd.StopOptions{}); !errors.Is(err, machine1.ErrNoSuchMachine) {
		t.Errorf("nothing: %v", err)
	}
	w.pid1.set("machine-m.service", unit.Run{State: "failed"})
	if _, err := w.StopUnregistered(t.Context(), "m", machd.StopOptions{}); !errors.Is(err, machine1.ErrNoSuchMachine) {
		t.Errorf("one that failed: %v", err)
	}
	w.pid1.set("machine-m.service", unit.Run{State: "activating"})
	how, err := w.StopUnregistered(t.Context(), "m", machd.StopOptions{})
	if err != nil || how != machd.StopUnit {
		t.Errorf("one that is starting ended by %q, %v", how, err)
	}
	if asked := w.took(); !slices.Contains(asked, "stop machine-m.service") {
		t.Errorf("PID 1 was asked to %q", asked)
	}
}
