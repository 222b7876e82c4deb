package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// A Snapshot is an image as it once was, kept as a hidden image of the pool. Its
// time is microseconds since the epoch, its usage bytes, Unknown where nobody can
// tell.
type Snapshot struct {
	Image, Name string
	Created     uint64
	Usage       uint64
	Kind        string // of machd.Snapshot…: what it shares with others
}

// beforePrefix begins the names of snapshots that restoring others has made.
const beforePrefix = "before-restore-"

// CreateSnapshot keeps the image as it is, which may be in use: then it is as
// after a crash.
func (s *Store) CreateSnapshot(ctx context.Context, i Image, snapshot string) error {
	switch {
	case i.Host():
		return machine1.Errorf(unix.EOPNOTSUPP, "image %q can have no snapshots: it is this host", i.Name)
	case i.Hidden():
		return machine1.Errorf(unix.EOPNOTSUPP, "image %q can have no snapshots: it is hidden, and so kept as it is", i.Name)
	}
	name, err := snapshotImage(i.Name, snapshot)
	if err != nil {
		return err
	}
	// A directory needs no mark: hidden images are not written to.
	return s.copyOf(ctx, i, name, i.Type != TypeDirectory)
}

// copyOf adds a copy of the image to the pool, with what is beside it.
func (s *Store) copyOf(ctx context.Context, i Image, name string, readOnly bool) error {
	return s.make(ctx, name, readOnly,
		func(ctx context.Context, w Workshop) error { return w.CopyImage(ctx, i) },
		func(ctx context.Context, pool *os.File, made *copies) error {
			s.clearLeft(ctx, pool, name)
			return s.cloneBesideOf(i, pool, name, made)
		})
}

// RestoreSnapshot makes the image what it was when the snapshot was made, at
// once. What it was last becomes another snapshot, whose name it returns; an image
// that is gone is made again, and there is none. It is EBUSY while the image is in
// use.
func (s *Store) RestoreSnapshot(ctx context.Context, image, snapshot string) (before string, err error) {
	kept, err := s.snapshot(ctx, image, snapshot)
	if err != nil {
		return "", err
	}
	now, err := s.Get(ctx, image)
	if errors.Is(err, machine1.ErrNoSuchImage) {
		return "", s.copyOf(ctx, kept, image, false)
	}
	if err != nil {
		return "", err
	}
	h, err := s.hold(now)
	if err != nil {
		return "", err
	}
	defer h.release()
	if h.base != kept.fileName(now.Name) {
		return "", machine1.Errorf(unix.EOPNOTSUPP, "it is found by a link, as a version of several, or is of another type than its snapshot: rename %s first", now.Path)
	}
	before = beforePrefix + time.Now().UTC().Format(beforeTime)
	name, err := snapshotImage(image, before)
	if err != nil {
		return "", err
	}
	// The copy has the name of what it is changed with: at no time is there
	// anything that is nobody's, or no image.
	if err := s.copyOf(ctx, kept, name, false); err != nil {
		return "", err
	}
	switch err := s.swap(h, now, kept.fileName(name), name); {
	case errors.Is(err, errHalfDone):
		return "", fmt.Errorf("%w; nothing is removed: what was exchanged is in snapshot %q", err, before)
	case err != nil:
		copied, getErr := s.Get(ctx, name)
		if getErr == nil {
			getErr = s.Remove(context.WithoutCancel(ctx), copied, RemoveSettings)
		}
		return "", errors.Join(err, getErr)
	}
	return before, nil
}

// beforeTime is how their names tell when.
const beforeTime = "20060102T150405.000Z"

