package filetree

import (
	"context"
	"crypto/rand"

	"golang.org/x/sys/unix"
)

// A worker copies everything but directories. It belongs to one goroutine.
type worker struct {
	c      *copier
	small  []byte // content at a time
	large  []byte // the same for large files, made when needed
	ways   ways
	target []byte // of a symbolic link
}

func newWorker(c *copier) *worker { return &worker{c: c, small: make([]byte, smallFile)} }

func (w *worker) batch(ctx context.Context, b batch) {
	defer w.c.drop(b)
	for _, e := range b.entries {
		if w.c.over.Load() {
			return
		}
		if err := w.copy(ctx, b.in, e.name, e.name); err != nil {
			w.c.fail(err)
			return
		}
	}
}

// copy copies one file of any type but a directory.
func (w *worker) copy(ctx context.Context, in *directory, name, newName string) error {
	var stat unix.Stat_t
	node, err := openAndStat(in.source, name, openNode, &stat)
	if err == unix.ENOENT && in.parent != nil {
		return nil // it went while the directory was read
	}
	if err != nil {
		return in.failed(name, err)
	}
	defer unix.Close(node)
	if w.c.o.SameMount && in.parent != nil {
		if mounted, err := isMountPoint(node); err != nil || mounted {
			return err
		}
	}
	if stat.Nlink > 1 {
		err = w.linked(ctx, in, node, newName, &stat)
	} else {
		_, err = w.place(in, newName, func(newName string) (fileID, error) {
			return w.make(ctx, in, node, newName, &stat)
		})
	}
	if err != nil {
		return in.failed(name, err)
	}
	w.c.meter.Add(0, 1)
	return nil
}

// place has make make a file under newName, or whatever the options say about
// one that exists. It returns what make returns, nothing if the existing file
// was kept.
func (w *worker) place(in *directory, newName string, make func(newName string) (fileID, error)) (fileID, error) {
	id, err := make(newName)
	if err != unix.EEXIST || !w.c.o.Merge {
		return id, err
	}
	top := in.parent == nil
	if w.c.o.Replace {
		var stat unix.Stat_t
		err := unix.Fstatat(in.copied, newName, &stat, unix.AT_SYMLINK_NOFOLLOW)
		if err == nil && typeOf(&stat) != unix.S_IFDIR {
			return w.replace(in, newName, make)
		}
		if err == unix.ENOENT { // gone again
			return make(newName)
		}
	}
	if top {
		return fileID{}, unix.EEXIST
	}
	return fileID{}, nil
}

// replace has make make a file that takes the place of newName once it is
// complete.
func (w *worker) replace(in *directory, newName string, make func(newName string) (fileID, error)) (fileID, error) {
	draft := ".#" + rand.Text()
	id, err := make(draft)
	if err != nil {
		return fileID{}, err
	}
	if err := unix.Renameat(in.copied, draft, in.copied, newName); err != nil {
		w.takeBack(in, draft)
		return fileID{}, err
	}
	return id, nil
}

// make makes the copy of node. If it fails, there is none.
func (w *worker) make(ctx context.Context, in *directory, node int, newName string, stat *unix.Stat_t) (fileID, error) {
	id, err := w.makeAny(ctx, in, node, newName, stat)
	if err == nil {
		w.c.note(id)
	}
	return id, err
}

func (w *worker) makeAny(ctx context.Context, in *directory, node int, newName string, stat *unix.Stat_t) (fileID, error) {
	switch typeOf(stat) {
	case unix.S_IFREG:
		return w.regular(ctx, in, node, newName, stat)
	case unix.S_IFLNK:
		target, err := w.readLink(node)
		if err != nil {
			return fileID{}, err
		}
		return w.special(in, node, newName, stat, unix.Symlinkat(target, in.copied, newName))
	case unix.S_IFCHR, unix.S_IFBLK, unix.S_IFIFO, unix.S_IFSOCK:
		err := unix.Mknodat(in.copied, newName, typeOf(stat), int(stat.Rdev))
		return w.special(in, node, newName, stat, err)
	}
	return fileID{}, errMoved
}

func (w *worker) readLink(node int) (string, error) {
	if w.target == nil {
		w.target = make([]byte, unix.PathMax)
	}
	n, err := unix.Readlinkat(node, "", w.target)
	if err == nil && n == len(w.target) {
		err = unix.ENAMETOOLONG
	}
	if err != nil {
		return "", err
	}
	return string(w.target[:n]), nil
}

// special gives what was just made, with the given result, the rest of what it
// has. It must be what was made, as far as that matters for what follows.
func (w *worker) special(in *directory, node int, newName string, stat *unix.Stat_t, made error) (fileID, error) {
	if made != nil {
		return fileID{}, made
	}
	var found unix.Stat_t
	fd, err := openMade(in.copied, newName, openNode, &found)
	if err == nil {
		defer unix.Close(fd)
		if typeOf(&found) != typeOf(stat) || found.Rdev != stat.Rdev || !w.c.isOurs(&found) {
			return fileID{}, errMoved
		}
		err = w.c.dress(fd, node, &found, stat, false)
	}
	if err != nil {
		w.takeBack(in, newName)
		return fileID{}, err
	}
	return idOf(&found), nil
}

// takeBack removes what has just been made. If that cannot be, there is nothing
// to tell beside the reason why it has to.
func (w *worker) takeBack(in *directory, newName string) { unix.Unlinkat(in.copied, newName, 0) }

// regular copies a regular file.
func (w *worker) regular(ctx context.Context, in *directory, node int, newName string, stat *unix.Stat_t) (fileID, error) {
	source, err := w.c.fds.open(node, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return fileID{}, err
	}
	defer unix.Close(source)
	if err := w.mayRead(source, stat.Dev); err != nil {
		return fileID{}, err
	}
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := retry(func() (int, error) { return unix.Openat(in.copied, newName, flags, in.firstMode(stat)) })
	if err != nil {
		return fileID{}, err
	}
	defer unix.Close(fd)
	var made unix.Stat_t
	err = unix.Fstat(fd, &made)
	if err == nil {
		err = w.content(ctx, source, fd, stat, made.Dev)
	}
	if err == nil {
		err = w.c.dress(fd, source, &made, stat, true)
	}
	if err != nil {
		w.takeBack(in, newName)
		return fileID{}, err
	}
	return idOf(&made), nil
}
