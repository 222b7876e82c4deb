package inside

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/envfile"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machine1"
)

// maxOSRelease bounds the os-release of a machine, bytes.
const maxOSRelease = 64 << 10

// ReadFile returns the content of the regular file at path below the machine's
// root, limit bytes at most. Symbolic links are followed inside the machine.
// Files of the kernel (procfs, sysfs, …) are refused: the machine could have
// them read with our privileges.
func (g *Guard) ReadFile(ctx context.Context, leader *proc.PIDFD, path string, limit int64) ([]byte, error) {
	read := func(root *os.File) ([]byte, error) { return readFile(root, path, limit) }
	return below(ctx, g, leader, read, nothing)
}

// OpenRoot opens the root directory of the machine for reading. The caller
// closes it.
//
// Reference: machine-dbus.c, bus_machine_method_open_root_directory.
func (g *Guard) OpenRoot(ctx context.Context, leader *proc.PIDFD) (*os.File, error) {
	open := func(root *os.File) (*os.File, error) {
		const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC
		fd, err := retry(func() (int, error) { return unix.Openat(int(root.Fd()), ".", flags, 0) })
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
	text, err := below(ctx, g, leader, readOSRelease, nothing)
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

func readOSRelease(root *os.File) ([]byte, error) {
	for _, path := range []string{"etc/os-release", "usr/lib/os-release"} {
		text, err := readFile(root, path, maxOSRelease)
		if !errors.Is(err, unix.ENOENT) {
			return text, err
		}
	}
	return nil, errNoOSRelease
}

// openBelow opens path below root with O_PATH: nothing is started by that,
// whatever it is.
func openBelow(root *os.File, path string) (*os.File, error) {
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	fd, err := retry(func() (int, error) { return unix.Openat2(int(root.Fd()), path, &how) })
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// reopen opens for use what f, opened with O_PATH, stands for. The caller
// closes the descriptor.
func reopen(f *os.File, flags int) (int, error) {
	return retry(func() (int, error) {
		return unix.Open(descriptorPath(f), flags|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	})
}

// descriptorPath names f itself, wherever it is and whatever its path is now.
func descriptorPath(f *os.File) string {
	return "/proc/thread-self/fd/" + strconv.Itoa(int(f.Fd()))
}

func readFile(root *os.File, path string, limit int64) ([]byte, error) {
	f, err := openBelow(root, path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := checkReadable(f, limit)
	if err != nil {
		return nil, fmt.Errorf("%s %w", path, err)
	}
	fd, err := reopen(f, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, &os.PathError{Op: "reopen", Path: path, Err: err}
	}
	open := os.NewFile(uintptr(fd), path)
	defer open.Close()
	return readAtMost(open, size, limit)
}

var errTooLarge = fmt.Errorf("is too large: %w", unix.EFBIG)

// checkReadable returns the size of f if it is a regular file of at most limit
// bytes that is not made by the kernel.
func checkReadable(f *os.File, limit int64) (int64, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &stat); err != nil {
		return 0, fmt.Errorf("cannot be looked at: %w", err)
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return 0, errors.New("is no regular file")
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		return 0, fmt.Errorf("cannot be looked at: %w", err)
	}
	if isKernelFS(fs.Type) {
		return 0, errors.New("is a file of the kernel")
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

// isKernelFS reports whether a file system of this type shows the kernel's own
// data as files.
func isKernelFS(magic int64) bool {
	switch uint32(magic) {
	case unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC,
		unix.SECURITYFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC,
		unix.BPF_FS_MAGIC, unix.PSTOREFS_MAGIC, unix.EFIVARFS_MAGIC, unix.SELINUX_MAGIC,
		unix.SMACK_MAGIC, unix.AAFS_MAGIC, unix.BINFMTFS_MAGIC, unix.BINDERFS_SUPER_MAGIC,
		unix.DEVPTS_SUPER_MAGIC, unix.NSFS_MAGIC, unix.PID_FS_MAGIC, unix.SOCKFS_MAGIC,
		unix.PIPEFS_MAGIC, unix.ANON_INODE_FS_MAGIC, unix.RDTGROUP_SUPER_MAGIC,
		unix.XENFS_SUPER_MAGIC, unix.USBDEVICE_SUPER_MAGIC, unix.OPENPROM_SUPER_MAGIC,
		unix.SECRETMEM_MAGIC, unix.DMA_BUF_MAGIC, unix.DAXFS_MAGIC, unix.BDEVFS_MAGIC,
		configfsMagic, fusectlMagic, mqueueMagic:
		return true
	}
	return false
}

// File systems whose numbers golang.org/x/sys does not have.
const (
	configfsMagic = 0x62656570
	fusectlMagic  = 0x65735543
	mqueueMagic   = 0x19800202
)
