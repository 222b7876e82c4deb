package dissect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/child"
	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/pkg/socket"
)

// MountArgument is the argument that makes this program a helper, which mounts.
const MountArgument = "--mount-disk"

// openLimit is how long a helper may take to mount: it looks first.
const openLimit = 2*Limit + time.Second

// An answer is what a helper says, first with the root directory as a descriptor
// when it is mounted, and then when it is no more.
type answer struct {
	Failure *machine1.RemoteError `json:",omitempty"`
}

const maxAnswer = 16 << 10 // bytes

// A Disk is a disk image whose root file system is mounted, for us alone.
type Disk struct {
	Root   *os.File // its root directory, opened with O_PATH
	conn   *net.UnixConn
	helper *child.Child
}

// Open mounts the root file system of the disk image at path, which nobody else
// may use until Close. It is EOPNOTSUPP where nothing could be changed in it, or
// would make it useless; the error says so in words that stand after a name.
func Open(ctx context.Context, path string) (*Disk, error) {
	if os.Geteuid() != 0 {
		return nil, machine1.Errorf(unix.EOPNOTSUPP, "it is a disk image, which the system's machd alone can mount: make a directory of it, or set it in a machine that runs from it")
	}
	conn, theirs, err := socket.Pair(unix.SOCK_SEQPACKET)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", MountArgument, path)
	cmd.Stdin, cmd.Stderr = theirs, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	helper, err := child.Start(cmd, unix.SIGKILL)
	theirs.Close()
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("cannot start what mounts the disk image: %w", err)
	}
	d := &Disk{conn: conn, helper: helper}
	_ = conn.SetReadDeadline(time.Now().Add(openLimit))
	d.Root, err = d.receive()
	if err == nil && d.Root == nil {
		err = unix.EBADMSG
	}
	if err != nil {
		d.conn.Close()
		helper.End()
		if ctx.Err() != nil {
			err = cause(ctx)
		}
		return nil, err
	}
	return d, nil
}

// Close writes out what was changed, and unmounts. Whoever has opened something
// below the root has closed it.
func (d *Disk) Close() error {
	err := syncRoot(d.Root)
	d.Root.Close()
	defer d.conn.Close()
	_ = d.conn.SetReadDeadline(time.Now().Add(Limit))
	if closed := d.conn.CloseWrite(); closed == nil {
		_, failed := d.receive()
		err = errors.Join(err, failed)
	}
	d.helper.End()
	return err
}

// syncRoot tells of what could not be written.
func syncRoot(root *os.File) error {
	fd, err := unix.Openat(int(root.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		err = unix.Syncfs(fd)
		unix.Close(fd)
	}
	if err != nil {
		return fmt.Errorf("cannot write to the disk image: %w", err)
	}
	return nil
}

// receive reads an answer, and the descriptor that came with it.
func (d *Disk) receive() (*os.File, error) {
	text, rights := make([]byte, maxAnswer), make([]byte, unix.CmsgSpace(4))
	n, nRights, _, _, err := d.conn.ReadMsgUnix(text, rights)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, fmt.Errorf("the disk image is not mounted in time: %w", machine1.ErrTimeout)
	case err == nil && n == 0:
		return nil, errors.New("what mounts the disk image has ended")
	case err != nil:
		return nil, fmt.Errorf("cannot understand what mounts the disk image: %w", err)
	}
	var file *os.File // there is room for one
	files, err := socket.Files(rights[:nRights])
	if len(files) > 0 {
		file = files[0]
	}
	var a answer
	if err == nil {
		err = json.Unmarshal(text[:n], &a)
	}
	if err == nil && a.Failure != nil {
		err = a.Failure
	}
	if err != nil && file != nil {
		file.Close()
		file = nil
	}
	return file, err
}
