package launch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/unit"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// await waits until the start has come as far as wait says.
func (s *start) await(ctx context.Context, wait machd.Wait) (Result, error) {
	reached, state := s.ended, ""
	switch wait {
	case machd.WaitNo:
		reached, state = s.queued, machd.StateQueued
	case machd.WaitRegistered:
		reached, state = s.registered, machd.StateRegistered
	}
	select {
	case <-reached:
	case <-s.ended:
	case <-ctx.Done():
		return Result{}, fmt.Errorf("the start of '%s' goes on: %w", s.name, ctx.Err())
	}
	select {
	case <-s.ended:
	default:
		return Result{Unit: s.plan.Unit, State: state, Note: notes(s.plan.Notes...)}, nil
	}
	if s.err == nil && wait == machd.WaitReady && s.result.State == machd.StateRegistered {
		return s.ready(ctx)
	}
	return s.result, s.err
}

// ready waits until a machine can be used whose start is over.
func (s *start) ready(ctx context.Context) (Result, error) {
	m, ok := s.l.cfg.Machines.View().Get(s.name)
	if !ok {
		return Result{}, machine1.Errorf(machine1.ErrNoSuchMachine, "Machine '%s' ended before it was ready", s.name)
	}
	ctx, cancel := context.WithTimeout(ctx, ReadyLimit)
	defer cancel()
	state, note, err := s.l.Ready(ctx, m)
	if err != nil {
		return Result{}, err
	}
	return Result{Unit: s.result.Unit, State: state, Note: notes(s.result.Note, note)}, nil
}

// notes makes one note of several sentences, of which some may be "".
func notes(sentences ...string) string {
	var said []string
	for _, sentence := range sentences {
		if sentence != "" {
			said = append(said, sentence)
		}
	}
	return strings.Join(said, "; ")
}

// endedMeanwhile waits, if that was asked for, until a machine can be used that
// runs already. It reports whether it ended instead: it was about to.
func (s *start) endedMeanwhile(ctx context.Context) bool {
	if s.options.Wait != machd.WaitReady {
		return false
	}
	r, err := s.ready(ctx)
	if errors.Is(err, machine1.ErrNoSuchMachine) {
		return true
	}
	if s.err = err; err != nil {
		return false
	}
	// A system may answer for a moment when its supervisor is gone.
	m, ok := s.l.cfg.Machines.View().Get(s.name)
	if !ok {
		return true
	}
	_, err = s.namesake(ctx, carriers(s.name), m)
	s.result = r
	return !errors.Is(err, errRunning)
}

// endedWell reports whether the machine has done already what it was there for,
// which is no failure of what runs a command.
func (s *start) endedWell(err error) bool {
	var over *overError
	if s.holder != nil && errors.As(err, &over) {
		s.result.State = machd.StateRegistered // its session tells the rest
		return true
	}
	if s.plan.Boots || !errors.As(err, &over) || over.run.Result != "success" {
		return false
	}
	s.result.State, s.result.Note = machd.StateReady, notes(s.result.Note, "it has ended already")
	return true
}

// awaitListed returns the machine of the unit once it is listed and is another
// one than before, if there was one: it may take its time to go.
func (s *start) awaitListed(ctx context.Context, before machine.Machine) (machine.Machine, error) {
	changed, stop := s.l.watches.add(s.name, s.plan.Unit)
	defer stop()
	var settled time.Time
	for {
		m, ok := s.l.cfg.Machines.View().Get(s.name)
		if ok && m.Unit == s.plan.Unit && m.Monotonic != before.Monotonic {
			return m, nil
		}
		run, err := s.l.cfg.Units.LastRun(ctx, s.plan.Unit)
		switch {
		case before.Monotonic != 0, !s.hasSettled(run):
			settled = time.Time{}
		case settled.IsZero():
			settled = time.Now()
		case time.Since(settled) > unlistedLimit:
			return m, errUnregistered
		}
		switch {
		case err == nil && isOver(run.State) && !run.HasJob, errors.Is(err, machine1.ErrNoSuchUnit):
			return m, &overError{run}
		case ctx.Err() != nil:
			return m, machine1.Errorf(machine1.ErrTimeout, "it has not registered a machine")
		}
		select {
		case <-changed:
		case <-time.After(lookAgain):
		case <-ctx.Done():
		}
	}
}

// errUnregistered is that a unit runs and has no machine. systemd-nspawn
// 262 goes on without, unless it is told to register.
var errUnregistered = machine1.Errorf(machine1.ErrTimeout, "it runs, and has not registered a machine")

// hasSettled reports whether the machine of a unit must have been registered by
// now: systemd-nspawn tells PID 1 that it has started when that is done.
func (s *start) hasSettled(run unit.Run) bool {
	return !s.plan.VM && run.Type == "notify" && run.State == "active" && !run.HasJob
}

// awaitReady waits until the machine can be used. One that reboots meanwhile is
// another one then.
func (s *start) awaitReady(ctx context.Context, m machine.Machine) error {
	ctx, cancel := context.WithTimeout(ctx, ReadyLimit)
	defer cancel()
	for {
		state, note, err := s.l.Ready(ctx, m)
		if err == nil {
			s.result.State, s.result.Note = state, notes(s.result.Note, note)
			return nil
		}
		if !errors.Is(err, machine1.ErrNoSuchMachine) {
			return err
		}
		if m, err = s.awaitListed(ctx, m); err != nil {
			return err
		}
	}
}

// follow tells of a machine that nobody waits for what becomes of it.
func (s *start) follow(ctx context.Context) {
	if s.err != nil || s.result.State != machd.StateRegistered || s.plan.Unit == "" {
		return
	}
	r, err := s.ready(ctx)
	switch {
	case err == nil:
		s.tellReady(r)
	case errors.Is(err, machine1.ErrNoSuchMachine) && s.holder == nil:
		s.tellEnd(ctx)
	}
	if s.holder == nil { // who asks how the unit ended
		s.letGo(ctx)
	}
}

// tellEnd tells of a machine that failed before it was ready.
func (s *start) tellEnd(ctx context.Context) {
	if over, err := s.l.awaitOver(ctx, s.plan.Unit, stopGrace); !over || err != nil {
		return // it reboots, or cannot be asked about
	}
	if run, err := s.l.cfg.Units.LastRun(ctx, s.plan.Unit); err == nil && run.Result != "success" {
		s.tellFailure(s.explain(ctx, &overError{run}))
	}
}
