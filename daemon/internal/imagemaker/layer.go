package imagemaker

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// unpack has a process of its own unpack a layer above a tree: it has the tree
// for its root, so that no link of an earlier layer leads out.
func (b *builder) unpack(ctx context.Context, layer *os.File, tree string) error {
	reader := bufio.NewReader(layer)
	head, _ := reader.Peek(4)
	if bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")) {
		return b.unpackZstd(ctx, layer, tree)
	}
	if _, err := layer.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return b.execute(ctx, program, layer, UnpackArgument, tree)
}

var zstd = tool{"zstd", "zstd", "unpacking this layer", ""}

func (b *builder) unpackZstd(ctx context.Context, layer *os.File, tree string) error {
	path, err := zstd.find()
	if err != nil {
		return err
	}
	if _, err := layer.Seek(0, io.SeekStart); err != nil {
		return err
	}
	unzip := exec.CommandContext(ctx, path, "-dc")
	unzip.Stdin = layer
	reader, writer, err := os.Pipe()
	if err != nil {
		return err
	}
	defer reader.Close()
	unzip.Stdout = writer
	err = unzip.Start()
	writer.Close()
	if err != nil {
		return err
	}
	err = b.execute(ctx, program, reader, UnpackArgument, tree)
	return errors.Join(err, unzip.Wait())
}

// RunUnpack does what UnpackArgument says: standard input is a layer, packed or
// not; args name the tree.
func RunUnpack(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("%s is for builders of images only", UnpackArgument)
	}
	if err := unix.Chroot(args[0]); err != nil {
		return fmt.Errorf("cannot enter %s: %w", args[0], err)
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	unix.Umask(0)
	input := bufio.NewReader(os.Stdin)
	var layer io.Reader = input
	if head, _ := input.Peek(2); string(head) == "\x1f\x8b" {
		unzipped, err := gzip.NewReader(input)
		if err != nil {
			return err
		}
		layer = unzipped
	}
	u := unpacker{added: map[string]bool{}}
	return u.unpack(tar.NewReader(layer))
}

// An unpacker puts a layer above what is in the root directory.
type unpacker struct {
	added map[string]bool // by this layer
	times []dirTime       // of directories, to be set when nothing is added to them any more
}

type dirTime struct {
	path string
	time time.Time
}

// What names of a layer mean that begin so: that something below is not there.
//
// Reference: image-spec, layer.md.
const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
)

func (u *unpacker) unpack(layer *tar.Reader) error {
	for {
		header, err := layer.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("cannot read the layer: %w", err)
		}
		name := path.Clean("/" + header.Name)
		if err := u.add(name, header, layer); err != nil {
			return fmt.Errorf("cannot unpack %s: %w", name, err)
		}
	}
	for _, d := range u.times {
		if err := setTime(d.path, d.time); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (u *unpacker) add(name string, header *tar.Header, content io.Reader) error {
	dir, base := path.Split(name)
	switch hidden, ok := strings.CutPrefix(base, whiteout); {
	case base == opaque:
		return u.clear(dir)
	case ok && strings.Trim(hidden, ".") == "", base == "" && header.Typeflag != tar.TypeDir:
		return errors.New("no layer may say that")
	case ok:
		return os.RemoveAll(dir + hidden)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	u.added[name] = true
	if header.Typeflag == tar.TypeDir {
		return u.addDir(name, header)
	}
	if err := os.RemoveAll(name); err != nil {
		return err
	}
	mode := uint32(header.Mode & 0o7777)
	switch header.Typeflag {
	case tar.TypeReg:
		return writeFile(name, header, content)
	case tar.TypeLink:
		return os.Link(path.Clean("/"+header.Linkname), name)
	case tar.TypeSymlink:
		if err := os.Symlink(header.Linkname, name); err != nil {
			return err
		}
		return errors.Join(os.Lchown(name, header.Uid, header.Gid), setTime(name, header.ModTime))
	case tar.TypeFifo:
		return u.addNode(name, unix.S_IFIFO|mode, header)
	case tar.TypeChar:
		return u.addNode(name, unix.S_IFCHR|mode, header)
	case tar.TypeBlock:
		return u.addNode(name, unix.S_IFBLK|mode, header)
	case tar.TypeXGlobalHeader:
		return nil
	}
	return fmt.Errorf("it is of a type %q that nobody knows", header.Typeflag)
}

// clear removes what lower layers have in a directory.
func (u *unpacker) clear(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if name := path.Join(dir, e.Name()); !u.added[name] {
			err = errors.Join(err, os.RemoveAll(name))
		}
	}
	return err
}

func (u *unpacker) addDir(name string, header *tar.Header) error {
	if info, err := os.Lstat(name); err == nil && !info.IsDir() {
		if err := os.RemoveAll(name); err != nil {
			return err
		}
	}
	if err := os.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	u.times = append(u.times, dirTime{name, header.ModTime})
	return dress(name, header)
}

func (u *unpacker) addNode(name string, mode uint32, header *tar.Header) error {
	device := unix.Mkdev(uint32(header.Devmajor), uint32(header.Devminor))
	if err := unix.Mknod(name, mode, int(device)); err != nil {
		return err
	}
	return errors.Join(dress(name, header), setTime(name, header.ModTime))
}

func writeFile(name string, header *tar.Header, content io.Reader) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Close(), dress(name, header), setTime(name, header.ModTime))
}

// dress gives what is no link its owner, its attributes and its mode, in the
// order in which none takes another away.
func dress(name string, header *tar.Header) error {
	if err := os.Lchown(name, header.Uid, header.Gid); err != nil {
		return err
	}
	const attributes = "SCHILY.xattr."
	for key, value := range header.PAXRecords {
		if attribute, ok := strings.CutPrefix(key, attributes); ok {
			if err := unix.Lsetxattr(name, attribute, []byte(value), 0); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
				return fmt.Errorf("attribute %s: %w", attribute, err)
			}
		}
	}
	return unix.Chmod(name, uint32(header.Mode&0o7777))
}

// setTime is for links as well.
func setTime(name string, t time.Time) error {
	times := []unix.Timespec{unix.NsecToTimespec(t.UnixNano()), unix.NsecToTimespec(t.UnixNano())}
	return unix.UtimesNanoAt(unix.AT_FDCWD, name, times, unix.AT_SYMLINK_NOFOLLOW)
}
