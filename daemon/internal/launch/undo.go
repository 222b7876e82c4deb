package launch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/daemon/internal/wholefile"
	"github.com/machd/machd/pkg/machine1"
)

const (
	// undoLimit is how long taking back what a start did may take.
	undoLimit = time.Minute
	// stopGrace is how long a unit may take to stop before it is killed, and to
	// be gone after that.
	stopGrace = 10 * time.Second
	// goneLimit is how long a machine may stay listed whose unit has ended.
	goneLimit = 2 * time.Second
)

// undo is how to take back what was done.
type undo []func(context.Context) error

func (u *undo) add(step func(context.Context) error) { *u = append(*u, step) }

// run takes it back, the last thing first. A step that fails stops no other.
func (u undo) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, undoLimit)
	defer cancel()
	var errs []error
	for _, step := range slices.Backward(u) {
		errs = append(errs, step(ctx))
	}
	return errors.Join(errs...)
}

// endUnit ends the unit of a machine and what it may have left. A unit that is
// the administrator's stays failed, if it is, for him to see.
func (l *Launcher) endUnit(ctx context.Context, name, unit string, existing bool) error {
	if err := l.stopUnit(ctx, unit); err != nil {
		return err
	}
	if !existing {
		if err := l.cfg.Units.ResetFailed(ctx, unit); err != nil && !errors.Is(err, machine1.ErrNoSuchUnit) {
			return fmt.Errorf("cannot reset %s: %w", unit, err)
		}
	}
	l.awaitGone(ctx, name, unit)
	l.removeExport(name)
	return nil
}

func (l *Launcher) stopUnit(ctx context.Context, unit string) error {
	over, err := l.awaitOver(ctx, unit, 0)
	if over || ctx.Err() != nil {
		return err
	}
	if err := l.orderStop(ctx, unit); err != nil && !errors.Is(err, machine1.ErrNoSuchUnit) {
		return fmt.Errorf("cannot stop %s: %w", unit, err)
	}
	if over, err = l.awaitOver(ctx, unit, stopGrace); over || err != nil {
		return err
	}
	_ = l.cfg.Units.Kill(ctx, unit, "all", int32(unix.SIGKILL))
	if over, err = l.awaitOver(ctx, unit, stopGrace); over || err != nil {
		return err
	}
	return machine1.Errorf(machine1.ErrTimeout, "%s does not end, although it was killed", unit)
}

