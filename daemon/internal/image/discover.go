package image

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machine1"
)

func (s *Store) list(ctx context.Context) ([]Image, error) {
	found := map[string]Image{}
	for _, dir := range s.cfg.Dirs {
		if err := listDir(ctx, dir, found); err != nil {
			return nil, err
		}
	}
	images := make([]Image, 0, len(found)+1)
	for _, image := range found {
		images = append(images, image)
	}
	slices.SortFunc(images, func(a, b Image) int { return cmp.Compare(a.Name, b.Name) })
	return s.appendHost(ctx, images)
}

// listDir adds the images in a directory of the search path to found, those
// that others of the same name do not hide.
func listDir(ctx context.Context, path string, found map[string]Image) error {
	dir, err := openSearched(path, unix.O_RDONLY)
	if dir == nil {
		return err
	}
	defer dir.Close()
	entries, err := readEntries(ctx, dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, ok := found[e.name]; ok {
			continue
		}
		image, ok, err := lookAt(ctx, dir, e.name, forms[e.form])
		switch {
		case exhausted(err):
			return err
		case err == nil && ok:
			found[e.name] = image
		}
	}
	return nil
}

func (s *Store) get(ctx context.Context, name string) (Image, error) {
	for _, path := range s.cfg.Dirs {
		image, ok, err := getIn(ctx, path, name)
		if err != nil || ok {
			return image, err
		}
	}
	if name == machine1.Host && s.cfg.Host {
		return host(ctx)
	}
	return Image{}, machine1.Errorf(machine1.ErrNoSuchImage, "No image '%s' known", name)
}

func getIn(ctx context.Context, path, name string) (image Image, ok bool, err error) {
	dir, err := openSearched(path, unix.O_PATH)
	if dir == nil {
		return Image{}, false, err
	}
	defer dir.Close()
	for _, f := range forms {
		if err := ctx.Err(); err != nil {
			return Image{}, false, err
		}
		image, ok, err := lookAt(ctx, dir, name, f)
		switch {
		case nothing(err):
		case err != nil:
			return Image{}, false, err
		case ok:
			return image, true, nil
		}
	}
	return Image{}, false, nil
}

// openSearched opens a directory of the search path, named without links. One
// that is not there is nil.
func openSearched(path string, flags int) (*os.File, error) {
	dir, err := openResolved(unix.AT_FDCWD, path, flags|unix.O_DIRECTORY)
	if nothing(err) {
		return nil, nil
	}
	return dir, err
}

// lookAt looks at the image called name that dir may have in the given form.
// It is not ok if what is there is no image.
func lookAt(ctx context.Context, dir *os.File, name string, f form) (image Image, ok bool, err error) {
	if f.suffix == "" && !f.versions && holdsImage(name) {
		return Image{}, false, nil
	}
	file, n, err := lookUp(dir, name+f.ending())
	if err != nil {
		return Image{}, false, err
	}
	defer func() { file.Close() }()
	if f.versions {
		if !n.isDir() {
			return Image{}, false, nil
		}
		picked, pickedNode, err := f.pattern(name).pick(ctx, file)
		if err != nil {
			return Image{}, false, err
		}
		file.Close()
		file, n = picked, pickedNode
	}
	if !f.fits(n) {
		return Image{}, false, nil
	}
	image, err = n.image(ctx, file, name)
	return image, err == nil, err
}

// appendHost adds the host unless an image hides it.
func (s *Store) appendHost(ctx context.Context, images []Image) ([]Image, error) {
	named := func(i Image) bool { return i.Name == machine1.Host }
	if i := slices.IndexFunc(images, named); i >= 0 {
		override := images[i]
		return append(slices.Delete(images, i, i+1), override), nil
	}
	if !s.cfg.Host {
		return images, nil
	}
	image, err := host(ctx)
	if err != nil {
		return nil, err
	}
	return append(images, image), nil
}

func host(ctx context.Context) (Image, error) {
	file, err := os.OpenFile("/", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return Image{}, err
	}
	defer file.Close()
	n, err := inspect(file)
	if err != nil {
		return Image{}, err
	}
	return n.image(ctx, file, machine1.Host)
}

// nothing reports whether err says that there is nothing of that name.
func nothing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) ||
		errors.Is(err, unix.ENAMETOOLONG) || errors.Is(err, unix.ELOOP)
}

// exhausted reports whether err says that we lack something, so that leaving
// out the entry would be a lie about the disk.
func exhausted(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM)
}
