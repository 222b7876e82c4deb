package launch

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/btrfs"
	"github.com/machd/machd/daemon/internal/imagelock"
	"github.com/machd/machd/daemon/internal/throwaway"
	"github.com/machd/machd/pkg/machine1"
)

// occupy has nobody change the image as long as the machine reads it. A snapshot
// does not.
func (s *start) occupy() error {
	from := s.plan.Throwaway
	if from == nil || isSubvolume(from.Image) {
		return nil
	}
	lock, err := imagelock.Path(s.l.cfg.LockDir, from.Image, false)
	if errors.Is(err, unix.EBUSY) {
		return machine1.Errorf(unix.EBUSY, "Cannot start '%s' on what is at %s: somebody else uses or changes that; "+
			"it can be read when that has ended, and a clone of it at once", s.name, from.Image)
	}
	if err != nil {
		return fmt.Errorf("cannot start '%s': %w", s.name, err)
	}
	s.inUse = lock
	return nil
}

// vacate lets the image go when the machine is over.
func (s *start) vacate(ctx context.Context) {
	if s.inUse != nil {
		s.l.vacate(ctx, s.inUse, s.plan.Unit)
	}
}

// vacate gives up the lock of an image when the unit is over.
func (l *Launcher) vacate(ctx context.Context, lock *imagelock.Lock, unit string) {
	_, _ = l.awaitOver(ctx, unit, math.MaxInt64)
	if err := lock.Release(); err != nil {
		l.cfg.Log.Warn("Cannot give up the lock of an image.", "unit", unit, "error", err)
	}
}

// restored is what Restore has found, for Run.
type restored struct {
	left  []throwaway.Place
	inUse map[string]*imagelock.Lock // on images, by the unit that reads one
}

// restoreLimit is how long PID 1 may take to tell of one unit.
const restoreLimit = 5 * time.Second

// Restore looks for the roots of an earlier daemon's machines, or of an earlier
// boot's, and has nobody change the images of those that live. It must be over
// before anybody can ask for such a change. Run removes what is left of the
// others.
func (l *Launcher) Restore(ctx context.Context) {
	l.restored.inUse = map[string]*imagelock.Lock{}
	entries, _ := os.ReadDir(l.cfg.Pool) // it need not be there
	for _, e := range entries {
		name, ok := throwaway.IsDir(e.Name())
		if !ok {
			continue
		}
		place, unit := throwaway.Place{Pool: l.cfg.Pool, Machine: name}, transientUnit(name)
		if l.hasEnded(ctx, unit) {
			l.restored.left = append(l.restored.left, place)
		} else if image, err := place.Image(); err == nil {
			l.occupyAgain(image, unit)
		}
	}
	for _, r := range l.records() { // the unit may have yet to make the root
		if r.Image != "" && l.restored.inUse[r.Unit] == nil {
			l.occupyAgain(r.Image, r.Unit)
		}
	}
}

// hasEnded takes a unit that PID 1 does not tell of for one that lives.
func (l *Launcher) hasEnded(ctx context.Context, unit string) bool {
	ctx, cancel := context.WithTimeout(ctx, restoreLimit)
	defer cancel()
	over, err := l.awaitOver(ctx, unit, 0)
	if err != nil {
		l.cfg.Log.Warn("Cannot tell whether a root that was to be thrown away is in use.", "unit", unit, "error", err)
	}
	return over && err == nil
}

// settleRestored removes what is left, and gives the images up in time.
func (l *Launcher) settleRestored(ctx context.Context) {
	for _, place := range l.restored.left {
		l.starts.wg.Go(func() { l.discard(ctx, place) })
	}
	for unit, lock := range l.restored.inUse {
		l.starts.wg.Go(func() { l.vacate(ctx, lock, unit) })
	}
	l.restored = restored{}
}

func (l *Launcher) discard(ctx context.Context, place throwaway.Place) {
	if err := place.Discard(ctx); err != nil && ctx.Err() == nil {
		l.cfg.Log.Warn("Cannot remove a root that was to be thrown away.", "path", place.Dir(), "error", err)
	}
}

// occupyAgain locks an image that a machine has been reading since before us.
func (l *Launcher) occupyAgain(from, unit string) {
	if isSubvolume(from) {
		return
	}
	lock, err := imagelock.Path(l.cfg.LockDir, from, false)
	if err != nil {
		l.cfg.Log.Warn("Cannot have nobody change an image in use.", "image", from, "unit", unit, "error", err)
		return
	}
	l.restored.inUse[unit] = lock
}

func isSubvolume(path string) bool {
	dir, err := os.Open(path)
	if err != nil {
		return false
	}
	defer dir.Close()
	is, err := btrfs.IsSubvolume(dir)
	return err == nil && is
}
