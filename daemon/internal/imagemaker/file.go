package imagemaker

import (
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// The programs of systemd-importd, which do its work when they are run alone as
// well.
var (
	importTool = tool{"/usr/lib/systemd/systemd-import", "systemd-container", "making an image of an archive or disk image", ""}
	gpgTool    = tool{"gpg", "gpg", "checking a signature", "have none checked, by option verify"}
	pullTool   = tool{"/usr/lib/systemd/systemd-pull", "systemd-container", "downloading an image", ""}
	blkidTool  = tool{"blkid", "util-linux", "looking at a disk image", ""}
)

// take makes the image of what the caller has opened.
func (b *builder) take(ctx context.Context, w image.Workshop) error {
	if b.given == nil {
		return machine1.Errorf(machine1.ErrInvalidArgs, "There is no descriptor of what to make it of")
	}
	info, err := b.given.Stat()
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return b.copyTree(ctx, w)
	case !info.Mode().IsRegular():
		return machine1.Errorf(machine1.ErrInvalidArgs, "It is neither a directory nor a regular file")
	}
	path := fmt.Sprintf("/proc/self/fd/%d", b.given.Fd())
	file, err := os.Open(path) // what was read of it already does not matter then
	if err != nil {
		return fmt.Errorf("cannot read what was given: %w", err)
	}
	defer file.Close()
	kind := "raw"
	if isArchive(ctx, file) {
		kind = "tar"
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	err = b.run(ctx, importTool, file, "--image-root="+w.Dir.Name(), kind, "-", w.Name())
	switch {
	case kind == "tar":
		return err
	case err != nil && (ctx.Err() != nil || b.full):
		return err
	case err != nil:
		return fmt.Errorf("what was given is no archive that tar knows, and as a disk image it was not taken: %w", err)
	case isNoDisk(ctx, w.DiskPath()):
		return machine1.Errorf(machine1.ErrInvalidArgs, "What was given is neither an archive that tar knows nor a disk image: it has %s", noDisk)
	}
	return nil
}

// copyTree copies a directory. What is mounted below it is left out.
func (b *builder) copyTree(ctx context.Context, w image.Workshop) error {
	parent, name, err := parentOf(b.given)
	if err != nil {
		return fmt.Errorf("cannot tell where the directory is: %w", err)
	}
	defer parent.Close()
	return w.CopyTree(ctx, parent, name)
}

// parentOf returns the directory that a directory is in, and its name there. It
// may be of another mount namespace, where its path means something else.
func parentOf(dir *os.File) (parent *os.File, name string, err error) {
	fd, err := unix.Openat(int(dir.Fd()), "..", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, "", err
	}
	parent = os.NewFile(uintptr(fd), "parent")
	path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", dir.Fd()))
	var is, found unix.Stat_t
	name = filepath.Base(path)
	if err == nil {
		err = errors.Join(unix.Fstat(int(dir.Fd()), &is), unix.Fstatat(fd, name, &found, unix.AT_SYMLINK_NOFOLLOW))
	}
	if err == nil && (is.Dev != found.Dev || is.Ino != found.Ino) {
		err = unix.ESTALE
	}
	if err != nil {
		parent.Close()
		return nil, "", err
	}
	return parent, name, nil
}

// download has systemd-importd's program fetch an archive or a disk image.
func (b *builder) download(ctx context.Context, w image.Workshop) error {
	args := []string{
		"--image-root=" + w.Dir.Name(), "--verify=" + string(b.wish.Options.Verify), "--settings=no", "--roothash=no",
		"--roothash-signature=no", "--verity=no", "--keep-download=no",
	}
	if b.wish.Options.Verify == machd.VerifySignature {
		if _, err := gpgTool.find(); err != nil {
			return err
		}
	}
	kind := kindOfURL(b.wish.Source.Name)
	err := b.run(ctx, pullTool, nil, append(args, kind, b.wish.Source.Name, w.Name())...)
	if err != nil && ctx.Err() == nil {
		return machine1.Errorf(machine1.ErrJobFailed, "cannot download %s: %s", b.wish.Source.Name, strings.TrimSuffix(b.said, "."))
	}
	if err == nil && kind == "raw" && isNoDisk(ctx, w.DiskPath()) {
		return machine1.Errorf(machine1.ErrInvalidArgs, "What is at %s is no disk image: it has %s", b.wish.Source.Name, noDisk)
	}
	return err
}

// kindOfURL tells what a download is by its name, as nothing else is known before.
func kindOfURL(url string) string {
	name, _, _ := strings.Cut(url, "?")
	for _, packed := range []string{".xz", ".gz", ".bz2", ".zst"} {
		name = strings.TrimSuffix(name, packed)
	}
	for _, disk := range []string{".raw", ".img", ".qcow2"} {
		if strings.HasSuffix(name, disk) {
			return "raw"
		}
	}
	return "tar"
}

// noDisk is what a file has that no machine can be started from.
const noDisk = "neither a partition table nor a file system that is known"

// isNoDisk reports whether a file is none of a disk, which systemd-import makes an
// image of, too. If that cannot be told it is one.
func isNoDisk(ctx context.Context, path string) bool {
	blkid, err := blkidTool.find()
	if err != nil {
		return false
	}
	const knowsNothing = 2 // of what is in the file, it exits with
	cmd := exec.CommandContext(ctx, blkid, "--probe", path)
	cmd.Env = environment()
	var exit *exec.ExitError
	return errors.As(cmd.Run(), &exit) && exit.ExitCode() == knowsNothing
}

// packers are programs that unpack what begins with some bytes.
var packers = map[string]string{"\xfd7zXZ\x00": "xz", "\x28\xb5\x2f\xfd": "zstd"}

// isArchive tells by its content whether a file is a tar archive, packed or not.
func isArchive(ctx context.Context, file *os.File) bool {
	const header = 512 // bytes
	head := make([]byte, header)
	n, _ := io.ReadFull(file, head)
	head = head[:n]
	if isTarHeader(head) {
		return true
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return false
	}
	unpacked := make([]byte, header)
	var reader io.Reader
	switch {
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		unzipped, err := gzip.NewReader(file)
		if err != nil {
			return false
		}
		reader = unzipped
	case bytes.HasPrefix(head, []byte("BZh")):
		reader = bzip2.NewReader(file)
	default:
		for magic, program := range packers {
			if bytes.HasPrefix(head, []byte(magic)) {
				return unpacksToArchive(ctx, program, file)
			}
		}
		return false
	}
	n, _ = io.ReadFull(reader, unpacked)
	return isTarHeader(unpacked[:n])
}

// unpacksToArchive asks a program. Without it an archive is more likely.
func unpacksToArchive(ctx context.Context, program string, file *os.File) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "-dc")
	cmd.Stdin = file
	out, err := cmd.StdoutPipe()
	if err != nil || cmd.Start() != nil {
		return true
	}
	head := make([]byte, 512)
	n, _ := io.ReadFull(out, head)
	cancel()
	_ = cmd.Wait() // it was killed
	return isTarHeader(head[:n])
}

// isTarHeader knows those of all kinds but the oldest.
func isTarHeader(head []byte) bool {
	const magic = 257 // where it is
	return len(head) > magic && bytes.HasPrefix(head[magic:], []byte("ustar"))
}
