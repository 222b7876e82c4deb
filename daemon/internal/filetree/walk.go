package filetree

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// walk goes through the tree below top, depth first. It makes directories and
// hands out everything else. It gives top back, and fails c with its error.
func (c *copier) walk(ctx context.Context, top *directory) (err error) {
	at := top
	defer func() {
		if err != nil {
			c.fail(err) // before anything that was given up would be completed
		}
		for ; at.parent != nil; at = at.parent {
			c.release(at)
		}
	}()
	var files []entry
	for at.parent != nil {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		e, ok, err := at.list.next()
		if err != nil {
			return at.parent.failed(at.name, err)
		}
		isDirectory := ok && c.isDirectory(at, e)
		if ok && !isDirectory {
			if files == nil {
				files = make([]entry, 0, batchSize)
			}
			files = append(files, e)
			if len(files) < batchSize {
				continue
			}
		}
		if len(files) > 0 {
			c.hand(at, files)
			files = nil
		}
		switch {
		case !ok:
			at, err = c.leave(at)
		case isDirectory:
			at, err = c.descend(at, e.name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// leave returns where the walk goes on after at.
func (c *copier) leave(at *directory) (*directory, error) {
	parent := at.parent
	if err := c.reopen(parent, at); err != nil {
		return at, err
	}
	c.saved -= at.saved
	c.release(at)
	return parent, nil
}

// descend returns where the walk goes on after name, which may be gone.
func (c *copier) descend(at *directory, name string) (*directory, error) {
	below, err := c.enter(at, name, name, nil)
	if below == nil {
		return at, err
	}
	return below, nil
}

func (c *copier) isDirectory(in *directory, e entry) bool {
	if e.kind != unix.DT_UNKNOWN {
		return e.kind == unix.DT_DIR
	}
	var stat unix.Stat_t
	err := unix.Fstatat(in.source, e.name, &stat, unix.AT_SYMLINK_NOFOLLOW)
	return err == nil && typeOf(&stat) == unix.S_IFDIR
}

// hand gives files to the workers.
func (c *copier) hand(in *directory, files []entry) {
	in.users.Add(1)
	c.batches.Add(1)
	c.queue.put(batch{in, files})
}

// enter opens the directory name and makes its copy. It returns nil if the
// directory is gone. The file to is that of in.copied, and needed at the top
// only.
func (c *copier) enter(in *directory, name, newName string, to *os.File) (*directory, error) {
	if in.depth == maxDepth {
		return nil, in.failed(name, errTooDeep)
	}
	if err := c.makeRoom(in); err != nil {
		return nil, err
	}
	d := &directory{parent: in, name: name, newName: newName, depth: in.depth + 1, source: -1, copied: -1}
	err := d.openSource()
	if err == unix.ENOENT && in.parent != nil {
		return nil, nil
	}
	if err == nil && d.sourceID == c.target {
		err = errInside
	}
	if err == nil && c.o.SameMount && in.parent != nil {
		d.list.ended, err = isMountPoint(d.source)
	}
	if err == nil {
		err = c.makeCopy(d, to)
	}
	if err == nil && d.sourceID == c.target { // known only now
		err = errInside
	}
	if err != nil {
		d.close()
		return nil, in.failed(name, err)
	}
	d.users.Store(1)
	in.users.Add(1)
	c.open.Add(1)
	return d, nil
}

func (d *directory) openSource() (err error) {
	d.source, err = openAndStat(d.parent.source, d.name, openDir, &d.stat)
	if err != nil {
		return err
	}
	d.sourceID, d.list.fd = idOf(&d.stat), d.source
	return nil
}

// makeCopy makes and opens d's copy.
func (c *copier) makeCopy(d *directory, to *os.File) error {
	var err error
	if to != nil && c.o.MakeRoot != nil {
		err = c.makeRoot(d, to)
	} else {
		err = unix.Mkdirat(d.parent.copied, d.newName, 0o700)
	}
	if err == unix.EEXIST && c.o.Merge {
		d.kept, err = true, nil
	}
	if err != nil {
		return err
	}
	open := openMade
	if d.kept {
		open = openAndStat
	}
	d.copied, err = open(d.parent.copied, d.newName, openDir, &d.made)
	if err != nil {
		return err
	}
	d.copiedID = idOf(&d.made)
	if to != nil {
		c.target = d.copiedID
	}
	if d.kept {
		return c.mayFill(&d.made)
	}
	err = c.checkNew(d)
	if to != nil {
		c.made = !errors.Is(err, errMoved) // else it is not ours to take away
	}
	if !errors.Is(err, errMoved) {
		c.note(d.copiedID)
	}
	return err
}

func (c *copier) mayFill(stat *unix.Stat_t) error {
	if c.o.MayFill == nil || c.o.MayFill(stat.Uid, stat.Gid, stat.Mode) {
		return nil
	}
	return errForeign
}

// isOurs reports whether what was found in the place of what we have just made
// may be that. In a place of our own nobody else could have put it there.
func (c *copier) isOurs(stat *unix.Stat_t) bool { return c.o.MayFill == nil || stat.Uid == c.maker }

// makeRoot lets the caller make the top directory, under a name that is free.
func (c *copier) makeRoot(d *directory, to *os.File) error {
	var stat unix.Stat_t
	err := unix.Fstatat(d.parent.copied, d.newName, &stat, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil {
		return unix.EEXIST
	}
	if err != unix.ENOENT {
		return err
	}
	return c.o.MakeRoot(to, d.newName)
}

// checkNew makes sure that the directory just made is the one that was opened:
// whoever owns the place could have put another one there, to be filled and
// given away. One without content is worth nothing.
func (c *copier) checkNew(d *directory) error {
	empty, err := isEmpty(d.copied)
	if err != nil {
		return err
	}
	if !empty || !c.isOurs(&d.made) {
		return errMoved
	}
	if err := unix.Fchmod(d.copied, 0o700); err != nil {
		return err
	}
	d.made.Mode = unix.S_IFDIR | 0o700
	if c.o.XAttrs == AllXAttrs {
		return dropAccessLists(d.copied)
	}
	return nil
}
