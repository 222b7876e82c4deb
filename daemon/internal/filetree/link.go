package filetree

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sys/unix"
)

// maxLinks bounds the files with several names that are remembered, about 150
// bytes each. Names of any more become files of their own.
const maxLinks = 1 << 20

// links remembers the copies of files that have more names to come.
type links struct {
	settled *sync.Cond
	known   map[fileID]*link // by the source
}

// A link is the copy of a file with several names. It is where one worker made
// it, or is about to; the others wait for that.
type link struct {
	in      *directory
	newName string
	id      fileID // of the copy, zero while it is being made
	left    uint64 // names to come
}

func newLinks() links {
	return links{settled: sync.NewCond(new(sync.Mutex)), known: map[fileID]*link{}}
}

// claim returns the copy of source, or nil and true for the one who is to make
// it and to call settle, or nil and false if it cannot be remembered.
func (l *links) claim(source *unix.Stat_t) (made *link, first bool) {
	l.settled.L.Lock()
	defer l.settled.L.Unlock()
	key := idOf(source)
	for {
		known := l.known[key]
		switch {
		case known == nil && len(l.known) == maxLinks:
			return nil, false
		case known == nil:
			l.known[key] = &link{left: uint64(source.Nlink) - 1}
			return nil, true
		case known.id != fileID{}:
			known.left--
			if known.left == 0 {
				delete(l.known, key)
			}
			return known, false
		}
		l.settled.Wait()
	}
}

// settle says where the copy of source is; a zero id that there is none.
func (l *links) settle(source *unix.Stat_t, in *directory, newName string, id fileID) {
	l.settled.L.Lock()
	defer l.settled.L.Unlock()
	key := idOf(source)
	if id == (fileID{}) {
		delete(l.known, key)
	} else {
		known := l.known[key]
		known.in, known.newName, known.id = in, newName, id
	}
	l.settled.Broadcast()
}

// linked copies a file with several names, or gives its copy another one.
func (w *worker) linked(ctx context.Context, in *directory, node int, newName string, stat *unix.Stat_t) error {
	copied := func(newName string) (fileID, error) { return w.make(ctx, in, node, newName, stat) }
	known, first := w.c.links.claim(stat)
	if known == nil {
		id, err := w.place(in, newName, copied)
		if first {
			w.c.links.settle(stat, in, newName, id)
		}
		return err
	}
	_, err := w.place(in, newName, func(newName string) (fileID, error) {
		err := w.c.link(known, in, newName)
		// It may be on another file system, have too many names already,
		// or be gone by somebody else's doing.
		if isAny(err, unix.EXDEV, unix.EMLINK, unix.EPERM, unix.ENOENT) || errors.Is(err, errMoved) {
			return copied(newName)
		}
		return known.id, err
	})
	return err
}

// link gives the copy that l stands for another name.
func (c *copier) link(l *link, in *directory, newName string) error {
	file, err := c.openCopy(l, in)
	if err != nil {
		return err
	}
	defer unix.Close(file)
	return unix.Linkat(file, "", in.copied, newName, unix.AT_EMPTY_PATH)
}

// openCopy opens the copy that l stands for. The directory where that was made
// may be closed, so the way to it is gone again from the top, unless it is in.
func (c *copier) openCopy(l *link, in *directory) (int, error) {
	if l.in == in || l.in.parent == nil {
		return openSame(in.copied, l.newName, openNode, l.id)
	}
	var way []*directory
	for d := l.in; d.parent != nil; d = d.parent {
		way = append(way, d)
	}
	at := c.root.copied
	for i := len(way) - 1; i >= 0; i-- {
		below, err := openAt(at, way[i].newName, openNode|unix.O_DIRECTORY)
		if at != c.root.copied {
			unix.Close(at)
		}
		if err != nil {
			return -1, err
		}
		at = below
	}
	defer unix.Close(at)
	return openSame(at, l.newName, openNode, l.id)
}
