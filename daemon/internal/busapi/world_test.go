package busapi

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/auth"
	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/daemon/internal/imagemaker"
	"github.com/machd/machd/daemon/internal/inside"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/operation"
	"github.com/machd/machd/daemon/internal/overview"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/vtable"
	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/dbustest"
	"github.com/machd/machd/pkg/machine1"
)

const patience = 30 * time.Second

// pid1 is a service manager that starts everything at once and keeps it.
type pid1 struct{}

func (pid1) StartTransient(context.Context, string, string, []machine1.Property) (dbus.ObjectPath, error) {
	return "/job/1", nil
}
func (pid1) WaitJob(context.Context, dbus.ObjectPath) (string, error)          { return "done", nil }
func (pid1) JobExists(context.Context, dbus.ObjectPath) (bool, error)          { return false, nil }
func (pid1) Kill(context.Context, string, string, int32) error                 { return nil }
func (pid1) Unref(context.Context, string) error                               { return nil }
func (pid1) RefusesStop(context.Context, string) (bool, error)                 { return false, nil }
func (pid1) HasProcesses(context.Context, string) (bool, error)                { return true, nil }
func (pid1) ActiveState(context.Context, string) (string, error)               { return "active", nil }
func (pid1) Stop(context.Context, string, string) (dbus.ObjectPath, error)     { return "/job/2", nil }
func (pid1) KillSubgroup(context.Context, string, string, string, int32) error { return nil }

// polkit identifies callers as the bus does, answers as it is told, and
// remembers what it was asked.
type polkit struct {
	*auth.Authority

	user atomic.Uint32 // who attends, 0 for who it is

	mu     sync.Mutex
	asked  []auth.Request
	answer error // nil for yes
}

func (p *polkit) Attend(ctx context.Context, sender string) (context.Context, auth.Caller, func(), error) {
	ctx, c, done, err := p.Authority.Attend(ctx, sender)
	if user := p.user.Load(); user != 0 {
		c.UID = user
	}
	return ctx, c, done, err
}

func (p *polkit) Check(_ context.Context, _ auth.Caller, r auth.Request) (auth.Verdict, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, r)
	return auth.Verdict{}, p.answer
}

func (p *polkit) say(answer error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

// take returns the questions since the last take.
func (p *polkit) take() []auth.Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	asked := p.asked
	p.asked = nil
	return asked
}

// errReached is what insideWorld fails with: the call has passed every check.
var errReached = errors.New("reached")

// insideWorld reaches into no machine, but remembers where it was to go.
type insideWorld struct {
	mu      sync.Mutex
	leaders []*proc.PIDFD
	copies  []inside.Copy
	binds   []inside.Bind
	hang    bool          // copies go on until they are ended
	begun   chan struct{} // one per copy that hangs
}

func (w *insideWorld) reach(leader *proc.PIDFD) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leaders = append(w.leaders, leader)
	return errReached
}

// take returns where calls went since the last take.
func (w *insideWorld) take() []*proc.PIDFD {
	w.mu.Lock()
	defer w.mu.Unlock()
	leaders := w.leaders
	w.leaders = nil
	return leaders
}

func (w *insideWorld) done() ([]inside.Copy, []inside.Bind) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.copies, w.binds
}

func (w *insideWorld) hangFromNowOn() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hang = true
}

func notNil(p *proc.PIDFD) bool { return p != nil }

// await waits until n copies have begun.
func (w *insideWorld) await(t *testing.T, n int) {
	t.Helper()
	for range n {
		select {
		case <-w.begun:
		case <-time.After(patience):
			t.Fatal("no copy begins")
		}
	}
}

func (w *insideWorld) OSRelease(_ context.Context, l *proc.PIDFD) (map[string]string, error) {
	return nil, w.reach(l)
}
func (w *insideWorld) OpenPTY(_ context.Context, l *proc.PIDFD) (*inside.PTY, error) {
	return nil, w.reach(l)
}
func (w *insideWorld) StartLogin(_ context.Context, l *proc.PIDFD, _ string) (*inside.PTY, error) {
	return nil, w.reach(l)
}
func (w *insideWorld) StartShell(_ context.Context, l *proc.PIDFD, _ string, _ inside.Shell) (*inside.PTY, error) {
	return nil, w.reach(l)
}
func (w *insideWorld) OpenRoot(_ context.Context, l *proc.PIDFD) (*os.File, error) {
	return nil, w.reach(l)
}
func (w *insideWorld) Unbind(_ context.Context, l *proc.PIDFD, _ string) error { return w.reach(l) }

func (w *insideWorld) Bind(_ context.Context, l *proc.PIDFD, _ string, b inside.Bind) error {
	w.mu.Lock()
	w.binds = append(w.binds, b)
	w.mu.Unlock()
	return w.reach(l)
}

