package filetree

import (
	"context"
	"errors"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/progress"
)

const (
	// workers copy files while another goroutine walks through the tree.
	workers = 2
	// batchSize is how many files of a directory a worker gets at a time.
	batchSize = 16
	// maxOpen is how many directories of each tree are open at a time.
	maxOpen = 48
	// maxDepth is how many directories may be one below the other. Those
	// that can be named by a path are half as many.
	maxDepth = 4096
	// maxSaved bounds what is remembered of directories that were given up
	// half read, bytes. Only trees deeper than maxOpen need it.
	maxSaved = 32 << 20
)

// A copier is one call of Copy.
type copier struct {
	o      CopyOptions
	fds    descriptors
	links  links
	root   directory // the two that Copy was given
	meter  *progress.Meter
	target fileID // the copy's top directory
	made   bool   // we made that
	own    made   // all that we made in it, if others may put something there
	maker  uint32 // whose what we make is at first
	saved  int    // of maxSaved, bytes

	open    atomic.Int32   // directories
	queue   *queue         // of the workers
	batches sync.WaitGroup // that were queued
	over    atomic.Bool    // it failed, or ctx ended
	cancel  context.CancelCauseFunc
}

// Copy copies name in from, of any type, to newName in to. Both directories
// may be open with O_PATH. Errors wrap the errno and name the path in the tree
// by its names, starting with name: EEXIST if newName exists (with Merge: if
// not both are directories), ENOTDIR if a directory is to be merged into what
// is none, ELOOP if the copy would contain itself.
//
// Where the file system can, content is shared (FICLONE), else it is copied
// in the kernel; holes stay holes. Names of one file in the tree are names of
// one file in the copy. Modes, times and the chosen extended attributes are
// kept; devices, FIFOs and sockets are made again. Names that come or go while
// their directory is read may be left out. While it goes on, the directories
// it makes are its own user's alone.
//
// If it fails or ctx ends, newName is removed again, unless it is a directory
// that was merged into: that keeps what was complete by then. With Merge, what
// others have put into newName meanwhile stays. What is done counts by the meter
// of ctx.
func Copy(ctx context.Context, from *os.File, name string, to *os.File, newName string, o CopyOptions) error {
	if err := errors.Join(checkName(name), checkName(newName)); err != nil {
		return err
	}
	fds, err := openDescriptors()
	if err != nil {
		return err
	}
	defer fds.close()
	if o.Worker == nil {
		o.Worker = func(work func() error) error { return work() }
	}
	c := &copier{o: o, fds: fds, links: newLinks(), queue: newQueue(), meter: progress.Of(ctx)}
	c.root = directory{source: int(from.Fd()), copied: int(to.Fd())}
	defer runtime.KeepAlive(from)
	defer runtime.KeepAlive(to)

	working, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c.cancel = cancel
	stop := context.AfterFunc(working, func() { c.over.Store(true) })
	defer stop()

	err = o.Worker(func() error { return c.top(working, to, name, newName) })
	if cause := context.Cause(working); cause != nil {
		err = cause // what failed first
	}
	if err != nil && c.made {
		err = errors.Join(err, c.undo(context.WithoutCancel(ctx), to, newName))
	}
	return err
}

// fail ends the copy with err, unless it has failed already.
func (c *copier) fail(err error) {
	c.over.Store(true)
	c.cancel(err)
}

// top copies the one thing that Copy was asked for.
func (c *copier) top(ctx context.Context, to *os.File, name, newName string) error {
	const query = -1 // no process can have it, so nothing changes
	uid, _ := unix.SetfsuidRetUid(query)
	c.maker = uint32(uid)
	var stat unix.Stat_t
	if err := unix.Fstat(c.root.copied, &stat); err != nil {
		return c.root.failed(name, err)
	}
	if err := c.mayFill(&stat); err != nil {
		return c.root.failed(name, err)
	}
	if err := unix.Fstatat(c.root.source, name, &stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return c.root.failed(name, err)
	}
	if typeOf(&stat) != unix.S_IFDIR {
		w := newWorker(c)
		return w.copy(ctx, &c.root, name, newName)
	}
	if isAbove(idOf(&stat), c.root.copied) {
		return c.root.failed(name, errInside)
	}
	top, err := c.enter(&c.root, name, newName, to)
	if err != nil {
		return err
	}
	counting, stop := context.WithCancel(ctx)
	var pool sync.WaitGroup
	if c.meter != nil {
		pool.Go(func() { c.expect(counting, c.meter, name) })
	}
	for number := range workers {
		pool.Go(func() { c.work(ctx, number) })
	}
	err = c.walk(ctx, top)
	c.queue.close()
	c.batches.Wait()
	stop()
	pool.Wait()
	return err
}

// work copies what is queued, until the queue is closed.
func (c *copier) work(ctx context.Context, number int) {
	err := c.o.Worker(func() error {
		w := newWorker(c)
		for b := range c.queue.batches(number) {
			w.batch(ctx, b)
		}
		return nil
	})
	if err == nil {
		return
	}
	c.fail(err)
	for b := range c.queue.batches(number) { // nobody else may be left to do so
		c.drop(b)
	}
}

func (c *copier) drop(b batch) {
	c.release(b.in)
	c.batches.Done()
}

// isAbove reports whether id is dir or a directory above it, as far as can be
// told. It spares the work; what makes sure is that the walk does not enter
// the copy.
func isAbove(id fileID, dir int) bool {
	var stat unix.Stat_t
	at, err := openAndStat(dir, ".", openNode|unix.O_DIRECTORY, &stat)
	for range maxDepth {
		if err != nil {
			return false
		}
		if idOf(&stat) == id {
			unix.Close(at)
			return true
		}
		below, was := at, idOf(&stat)
		at, err = openAndStat(below, "..", openNode|unix.O_DIRECTORY, &stat)
		unix.Close(below)
		if err == nil && idOf(&stat) == was {
			break
		}
	}
	if err == nil {
		unix.Close(at)
	}
	return false
}
