// Package tarball has files and trees come and go as a tar archive, as they are:
// with owners as numbers, modes, times, links, extended attributes and holes.
// GNU tar does that, and guards against archives that lead out of the directory
// that they are unpacked in.
//
// An archive is of one file, which is its only member, or of a directory, whose
// members are all that is in it.
package tarball

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/machd/machd/pkg/child"
)

// somethingChanged is tar's exit status where a file changed as it was read.
const somethingChanged = 1

// preserve are the options of tar that keep files as they are.
var preserve = []string{"--numeric-owner", "--xattrs", "--xattrs-include=*", "--acls"}

// Pack writes a file, or a directory, to w.
func Pack(ctx context.Context, name string, w *os.File) error {
	info, err := os.Lstat(name)
	if err != nil {
		return err
	}
	dir, member := name, "."
	if !info.IsDir() {
		dir, member = filepath.Dir(name), filepath.Base(name)
	}
	args := append([]string{"--create", "--format=posix", "--sparse"}, preserve...)
	cmd := exec.Command("tar", append(args, "--directory="+dir, "--file=-", "--", member)...)
	cmd.Stdout = w
	return run(ctx, cmd)
}

// Unpack reads an archive into an empty directory of the caller's, and returns
// the path of what it is an archive of: that directory, or a file in it. If ctx ends
// first, nothing is unpacked any more, but r may still be being read.
func Unpack(ctx context.Context, r io.Reader, dir string) (name string, err error) {
	in, toTar, err := os.Pipe()
	if err != nil {
		return "", err
	}
	args := append([]string{"--extract", "--preserve-permissions", "--delay-directory-restore"}, preserve...)
	cmd := exec.Command("tar", append(args, "--directory="+dir, "--file=-")...)
	cmd.Stdin = in
	passed := make(chan contents, 1)
	go func() {
		defer toTar.Close()
		passed <- pass(r, toTar)
	}()
	err = run(ctx, cmd)
	in.Close() // so that nobody waits for tar to read on
	var c contents
	select {
	case c = <-passed:
	case <-ctx.Done():
	}
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case c.err != nil:
		return "", c.err
	case err != nil:
		return "", err
	}
	return filepath.Join(dir, c.file), nil
}

// contents are what an archive that has passed is of: a file, or "".
type contents struct {
	file string
	err  error // it could not be read to its end
}

// pass passes an archive on and looks at it. tar takes one that was cut off
// between two members for a whole one.
func pass(from io.Reader, to io.Writer) (c contents) {
	in := &watched{Reader: from}
	archive := tar.NewReader(io.TeeReader(in, to))
	members := 0
	for {
		member, err := archive.Next()
		if errors.Is(err, io.EOF) && in.end != nil {
			return contents{err: fmt.Errorf("the archive has no end: %w", orUnexpected(in.end))}
		}
		if err != nil {
			break // the end, or tar knows better
		}
		if member.Typeflag == tar.TypeXGlobalHeader {
			continue // it is about all members, and none itself
		}
		if members++; members == 1 && member.Name != ".." && member.Typeflag != tar.TypeDir && path.Base(member.Name) == member.Name {
			c.file = member.Name
		} else {
			c.file = ""
		}
	}
	_, err := io.Copy(to, in)
	if err == nil || errors.Is(err, syscall.EPIPE) {
		err = in.failure()
	}
	c.err = err
	return c
}

// A watched reader remembers how it ended.
type watched struct {
	io.Reader
	end error
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if err != nil {
		w.end = err
	}
	return n, err
}

func (w *watched) failure() error {
	if errors.Is(w.end, io.EOF) {
		return nil
	}
	return w.end
}

func orUnexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// heldBack is how much of an archive waits for tar to say that it is all, in
// bytes: its last two records, one of which the mark of its end begins in.
const heldBack = 2 * 10240

// packBuffer is how much of an archive is read at a time, in bytes.
const packBuffer = 64<<10 + heldBack

// Read returns a reader of an archive of a file or a directory. Unless that is the
// whole archive, it ends with an error, and what was read is none that tar takes.
// Whoever has it reads it to its end, or closes it.
func Read(ctx context.Context, name string) (io.ReadCloser, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p := &packing{file: r, packed: bufio.NewReaderSize(r, packBuffer), done: make(chan error, 1)}
	go func() {
		defer w.Close()
		p.done <- Pack(ctx, name, w)
	}()
	return p, nil
}

// A packing is an archive that is being made. It is no file to whoever copies it:
// only its own Read sees how tar ends.
type packing struct {
	file   *os.File
	packed *bufio.Reader
	done   chan error
	rest   io.Reader // what comes when tar has ended, or nil
	failed error     // how it has ended
}

func (p *packing) Read(b []byte) (int, error) {
	if p.rest == nil {
		_, err := p.packed.Peek(heldBack + 1)
		if err == nil {
			return p.packed.Read(b[:min(len(b), p.packed.Buffered()-heldBack)])
		}
		if !errors.Is(err, io.EOF) {
			return 0, err
		}
		p.rest, p.failed = p.packed, <-p.done
		if p.failed != nil {
			// tar leaves out what it cannot read, and ends the archive well. In
			// place of that end there is what is no member, and ends amid a block.
			p.rest = bytes.NewReader(bytes.Repeat([]byte{0xff}, heldBack+1))
		}
	}
	n, err := p.rest.Read(b)
	if errors.Is(err, io.EOF) && p.failed != nil {
		err = p.failed
	}
	return n, err
}

func (p *packing) Close() error { return p.file.Close() }

func run(ctx context.Context, cmd *exec.Cmd) error {
	words := &child.Words{}
	cmd.Stderr, cmd.Env = words, append(os.Environ(), "LC_ALL=C")
	tar, err := child.Start(cmd, syscall.SIGTERM)
	if err != nil {
		return fmt.Errorf("cannot start tar: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { tar.Signal(syscall.SIGKILL) })
	defer stop()
	err = tar.Wait()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &exit) && exit.ExitCode() == somethingChanged && cmd.Stdout != nil:
		return nil
	case errors.As(err, &exit) && words.String() != "":
		first, _, _ := strings.Cut(words.String(), "\n")
		return errors.New(first)
	}
	return err
}

// Place puts what was unpacked at a path of the same file system, as a copy puts
// it: a directory is merged into one that is there, where files that are there
// stay, or are replaced; at the top, a file that is there is an error.
func Place(from, to string, replace bool) error {
	err := place(from, to, replace, true)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already: %w", to, syscall.EEXIST)
	}
	return err
}

func place(from, to string, replace, top bool) error {
	source, err := os.Lstat(from)
	if err != nil {
		return err
	}
	there, err := os.Lstat(to)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return os.Rename(from, to)
	case err != nil:
		return err
	case source.IsDir() && there.IsDir():
		return merge(from, to, replace)
	case source.IsDir() || there.IsDir():
		return fmt.Errorf("%s is there, and only one of the two is a directory: %w", to, fs.ErrExist)
	case replace:
		return os.Rename(from, to)
	case top:
		return fs.ErrExist
	}
	return nil
}

func merge(from, to string, replace bool) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := place(filepath.Join(from, e.Name()), filepath.Join(to, e.Name()), replace, false); err != nil {
			return err
		}
	}
	return nil
}
