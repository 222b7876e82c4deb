package launch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/machd/machd/daemon/internal/unit"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// A record is what the daemon that comes next has to know of a start, to go on
// with it or take it back. It is written before what it tells of is done.
type record struct {
	Name, Unit          string
	Existing, Boots, VM bool
	Notes               []string
	Options             machd.StartOptions
	Since               time.Time
	Cloned              string        `json:",omitempty"` // image that the start makes
	Files               []writtenFile `json:",omitempty"` // files it writes, as they were
	Image               string        `json:",omitempty"` // path of what the machine's root is made of, which nobody may change
	Network             bool          `json:",omitempty"` // what its network needs is reserved
	Held                bool          // by whoever runs the machine
	Asked               bool          // PID 1 was asked for the unit, or is being
	Before              [16]byte      `json:",omitzero"`  // the unit's last run before that, if it is the administrator's
	Registered          bool          `json:",omitempty"` // the machine was
	Again               bool          `json:",omitempty"` // it failed once, and was begun anew
}

func newRecord(p Plan, o machd.StartOptions) record {
	r := record{
		Name: p.Name, Unit: p.Unit, Existing: p.Existing, Boots: p.Boots, VM: p.VM, Notes: p.Notes,
		Options: o, Since: time.Now(), Network: p.Network != nil,
	}
	if p.Clone != nil {
		r.Cloned = p.Clone.To
	}
	if p.Throwaway != nil {
		r.Image = p.Throwaway.Image
	}
	return r
}

// save puts the record into dir, which it makes.
func (r record) save(dir string) error {
	content, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	// What was given to the machine in its environment is nobody's to read.
	return File{Path: filepath.Join(dir, r.Name), Content: content, Mode: 0o600}.write()
}

// remove removes the record, if it was saved.
func (r record) remove(dir string) {
	if r.Name != "" {
		os.Remove(filepath.Join(dir, r.Name))
	}
}

// records returns what an earlier daemon has left, and removes what makes no
// sense.
func (l *Launcher) records() (list []record) {
	entries, _ := os.ReadDir(l.cfg.Dir) // it need not be there
	for _, e := range entries {
		path := filepath.Join(l.cfg.Dir, e.Name())
		content, err := os.ReadFile(path)
		var r record
		if err == nil {
			err = json.Unmarshal(content, &r)
		}
		if err != nil || r.Name != e.Name() {
			l.cfg.Log.Warn("What is left of a start cannot be understood.", "path", path, "error", err)
			os.Remove(path)
			continue
		}
		list = append(list, r)
	}
	return list
}

// adopt goes on with the starts of an earlier daemon.
func (l *Launcher) adopt(ctx context.Context) {
	list := l.records()
	l.starts.mu.Lock()
	defer l.starts.mu.Unlock()
	for _, r := range list {
		l.cfg.Log.Info("Going on with a start.", "machine", r.Name, "unit", r.Unit)
		s := newStart(l, r.Name, r.Options)
		s.record, s.undo = r, l.undoOf(r)
		s.plan = Plan{Name: r.Name, Unit: r.Unit, Existing: r.Existing, Boots: r.Boots, VM: r.VM, Notes: r.Notes, Options: r.Options}
		s.result = Result{Unit: r.Unit, Note: notes(r.Notes...)}
		l.launch(ctx, s, s.resume)
	}
}

// resume goes on with a start that another daemon began. If nothing is left of
// it, that may well be why: systemd-nspawn gives up if the daemon goes that it
// registers with, or goes on without. So it is begun again, unless the machine
// was there already or somebody held it who is gone by now. A unit that is still
// there may have failed for another reason: that is tried once.
func (s *start) resume(ctx context.Context) error {
	if s.record.Asked { // or it would be somebody else's
		s.undoUnit()
	}
	mayBegin := !s.record.Held && !s.record.Registered
	run, err := s.lookUnit(ctx)
	gone := errors.Is(err, machine1.ErrNoSuchUnit)
	failed := s.plan.Existing && s.hasFailed(run) && !s.record.Again
	switch {
	case (gone || failed || !s.record.Asked) && mayBegin:
		return s.beginAgain(ctx, failed || s.record.Again)
	case gone || !s.record.Asked:
		return &overError{}
	}
	if err := s.hold(ctx); errors.Is(err, machine1.ErrNoSuchUnit) && mayBegin {
		return s.beginAgain(ctx, s.record.Again) // it has gone since
	} else if err != nil {
		return err
	}
	err = s.arrive(ctx)
	if !mayBegin || s.record.Again || !s.registrationFailed(err) {
		return err
	}
	s.letGo(ctx) // PID 1 makes no other unit of a name that somebody holds
	return s.beginAgain(ctx, true)
}

// lookUnit tells of the unit, which it does not load. PID 1 may be away for a
// moment, as we were.
func (s *start) lookUnit(ctx context.Context) (unit.Run, error) {
	for end := time.Now().Add(stopGrace); ; {
		run, err := s.l.cfg.Units.LastRun(ctx, s.plan.Unit)
		if !unheard(err) || time.Now().After(end) {
			return run, err
		}
		select {
		case <-time.After(lookAgain / 4):
		case <-ctx.Done():
			return run, ctx.Err()
		}
	}
}

// hasFailed reports whether a unit of the administrator's has failed, or has not
// been started at all.
func (s *start) hasFailed(run unit.Run) bool {
	return run.State == "failed" || run.State == "inactive" && !run.HasJob && run.Invocation == s.record.Before
}

// registrationFailed reports whether err may be that the machine was about to
// register when the daemon went.
func (s *start) registrationFailed(err error) bool {
	var over *overError
	return !s.record.Registered && (errors.Is(err, errUnregistered) || errors.As(err, &over) && over.run.State == "failed")
}

// beginAgain takes back what another daemon did and does it anew; again says
// that it may not be tried once more.
func (s *start) beginAgain(ctx context.Context, again bool) error {
	if err := s.undo.run(ctx); err != nil {
		return fmt.Errorf("cannot take back what was done before machd was restarted: %w", err)
	}
	s.undo, s.again = nil, again
	return s.begin(ctx)
}
