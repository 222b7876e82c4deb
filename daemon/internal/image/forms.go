package image

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machine1"
)

const (
	rawSuffix      = ".raw"
	versionsSuffix = ".v"
)

// A form is one way to spell the image called NAME as a directory's entry:
// NAME and a suffix that says what it is, or a directory with versions of that.
type form struct {
	suffix   string
	versions bool
}

// forms is in the order in which an entry wins over another in the same
// directory.
//
// Reference: discover-image.c, make_possible_filenames.
var forms = []form{
	{"", false}, {rawSuffix, false}, {mstackSuffix, false},
	{"", true}, {rawSuffix, true}, {mstackSuffix, true},
}

// ending is what comes after the image's name in the entry's.
func (f form) ending() string {
	if f.versions {
		return f.suffix + versionsSuffix
	}
	return f.suffix
}

// fits reports whether what has this form can be an image.
func (f form) fits(n node) bool {
	switch f.suffix {
	case rawSuffix:
		return n.isRegular() || f.versions && n.isBlock()
	case mstackSuffix:
		return n.isDir()
	}
	return n.isDir() || !f.versions && n.isBlock()
}

func (f form) pattern(name string) pattern {
	return pattern{name: name, suffix: f.suffix, tries: true, fits: f.fits}
}

// mayHave reports whether an entry whose type is known from reading the
// directory is worth a look. Links may lead to anything.
func (f form) mayHave(entryType fs.FileMode) bool {
	switch {
	case entryType.IsRegular():
		return f.suffix == rawSuffix && !f.versions
	case entryType.IsDir():
		return f.suffix != rawSuffix || f.versions
	case entryType == fs.ModeDevice:
		return f.suffix == "" && !f.versions
	}
	return entryType == fs.ModeSymlink
}

// holdsImage reports whether a directory of this name has versions or layers
// of an image in it, and so is none itself.
func holdsImage(name string) bool {
	return strings.HasSuffix(name, versionsSuffix) || strings.HasSuffix(name, mstackSuffix)
}

// An entry is a directory's entry read as an image's name and form.
type entry struct {
	name string
	form int // index in forms
}

// readEntries returns what may be images in dir, those that win over others
// of the same name first.
func readEntries(ctx context.Context, dir *os.File) ([]entry, error) {
	var entries []entry
	err := readNames(ctx, dir, func(e fs.DirEntry) { entries = appendEntries(entries, e) })
	slices.SortFunc(entries, func(a, b entry) int {
		if a.form != b.form {
			return cmp.Compare(a.form, b.form)
		}
		return strings.Compare(a.name, b.name)
	})
	return entries, err
}

// appendEntries adds every reading of an entry. "a.raw" is the raw image a if
// it is a file, and the image a.raw if it is a directory.
func appendEntries(entries []entry, e fs.DirEntry) []entry {
	if strings.HasPrefix(e.Name(), ".sysupdate.") {
		return entries
	}
	for i, f := range forms {
		name, ok := strings.CutSuffix(e.Name(), f.ending())
		if ok && f.mayHave(e.Type()) && machine1.ValidImageName(name) {
			entries = append(entries, entry{name, i})
		}
	}
	return entries
}

// readNames calls each for every entry of dir until ctx ends.
func readNames(ctx context.Context, dir *os.File, each func(fs.DirEntry)) error {
	const chunk = 1024 // entries read between two looks at the context
	for ctx.Err() == nil {
		entries, err := dir.ReadDir(chunk)
		for _, e := range entries {
			each(e)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// openAt opens what dir has by a name. dir may have been opened with O_PATH.
func openAt(dir *os.File, name string, flags int) (*os.File, error) {
	fd, err := openFD(int(dir.Fd()), name, flags)
	if err != nil {
		return nil, fmt.Errorf("cannot open %s in %s: %w", name, dir.Name(), err)
	}
	return os.NewFile(uintptr(fd), filepath.Join(dir.Name(), name)), nil
}

// openResolved is openAt where the file may be reached by links: its name is the
// path that it really has.
func openResolved(dir int, path string, flags int) (*os.File, error) {
	fd, err := openFD(dir, path, flags)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	name, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot resolve %s: %w", path, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

func openFD(dir int, path string, flags int) (fd int, err error) {
	err = unix.EINTR
	for errors.Is(err, unix.EINTR) {
		fd, err = unix.Openat(dir, path, flags|unix.O_CLOEXEC, 0)
	}
	return fd, err
}
