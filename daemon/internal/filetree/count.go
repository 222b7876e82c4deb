package filetree

import (
	"context"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/progress"
)

// maxCountDepth is how many directories are open at a time to count what is in a
// tree. What is in a deeper one nobody is told.
const maxCountDepth = 32

// patience is how long something goes on before it is worth finding out how much
// there is to do in all. Tests have less.
var patience = 500 * time.Millisecond

// A tally counts what is in a tree, so that somebody can be told how much is left
// to do. It needs not be exact: the tree may change.
type tally struct {
	sizes        bool // of regular files, too
	sameMount    bool // what is mounted below the top is left out
	bytes, files uint64
	linked       map[fileID]bool // of several names, seen
}

// expect counts what there is to copy, unless the copy takes a moment only, and
// tells m. It ends with ctx.
func (c *copier) expect(ctx context.Context, m *progress.Meter, name string) {
	select {
	case <-time.After(patience):
	case <-ctx.Done():
		return
	}
	t := &tally{sizes: true, sameMount: c.o.SameMount, linked: map[fileID]bool{}}
	top, err := openAt(c.root.source, name, openDir)
	if err != nil {
		return // the copy says why
	}
	defer unix.Close(top)
	if t.count(ctx, top, 1) == nil {
		m.Expect(t.bytes, t.files)
	}
}

// count counts what is in an open directory that has not been read yet.
func (t *tally) count(ctx context.Context, dir, depth int) error {
	if depth > maxCountDepth {
		return errTooDeep
	}
	l := list{fd: dir}
	defer l.drop()
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		e, ok, err := l.next()
		if err != nil || !ok {
			return err
		}
		if err := t.entry(ctx, dir, e, depth); err != nil {
			return err
		}
	}
}

func (t *tally) entry(ctx context.Context, dir int, e entry, depth int) error {
	var stat unix.Stat_t
	if t.sizes || e.kind == unix.DT_UNKNOWN {
		if unix.Fstatat(dir, e.name, &stat, unix.AT_SYMLINK_NOFOLLOW) != nil {
			return nil // it is gone
		}
	}
	if e.kind == unix.DT_DIR || typeOf(&stat) == unix.S_IFDIR {
		return t.below(ctx, dir, e.name, depth)
	}
	t.files++
	if typeOf(&stat) != unix.S_IFREG || stat.Nlink > 1 && t.linked[idOf(&stat)] {
		return nil
	}
	t.bytes += uint64(stat.Size)
	if stat.Nlink > 1 && len(t.linked) < maxLinks {
		t.linked[idOf(&stat)] = true
	}
	return nil
}

func (t *tally) below(ctx context.Context, dir int, name string, depth int) error {
	fd, err := openAt(dir, name, openDir)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	if t.sameMount {
		if mounted, err := isMountPoint(fd); err != nil || mounted {
			return nil
		}
	}
	return t.count(ctx, fd, depth+1)
}
