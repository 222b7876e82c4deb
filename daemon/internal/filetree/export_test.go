package filetree

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// SetPatience changes patience for a test, which must not be parallel.
func SetPatience(tb testing.TB, d time.Duration) {
	was := patience
	patience = d
	tb.Cleanup(func() { patience = was })
}

// ParseEntries reads records of getdents64 as a list does.
func ParseEntries(data []byte) (names []string, err error) {
	for len(data) > 0 && err == nil {
		var e entry
		e, data, err = parseEntry(data)
		names = append(names, e.name)
	}
	return names, err
}

// Shown is how errors show a path.
func Shown(path string) string { return shown(path) }

// FinishSpecial does what comes after the copy of source, no directory and no
// regular file, was made as name in dir by a user.
func FinishSpecial(source string, dir *os.File, name string, maker uint32, o CopyOptions) error {
	fds, err := openDescriptors()
	if err != nil {
		return err
	}
	defer fds.close()
	var stat unix.Stat_t
	node, err := openAndStat(unix.AT_FDCWD, source, openNode, &stat)
	if err != nil {
		return err
	}
	defer unix.Close(node)
	w := newWorker(&copier{o: o, fds: fds, maker: maker})
	_, err = w.special(&directory{copied: int(dir.Fd())}, node, name, &stat, nil)
	return err
}

// NextSpan is where the next part of a file begins and ends that is no hole.
func NextSpan(at, size int64, seek func(at int64, whence int) (int64, error)) (start, end int64) {
	return nextSpan(at, size, seek)
}
