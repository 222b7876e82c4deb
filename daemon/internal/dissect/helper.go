package dissect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/rootfs"
	"github.com/machd/machd/pkg/machine1"
)

const (
	// mountDir is where a helper mounts, which sees something else there than
	// everybody else.
	mountDir = "/run/machd"
	// rootPolicy leaves all but the root alone: nothing else is changed.
	rootPolicy = "root=unprotected:=ignore"
)

// RunHelper is the whole program of a helper, which is in a mount namespace of its
// own: it mounts the root of the disk image that args name, and hands it to who
// has started it until that wants no more. If it is killed instead, the kernel
// unmounts.
func RunHelper(ctx context.Context, args []string) error {
	socket, err := net.FileConn(os.Stdin)
	conn, ok := socket.(*net.UnixConn)
	if err != nil || !ok || len(args) != 1 {
		return fmt.Errorf("%s is for the daemon itself", MountArgument)
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	root, err := mountRoot(ctx, args[0])
	if err != nil {
		return tell(conn, err, nil)
	}
	err = tell(conn, nil, root)
	root.Close()
	if err == nil {
		_, _ = io.Copy(io.Discard, conn)
	}
	// The kernel writes all of it before this returns: nobody else has it open.
	if err := unix.Unmount(mountDir, unix.MNT_DETACH); err != nil {
		return tell(conn, fmt.Errorf("cannot unmount the disk image: %w", err), nil)
	}
	return tell(conn, nil, nil)
}

func tell(conn *net.UnixConn, err error, root *os.File) error {
	var a answer
	if err != nil {
		a.Failure = &machine1.RemoteError{Name: machine1.ErrorName(err), Text: err.Error()}
	}
	text, err := json.Marshal(a)
	if err != nil {
		return err
	}
	var rights []byte
	if root != nil {
		rights = unix.UnixRights(int(root.Fd()))
	}
	_, _, err = conn.WriteMsgUnix(text, rights, nil)
	return err
}

// mountRoot mounts the root, where we alone see it, and opens it.
func mountRoot(ctx context.Context, path string) (*os.File, error) {
	if err := changeable(ctx, path); err != nil {
		return nil, err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return nil, fmt.Errorf("cannot have mounts of our own: %w", err)
	}
	if err := os.MkdirAll(mountDir, 0o755); err != nil {
		return nil, err
	}
	if err := unix.Mount("disk", mountDir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0700"); err != nil {
		return nil, fmt.Errorf("cannot mount %s: %w", mountDir, err)
	}
	const at = mountDir + "/root"
	if err := os.Mkdir(at, 0o700); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, Limit)
	defer cancel()
	_, err := run(ctx, "--mount", "--growfs=no", "--image-policy="+rootPolicy, "--", path, at)
	if err != nil {
		return nil, fmt.Errorf("its root file system cannot be mounted: %w", explain(err, path))
	}
	root, err := rootfs.Open(at)
	if err != nil {
		return nil, err
	}
	var fs unix.Statfs_t
	err = unix.Fstatfs(int(root.Fd()), &fs)
	if err == nil && fs.Flags&unix.ST_RDONLY != 0 {
		err = machine1.Errorf(unix.EOPNOTSUPP, "its root file system can be mounted read-only only: the kernel's log says why")
	}
	if err != nil {
		root.Close()
		return nil, err
	}
	return root, nil
}

// changeable refuses a disk whose root must not be changed, or cannot be.
func changeable(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, Limit)
	defer cancel()
	d, err := Describe(ctx, path)
	if err != nil {
		return explain(err, path)
	}
	return d.changeable()
}

func (d Description) changeable() error {
	var root *Partition
	for i, p := range d.Partitions {
		switch p.Designator {
		case "root":
			root = &d.Partitions[i]
		case "root-verity", "root-verity-sig":
			return errVerity()
		}
	}
	switch {
	case root == nil:
		return explain(unix.ENXIO, "")
	case root.FSType == "crypto_LUKS":
		return machine1.Errorf(unix.EOPNOTSUPP, "its root file system is encrypted, and there is no key here: start a machine from it, where the key is given, and do it there")
	case root.Verity != "" && root.Verity != "no":
		return errVerity()
	case neverWritten[root.FSType]:
		return machine1.Errorf(unix.EOPNOTSUPP, "its root file system is %s, which cannot be written: \"systemd-dissect --copy-from IMAGE / DIR\" takes the files out, and an image can be made of DIR", root.FSType)
	case root.Mode == "ro":
		return machine1.Errorf(unix.EOPNOTSUPP, "its root partition is marked as read-only: \"sfdisk --part-attrs\" can take the mark away")
	}
	return nil
}

// neverWritten are file systems that are read-only by kind.
var neverWritten = map[string]bool{"squashfs": true, "erofs": true, "cramfs": true, "romfs": true, "iso9660": true, "udf": true}

func errVerity() error {
	return machine1.Errorf(unix.EOPNOTSUPP, "its root file system is protected by verity, and would be refused once it is changed: do it where the image is built")
}

// explain says what to do about what systemd-dissect refuses.
func explain(err error, path string) error {
	for errno, text := range map[unix.Errno]string{
		unix.ENXIO:    "it has no root partition: give one the type that the Discoverable Partitions Specification has for a root",
		unix.ENOTUNIQ: "several of its partitions could be the root: give one the type that the Discoverable Partitions Specification has for a root",
	} {
		if errors.Is(err, errno) {
			return machine1.Errorf(errno, "%s", text)
		}
	}
	text := strings.TrimPrefix(err.Error(), unix.ENOPKG.Error()+": ")
	return machine1.Errorf(err, "%s", strings.TrimPrefix(text, path+": "))
}
