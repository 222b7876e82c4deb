package launch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/imagelock"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/unit"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

const (
	// startLimit is how long a unit may take until its machine is listed. Its
	// own limits are lower, as a rule; this one is for those that have none.
	startLimit = 5 * time.Minute
	// lookAgain is how long who waits for a unit trusts in being told.
	lookAgain = 2 * time.Second
)

// A start is one machine's, from the question whether it can be started until
// it has come as far as was asked for.
type start struct {
	l       *Launcher
	name    string
	options machd.StartOptions

	queued, registered, ended chan struct{} // closed when it has come that far

	// What follows is its goroutine's; plan and result.Unit until queued is
	// closed, the rest of result and err until ended is.
	plan   Plan
	result Result
	err    error
	held   bool // by our reference, so that PID 1 does not forget how the unit ends
	undo   undo
	record record
	again  bool            // it was begun by an earlier daemon, and its unit failed
	inUse  *imagelock.Lock // on the image, as long as the machine reads it; nil if it does not

	holder *holder // whoever runs the machine has the other side; or nil
}

func newStart(l *Launcher, name string, o machd.StartOptions) *start {
	return &start{
		l: l, name: name, options: o,
		queued: make(chan struct{}), registered: make(chan struct{}), ended: make(chan struct{}),
	}
}

// run does the work, and takes back what was done if it fails.
func (s *start) run(ctx context.Context, work func(context.Context) error) {
	limited, cancel := ctx, context.CancelFunc(func() {})
	if s.options.WaitTimeout > 0 {
		limited, cancel = context.WithTimeout(ctx, s.options.WaitTimeout)
	}
	defer cancel()
	err := work(limited)
	switch {
	case errors.Is(err, errRunning):
		s.record.remove(s.l.cfg.Dir) // an earlier daemon's, of a start that was not needed any more
	case err == nil:
		s.succeeded(ctx)
	case ctx.Err() != nil:
		s.err = errGoing
	default:
		s.err = s.failed(ctx, err)
	}
}

// begin makes the plan and carries it out.
func (s *start) begin(ctx context.Context) error {
	for {
		err := s.clear(ctx)
		if errors.Is(err, errRunning) && s.endedMeanwhile(ctx) {
			continue
		}
		if err != nil {
			return err
		}
		break
	}
	plan, err := s.l.plan(ctx, s.name, s.options, s.holder)
	if err != nil {
		return err
	}
	return s.carryOut(ctx, plan)
}

// carryOut does what the plan says.
func (s *start) carryOut(ctx context.Context, plan Plan) error {
	s.plan = plan
	s.result = Result{Unit: s.plan.Unit, Note: notes(s.plan.Notes...)}
	if err := s.occupy(); err != nil {
		return err
	}
	if err := s.prepare(ctx); err != nil {
		return err
	}
	job, err := s.startUnit(ctx)
	if err != nil {
		return err
	}
	s.reachQueued()
	limited, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	result, err := s.l.cfg.Units.WaitJob(limited, job)
	switch {
	case err != nil:
		return err
	case result != "done" && result != "skipped":
		return jobError(result)
	}
	return s.arrive(ctx)
}

// startUnit has PID 1 start the unit.
func (s *start) startUnit(ctx context.Context) (job dbus.ObjectPath, err error) {
	if s.plan.Existing {
		before, _ := s.l.cfg.Units.LastRun(ctx, s.plan.Unit)
		s.record.Before = before.Invocation
	}
	s.record.Asked = true
	if err := s.record.save(s.l.cfg.Dir); err != nil {
		return "", err
	}
	if s.plan.Existing {
		if err := s.hold(ctx); err != nil {
			return "", err
		}
		job, err = s.l.cfg.Units.Start(ctx, s.plan.Unit, "fail")
	} else {
		s.held = true // the properties say so
		job, err = s.l.cfg.Units.StartTransient(ctx, s.plan.Unit, "fail", s.plan.Properties)
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, machine1.ErrNoReply) {
		// It refused, and if there is such a unit it is somebody else's.
		s.held = s.plan.Existing
		return "", fmt.Errorf("PID 1 does not start %s: %w", s.plan.Unit, err)
	}
	s.undoUnit()
	if err != nil {
		return "", fmt.Errorf("PID 1 does not say whether it starts %s: %w", s.plan.Unit, err)
	}
	return job, nil
}

