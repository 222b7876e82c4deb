package filetree

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"
)

// openDir flags open a directory to be read, and nothing else.
const openDir = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC

// openNode flags open whatever it is without starting anything.
const openNode = unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC

var (
	errMoved   = fmt.Errorf("it was moved or replaced meanwhile: %w", unix.ESTALE)
	errInside  = fmt.Errorf("the copy would be inside of what is copied: %w", unix.ELOOP)
	errForeign = fmt.Errorf("a directory of somebody else is in the place of its copy: %w", unix.EACCES)
	errTooDeep = fmt.Errorf("there are more than %d directories one below the other: %w", maxDepth, unix.ELOOP)
)

// A fileID is one file as long as something keeps it: an open descriptor, or a
// name that nobody took away.
type fileID struct{ dev, ino uint64 }

func idOf(stat *unix.Stat_t) fileID { return fileID{stat.Dev, stat.Ino} }

func typeOf(stat *unix.Stat_t) uint32 { return stat.Mode & unix.S_IFMT }

// openAt opens name in dir, without its mode bits ever being used.
func openAt(dir int, name string, flags int) (int, error) {
	return retry(func() (int, error) { return unix.Openat(dir, name, flags, 0) })
}

// openAndStat opens name in dir and looks at what was opened.
func openAndStat(dir int, name string, flags int, stat *unix.Stat_t) (int, error) {
	fd, err := openAt(dir, name, flags)
	return statOpened(fd, err, stat)
}

// openMade opens what was just made as name in dir, and looks at it. What is
// mounted there was not made by us.
func openMade(dir int, name string, flags int, stat *unix.Stat_t) (int, error) {
	how := unix.OpenHow{Flags: uint64(flags), Resolve: unix.RESOLVE_NO_XDEV}
	fd, err := retry(func() (int, error) { return unix.Openat2(dir, name, &how) })
	if err == unix.EXDEV {
		err = errMoved
	}
	return statOpened(fd, err, stat)
}

// statOpened looks at what was opened, which is closed if that fails.
func statOpened(fd int, err error, stat *unix.Stat_t) (int, error) {
	if err != nil {
		return -1, err
	}
	if err := unix.Fstat(fd, stat); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// openSame opens name in dir if that is the file id.
func openSame(dir int, name string, flags int, id fileID) (int, error) {
	var stat unix.Stat_t
	fd, err := openAndStat(dir, name, flags, &stat)
	if err != nil {
		return -1, err
	}
	if idOf(&stat) != id {
		unix.Close(fd)
		return -1, errMoved
	}
	return fd, nil
}

// isMountPoint reports whether an open file is the top of a mount.
func isMountPoint(fd int) (bool, error) {
	var stat unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, 0, &stat)
	return err == nil && stat.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, err
}

// retry repeats a system call that a signal disturbed.
func retry(do func() (int, error)) (int, error) {
	for {
		n, err := do()
		if err != unix.EINTR {
			return n, err
		}
	}
}

// descriptors is the directory where each descriptor of this process has a
// name. What was opened with O_PATH is opened for use there: it is the very
// file that was looked at.
type descriptors struct{ fd int }

func openDescriptors() (descriptors, error) {
	fd, err := unix.Open("/proc/self/fd", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return descriptors{}, &os.PathError{Op: "open", Path: "/proc/self/fd", Err: err}
	}
	return descriptors{fd}, nil
}

func (d descriptors) close() { unix.Close(d.fd) }

func (d descriptors) open(fd, flags int) (int, error) {
	return openAt(d.fd, strconv.Itoa(fd), flags|unix.O_NOCTTY|unix.O_CLOEXEC)
}

func (d descriptors) chmod(fd int, mode uint32) error {
	return unix.Fchmodat(d.fd, strconv.Itoa(fd), mode, 0)
}

// pathOf names a descriptor for the calls that have no form for directories.
func pathOf(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// checkName refuses what is not the name of one entry of a directory.
func checkName(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("cannot use %q as the name of a file: %w", name, unix.EINVAL)
	}
	return nil
}

// maxShown bounds a path in an error, bytes.
const maxShown = 1024

// shown returns path, whose names are a stranger's, fit for terminals, logs
// and the bus.
func shown(path string) string {
	if len(path) > maxShown {
		path = "…" + path[len(path)-maxShown:]
	}
	for _, r := range path {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return strconv.Quote(path)
		}
	}
	return path
}

// isAny reports whether err is one of errnos.
func isAny(err error, errnos ...unix.Errno) bool {
	for _, errno := range errnos {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}
