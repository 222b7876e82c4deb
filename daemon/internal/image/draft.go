package image

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/filetree"
	"github.com/machd/machd/daemon/internal/imagelock"
)

// leftPrefix begins the name of all that sweep removes: of drafts, and of what
// package throwaway is about to remove. Nobody takes what begins so for an image,
// and what is left of it goes at the next boot at the latest.
//
// Reference: discover-image.c, image_name_is_valid; tmpfiles.d/systemd-nspawn.conf.
const leftPrefix = ".#machd-"

// draftPrefix begins the name of every draft. With the name of whatever image
// behind it, it is none of a machine's throw-away root.
const draftPrefix = leftPrefix + "draft-"

// maxDraftTries is how many names are tried: sweep may see a lock's file, and
// lock it, before it is locked by who made it.
const maxDraftTries = 16

// A draft is a name for what is no image, and belongs to none, yet or any more:
// for a copy until it is whole, and for what is being removed. While its lock is
// held somebody is at it. What has such a name and no lock was left by a process
// that was killed, and sweep removes it.
type draft struct {
	dir  *os.File // O_PATH, the draft's own
	name string
	lock *imagelock.Lock
}

// newDraft returns a draft in dir that is for something called name. There is
// nothing of that name yet.
func newDraft(dir *os.File, name string) (*draft, error) {
	const longest = 180 // bytes; leaves room for the rest, and for the lock's name
	if len(name) > longest {
		name = name[:longest]
	}
	own, err := reopenDir(dir)
	if err != nil {
		return nil, err
	}
	d := &draft{dir: own}
	err = unix.EBUSY
	for tries := 0; errors.Is(err, unix.EBUSY) && tries < maxDraftTries; tries++ {
		d.name = draftPrefix + strings.ToValidUTF8(name, "") + "." + token()
		d.lock, err = imagelock.Beside(own.Name(), d.name)
	}
	if err != nil {
		own.Close()
		return nil, err
	}
	return d, nil
}

// release ends the draft. What still has its name is left for sweep.
func (d *draft) release() {
	_ = d.lock.Release()
	d.dir.Close()
}

// become gives what the draft holds its name, which must be free.
func (d *draft) become(name string) error { return rename(d.dir, d.name, name) }

// take takes the name from what has it, and makes it the draft.
func (d *draft) take(name string) error { return rename(d.dir, name, d.name) }

func (d *draft) remove(ctx context.Context) error { return filetree.Remove(ctx, d.dir, d.name) }

// reopenDir returns another descriptor of a directory, to be closed apart.
func reopenDir(dir *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(dir.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot keep %s open: %w", dir.Name(), err)
	}
	return os.NewFile(uintptr(fd), dir.Name()), nil
}

// token is a few characters that nobody has used before.
func token() string { return strings.ToLower(rand.Text()[:16]) }
