package launch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/daemon/internal/inside"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/unit"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

const patience = 30 * time.Second

// pid1 is a service manager that does with units as it is told, and keeps a
// list of what it was asked to change.
type pid1 struct {
	Units // for what no test here asks

	mu      sync.Mutex
	runs    map[string]unit.Run // the units there are
	asked   []string
	refuses error             // what StartTransient says
	trouble []error           // what the next calls about a unit's state and to stop one say
	result  chan string       // how jobs end
	onStart func(name string) // once a unit runs
	onPlan  func()            // when a start is planned
	onHold  func(name string) error
}

func (p *pid1) note(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, fmt.Sprintf(format, args...))
}

func (p *pid1) set(name string, r unit.Run) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.runs[name] = r
}

func (p *pid1) forget(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.runs, name)
}

func (p *pid1) StartTransient(_ context.Context, name, _ string, _ []machine1.Property) (dbus.ObjectPath, error) {
	p.note("start %s", name)
	if p.refuses != nil {
		return "", p.refuses
	}
	p.set(name, unit.Run{State: "active", Result: "success"})
	if p.onStart != nil {
		p.onStart(name)
	}
	return "/job/1", nil
}

func (p *pid1) Start(ctx context.Context, name, mode string) (dbus.ObjectPath, error) {
	return p.StartTransient(ctx, name, mode, nil)
}

func (p *pid1) WaitJob(ctx context.Context, _ dbus.ObjectPath) (string, error) {
	select {
	case r := <-p.result:
		return r, nil
	case <-ctx.Done():
		return "", fmt.Errorf("%w: %w", machine1.ErrTimeout, ctx.Err())
	}
}

func (p *pid1) inTrouble() (err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.trouble) > 0 {
		err, p.trouble = p.trouble[0], p.trouble[1:]
	}
	return err
}

func (p *pid1) Stop(_ context.Context, name, _ string) (dbus.ObjectPath, error) {
	if err := p.inTrouble(); err != nil {
		return "", err
	}
	p.note("stop %s", name)
	p.set(name, unit.Run{State: "inactive", Result: "success"})
	return "/job/2", nil
}

func (p *pid1) Kill(_ context.Context, name, _ string, signal int32) error {
	p.note("kill %s %d", name, signal)
	return nil
}

func (p *pid1) Ref(_ context.Context, name string) error {
	p.note("hold %s", name)
	if p.onHold != nil {
		return p.onHold(name)
	}
	return nil
}

func (p *pid1) Unref(_ context.Context, name string) error {
	p.note("let go of %s", name)
	return nil
}

func (p *pid1) ResetFailed(_ context.Context, name string) error {
	p.note("reset %s", name)
	p.forget(name)
	return nil
}

func (p *pid1) ActiveState(ctx context.Context, name string) (string, error) {
	if err := p.inTrouble(); err != nil {
		return "", err
	}
	r, err := p.LastRun(ctx, name)
	return r.State, err
}

func (p *pid1) IsOver(ctx context.Context, name string) (bool, error) {
	if err := p.inTrouble(); err != nil {
		return false, err
	}
	r, err := p.LastRun(ctx, name)
	return err != nil || isOver(r.State) && !r.HasJob, nil
}

func (p *pid1) LastRun(_ context.Context, name string) (unit.Run, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r, ok := p.runs[name]
	if !ok {
		return r, machine1.ErrNoSuchUnit
	}
	return r, nil
}

func (p *pid1) Reload(context.Context) error {
	p.note("reload")
	return nil
}

// Properties are none: nothing can be planned here.
func (p *pid1) Properties(_ context.Context, name string) (map[string]dbus.Variant, error) {
	if name == blankUnit {
		p.note("plan")
		if p.onPlan != nil {
			p.onPlan()
		}
	}
	return nil, nil
}

// Nothing depends on a machine here.
func (p *pid1) ListActive(context.Context, string) ([]string, error) { return nil, nil }

// machinesUnits is PID 1 for the registry, which has scopes started that stay.
type machinesUnits struct{ machine.Units }

func (machinesUnits) StartTransient(context.Context, string, string, []machine1.Property) (dbus.ObjectPath, error) {
	return "/job/1", nil
}
func (machinesUnits) WaitJob(context.Context, dbus.ObjectPath) (string, error) { return "done", nil }
func (machinesUnits) JobExists(context.Context, dbus.ObjectPath) (bool, error) { return false, nil }
func (machinesUnits) RefusesStop(context.Context, string) (bool, error)        { return false, nil }
func (machinesUnits) HasProcesses(context.Context, string) (bool, error)       { return true, nil }
func (machinesUnits) Unref(context.Context, string) error                      { return nil }
func (machinesUnits) ActiveState(context.Context, string) (string, error)      { return "active", nil }

