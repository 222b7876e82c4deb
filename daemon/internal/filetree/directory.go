package filetree

import (
	"fmt"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A directory is one that is being copied, and its copy. The walk holds it
// while it is in it or below it, and each batch of files in it does: whoever
// leaves last finishes it, since only then its times stay as they are set.
type directory struct {
	parent        *directory // nil: stands for both directories that Copy was given
	name, newName string
	depth         int

	source, copied     int // descriptors, -1 while they are given up
	sourceID, copiedID fileID
	stat, made         unix.Stat_t // of the source, and of the copy when it was new
	kept               bool        // the copy was there before
	users              atomic.Int32
	list               list
	saved              int // of maxSaved, bytes
}

// path names an entry of d by its names in the source, starting with the top.
func (d *directory) path(name string) string {
	names := []string{name}
	for ; d.parent != nil; d = d.parent {
		names = append(names, d.name)
	}
	var path strings.Builder
	for i := len(names) - 1; i >= 0; i-- {
		path.WriteString(names[i])
		if i > 0 {
			path.WriteByte('/')
		}
	}
	return path.String()
}

func (d *directory) failed(name string, err error) error {
	return fmt.Errorf("cannot copy %s: %w", shown(d.path(name)), err)
}

// firstMode is the mode that the copy of a file is made with. Nobody else comes
// into a directory of our own before it is complete, so it may be what it will
// have in the end.
func (d *directory) firstMode(stat *unix.Stat_t) uint32 {
	const own, permissions = 0o600, 0o777
	if d.parent == nil || d.kept {
		return own
	}
	return stat.Mode & permissions
}

func (d *directory) close() {
	if d.source >= 0 {
		unix.Close(d.source)
		d.source = -1
	}
	if d.copied >= 0 {
		unix.Close(d.copied)
		d.copied = -1
	}
	d.list.drop()
	d.list = list{fd: -1}
}

// makeRoom sees to it that another directory may be opened: at most maxOpen
// are, however deep the tree is. It first waits for those that the walk has
// left. Then it gives up the upper half of those that it is in; each is opened
// again from its child, as "..", when the walk comes back, and must be the
// same. Called by the walk only.
func (c *copier) makeRoom(at *directory) error {
	if c.open.Load() < maxOpen {
		return nil
	}
	c.batches.Wait()
	if c.open.Load() < maxOpen {
		return nil
	}
	var held []*directory
	for d := at.parent; d.parent != nil && d.source >= 0; d = d.parent {
		held = append(held, d)
	}
	for _, d := range held[len(held)/2:] {
		used, err := d.list.save(maxSaved - c.saved)
		d.saved += used
		c.saved += used
		if err != nil {
			return d.parent.failed(d.name, err)
		}
		unix.Close(d.source)
		unix.Close(d.copied)
		d.source, d.copied = -1, -1
		c.open.Add(-1)
	}
	return nil
}

// reopen opens d again from its child, if it was given up. Called by the walk
// only.
func (c *copier) reopen(d, child *directory) (err error) {
	if d.parent == nil || d.source >= 0 {
		return nil
	}
	if c.open.Load() >= maxOpen {
		c.batches.Wait()
	}
	d.source, err = openSame(child.source, "..", openDir, d.sourceID)
	if err == nil {
		d.copied, err = openSame(child.copied, "..", openDir, d.copiedID)
	}
	if err != nil {
		if d.source >= 0 {
			unix.Close(d.source)
		}
		d.source, d.copied = -1, -1
		return d.parent.failed(d.name, err)
	}
	c.open.Add(1)
	return nil
}

// release gives d back. The last one completes it, and so gives back its
// parent.
func (c *copier) release(d *directory) {
	for d.users.Add(-1) == 0 && d.parent != nil {
		if !d.kept && !c.over.Load() {
			if err := c.dress(d.copied, d.source, &d.made, &d.stat, true); err != nil {
				c.fail(d.parent.failed(d.name, err))
			}
		}
		if d.source >= 0 {
			c.open.Add(-1)
		}
		d.close()
		d = d.parent
	}
}
