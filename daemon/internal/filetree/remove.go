package filetree

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/progress"
)

// maxRounds is how often a directory is read again because something is in it
// after all: somebody adds to it, or the file system left names out.
const maxRounds = 16

var errMountPoint = fmt.Errorf("it is a mount point: %w", unix.EBUSY)

// A doomed directory is one that is being removed.
type doomed struct {
	parent *doomed // nil: that Remove was given
	name   string
	fd     int // -1 while it is given up
	id     fileID
	list   list
	saved  int // of maxSaved, bytes
	rounds int
}

// A remover is one call of Remove.
type remover struct {
	fds     descriptors
	only    *made // what is removed; nil: all
	at      *doomed
	open    int // directories
	saved   int // of maxSaved, bytes
	meter   *progress.Meter
	begun   time.Time
	counted bool // what is left, for meter
}

// Remove removes name in dir, which may be open with O_PATH, and all below it:
// files that are marked immutable or append-only, and btrfs subvolumes too.
// Mount points are left and are an error that wraps EBUSY. Errors wrap the
// errno and name the path in the tree, starting with name. When it fails or
// ctx ends, what is removed by then is gone. What is removed counts by the meter
// of ctx.
func Remove(ctx context.Context, dir *os.File, name string) error {
	return remove(ctx, dir, name, nil)
}

// remove is Remove, of what is in only alone if that is not nil: what else is
// there stays, mount points too, and so do the directories it is in.
func remove(ctx context.Context, dir *os.File, name string, only *made) error {
	if err := checkName(name); err != nil {
		return err
	}
	fds, err := openDescriptors()
	if err != nil {
		return err
	}
	defer fds.close()
	defer runtime.KeepAlive(dir)
	root := &doomed{fd: int(dir.Fd())}
	r := &remover{fds: fds, only: only, at: root, meter: progress.Of(ctx), begun: time.Now()}
	defer r.close()
	r.meter.Expect(0, 0)
	failing, err := name, r.removeEntry(ctx, entry{name: name})
	for err == nil && r.at != root {
		failing, err = r.step(ctx)
	}
	if err != nil {
		return fmt.Errorf("cannot remove %s: %w", shown(failing), err)
	}
	return nil
}

func (r *remover) close() {
	for ; r.at.parent != nil; r.at = r.at.parent {
		r.at.close()
	}
}

func (d *doomed) close() {
	if d.fd >= 0 {
		unix.Close(d.fd)
		d.list.drop()
		d.fd, d.list = -1, list{fd: -1}
	}
}

// path names an entry of d, starting with the top.
func (d *doomed) path(name string) string {
	// Only the end of a long path is shown.
	for ; d.parent != nil && len(name) <= maxShown; d = d.parent {
		name = d.name + "/" + name
	}
	return name
}

// expect counts what is left once the removal has taken more than a moment, and
// tells the meter. It does so by turns with the removal: what is counted while
// it goes is counted wrong.
func (r *remover) expect(ctx context.Context) {
	if r.meter == nil || r.counted || time.Since(r.begun) < patience {
		return
	}
	r.counted = true
	top := r.at
	for top.parent.parent != nil {
		top = top.parent
	}
	fd, err := openAt(top.parent.fd, top.name, openDir)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	t := &tally{sameMount: true}
	if t.count(ctx, fd, 1) == nil {
		r.meter.Expect(0, r.meter.Report().Files+t.files)
	}
}

// step removes one entry of the directory that r is at, or that directory when
// it has none. It returns the path of what it could not remove.
func (r *remover) step(ctx context.Context) (failing string, err error) {
	r.expect(ctx)
	d := r.at
	e, ok, err := d.list.next()
	if err == nil {
		err = context.Cause(ctx)
	}
	if err == nil && ok {
		err = r.removeEntry(ctx, e)
		if err == nil || err == unix.ENOENT { // somebody else was faster
			return "", nil
		}
		return d.path(e.name), err
	}
	if err == nil {
		err = r.leave()
	}
	if err != nil {
		return d.parent.path(d.name), err
	}
	return "", nil
}