// guests says how far machines have come.
type guests struct {
	Guests
	mu   sync.Mutex
	boot inside.Boot
}

func (g *guests) Boot(context.Context, *proc.PIDFD) (inside.Boot, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.boot, nil
}

func (g *guests) say(b inside.Boot) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.boot = b
}

var (
	aProgram  = inside.Boot{Program: "sleep"}
	notBooted = inside.Boot{Program: "systemd-nspawn"}
)

// images are names, and a list of what was done.
type images struct {
	*pid1
	have map[string]bool
	full bool
}

func (i images) Get(_ context.Context, name string) (image.Image, error) {
	if !i.have[name] {
		return image.Image{}, machine1.ErrNoSuchImage
	}
	return image.Image{Name: name}, nil
}

func (i images) Clone(_ context.Context, from image.Image, name string, _ bool) error {
	i.note("clone %s to %s", from.Name, name)
	if i.full {
		return errors.New("no space left on device")
	}
	i.have[name] = true
	return nil
}

func (i images) Remove(_ context.Context, im image.Image, _ image.Settings) error {
	i.note("remove %s", im.Name)
	delete(i.have, im.Name)
	return nil
}

// A world is a launcher and what it stands on.
type world struct {
	*Launcher
	pid1     *pid1
	guests   *guests
	images   images
	network  Network // or nil
	machines *machine.Manager
	stop     func() // ends the launcher, as the end of the daemon does

	mu     sync.Mutex
	events []Event
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{pid1: &pid1{runs: map[string]unit.Run{}, result: make(chan string, 10)}, guests: &guests{boot: aProgram}}
	w.images = images{w.pid1, map[string]bool{"base": true}, false}
	var err error
	w.machines, err = machine.New(machine.Config{
		Dir: filepath.Join(t.TempDir(), "machines"), Units: machinesUnits{}, User: true, Log: slog.New(slog.DiscardHandler),
		Emit: func(e machine.Event) { w.Launcher.MachineEvent(e) },
	})
	if err != nil {
		t.Fatal(err)
	}
	running(t, w.machines.Run)
	w.restart(t, filepath.Join(t.TempDir(), "starts"))
	return w
}

// restart has another daemon take over what is in dir.
func (w *world) restart(t *testing.T, dir string) {
	t.Helper()
	w.Launcher = New(Config{
		Units: w.pid1, Machines: w.machines, Images: w.images, Guests: w.guests, Network: w.network, Dir: dir,
		Emit: func(e Event) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.events = append(w.events, e)
		},
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	w.stop = running(t, w.Launcher.Run)
}

// running runs task until the test ends, or stop is called.
func running(t *testing.T, task func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = task(ctx)
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return stop
}

// register lists a machine in the unit that planned starts it in.
func (w *world) register(t *testing.T, name string) {
	t.Helper()
	w.registerRunning(t, name, "sleep", "1000")
}

// registerRunning is register of a machine whose leader runs this.
func (w *world) registerRunning(t *testing.T, name string, argv ...string) {
	t.Helper()
	w.registerAs(t, machine.Registration{Name: name, Class: machine1.ClassContainer, Service: "systemd-nspawn"}, argv...)
}

// registerAs lists a machine whose leader runs this.
func (w *world) registerAs(t *testing.T, r machine.Registration, argv ...string) {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	leader, err := proc.Open(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	r.Leader = leader
	if _, err := w.machines.Create(t.Context(), r, nil, true); err != nil {
		t.Fatal(err)
	}
}

// planned is a plan for a machine that register can list.
func planned(name string) Plan { return Plan{Name: name, Unit: machine1.ScopeName(name), Boots: true} }

// begin begins to carry out a plan.
func (w *world) begin(p Plan, o machd.StartOptions) *start {
	<-w.starts.ready
	w.starts.mu.Lock()
	defer w.starts.mu.Unlock()
	s := newStart(w.Launcher, p.Name, o)
	w.launch(w.starts.ctx, s, func(ctx context.Context) error { return s.carryOut(ctx, p) })
	return s
}

// took returns what PID 1 and the images were asked since the last call.
func (w *world) took() []string {
	w.pid1.mu.Lock()
	defer w.pid1.mu.Unlock()
	asked := w.pid1.asked
	w.pid1.asked = nil
	return asked
}

func (w *world) told() []Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.events)
}

// records are the names of the starts that a next daemon would go on with.
func (w *world) records(t *testing.T) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(w.cfg.Dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// awaitTold returns what was told once there are n events.
func (w *world) awaitTold(t *testing.T, n int) []Event {
	t.Helper()
	for deadline := time.Now().Add(patience); len(w.told()) < n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("told %v, want %d events", w.told(), n)
		}
	}
	return w.told()
}
