package client

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync/atomic"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// A stream is the file that a transfer reads or writes. systemd-importd takes
// no other files than regular ones and pipes, and no flags that change how they
// are read or written. It gets a pipe instead, and the bytes go through here.
//
// Reference: importd.c, method_import_tar_or_raw, fd_verify_safe_flags.
type stream struct {
	file    *os.File // the caller's
	writing bool
	begin   int64 // where the file stood, in bytes
	size    uint64

	theirs, ours *os.File // ends of the pipe, nil if the daemon has the file itself
	carried      atomic.Uint64
	done         chan struct{} // closed when nothing is carried any more
	err          error         // why not all was; valid then
	unread       chan error    // why the file cannot be read, before the daemon hears of it
}

// whole is a file that the daemon takes as it is, and of which nobody counts bytes.
func whole(file *os.File) *stream { return &stream{file: file, begin: noPosition, size: Unknown} }

// noPosition is where a file stands that has no such thing.
const noPosition = -1

// source is a file that is to be imported.
func source(file *os.File) (*stream, error) {
	s := whole(file)
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, unix.EISDIR
	}
	s.begin = position(file)
	if s.begin != noPosition && info.Mode().IsRegular() {
		s.size = uint64(max(info.Size()-s.begin, 0))
	}
	if acceptable(file, info.Mode()) {
		return s, nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("cannot make a pipe: %w", err)
	}
	s.theirs, s.ours = r, w
	return s, nil
}

// sink is a file that an image is to be exported to.
func sink(file *os.File) (*stream, error) {
	s := whole(file)
	s.writing = true
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if acceptable(file, info.Mode()) {
		if info.Mode().IsRegular() {
			s.begin = position(file)
		}
		return s, nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("cannot make a pipe: %w", err)
	}
	s.theirs, s.ours = w, r
	return s, nil
}

func acceptable(file *os.File, mode fs.FileMode) bool {
	if !mode.IsRegular() && mode.Type() != fs.ModeNamedPipe {
		return false
	}
	flags, err := unix.FcntlInt(file.Fd(), unix.F_GETFL, 0)
	return err == nil && flags&^(unix.O_ACCMODE|unix.O_NOFOLLOW|unix.O_LARGEFILE|largeFile) == 0
}

// largeFile is what the kernel calls O_LARGEFILE on 64-bit machines, where the
// constant is 0.
const largeFile = 0o100000

func position(file *os.File) int64 {
	at, err := unix.Seek(int(file.Fd()), 0, io.SeekCurrent)
	if err != nil {
		return noPosition
	}
	return at
}

// descriptor returns what the daemon gets.
func (s *stream) descriptor() dbus.UnixFD {
	if s.theirs != nil {
		return dbus.UnixFD(s.theirs.Fd())
	}
	return dbus.UnixFD(s.file.Fd())
}

// bytes returns how many have been transferred and how many there are, Unknown
// where nobody can tell. The daemon reads and writes through the same open
// file as ours, so where that stands tells.
func (s *stream) bytes() (done, total uint64) {
	switch {
	case s.ours != nil:
		return s.carried.Load(), s.size
	case s.begin == noPosition:
		return Unknown, s.size
	}
	return uint64(max(position(s.file)-s.begin, 0)), s.size
}

// carry begins to carry the bytes of a file that the daemon did not take. It
// calls cut, before the daemon takes what came for all, when reading fails.
func (s *stream) carry(cut func()) {
	if s.ours == nil {
		return
	}
	s.theirs.Close()
	s.done, s.unread = make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(s.done)
		defer s.ours.Close()
		from, to := s.file, s.ours
		if s.writing {
			from, to = to, from
		}
		_, err := io.Copy(countingWriter{to, &s.carried}, from)
		if errors.Is(err, fs.ErrClosed) || !s.writing && errors.Is(err, unix.EPIPE) {
			return // the other end has had enough, and says why itself
		}
		if s.err = err; err != nil && !s.writing {
			s.unread <- err
			cut()
		}
	}()
}

// finish returns when all that the daemon wrote is in the file, or with why
// that failed.
func (s *stream) finish() error {
	if s.done == nil {
		return nil
	}
	if !s.writing {
		// Whoever writes may go on for ever to a daemon that has ended.
		s.ours.Close()
		select {
		case err := <-s.unread:
			return err
		default:
			return nil
		}
	}
	<-s.done
	return s.err
}

// close gives up the daemon's end of a pipe that it has not got, or ours.
func (s *stream) close() {
	if s.ours == nil {
		return
	}
	s.theirs.Close()
	s.ours.Close()
}

// A countingWriter counts what it writes. It hides the file's own ways to
// copy, which would count at the end.
type countingWriter struct {
	file  *os.File
	bytes *atomic.Uint64
}

func (w countingWriter) Write(p []byte) (int, error) {
	n, err := w.file.Write(p)
	w.bytes.Add(uint64(n))
	return n, err
}