func (w *insideWorld) CopyFrom(ctx context.Context, l *proc.PIDFD, c inside.Copy) error {
	w.mu.Lock()
	w.copies = append(w.copies, c)
	hang := w.hang
	w.mu.Unlock()
	if hang {
		w.begun <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
	return w.reach(l)
}

func (w *insideWorld) CopyTo(ctx context.Context, l *proc.PIDFD, c inside.Copy) error {
	return w.CopyFrom(ctx, l, c)
}

// Names of what there is in a world, besides the host.
const (
	aContainer = "MACHINE"
	aVM        = "VM"
	anImage    = "IMAGE"
)

// A world is the API on a private bus, with what is around it.
type world struct {
	bus        *dbustest.Bus
	machines   *machine.Manager
	polkit     *polkit
	inside     *insideWorld
	launch     *launchWorld
	network    *networkWorld
	operations *operation.Set
	server     string // its unique name
	pool       string // directory of the images
	looks      *looks
	client     *dbus.Conn
	leader     int // a child that lives as long as the test, and leads no machine yet
}

func newWorld(t *testing.T) *world {
	t.Helper()
	b := dbustest.New(t)
	conn, err := bus.Dial(t.Context(), b.Address)
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	w := &world{
		bus:        b,
		polkit:     &polkit{Authority: auth.New(conn, log)},
		inside:     &insideWorld{begun: make(chan struct{}, operation.Max)},
		launch:     &launchWorld{},
		network:    &networkWorld{},
		operations: operation.NewSet(),
		pool:       t.TempDir(),
		client:     b.Dial(),
		leader:     child(t),
	}
	w.addMachines(t, log)
	must(t, os.Mkdir(filepath.Join(w.pool, anImage), 0o755))
	w.serve(t, b.Address, log)
	return w
}

// addMachines makes the domain: a container, a VM, the host.
func (w *world) addMachines(t *testing.T, log *slog.Logger) {
	t.Helper()
	root := t.TempDir()
	must(t, os.Mkdir(filepath.Join(root, "etc"), 0o755))
	must(t, os.WriteFile(filepath.Join(root, "etc/machine-id"), []byte("0123456789abcdef0123456789abcdef\n"), 0o644))
	var err error
	w.machines, err = machine.New(machine.Config{
		Dir: filepath.Join(root, "machines"), Root: root, Units: pid1{}, Log: log,
		Emit: func(e machine.Event) {
			if !e.Added {
				w.operations.MachineGone(e.Machine.Name)
			}
		},
	})
	must(t, err)
	running(t, func(ctx context.Context) { w.machines.Run(ctx) })
	for name, class := range map[string]machine1.Class{aContainer: machine1.ClassContainer, aVM: machine1.ClassVM} {
		leader, err := proc.Open(child(t))
		must(t, err)
		_, err = w.machines.Create(t.Context(), machine.Registration{
			Name: name, Class: class, Leader: leader, VSockCID: machine1.VSockCIDAny,
		}, nil, true)
		must(t, err)
	}
}

func (w *world) serve(t *testing.T, address string, log *slog.Logger) {
	t.Helper()
	store := image.NewStore(image.Config{
		Dirs: []string{w.pool}, Pool: w.pool, LockDir: filepath.Join(t.TempDir(), "locks"), Host: true,
	})
	w.looks = &looks{Images: store}
	api := New(Config{
		Machines: w.machines, Inside: w.inside, Operations: w.operations, LogLevel: new(slog.LevelVar),
		Images:    w.looks,
		Maker:     imagemaker.New(imagemaker.Config{Images: store}),
		Launcher:  w.launch,
		Overview:  &overview.Viewer{Machines: w.machines, Inside: w.inside},
		Network:   w.network,
		Doctor:    w.network,
		Authority: w.polkit, Access: access.New(w.polkit, w.machines),
	})
	server, err := vtable.Dial(t.Context(), address, vtable.Config{
		Tree: api, Log: log, ErrorName: machine1.ErrorName, MachineID: func() (string, error) { return "", nil },
	})
	must(t, err)
	w.server = server.UniqueName()
	running(t, func(ctx context.Context) { server.Run(ctx) })
}

// running runs task until the test ends.
func running(t *testing.T, task func(context.Context)) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		task(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

// call calls a method of an object and stores its results in out.
func (w *world) call(t *testing.T, path dbus.ObjectPath, method string, in []any, out ...any) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return bus.Call(ctx, w.client, bus.Target{Name: w.server, Path: path}, method, false, in, out...)
}

// manager calls a method of the Manager.
func (w *world) manager(t *testing.T, member string, in []any, out ...any) error {
	t.Helper()
	return w.call(t, machine1.ObjectPath, machine1.ManagerInterface+"."+member, in, out...)
}

// child starts a process that does nothing until the test ends.
func child(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	must(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd.Process.Pid
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
