package filetree

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// listBuffer is how much of a directory is read at a time, bytes.
const listBuffer = 32 << 10

// listBuffers are those that no list needs at the moment.
var listBuffers = sync.Pool{New: func() any { return new([listBuffer]byte) }}

// An entry is one name in a directory.
type entry struct {
	name string
	kind byte // unix.DT_DIR and so on; DT_UNKNOWN where the file system does not tell
}

// A list reads the entries of an open directory as they are asked for.
type list struct {
	fd     int
	buffer *[listBuffer]byte
	unread []byte
	saved  []entry // read ahead, when the descriptor had to be given up
	ended  bool
}

// next returns the next entry; ok is false after the last.
func (l *list) next() (e entry, ok bool, err error) {
	if len(l.saved) > 0 {
		e, l.saved = l.saved[0], l.saved[1:]
		return e, true, nil
	}
	for {
		for len(l.unread) > 0 {
			e, l.unread, err = parseEntry(l.unread)
			if err != nil {
				return entry{}, false, err
			}
			if e.name != "." && e.name != ".." {
				return e, true, nil
			}
		}
		if err := l.fill(); err != nil || l.ended {
			return entry{}, false, err
		}
	}
}

func (l *list) fill() error {
	if l.ended {
		return nil
	}
	if l.buffer == nil {
		l.buffer = listBuffers.Get().(*[listBuffer]byte)
	}
	n, err := retry(func() (int, error) { return unix.Getdents(l.fd, l.buffer[:]) })
	if err == unix.ENOENT {
		n, err = 0, nil // the directory was removed meanwhile
	}
	if err != nil {
		return err
	}
	l.unread = l.buffer[:n]
	if n == 0 {
		l.ended = true
		l.drop()
	}
	return nil
}

// drop gives the buffer back; names are copies of what was in it.
func (l *list) drop() {
	if l.buffer != nil {
		listBuffers.Put(l.buffer)
	}
	l.buffer, l.unread = nil, nil
}

// save reads what is left, so that the descriptor can be closed, and returns
// how much memory that takes, bytes. It gives up beyond limit.
func (l *list) save(limit int) (int, error) {
	const overhead = 32
	used := 0
	saved := l.saved
	l.saved = nil
	for {
		e, ok, err := l.next()
		if err != nil {
			return used, err
		}
		if !ok {
			break
		}
		saved = append(saved, e)
		used += len(e.name) + overhead
		if used > limit {
			return used, fmt.Errorf("too many names in too deep a tree: %w", unix.E2BIG)
		}
	}
	l.saved, l.fd = saved, -1
	return used, nil
}

// Offsets in what getdents64 returns.
const (
	entryLength = 16
	entryKind   = 18
	entryName   = 19
)

var errNoEntry = fmt.Errorf("the directory's content makes no sense: %w", unix.EIO)

// parseEntry reads one record of getdents64.
func parseEntry(data []byte) (e entry, rest []byte, err error) {
	if len(data) < entryName {
		return entry{}, nil, errNoEntry
	}
	length := int(binary.NativeEndian.Uint16(data[entryLength:]))
	if length <= entryName || length > len(data) {
		return entry{}, nil, errNoEntry
	}
	name, _, ended := bytes.Cut(data[entryName:length], []byte{0})
	if !ended || len(name) == 0 || bytes.IndexByte(name, '/') >= 0 {
		return entry{}, nil, errNoEntry
	}
	return entry{string(name), data[entryKind]}, data[length:], nil
}

// isEmpty reports whether an open directory has no entry.
func isEmpty(fd int) (bool, error) {
	l := list{fd: fd}
	defer l.drop()
	_, ok, err := l.next()
	return !ok, err
}
