package launch

import (
	"context"
	"fmt"
	"reflect"
	"sync"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/daemon/internal/unit"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// startUnits is what a start asks of PID 1.
type startUnits interface {
	StartTransient(ctx context.Context, name, mode string, props []machine1.Property) (dbus.ObjectPath, error)
	Start(ctx context.Context, name, mode string) (dbus.ObjectPath, error)
	WaitJob(ctx context.Context, job dbus.ObjectPath) (result string, err error)
	Stop(ctx context.Context, name, mode string) (dbus.ObjectPath, error)
	Kill(ctx context.Context, name, whom string, signal int32) error
	Ref(ctx context.Context, name string) error
	Unref(ctx context.Context, name string) error
	ResetFailed(ctx context.Context, name string) error
	ActiveState(ctx context.Context, name string) (string, error)
	IsOver(ctx context.Context, name string) (bool, error)
	LastRun(ctx context.Context, name string) (unit.Run, error)
}

// startImages is what a start does with images.
type startImages interface {
	Get(ctx context.Context, name string) (image.Image, error)
	Clone(ctx context.Context, i image.Image, newName string, readOnly bool) error
	Remove(ctx context.Context, i image.Image, keep image.Settings) error
}

// A Result is how far a start has come.
type Result struct {
	Unit  string // that carries the machine
	State string // machd.StateQueued and its like
	Note  string // what whoever asked should know, or ""
}

// starts are the starts under way, by machine. They go on when whoever asked
// for them does not wait any longer, and end with Run.
type starts struct {
	mu     sync.Mutex
	byName map[string]*start
	ctx    context.Context // Run's
	ready  chan struct{}   // closed once ctx is there
	over   bool            // nothing is started any more
	wg     sync.WaitGroup
}

// Start starts the machine called name and returns as soon as it has come as
// far as o.Wait says. A start that fails before that leaves nothing behind. If
// ctx ends first, the start goes on.
//
// A machine that is being started is not started twice: who asks for the same
// waits with the other. A machine that runs already is waited for, if no
// options ask for another one than that.
//
// The error is a *Failure if the machine's unit started and failed, and
// machine1.ErrMachineExists if the name is taken.
func (l *Launcher) Start(ctx context.Context, name string, o machd.StartOptions) (Result, error) {
	s, err := l.claim(ctx, name, o)
	if err != nil {
		return Result{}, err
	}
	return s.await(ctx, o.Wait)
}

// claim returns the start of the machine called name: a new one, or the one
// that goes on if it does all that o asks for.
func (l *Launcher) claim(ctx context.Context, name string, o machd.StartOptions) (*start, error) {
	run, err := l.runContext(ctx)
	if err != nil {
		return nil, err
	}
	l.starts.mu.Lock()
	defer l.starts.mu.Unlock()
	if other, ok := l.starts.byName[name]; ok {
		if hasNone(o) || same(o, other.options) {
			return other, nil
		}
		return nil, machine1.Errorf(machine1.ErrMachineExists, "Machine '%s' is being started already, with other options", name)
	}
	if l.starts.over {
		return nil, errGoing
	}
	s := newStart(l, name, o)
	l.launch(run, s, s.begin)
	return s, nil
}

// launch has s do its work until that is done or ctx ends. The caller holds
// starts.mu.
func (l *Launcher) launch(ctx context.Context, s *start, work func(context.Context) error) {
	l.starts.byName[s.name] = s
	l.starts.wg.Go(func() {
		s.run(ctx, work)
		l.starts.mu.Lock()
		delete(l.starts.byName, s.name)
		l.starts.mu.Unlock()
		close(s.ended)
		s.follow(ctx)
		s.vacate(ctx)
	})
}

// errGoing is told to those who wait for a start when the daemon ends. Its
// name has clients ask again, the daemon that comes next.
var errGoing = fmt.Errorf("machd ends; the one that comes next goes on with the start: %w", machine1.ErrNoReply)

// runContext returns the context that starts run in. Until Run does, nothing is
// heard from PID 1.
func (l *Launcher) runContext(ctx context.Context) (context.Context, error) {
	select {
	case <-l.starts.ready:
		return l.starts.ctx, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Run goes on with the starts that an earlier daemon has left, and lets new
// ones begin, until ctx ends. Those under way are left for the daemon that
// comes next.
func (l *Launcher) Run(ctx context.Context) error {
	l.starts.ctx = ctx
	l.settleRestored(ctx)
	l.adopt(ctx)
	close(l.starts.ready)
	l.starts.wg.Go(func() { l.insist(ctx) })
	l.stopDepended(ctx)
	l.starts.mu.Lock()
	l.starts.over = true // who claimed a start before is counted
	l.starts.mu.Unlock()
	l.starts.wg.Wait()
	return nil
}

// hasNone reports whether o asks for nothing but that the machine runs.
func hasNone(o machd.StartOptions) bool { return same(o, machd.StartOptions{}) }

// same reports whether both start the same machine.
func same(a, b machd.StartOptions) bool {
	a.Wait, a.WaitTimeout = b.Wait, b.WaitTimeout
	return reflect.DeepEqual(a.Variants(), b.Variants())
}
