package image

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A pattern says which entries of a versioned directory are versions of an
// image: NAME_VERSION[_ARCHITECTURE][+LEFT[-DONE]]SUFFIX.
type pattern struct {
	name, suffix string
	tries        bool // count tries: a version none are left of comes last
	fits         func(node) bool
}

// A versionFile is an entry's name read by a pattern. Entries without an
// architecture or tries count as made for any, and as good.
type versionFile struct {
	file         string
	number       string
	architecture int    // place in the order of preference
	left, done   uint64 // tries
}

const unlimited = math.MaxUint32

// parse reads the name of an entry.
//
// Reference: vpick.c, make_choice.
func (p pattern) parse(file string) (versionFile, bool) {
	rest, ok := strings.CutPrefix(file, p.name+"_")
	if !ok {
		return versionFile{}, false
	}
	rest, ok = strings.CutSuffix(rest, p.suffix)
	if !ok {
		return versionFile{}, false
	}
	v := versionFile{file: file, left: unlimited, done: unlimited}
	if p.tries {
		rest = v.takeTries(rest)
	}
	rest, ok = v.takeArchitecture(rest)
	if !ok || !validVersion(rest) {
		return versionFile{}, false
	}
	v.number = rest
	return v, true
}

// takeTries cuts "+LEFT" or "+LEFT-DONE" off rest, if it has that.
func (v *versionFile) takeTries(rest string) string {
	i := strings.LastIndexByte(rest, '+')
	if i < 0 {
		return rest
	}
	left, done, both := strings.Cut(rest[i+1:], "-")
	if !both {
		done = "0"
	}
	l, okLeft := parseTries(left)
	d, okDone := parseTries(done)
	if !okLeft || !okDone {
		return rest
	}
	v.left, v.done = l, d
	return rest[:i]
}

// parseTries reads a number; one that begins with 0 is octal, as for systemd.
func parseTries(s string) (uint64, bool) {
	if strings.TrimLeftFunc(s, isDigit) != "" {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 0, 32)
	return n, err == nil
}

// takeArchitecture cuts "_ARCHITECTURE" off rest. It is not ok if that is one
// this host does not run. What names none is cut off all the same.
func (v *versionFile) takeArchitecture(rest string) (string, bool) {
	local := localArchitectures[runtime.GOARCH]
	v.architecture = len(local)
	i := strings.LastIndexByte(rest, '_')
	if i < 0 {
		return rest, true
	}
	if named := rest[i+1:]; slices.Contains(architectures, named) {
		v.architecture = slices.Index(local, named)
	}
	return rest[:i], v.architecture >= 0
}

// validVersion reports whether s may be a version number in a file's name.
func validVersion(s string) bool {
	return s != "" && s != "." && s != ".." && !strings.ContainsFunc(s, isForeign)
}

// compare is negative if v is to be chosen after w.
func (v versionFile) compare(w versionFile) int {
	return cmp.Or(
		-compareBool(v.left == 0, w.left == 0),
		compareVersions(v.number, w.number),
		-cmp.Compare(v.architecture, w.architecture),
		cmp.Compare(v.left, w.left),
		-cmp.Compare(v.done, w.done),
		strings.Compare(v.file, w.file))
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// pick opens, with O_PATH, the best version in dir, which may have been opened
// with O_PATH itself. The error is fs.ErrNotExist if there is none.
func (p pattern) pick(ctx context.Context, dir *os.File) (*os.File, node, error) {
	listing, err := openAt(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, node{}, err
	}
	defer listing.Close()
	versions, err := p.versions(ctx, listing)
	if err != nil {
		return nil, node{}, err
	}
	for _, v := range slices.Backward(versions) {
		file, n, err := lookUp(listing, v.file)
		if exhausted(err) {
			return nil, node{}, err
		}
		if err != nil {
			continue
		}
		if p.fits(n) {
			return file, n, nil
		}
		file.Close()
	}
	return nil, node{}, &os.PathError{Op: "pick a version in", Path: dir.Name(), Err: fs.ErrNotExist}
}

// versions returns what dir has that looks like a version, the best last.
func (p pattern) versions(ctx context.Context, dir *os.File) ([]versionFile, error) {
	var versions []versionFile
	err := readNames(ctx, dir, func(e fs.DirEntry) {
		if v, ok := p.parse(e.Name()); ok {
			versions = append(versions, v)
		}
	})
	slices.SortFunc(versions, versionFile.compare)
	return versions, err
}

// lookUp opens and inspects what dir has by a name, links followed. dir's name
// is its path without links, and so is the file's.
func lookUp(dir *os.File, name string) (*os.File, node, error) {
	file, n, err := inspectOpened(openAt(dir, name, unix.O_PATH|unix.O_NOFOLLOW))
	if err != nil || !n.isLink() {
		return file, n, err
	}
	file.Close()
	return inspectOpened(openResolved(int(dir.Fd()), name, unix.O_PATH))
}

func inspectOpened(file *os.File, err error) (*os.File, node, error) {
	if err != nil {
		return nil, node{}, err
	}
	n, err := inspect(file)
	if err != nil {
		return nil, node{}, errors.Join(err, file.Close())
	}
	return file, n, nil
}
