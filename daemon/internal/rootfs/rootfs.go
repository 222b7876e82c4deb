// Package rootfs reads files below a root directory that belongs to somebody
// else: a machine, or an image of one. Whatever is in there was put there to
// mislead: links that lead out, FIFOs, devices, files of the kernel, endless
// ones. It knows no machines and no images.
package rootfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// ErrRefused says that what is there must not be read, whoever asks.
var ErrRefused = errors.New("refused")

var (
	errNoFile   = refusal{"is no regular file", unix.EINVAL}
	errOfKernel = refusal{"is a file of the kernel", unix.EACCES}
	errForeign  = refusal{"belongs to somebody else", unix.EACCES}
	errTooLarge = fmt.Errorf("is too large: %w", unix.EFBIG)
)

type refusal struct {
	text string
	kind unix.Errno
}

func (r refusal) Error() string   { return r.text }
func (r refusal) Unwrap() []error { return []error{ErrRefused, r.kind} }

// Open opens the directory at path, absolute, as a root to read below. The
// caller closes it. A link as the last part of path is not followed.
func Open(path string) (*os.File, error) {
	return os.OpenFile(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

// ReadFile returns the content of the regular file at path below root, limit
// bytes at most; a larger one is EFBIG. Symbolic links are followed as if root
// were "/". Files that the kernel makes up (procfs, sysfs, …) are refused: they
// would be read with our privileges. root may have been opened with O_PATH.
//
// It can block as long as the file system does.
func ReadFile(root *os.File, path string, limit int64) ([]byte, error) {
	return ReadFileIf(root, path, limit, nil)
}

// ReadFileIf is ReadFile of what belongs to somebody of whom may says that it may
// be read; nil says so of everybody.
func ReadFileIf(root *os.File, path string, limit int64, may func(uid uint32) bool) ([]byte, error) {
	f, err := Lookup(root, path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if may != nil {
		var stat unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &stat); err != nil {
			return nil, err
		}
		if !may(stat.Uid) {
			return nil, fmt.Errorf("%s %w", path, errForeign)
		}
	}
	size, err := check(f, limit)
	if err != nil {
		return nil, fmt.Errorf("%s %w", path, err)
	}
	fd, err := Reopen(f, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, &os.PathError{Op: "reopen", Path: path, Err: err}
	}
	opened := os.NewFile(uintptr(fd), path)
	defer opened.Close()
	return readAtMost(opened, size, limit)
}

// Lookup opens path below root with O_PATH: nothing is started by that,
// whatever it is. Links are followed as ReadFile does.
func Lookup(root *os.File, path string) (*os.File, error) {
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	fd, err := Retry(func() (int, error) { return unix.Openat2(int(root.Fd()), path, &how) })
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// Reopen opens for use what f, opened with O_PATH, stands for. The caller
// closes the descriptor.
func Reopen(f *os.File, flags int) (int, error) {
	return Retry(func() (int, error) {
		return unix.Open(DescriptorPath(f), flags|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	})
}

// DescriptorPath names f itself, wherever it is and whatever its path is now.
func DescriptorPath(f *os.File) string {
	return "/proc/thread-self/fd/" + strconv.Itoa(int(f.Fd()))
}

// check returns the size of f if it may be read.
func check(f *os.File, limit int64) (int64, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &stat); err != nil {
		return 0, fmt.Errorf("cannot be looked at: %w", err)
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return 0, errNoFile
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		return 0, fmt.Errorf("cannot be looked at: %w", err)
	}
	if KernelFS(fs.Type) {
		return 0, errOfKernel
	}
	if stat.Size > limit {
		return 0, errTooLarge
	}
	return stat.Size, nil
}

// readAtMost reads f, which claims the given size. The claim can be wrong, but
// one of zero is believed: files that kernels make up claim it too.
func readAtMost(f *os.File, size, limit int64) ([]byte, error) {
	if size == 0 {
		return nil, nil
	}
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("%s %w", f.Name(), errTooLarge)
	}
	return text, nil
}

// Retry makes a system call again that a signal has interrupted, or that found
// the tree being renamed (EAGAIN of openat2), a bounded number of times.
func Retry(call func() (int, error)) (int, error) {
	const attempts = 64
	for range attempts {
		fd, err := call()
		if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
			return fd, err
		}
	}
	return -1, unix.EAGAIN
}
