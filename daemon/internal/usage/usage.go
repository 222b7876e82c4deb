// Package usage reads what a cgroup takes of the host, from the kernel's own
// files of it. It must not know whose cgroup it is.
package usage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machd"
)

// A Reader reads below one mount of the unified hierarchy.
type Reader struct{ root string }

// System returns a Reader of this host.
func System() (Reader, error) {
	root, err := proc.Hierarchy()
	return Reader{root}, err
}

// Of returns what the cgroup at path, from the hierarchy's root, takes with all
// below it. The error wraps unix.ENOENT if the cgroup is gone.
func (r Reader) Of(path string) (machd.Usage, error) {
	dir, err := openDir(unix.AT_FDCWD, filepath.Join(r.root, path))
	if err != nil {
		return machd.Usage{}, fmt.Errorf("cannot open cgroup %s: %w", path, err)
	}
	defer unix.Close(dir)

	// Every cgroup has this file, so a failure means that it has just gone.
	cpu, err := readFile(dir, "cpu.stat")
	if err != nil {
		return machd.Usage{}, fmt.Errorf("cannot read cgroup %s: %w", path, gone(err))
	}
	u := machd.Usage{CPU: keyed(cpu, "usage_usec")}
	if data, err := readFile(dir, "memory.current"); err == nil {
		u.Memory = number(data)
	}
	if data, err := readFile(dir, "io.stat"); err == nil {
		u.IORead, u.IOWrite = transferred(data)
	}
	if data, err := readFile(dir, "pids.current"); err == nil {
		u.Tasks = number(data)
	} else {
		u.Tasks = countTasks(dir)
	}
	return u, nil
}

// gone makes one error of those by which a removed cgroup answers.
func gone(err error) error {
	if errors.Is(err, unix.ENODEV) {
		return unix.ENOENT
	}
	return err
}

func openDir(at int, path string) (int, error) {
	for {
		fd, err := unix.Openat(at, path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// maxFile bounds one file, bytes. io.stat has a line for each block device,
// cgroup.threads one for each thread.
const maxFile = 1 << 20

// readFile reads a file of the kernel's, which does not block.
func readFile(dir int, name string) ([]byte, error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	return readAll(f)
}
