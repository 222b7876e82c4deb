package client

import (
	"fmt"
	"os"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// stdio are the descriptors that go with a command.
type stdio struct {
	fds  []machd.Descriptor
	null *os.File // ours, or nil
}

// stdio returns what the command is given for its standard input, output and
// error. The descriptors stay the caller's.
func (command ExecCommand) stdio() (s stdio, err error) {
	s.fds = []machd.Descriptor{}
	if command.Terminal {
		return s, nil
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	for _, f := range []*os.File{command.Stdin, command.Stdout, command.Stderr} {
		if f == nil {
			if f, err = s.devNull(); err != nil {
				return s, err
			}
		}
		fd, err := passable(f)
		if err != nil {
			return s, err
		}
		s.fds = append(s.fds, machd.Descriptor{FD: fd})
	}
	return s, nil
}

func (s *stdio) devNull() (*os.File, error) {
	if s.null == nil {
		f, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		s.null = f
	}
	return s.null, nil
}

func (s *stdio) close() {
	if s.null != nil {
		s.null.Close()
	}
}

// passable returns the descriptor of f, in the mode that it has: File.Fd would
// make it block. A directory leads to all of its file system and is refused.
func passable(f *os.File) (dbus.UnixFD, error) {
	info, err := f.Stat()
	if err != nil {
		return -1, fmt.Errorf("cannot pass on %s: %w", f.Name(), err)
	}
	if info.IsDir() {
		return -1, machine1.Errorf(machine1.ErrInvalidArgs, "%s is a directory, which no machine is given", f.Name())
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, fmt.Errorf("cannot pass on %s: %w", f.Name(), err)
	}
	var number dbus.UnixFD
	err = raw.Control(func(fd uintptr) {
		number = dbus.UnixFD(fd)
		letReopen(int(fd))
	})
	return number, err
}

// letReopen lets whoever has a pipe open it again, as programs do that write to
// /dev/stderr. In a machine with ids of its own nobody is its owner. They get
// the direction that they have, and no other.
func letReopen(fd int) {
	var fs unix.Statfs_t
	var stat unix.Stat_t
	if unix.Fstatfs(fd, &fs) != nil || fs.Type != unix.PIPEFS_MAGIC || unix.Fstat(fd, &stat) != nil {
		return
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return
	}
	others := map[int]uint32{unix.O_RDONLY: 0o004, unix.O_WRONLY: 0o002}[flags&unix.O_ACCMODE]
	_ = unix.Fchmod(fd, stat.Mode&0o7777|others) // somebody else's stays as it is
}
