package image

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/filetree"
	"github.com/machd/machd/daemon/internal/imagelock"
	"github.com/machd/machd/daemon/internal/throwaway"
)

// sweepLimit is how long the removal of what is left in one directory may take.
const sweepLimit = time.Hour

// Run removes what killed processes have left of copies and removals, at once
// and after every change, until ctx ends. What cannot be removed is left for the
// next time.
func (s *Store) Run(ctx context.Context) error {
	places := slices.Concat(s.cfg.Dirs, []string{s.cfg.Pool}, s.cfg.Settings)
	for {
		for _, dir := range places {
			_, _ = withinLimit(ctx, s, sweepLimit, func(ctx context.Context) (struct{}, error) {
				return struct{}{}, sweep(ctx, dir)
			})
		}
		select {
		case <-ctx.Done():
			return nil
		case dir := <-s.changed:
			if !slices.Contains(places, dir) { // an image that is found by a link
				places = append(places[:len(places):len(places)], dir)
			}
		}
	}
}

// sweepAfter has Run look at dir, where something was changed, and at all others
// soon.
func (s *Store) sweepAfter(dir string) {
	select {
	case s.changed <- dir:
	default: // it is going to look anyway
	}
}

// sweep removes the drafts in a directory that nobody is at.
func sweep(ctx context.Context, path string) error {
	dir, err := openSearched(path, unix.O_RDONLY)
	if dir == nil {
		return err
	}
	defer dir.Close()
	left := map[string]bool{}
	err = readNames(ctx, dir, func(e fs.DirEntry) {
		name := e.Name()
		if locked, ok := imagelock.CutBeside(name); ok && strings.HasPrefix(locked, leftPrefix) {
			name = locked
		}
		if _, runs := throwaway.IsDir(name); runs {
			return // a unit's, while that lives
		}
		if strings.HasPrefix(name, leftPrefix) {
			left[name] = true
		}
	})
	for name := range left {
		lock, lockErr := imagelock.Beside(path, name)
		if lockErr != nil { // somebody is at it
			continue
		}
		removeErr := filetree.Remove(ctx, dir, name)
		if errors.Is(removeErr, fs.ErrNotExist) { // the lock alone was left
			removeErr = nil
		}
		err = errors.Join(err, removeErr, lock.Release())
	}
	return err
}