// orderStop has PID 1 stop the unit, also if it does not hear the first time.
func (l *Launcher) orderStop(ctx context.Context, unit string) error {
	changed, stop := l.watches.add(unit)
	defer stop()
	for end := time.Now().Add(stopGrace); ; {
		_, err := l.cfg.Units.Stop(ctx, unit, "replace")
		if !unheard(err) || time.Now().After(end) {
			return err
		}
		select {
		case <-changed:
		case <-time.After(lookAgain):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// unheard reports whether err says only that PID 1 was not there to answer: for a
// moment it is not on the bus when it executes itself anew.
func unheard(err error) bool {
	return errors.Is(err, machine1.ErrNoReply) || errors.Is(err, machine1.ErrServiceUnknown)
}

// awaitOver reports whether the unit is over, which it has so long to be. A
// question that PID 1 does not answer says nothing about the unit and is put
// again, until the time is up or we are cut off from PID 1.
func (l *Launcher) awaitOver(ctx context.Context, unit string, limit time.Duration) (bool, error) {
	changed, stop := l.watches.add(unit)
	defer stop()
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	for {
		over, err := l.cfg.Units.IsOver(ctx, unit)
		switch {
		case over:
			return true, nil
		case ctx.Err() != nil:
			return false, ctx.Err()
		case limit == 0, errors.Is(err, machine1.ErrDisconnected):
			return false, err
		}
		select {
		case <-changed:
		case <-time.After(lookAgain):
		case <-timeout.C:
			limit = 0
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// awaitGone waits for the end of a machine to be known.
func (l *Launcher) awaitGone(ctx context.Context, name, unit string) {
	changed, stop := l.watches.add(name)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, goneLimit)
	defer cancel()
	for {
		if m, ok := l.cfg.Machines.View().Get(name); !ok || m.Unit != unit {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// prepare makes what has to be there before the unit is started. It is written
// down before it is done.
func (s *start) prepare(ctx context.Context) error {
	s.record = newRecord(s.plan, s.options)
	s.record.Held, s.record.Again = s.holder != nil, s.again
	if clone := s.plan.Clone; clone != nil {
		if _, err := s.l.cfg.Images.Get(ctx, clone.To); err == nil {
			s.record.Cloned = "" // it is somebody's
			return fmt.Errorf("cannot make image '%s' of '%s': %w", clone.To, clone.From, unix.EEXIST)
		}
	}
	for _, f := range s.plan.Files {
		before, err := fileBefore(f)
		if err != nil {
			return err
		}
		s.record.Files = append(s.record.Files, before)
	}
	if err := s.record.save(s.l.cfg.Dir); err != nil {
		return err
	}
	s.undo = s.l.undoOf(s.record)
	if s.plan.Network != nil {
		if err := s.plan.Network.Reserve(); err != nil {
			return err
		}
	}
	if clone := s.plan.Clone; clone != nil {
		from, err := s.l.cfg.Images.Get(ctx, clone.From)
		if err == nil {
			err = s.l.cfg.Images.Clone(ctx, from, clone.To, false)
		}
		if errors.Is(err, unix.EEXIST) {
			s.record.Cloned = ""
			s.undo = s.l.undoOf(s.record)
		}
		if err != nil {
			return fmt.Errorf("cannot make image '%s' of '%s': %w", clone.To, clone.From, err)
		}
	}
	for _, f := range s.plan.Files {
		if err := f.write(); err != nil {
			return err
		}
	}
	if len(s.plan.Files) > 0 {
		return s.l.cfg.Units.Reload(ctx)
	}
	return nil
}

// undoOf returns how to take back what a record says that was to be done, as
// far as it was.
func (l *Launcher) undoOf(r record) (u undo) {
	if r.Network && l.cfg.Network != nil {
		u.add(func(context.Context) error { return l.cfg.Network.Release(r.Name) }) // once its unit has ended
	}
	if r.Cloned != "" {
		u.add(func(ctx context.Context) error { return l.removeClone(ctx, r.Cloned) })
	}
	if len(r.Files) > 0 {
		u.add(l.cfg.Units.Reload) // after the last of them
	}
	for _, f := range r.Files {
		u.add(func(context.Context) error { return f.restore() })
	}
	return u
}

func (l *Launcher) removeClone(ctx context.Context, name string) error {
	made, err := l.cfg.Images.Get(ctx, name)
	if errors.Is(err, machine1.ErrNoSuchImage) {
		return nil
	}
	if err == nil {
		err = l.cfg.Images.Remove(ctx, made, image.RemoveSettings)
	}
	if err != nil {
		return fmt.Errorf("cannot remove image '%s': %w", name, err)
	}
	return nil
}

// write puts the file in place, all of it or nothing.
func (f File) write() error {
	if err := os.MkdirAll(filepath.Dir(f.Path), 0o755); err != nil {
		return err
	}
	if err := wholefile.Write(f.Path, f.Content, f.Mode); err != nil {
		return fmt.Errorf("cannot write %s: %w", f.Path, err)
	}
	return nil
}

// A writtenFile is what was there before a file was written.
type writtenFile struct {
	File
	Existed bool
	MadeDir string `json:",omitempty"` // the topmost directory that was made for it
}

func fileBefore(f File) (writtenFile, error) {
	before := writtenFile{File: File{Path: f.Path}}
	content, err := os.ReadFile(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		if dir := filepath.Dir(f.Path); !exists(dir) {
			before.MadeDir = dir
		}
		return before, nil
	}
	if err != nil {
		return before, err
	}
	info, err := os.Stat(f.Path)
	if err != nil {
		return before, err
	}
	before.Existed, before.Content, before.Mode = true, content, info.Mode().Perm()
	return before, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// restore makes it as it was.
func (f writtenFile) restore() error {
	if f.Existed {
		return f.write()
	}
	if err := os.Remove(f.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if f.MadeDir != "" {
		os.Remove(f.MadeDir) // unless somebody has put something there
	}
	return nil
}
