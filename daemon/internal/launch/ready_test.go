package launch

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/inside"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/unit"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// aGuest has files, and a service manager that tells its states one after the
// other and hangs up.
type aGuest struct {
	boot   inside.Boot
	fails  error // of looking
	states []string
	hangs  error // how the service manager hangs up
}

func (g aGuest) Boot(context.Context, *proc.PIDFD) (inside.Boot, error) { return g.boot, g.fails }

func (g aGuest) AwaitState(_ context.Context, _ *proc.PIDFD, enough func(string) bool) error {
	for _, state := range g.states {
		if enough(state) {
			return nil
		}
	}
	if g.hangs != nil {
		return g.hangs
	}
	return errors.New("the bus hung up")
}

func monotonic(ago time.Duration) uint64 {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return uint64((time.Duration(now.Nano()) - ago).Microseconds())
}

func TestWhatCountsAsReady(t *testing.T) {
	t.Parallel()
	const young, grown, old = time.Second, 11 * time.Second, 31 * time.Second
	booted := func(b inside.Boot) inside.Boot {
		b.Program, b.Systemd = "systemd", true
		return b
	}
	withBus := booted(inside.Boot{Bus: true})
	for name, c := range map[string]struct {
		guest aGuest
		age   time.Duration
		state string // "" for not yet
		says  string // in the note, or in what is missing
	}{
		"nspawn has not run it yet":     {aGuest{boot: inside.Boot{Program: "systemd-nspawn"}}, grown, "", "not been started"},
		"a program":                     {aGuest{boot: inside.Boot{Program: "sleep"}}, 0, machd.StateReady, ""},
		"an init, at first":             {aGuest{boot: inside.Boot{Program: "init"}}, young, "", "does not answer"},
		"a systemd, at first":           {aGuest{boot: inside.Boot{Program: "systemd"}}, young, "", "does not answer"},
		"an init of another kind":       {aGuest{boot: inside.Boot{Program: "init"}}, grown, machd.StateReady, "not systemd"},
		"another init with a bus":       {aGuest{boot: inside.Boot{Program: "init", Bus: true}}, grown, machd.StateReady, "not systemd"},
		"no bus yet":                    {aGuest{boot: booted(inside.Boot{})}, grown, "", "bus is not there"},
		"no bus, and users":             {aGuest{boot: booted(inside.Boot{Users: true})}, young, machd.StateReady, "no system bus"},
		"no bus, and it shuts down":     {aGuest{boot: booted(inside.Boot{Users: true, NoLogin: true})}, old, "", "bus is not there"},
		"no bus for long":               {aGuest{boot: booted(inside.Boot{})}, old, machd.StateReady, "no system bus"},
		"running":                       {aGuest{boot: withBus, states: []string{"", "initializing", "starting", "running"}}, young, machd.StateReady, ""},
		"degraded":                      {aGuest{boot: withBus, states: []string{"degraded"}}, young, machd.StateDegraded, "units failed"},
		"rescue":                        {aGuest{boot: withBus, states: []string{"maintenance"}}, young, machd.StateDegraded, "rescue"},
		"starting":                      {aGuest{boot: withBus, states: []string{"starting"}}, young, "", `"starting"`},
		"starting for long":             {aGuest{boot: withBus, states: []string{"starting"}}, grown, machd.StateReady, "still starting"},
		"starting, and nobody may in":   {aGuest{boot: booted(inside.Boot{Bus: true, NoLogin: true}), states: []string{"starting"}}, grown, "", `"starting"`},
		"stopping":                      {aGuest{boot: withBus, states: []string{"stopping"}}, grown, "", `"stopping"`},
		"no service manager on the bus": {aGuest{boot: withBus, states: []string{""}}, grown, "", "has not come"},
		"a bus that does not answer":    {aGuest{boot: withBus}, grown, "", "bus does not answer"},
		"a bus that cannot be asked":    {aGuest{boot: withBus, hangs: unix.EPERM}, young, machd.StateReady, "cannot be asked"},
		"one that nobody may enter yet": {aGuest{boot: booted(inside.Boot{Bus: true, NoLogin: true}), hangs: unix.EPERM}, young, "", "log in yet"},
		"files that cannot be read":     {aGuest{fails: unix.EIO}, old, "", "cannot be looked into"},
	} {
		w := waiting{guests: c.guest, m: machine.Machine{Name: "m", Monotonic: monotonic(c.age)}}
		state, note := w.look(t.Context())
		says := note
		if state == "" {
			if says = w.lacks; name == "nspawn has not run it yet" {
				says = "it has not been started" // what it begins with
			}
		}
		if state != c.state || !strings.Contains(says, c.says) || c.says == "" && says != "" {
			t.Errorf("%s: it is %q, %q, want %q, %q", name, state, says, c.state, c.says)
		}
	}
}

func TestReadyEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.guests.say(notBooted)
	w.register(t, name)
	m, _ := w.machines.View().Get(name)

	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, _, err := w.Ready(short, m)
	if !errors.Is(err, machine1.ErrTimeout) || !strings.Contains(err.Error(), "its init has not been started") {
		t.Errorf("in the end it is %v", err)
	}
	left, leave := context.WithCancel(t.Context())
	leave()
	if _, _, err := w.Ready(left, m); !errors.Is(err, context.Canceled) {
		t.Errorf("who has left is told %v", err)
	}
	failed := make(chan error)
	go func() {
		_, _, err := w.Ready(context.WithoutCancel(t.Context()), m)
		failed <- err
	}()
	time.Sleep(50 * time.Millisecond)
	if err := w.machines.Unregister(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-failed:
		if !errors.Is(err, machine1.ErrNoSuchMachine) {
			t.Errorf("its end is told as %v", err)
		}
	case <-time.After(patience):
		t.Fatal("nobody tells that the machine has ended")
	}
	// One of its name is not it.
	w.guests.say(aProgram)
	w.register(t, name)
	if _, _, err := w.Ready(t.Context(), m); err != nil && !errors.Is(err, machine1.ErrNoSuchMachine) {
		t.Errorf("the next one of its name: %v", err)
	}
}

func TestReadyOfWhatCannotBeLookedInto(t *testing.T) {
	t.Parallel()
	l := New(Config{})
	for _, c := range []struct {
		m    machine.Machine
		note bool
	}{
		{machine.Machine{Name: machine1.Host, Class: machine1.ClassHost}, false},
		{machine.Machine{Name: "vm", Class: machine1.ClassVM, Leader: new(proc.PIDFD)}, true},
		{machine.Machine{Name: "m", Class: machine1.ClassContainer}, true},
	} {
		if state, note, err := l.Ready(t.Context(), c.m); state != machd.StateReady || err != nil || (note != "") != c.note {
			t.Errorf("%s: %q, %q, %v", c.m.Name, state, note, err)
		}
	}
}

// Whoever waits for a machine that is being started learns what becomes of it.
func TestWaitForWhatIsBeingStarted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	wait := func(o machd.WaitOptions) chan error {
		c := make(chan error, 1)
		go func() {
			state, _, err := w.WaitUnregistered(context.WithoutCancel(t.Context()), name, o)
			if err == nil && state != machd.StateReady {
				err = errors.New(state)
			}
			c <- err
		}()
		return c
	}
	expect := func(what string, waits chan error, want error) {
		t.Helper()
		select {
		case err := <-waits:
			if !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", what, err, want)
			}
		case <-time.After(patience):
			t.Fatalf("%s: nobody tells", what)
		}
	}
	expect("there is none", wait(machd.WaitOptions{}), machine1.ErrNoSuchMachine)

	w.pid1.set(itsUnit, unit.Run{State: "activating"})
	w.pid1.set(machine1.ServiceUnit(name), unit.Run{State: "activating"})
	expect("it takes long", wait(machd.WaitOptions{Timeout: 20 * time.Millisecond}), machine1.ErrTimeout)
	waits := wait(machd.WaitOptions{})
	time.Sleep(50 * time.Millisecond)
	w.pid1.set(machine1.ServiceUnit(name), unit.Run{State: "failed"})
	w.UnitEvent(unit.Event{Kind: unit.UnitChanged, Unit: machine1.ServiceUnit(name)})
	expect("its unit failed", waits, machine1.ErrNoSuchMachine)

	s := w.begin(planned(name), machd.StartOptions{Wait: machd.WaitNo})
	<-s.queued
	waits = wait(machd.WaitOptions{})
	w.pid1.result <- "failed"
	var failure *Failure
	if err := <-waits; !errors.As(err, &failure) {
		t.Errorf("our start failed: %v", err)
	}
	<-s.ended

	s = w.begin(planned(name), machd.StartOptions{Wait: machd.WaitNo})
	<-s.queued
	waits = wait(machd.WaitOptions{})
	w.register(t, name)
	w.pid1.result <- "done"
	expect("it is there", waits, nil)
}
