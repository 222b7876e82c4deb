package image

import (
	"context"
	"os"
	"path/filepath"
	"strings"
)

// Remove removes the image and what belongs to it; keep says what becomes of
// its settings. It is EBUSY while the image is in use and EROFS if it is the
// operating system's. All of it has lost its name before any of it goes, so that
// no half of it is ever started; it gets its names back if the image cannot be
// removed. If ctx ends over it, what is left is removed later.
//
// Reference: discover-image.c, image_remove.
func (s *Store) Remove(ctx context.Context, i Image, keep Settings) (err error) {
	h, err := s.hold(i)
	if err != nil {
		return err
	}
	defer s.sweepAfter(filepath.Dir(i.Path))
	defer h.release()
	a := &aside{}
	defer a.release()
	defer a.undo.unless(&err)
	// A device stays; what belongs to it goes.
	if i.Type == TypeBlock && strings.HasPrefix(i.Path, "/dev/") {
		s.setFilesAside(ctx, a, h, i, keep)
		a.remove(ctx)
		return nil
	}
	restore, err := h.loosen()
	if err != nil {
		return err
	}
	a.undo.add(restore)
	if err := a.take(h.dir, h.base); err != nil {
		return err
	}
	image := a.drafts[0]
	s.setFilesAside(ctx, a, h, i, keep)
	if err := image.remove(ctx); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			a.undo = nil // for sweep
			return cause
		}
		return err
	}
	a.remove(ctx)
	return nil
}

// aside is what has lost its names in order to be removed.
type aside struct {
	drafts []*draft
	undo   undo // gives the names back
}

// take takes its name from what dir has by it.
func (a *aside) take(dir *os.File, name string) error {
	d, err := newDraft(dir, name)
	if err != nil {
		return err
	}
	a.drafts = append(a.drafts, d)
	if err := d.take(name); err != nil {
		return err
	}
	a.undo.add(func() error { return d.become(name) })
	return nil
}

// remove removes all of it. What cannot be removed is left for sweep.
func (a *aside) remove(ctx context.Context) {
	for _, d := range a.drafts {
		_ = d.remove(ctx)
	}
}

func (a *aside) release() {
	for _, d := range a.drafts {
		d.release()
	}
}