// removeEntry removes e, or goes into it.
func (r *remover) removeEntry(ctx context.Context, e entry) error {
	if e.kind == unix.DT_DIR {
		return r.enter(ctx, e.name)
	}
	if r.only != nil && r.isSpared(e.name) {
		return nil
	}
	err := r.unlink(r.at.fd, e.name, 0)
	if err == unix.EISDIR {
		return r.enter(ctx, e.name)
	}
	if err == nil {
		r.meter.Add(0, 1)
	}
	return err
}

// isSpared reports whether name is none of the files to be removed.
func (r *remover) isSpared(name string) bool {
	var stat unix.Stat_t
	err := unix.Fstatat(r.at.fd, name, &stat, unix.AT_SYMLINK_NOFOLLOW)
	return err != nil || !r.only.has(idOf(&stat))
}

// unlink is unlinkat, also for what is marked.
func (r *remover) unlink(dir int, name string, flags int) error {
	err := unix.Unlinkat(dir, name, flags)
	if (err == unix.EPERM || err == unix.EACCES) && r.unmark(dir, name) {
		err = unix.Unlinkat(dir, name, flags)
	}
	return err
}

// enter goes into the directory name.
func (r *remover) enter(ctx context.Context, name string) error {
	if r.open >= maxOpen {
		if err := r.giveUp(); err != nil {
			return err
		}
	}
	var stat unix.Stat_t
	fd, err := openAndStat(r.at.fd, name, openDir, &stat)
	if r.only != nil && (err == unix.ENOTDIR || err == unix.ELOOP) {
		return nil // replaced meanwhile
	}
	if err == nil && r.only != nil && !r.only.has(idOf(&stat)) {
		unix.Close(fd)
		return nil
	}
	if err == unix.ENOTDIR || err == unix.ELOOP {
		return unix.Unlinkat(r.at.fd, name, 0) // replaced meanwhile
	}
	if err != nil {
		return err
	}
	// What is mounted belongs to somebody else.
	mounted, err := isMountPoint(fd)
	if err == nil && mounted && r.only != nil {
		unix.Close(fd)
		return nil
	}
	if err == nil && mounted {
		err = errMountPoint
	}
	if err != nil {
		unix.Close(fd)
		return err
	}
	if isSubvolume(fd, &stat) {
		unix.Close(fd)
		return r.removeSubvolume(ctx, name)
	}
	d := &doomed{parent: r.at, name: name, fd: fd, id: idOf(&stat)}
	d.list.fd = fd
	r.at = d
	r.open++
	return nil
}

// giveUp closes the upper half of the directories that r is in. What is left in
// one is all to remove, and read again, unless some of it stays.
func (r *remover) giveUp() error {
	var held []*doomed
	for d := r.at.parent; d != nil && d.parent != nil && d.fd >= 0; d = d.parent {
		held = append(held, d)
	}
	for _, d := range held[len(held)/2:] {
		if r.only != nil {
			used, err := d.list.save(maxSaved - r.saved)
			r.saved += used
			d.saved += used
			if err != nil {
				return err
			}
			unix.Close(d.fd)
			d.fd = -1
		}
		d.close()
		r.open--
	}
	return nil
}

// leave removes the directory that r is at, which should be empty, and goes
// back to its parent.
func (r *remover) leave() error {
	d, parent := r.at, r.at.parent
	if parent.fd < 0 {
		fd, err := openSame(d.fd, "..", openDir, parent.id)
		if err != nil {
			return err
		}
		parent.fd, parent.list = fd, list{fd: fd, saved: parent.list.saved, ended: parent.list.ended}
		r.open++
	}
	r.saved -= d.saved
	err := r.unlink(parent.fd, d.name, unix.AT_REMOVEDIR)
	if r.only != nil && (err == unix.ENOTEMPTY || err == unix.EEXIST) {
		err = nil // it has something of somebody else's
	}
	if (err == unix.ENOTEMPTY || err == unix.EEXIST) && d.rounds < maxRounds {
		d.rounds++
		if _, err := unix.Seek(d.fd, 0, 0); err != nil {
			return err
		}
		d.list = list{fd: d.fd}
		return nil
	}
	if err != nil && err != unix.ENOENT {
		return err
	}
	d.close()
	r.open--
	r.at = parent
	return nil
}
