package varlink

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Listen binds path, whose parents it makes if they are missing (mode 0755),
// and gives the socket mode. A socket that a former process left behind is
// replaced; one that somebody listens on is an error, and so is anything else
// in its place. The socket is removed when the listener closes.
func Listen(path string, mode fs.FileMode) (*net.UnixListener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("cannot make directory of socket: %w", err)
	}
	if err := removeStale(path); err != nil {
		return nil, fmt.Errorf("cannot replace socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("cannot bind socket: %w", err)
	}
	if err := os.Chmod(path, mode); err != nil {
		l.Close()
		return nil, fmt.Errorf("cannot open socket to callers: %w", err)
	}
	return l, nil
}

// Link makes path a symbolic link to the socket target, unless it leads to a
// socket that somebody listens on already.
func Link(target, path string) error {
	if listening(path) {
		return nil
	}
	if err := removeStale(path); err != nil {
		return fmt.Errorf("cannot replace socket: %w", err)
	}
	return os.Symlink(target, path)
}

// removeStale removes a socket, or a link to one, that leads nowhere.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket && info.Mode().Type() != fs.ModeSymlink:
		return fmt.Errorf("%s is no socket", path)
	case listening(path):
		return fmt.Errorf("another process serves %s: %w", path, unix.EADDRINUSE)
	}
	return os.Remove(path)
}

// listening reports whether connections to path are accepted, or would be once
// those that wait are.
func listening(path string) bool {
	c, err := net.Dial("unix", path)
	if err == nil {
		c.Close()
	}
	return err == nil || errors.Is(err, unix.EAGAIN)
}

// Mark says by extended attributes that path is an entry point of Varlink, and
// l the socket behind it. Few kernels have attributes on sockets; on others
// nothing is marked.
//
// Reference: sd-varlink.c, varlink_server_listen_one; systemd.socket(5).
func Mark(l *net.UnixListener, path string) {
	unix.Lsetxattr(path, kindAttribute, []byte("entrypoint"), 0)
	raw, err := l.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) {
		unix.Fsetxattr(int(fd), kindAttribute, []byte("listen"), 0)
	})
}

const kindAttribute = "user.varlink"
