package inside

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/envfile"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/rootfs"
	"github.com/machd/machd/pkg/machine1"
)

// maxOSRelease bounds the os-release of a machine, bytes.
const maxOSRelease = 64 << 10

// ReadFile returns the content of the regular file at path below the machine's
// root, limit bytes at most. Symbolic links are followed inside the machine.
// Files of the kernel (procfs, sysfs, …) are refused: the machine could have
// them read with our privileges. So is what a machine's own root could not read.
func (g *Guard) ReadFile(ctx context.Context, leader *proc.PIDFD, path string, limit int64) ([]byte, error) {
	read := func(root *os.File) ([]byte, error) {
		r, err := readerOf(leader, root)
		if err != nil {
			return nil, err
		}
		return r.read(path, limit)
	}
	return below(ctx, g, leader, read, nothing)
}

// OpenRoot opens the root directory of the machine for reading. The caller
// closes it.
//
// Reference: machine-dbus.c, bus_machine_method_open_root_directory.
func (g *Guard) OpenRoot(ctx context.Context, leader *proc.PIDFD) (*os.File, error) {
	if g.takesErrand(leader) {
		fd, err := g.send(ctx, leader, errand{Do: doOpenRoot})
		if err != nil {
			return nil, err
		}
		return os.NewFile(uintptr(fd), "/"), nil
	}
	open := func(root *os.File) (*os.File, error) {
		const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC
		fd, err := rootfs.Retry(func() (int, error) { return unix.Openat(int(root.Fd()), ".", flags, 0) })
		if err != nil {
			return nil, fmt.Errorf("cannot open the root directory: %w", err)
		}
		return os.NewFile(uintptr(fd), "/"), nil
	}
	return below(ctx, g, leader, open, closeFile)
}

// OSRelease returns all assignments of the machine's os-release file. A
// machine without one is ErrFileNotFound.
//
// Reference: machine.c, machine_get_os_release; os-util.c, open_os_release.
func (g *Guard) OSRelease(ctx context.Context, leader *proc.PIDFD) (map[string]string, error) {
	list, err := g.OSReleaseList(ctx, leader)
	if err != nil {
		return nil, err
	}
	return list.Map(), nil
}

// OSReleaseList is OSRelease in the order of the file, repeated keys included.
func (g *Guard) OSReleaseList(ctx context.Context, leader *proc.PIDFD) (envfile.List, error) {
	read := func(root *os.File) ([]byte, error) {
		r, err := readerOf(leader, root)
		if err != nil {
			return nil, err
		}
		return r.readOSRelease()
	}
	text, err := below(ctx, g, leader, read, nothing)
	if errors.Is(err, errNoOSRelease) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read os-release: %w", err)
	}
	list, err := envfile.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("cannot read os-release: %w", err)
	}
	return list, nil
}

var errNoOSRelease = machine1.Errorf(machine1.ErrFileNotFound, "Failed to get OS release: No such file or directory")

func (r reader) readOSRelease() ([]byte, error) {
	for _, path := range []string{"etc/os-release", "usr/lib/os-release"} {
		text, err := r.read(path, maxOSRelease)
		if !errors.Is(err, unix.ENOENT) {
			return text, err
		}
	}
	return nil, errNoOSRelease
}