// reachQueued tells those who wait that there is a unit: which one does not
// change any more.
func (s *start) reachQueued() {
	select {
	case <-s.queued:
	default:
		close(s.queued)
	}
}

// undoUnit has the unit ended if the start is taken back.
func (s *start) undoUnit() {
	s.undo.add(func(ctx context.Context) error { return s.l.endUnit(ctx, s.name, s.plan.Unit, s.plan.Existing) })
}

// hold has PID 1 remember how the unit ends.
func (s *start) hold(ctx context.Context) error {
	if err := s.l.cfg.Units.Ref(ctx, s.plan.Unit); err != nil {
		return fmt.Errorf("cannot get hold of %s: %w", s.plan.Unit, err)
	}
	s.held = true
	return nil
}

// letGo undoes hold.
func (s *start) letGo(ctx context.Context) {
	if !s.held {
		return
	}
	s.held = false
	if err := s.l.cfg.Units.Unref(ctx, s.plan.Unit); err != nil && !errors.Is(err, machine1.ErrNoSuchUnit) {
		s.l.cfg.Log.Debug("PID 1 did not take its reference back.", "unit", s.plan.Unit, "error", err)
	}
}

// arrive waits until the machine of a unit that has started is listed, and then
// until it can be used, if that was asked for.
func (s *start) arrive(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	m, err := s.awaitListed(limited, machine.Machine{})
	if s.endedWell(err) {
		return nil
	}
	if err != nil {
		return err
	}
	s.record.Registered = true
	if err := s.record.save(s.l.cfg.Dir); err != nil {
		s.l.cfg.Log.Warn("The next daemon may start a machine again that ends.", "machine", s.name, "error", err)
	}
	s.reachQueued() // of a start that another daemon began
	close(s.registered)
	s.result.State = machd.StateRegistered
	if s.options.Wait != machd.WaitReady {
		return nil
	}
	if err := s.awaitReady(ctx, m); !s.endedWell(err) {
		return err
	}
	return nil
}

// succeeded drops what the start needed. The unit is held for as long as follow
// may ask how it ended.
func (s *start) succeeded(ctx context.Context) {
	s.record.remove(s.l.cfg.Dir)
	if s.result.State != machd.StateRegistered {
		s.letGo(ctx)
		s.tellReady(s.result)
	}
}

// Message IDs by which journal readers find how a start went.
const (
	messageReady  = "5f8f4a6d1c0b4e0f9a2e7d3c8b615094"
	messageFailed = "c1d7be0a93f54c1d8e52f06a7b94e3d8"
)

func (s *start) tellReady(r Result) {
	s.l.cfg.Log.Info("Machine "+s.name+" is ready.", "MESSAGE_ID", messageReady, "name", s.name, "unit", r.Unit, "state", r.State)
	s.l.cfg.Emit(Event{Name: s.name, Unit: r.Unit, Ready: true})
}

// failed takes back what was done, and returns what whoever asked is told.
func (s *start) failed(ctx context.Context, cause error) error {
	err := s.explain(ctx, cause)
	undone := s.undo.run(ctx)
	s.letGo(ctx)
	if ctx.Err() != nil {
		return errGoing // and the next daemon takes it back
	}
	s.record.remove(s.l.cfg.Dir)
	if undone != nil {
		s.l.cfg.Log.Error("Part of a start that failed is left behind.", "machine", s.name, "error", undone)
	}
	if s.plan.Unit == "" {
		return err // nothing was begun
	}
	s.tellFailure(err)
	return err
}

func (s *start) tellFailure(err error) {
	reason, _, _ := strings.Cut(err.Error(), "\n")
	s.l.cfg.Log.Warn("Machine "+s.name+" did not start.", "MESSAGE_ID", messageFailed, "name", s.name, "unit", s.plan.Unit, "reason", reason)
	s.l.cfg.Emit(Event{Name: s.name, Unit: s.plan.Unit, Reason: reason})
}

// An overError says that the unit ended.
type overError struct{ run unit.Run }

func (e *overError) Error() string { return "its unit ended" }

// A jobError is how a job ended that did not start its unit.
type jobError string

func (e jobError) Error() string { return "its job ended with result " + string(e) }

func isOver(state string) bool { return state == "inactive" || state == "failed" }
