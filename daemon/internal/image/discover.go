package image

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machine1"
)

// A form is one way to spell the image called NAME as a directory's entry.
type form struct {
	suffix string
	known  bool // this package can look at it
}

// forms is in the order in which an entry wins over another in the same
// directory. Plain names may be directories and block devices.
var forms = []form{
	{"", true},
	{rawSuffix, true},
	{".mstack", false},
	{".v", false},
	{".raw.v", false},
	{".mstack.v", false},
}

const rawSuffix = ".raw"

func (s *Store) list(ctx context.Context) ([]Image, error) {
	found := map[string]Image{}
	hidden := map[string]bool{}
	for _, dir := range s.cfg.Dirs {
		entries, err := readEntries(ctx, dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if _, ok := found[e.name]; ok || hidden[e.name] {
				continue
			}
			image, ok, err := lookAt(dir, e.name, forms[e.form])
			switch {
			case exhausted(err):
				return nil, err
			case errors.Is(err, machine1.ErrNotSupported):
				hidden[e.name] = true
			case err == nil && ok:
				found[e.name] = image
			}
		}
	}
	images := make([]Image, 0, len(found)+1)
	for _, image := range found {
		images = append(images, image)
	}
	slices.SortFunc(images, func(a, b Image) int { return cmp.Compare(a.Name, b.Name) })
	return s.appendHost(images)
}

func (s *Store) get(ctx context.Context, name string) (Image, error) {
	for _, dir := range s.cfg.Dirs {
		for _, f := range forms {
			if err := ctx.Err(); err != nil {
				return Image{}, err
			}
			image, ok, err := lookAt(dir, name, f)
			switch {
			case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ENAMETOOLONG):
			case err != nil:
				return Image{}, err
			case ok:
				return image, nil
			}
		}
	}
	if name == machine1.Host && s.cfg.Host {
		return host()
	}
	return Image{}, machine1.Errorf(machine1.ErrNoSuchImage, "No image '%s' known", name)
}

// lookAt looks at the image called name in the given form. It is not ok if
// what is there is no image.
func lookAt(dir, name string, f form) (image Image, ok bool, err error) {
	if f.suffix == "" && isVersioned(name) {
		return Image{}, false, nil // NAME.v is no image of its own
	}
	path := filepath.Join(dir, name+f.suffix)
	file, err := os.OpenFile(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return Image{}, false, err
	}
	defer file.Close()
	n, err := inspect(file)
	if err != nil {
		return Image{}, false, err
	}
	switch {
	case !f.known && n.isDir():
		return Image{}, false, machine1.Errorf(machine1.ErrNotSupported,
			"image %q is %s, which is not supported", name, path)
	case f.suffix == rawSuffix && n.isRegular(), f.suffix == "" && (n.isDir() || n.isBlock()):
		image, err = n.image(file, name)
		return image, err == nil, err
	}
	return Image{}, false, nil
}

// appendHost adds the host unless an image hides it.
func (s *Store) appendHost(images []Image) ([]Image, error) {
	named := func(i Image) bool { return i.Name == machine1.Host }
	if i := slices.IndexFunc(images, named); i >= 0 {
		override := images[i]
		return append(slices.Delete(images, i, i+1), override), nil
	}
	if !s.cfg.Host {
		return images, nil
	}
	image, err := host()
	if err != nil {
		return nil, err
	}
	return append(images, image), nil
}

func host() (Image, error) {
	file, err := os.OpenFile("/", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return Image{}, err
	}
	defer file.Close()
	n, err := inspect(file)
	if err != nil {
		return Image{}, err
	}
	return n.image(file, machine1.Host)
}

// An entry is a directory's entry read as an image's name and form.
type entry struct {
	name string
	form int // index in forms
}

// readEntries returns what may be images in dir, those that win over others
// of the same name first. A directory that does not exist has none.
func readEntries(ctx context.Context, dir string) ([]entry, error) {
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer d.Close()
	var entries []entry
	for ctx.Err() == nil {
		names, err := d.Readdirnames(readdirChunk)
		for _, name := range names {
			entries = appendEntries(entries, name)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.form, b.form), cmp.Compare(a.name, b.name))
	})
	return entries, ctx.Err()
}

// readdirChunk is how many names are read between two looks at the context.
const readdirChunk = 1024

// appendEntries adds every reading of a file name. "a.raw" is the raw image a
// if it is a file, and the image a.raw if it is a directory.
func appendEntries(entries []entry, fileName string) []entry {
	if strings.HasPrefix(fileName, ".sysupdate.") {
		return entries
	}
	for i, f := range forms {
		name, ok := strings.CutSuffix(fileName, f.suffix)
		if ok && machine1.ValidImageName(name) {
			entries = append(entries, entry{name, i})
		}
	}
	return entries
}

// isVersioned reports whether a directory of this name holds versions of an
// image, or layers of one, instead of being one.
func isVersioned(name string) bool {
	for _, f := range forms {
		if rest, ok := strings.CutSuffix(name, f.suffix); !f.known && ok && rest != "" {
			return true
		}
	}
	return false
}

// exhausted reports whether err says that we lack something, so that leaving
// out the entry would be a lie about the disk.
func exhausted(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM)
}
