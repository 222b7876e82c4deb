package filetree

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// maxMade bounds how many files are remembered that a copy has made, 8 bytes
// each.
const maxMade = 4 << 20

// made are the files and directories that a copy has made. The zero value has
// none.
type made struct {
	mu     sync.Mutex
	byDev  map[uint64][]uint64 // inodes
	n      int
	sorted bool
}

func (m *made) add(id fileID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.n++; m.n > maxMade {
		m.byDev = nil
		return
	}
	if m.byDev == nil {
		m.byDev = map[uint64][]uint64{}
	}
	m.byDev[id.dev] = append(m.byDev[id.dev], id.ino)
}

// has is for when nothing is added any more.
func (m *made) has(id fileID) bool {
	if !m.sorted {
		m.sorted = true
		for _, inodes := range m.byDev {
			slices.Sort(inodes)
		}
	}
	_, has := slices.BinarySearch(m.byDev[id.dev], id.ino)
	return has
}

// undo removes the directory that this copy made, if it still has its name. Where
// others merge into it, what they have put there stays, unless there is too much
// to tell.
func (c *copier) undo(ctx context.Context, to *os.File, newName string) error {
	var stat unix.Stat_t
	err := unix.Fstatat(int(to.Fd()), newName, &stat, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) || err == nil && idOf(&stat) != c.target {
		return nil
	}
	if err == nil && c.o.Merge && c.own.n <= maxMade {
		err = remove(ctx, to, newName, &c.own)
	} else if err == nil {
		err = Remove(ctx, to, newName)
	}
	if err != nil {
		return fmt.Errorf("cannot take the incomplete copy away again: %w", err)
	}
	return nil
}

// note remembers what this copy has made, if that may have to be told from what
// others have.
func (c *copier) note(id fileID) {
	if c.made && c.o.Merge {
		c.own.add(id)
	}
}
