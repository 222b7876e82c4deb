package imagemaker

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machine1"
)

// heed looks whether what a program prints comes of a full disk: there is room
// again when the program has removed what it had made. It reports whether the
// line is worth telling; tar prints the same of each file then.
func (b *builder) heed(line string) bool {
	b.full = b.full || strings.Contains(strings.ToLower(line), unix.ENOSPC.Error()) || isFull(b.dir)
	if !b.full || !strings.HasPrefix(line, "tar: ") {
		return true
	}
	b.ofTar++
	return b.ofTar <= keptLines
}

// whenFull gives err the kind that it has if the disk is full.
func (b *builder) whenFull(err error) error {
	if !b.full && !isFull(b.dir) {
		return err
	}
	return machine1.Errorf(unix.ENOSPC, "%v: the file system of the images is full: %v", err, unix.ENOSPC)
}

// isFull reports whether nothing can be made in dir any more, which may be nil.
func isFull(dir *os.File) bool {
	const little = 1 << 20 // bytes; nothing that is left is of any use
	var fs unix.Statfs_t
	if dir == nil || unix.Fstatfs(int(dir.Fd()), &fs) != nil {
		return false
	}
	return fs.Bavail*uint64(fs.Bsize) < little || fs.Files > 0 && fs.Ffree == 0
}
