package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/imagelock"
	"github.com/machd/machd/pkg/machine1"
)

// A held image is about to be changed: nobody else uses it, and its directory
// is open.
type held struct {
	dir  *os.File // O_PATH
	base string   // its name there
	lock *imagelock.Lock
}

// hold takes the image for itself. It is EROFS if the image is the operating
// system's own, and EBUSY while it is in use.
func (s *Store) hold(i Image) (*held, error) {
	if i.Vendor() || i.Host() {
		return nil, errReadOnly(i)
	}
	lock, err := imagelock.Path(s.cfg.LockDir, i.Path, true)
	if errors.Is(err, unix.EBUSY) {
		return nil, errInUse(i)
	}
	if err != nil {
		return nil, err
	}
	dir, err := openDir(filepath.Dir(i.Path))
	if err != nil {
		lock.Release()
		return nil, err
	}
	return &held{dir, filepath.Base(i.Path), lock}, nil
}

// release ends hold. That a lock's file stays behind hurts nobody.
func (h *held) release() {
	h.dir.Close()
	_ = h.lock.Release()
}

func (h *held) open(flags int) (*os.File, error) {
	fd, err := unix.Openat(int(h.dir.Fd()), h.base, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: filepath.Join(h.dir.Name(), h.base), Err: err}
	}
	return os.NewFile(uintptr(fd), h.base), nil
}

func openDir(path string) (*os.File, error) {
	return os.OpenFile(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

func errReadOnly(i Image) error {
	if i.Hidden() && !i.Host() {
		return machine1.Errorf(unix.EROFS, "image %q is hidden, and so kept as it is: a clone of it can be changed", i.Name)
	}
	return machine1.Errorf(unix.EROFS, "image %q belongs to the operating system, which is changed by its package manager only", i.Name)
}

func errInUse(i Image) error {
	return machine1.Errorf(unix.EBUSY, "image %q is in use: stop the machine that runs from it, or wait for what is being done to it", i.Name)
}

func errType(i Image, what string) error {
	return machine1.Errorf(unix.EOPNOTSUPP, "image %q cannot be %s: it is of type %s", i.Name, what, i.Type)
}

// claim takes a name for an image to be. It is EEXIST if there is an image of
// that name.
func (s *Store) claim(ctx context.Context, name string) (*imagelock.Lock, error) {
	if !machine1.ValidImageName(name) {
		return nil, machine1.Errorf(machine1.ErrInvalidArgs, "Image name '%s' is invalid.", name)
	}
	lock, err := imagelock.Name(s.cfg.LockDir, name)
	if errors.Is(err, unix.EBUSY) {
		return nil, machine1.Errorf(unix.EBUSY, "image name %q is being used by somebody else", name)
	}
	if err != nil {
		return nil, err
	}
	_, err = s.Get(ctx, name)
	switch {
	case errors.Is(err, machine1.ErrNoSuchImage):
		return lock, nil
	case err == nil:
		err = machine1.Errorf(unix.EEXIST, "there is an image %q already", name)
	}
	_ = lock.Release()
	return nil, err
}

// rename gives what is held another name.
func (h *held) rename(newBase string) error {
	err := rename(h.dir, h.base, newBase)
	if err == nil {
		h.base = newBase
	}
	return err
}

// rename gives name in dir another name, which must be free.
func rename(dir *os.File, name, newName string) error {
	err := unix.Renameat2(int(dir.Fd()), name, int(dir.Fd()), newName, unix.RENAME_NOREPLACE)
	if err != nil {
		return fmt.Errorf("cannot rename %s to %s: %w", filepath.Join(dir.Name(), name), newName, err)
	}
	return nil
}

// An undo takes back, in reverse order, what was done before something failed.
type undo []func() error

func (u *undo) add(step func() error) { *u = append(*u, step) }

// errHalfDone is in an error after which things are neither as they were nor as
// they should be.
var errHalfDone = errors.New("cannot take back what was done before")

// unless runs the steps if *err is set, and adds to it errHalfDone and what they
// could not take back.
func (u *undo) unless(err *error) {
	if *err == nil {
		return
	}
	for i := len(*u) - 1; i >= 0; i-- {
		if failed := (*u)[i](); failed != nil {
			*err = fmt.Errorf("%w; and %w: %w", *err, errHalfDone, failed)
		}
	}
}

// fileName is what an image of that name and of the type of i is called.
func (i Image) fileName(name string) string {
	if i.Type == TypeRaw {
		return name + rawSuffix
	}
	return name
}