// swap gives the image that is held the content of another one of the pool, and
// that one the content of it, with what is beside them: all of that or, unless
// the error is errHalfDone, nothing.
func (s *Store) swap(h *held, i Image, otherBase, otherName string) (err error) {
	pool, err := openDir(s.cfg.Pool)
	if err != nil {
		return err
	}
	defer pool.Close()
	var done undo
	defer done.unless(&err)
	tighten, err := h.loosen()
	if err != nil {
		return err
	}
	done.add(tighten)
	content := func() error {
		return unix.Renameat2(int(h.dir.Fd()), h.base, int(pool.Fd()), otherBase, unix.RENAME_EXCHANGE)
	}
	if err := content(); err != nil {
		return fmt.Errorf("cannot put the snapshot in the place of %s: %w", i.Path, err)
	}
	done.add(content)
	for _, suffix := range besideSuffixes {
		beside := func() error { return exchange(h.dir, i.Name+suffix, pool, otherName+suffix) }
		if err := beside(); err != nil {
			return fmt.Errorf("cannot restore %s: %w", i.Name+suffix, err)
		}
		done.add(beside)
	}
	if !i.ReadOnly {
		return nil
	}
	file, err := h.open(unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer file.Close()
	return mark(file, i.Type, true)
}

// exchange exchanges two files, either of which may be missing. Done once more it
// takes itself back.
func exchange(dir *os.File, name string, otherDir *os.File, other string) error {
	err := unix.Renameat2(int(dir.Fd()), name, int(otherDir.Fd()), other, unix.RENAME_EXCHANGE)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err = unix.Renameat2(int(dir.Fd()), name, int(otherDir.Fd()), other, unix.RENAME_NOREPLACE)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err = unix.Renameat2(int(otherDir.Fd()), other, int(dir.Fd()), name, unix.RENAME_NOREPLACE)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// RemoveSnapshot removes a snapshot.
func (s *Store) RemoveSnapshot(ctx context.Context, image, snapshot string) error {
	kept, err := s.snapshot(ctx, image, snapshot)
	if err != nil {
		return err
	}
	return s.Remove(ctx, kept, RemoveSettings)
}

// snapshot returns a snapshot as an image.
func (s *Store) snapshot(ctx context.Context, image, snapshot string) (Image, error) {
	name, err := snapshotImage(image, snapshot)
	if err != nil {
		return Image{}, err
	}
	kept, err := s.Get(ctx, name)
	if errors.Is(err, machine1.ErrNoSuchImage) {
		return Image{}, machine1.Errorf(machine1.ErrNoSuchImage, "There is no snapshot '%s' of '%s'", snapshot, image)
	}
	return kept, err
}

// Snapshots returns the snapshots of an image, or of all if it is "". They are
// sorted by image and by name.
func (s *Store) Snapshots(ctx context.Context, image string) ([]Snapshot, error) {
	images, err := s.List(ctx)
	if err != nil {
		return nil, err
	}
	var snapshots []Snapshot
	for _, i := range images {
		of, name, ok := machd.CutSnapshot(i.Name)
		if !ok || image != "" && of != image {
			continue
		}
		snapshot, err := within(ctx, s, func(ctx context.Context) (Snapshot, error) { return describe(ctx, i, of, name), nil })
		if err != nil { // it takes too long
			snapshot = Snapshot{Image: of, Name: name, Created: i.Created, Usage: Unknown, Kind: machd.SnapshotCopy}
		}
		snapshots = append(snapshots, snapshot)
	}
	return snapshots, nil
}

func describe(ctx context.Context, i Image, of, name string) Snapshot {
	s := Snapshot{Image: of, Name: name, Created: i.Created, Usage: i.Usage, Kind: machd.SnapshotCopy}
	switch {
	case i.Type == TypeSubvolume:
		s.Kind = machd.SnapshotBtrfs
	case sharesContent(ctx, i.Path):
		s.Kind = machd.SnapshotReflink
	}
	if s.Usage == Unknown {
		if usage, err := DiskUsage(ctx, i.Path); err == nil {
			s.Usage = usage
		}
	}
	if at, ok := strings.CutPrefix(name, beforePrefix); ok {
		if t, err := time.Parse(beforeTime, at); err == nil {
			s.Created = uint64(t.UnixMicro())
		}
	}
	return s
}

// snapshotImage returns the name of the image that a snapshot is.
func snapshotImage(image, snapshot string) (string, error) {
	if !machd.ValidSnapshotName(snapshot) {
		return "", machine1.Errorf(machine1.ErrInvalidArgs, "'%s' cannot be a snapshot's name: letters, digits and -_.+: make one", snapshot)
	}
	name := machd.SnapshotImage(image, snapshot)
	if !machine1.ValidImageName(name) {
		return "", machine1.Errorf(machine1.ErrInvalidArgs, "'%s' is too long for a snapshot's name", snapshot)
	}
	return name, nil
}

// cloneBesideOf copies what belongs to the image and is beside it: settings that
// an administrator wrote below /etc stay as they are, whatever becomes of the
// image.
func (s *Store) cloneBesideOf(i Image, pool *os.File, newName string, made *copies) error {
	beside, err := openDir(filepath.Dir(i.Path))
	if err != nil {
		return err
	}
	defer beside.Close()
	for _, suffix := range besideSuffixes {
		b := belonging{dir: beside, suffix: suffix}
		if !b.exists(i.Name) {
			continue
		}
		if err := made.add(b, i.Name, pool, newName, false); err != nil {
			return err
		}
	}
	return nil
}

// clearLeft removes what looks as if it belonged to the snapshot to be that the
// image called name is: a process that was killed has left it, and nobody else
// writes files of such names. What is beside another image's place may be
// somebody's. So is what can be a snapshot itself: that of "a" called "b.nspawn"
// has the name of settings of the one called "b".
func (s *Store) clearLeft(ctx context.Context, pool *os.File, name string) {
	if _, _, ok := machd.CutSnapshot(name); !ok {
		return
	}
	for _, suffix := range besideSuffixes {
		if _, err := s.Get(ctx, name+suffix); errors.Is(err, machine1.ErrNoSuchImage) {
			_ = unix.Unlinkat(int(pool.Fd()), name+suffix, 0) // no directory; what stays is in the way
		}
	}
}

func isSnapshot(i Image) bool {
	_, _, ok := machd.CutSnapshot(i.Name)
	return ok
}
