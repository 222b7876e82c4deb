package image

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machine1"
)

const (
	// goingLimit is how long a loop device may be on its way out: udev looks at
	// those that were in use a moment ago.
	goingLimit = 2 * time.Second
	goingStep  = 50 * time.Millisecond
)

// unused refuses a disk image that is used by who takes none of systemd's locks:
// a file system that is mounted twice is lost.
func unused(ctx context.Context, i Image, file *os.File) error {
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(file.Fd(), unix.F_OFD_GETLK, &lock); err == nil && lock.Type != unix.F_UNLCK {
		return machine1.Errorf(unix.EBUSY, "image %q is in use: another program has locked it, such as a virtual machine's", i.Name)
	}
	if i.Type == TypeBlock {
		return unmounted(i)
	}
	for end := time.Now().Add(goingLimit); ; time.Sleep(goingStep) {
		device, err := loopDevice(file)
		if device == "" || err != nil {
			return err
		}
		if time.Now().After(end) || ctx.Err() != nil {
			return machine1.Errorf(unix.EBUSY, "image %q is in use: %s shows it; unmount what is mounted of that, and \"losetup -d %[2]s\"", i.Name, device)
		}
	}
}

// unmounted refuses a block device that the kernel says is in use.
func unmounted(i Image) error {
	fd, err := unix.Open(i.Path, unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC, 0)
	if err == unix.EBUSY {
		return machine1.Errorf(unix.EBUSY, "image %q is in use: unmount what is mounted of it", i.Name)
	}
	if err != nil {
		return &os.PathError{Op: "open", Path: i.Path, Err: err}
	}
	return unix.Close(fd)
}

// loopDevice returns the loop device that shows a file, or "".
func loopDevice(file *os.File) (string, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &stat); err != nil {
		return "", fmt.Errorf("cannot look at the image: %w", err)
	}
	shown, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return "", err
	}
	for _, path := range shown {
		device := "/dev/" + strings.Split(path, "/")[3]
		fd, err := unix.Open(device, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			continue // of another container
		}
		info, err := unix.IoctlLoopGetStatus64(fd)
		unix.Close(fd)
		if err == nil && info.Device == stat.Dev && info.Inode == stat.Ino {
			return device, nil
		}
	}
	return "", nil
}
