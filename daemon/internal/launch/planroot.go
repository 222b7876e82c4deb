package launch

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/pkg/nspawnfile"
)

// A root is what a machine's root file system is.
type root struct {
	option string // of systemd-nspawn and -vmspawn; "" if they find it by the machine's name
	path   string
}

func (r root) given() bool        { return r.option != "" }
func (r root) argument() argument { return option(r.option, r.path) }

// findRoot returns the root that the options ask for, which has to be there.
func (l *Launcher) findRoot(ctx context.Context, name string, o machd.StartOptions) (root, error) {
	switch {
	case o.Directory != "":
		return l.freeRoot(name, o, root{"directory", o.Directory}, fs.FileMode.IsDir)
	case o.Disk != "":
		return l.freeRoot(name, o, root{"image", o.Disk}, func(m fs.FileMode) bool {
			return m.IsRegular() || m&fs.ModeDevice != 0 && m&fs.ModeCharDevice == 0
		})
	case o.From != "":
		return l.cloneRoot(ctx, name, o)
	}
	wanted := o.Image
	if wanted == "" {
		wanted = name
	}
	i, err := l.cfg.Images.Get(ctx, wanted)
	if err != nil {
		return root{}, noImage(err, name, wanted)
	}
	if err := l.rootIsFree(name, o, i.Path); err != nil {
		return root{}, err
	}
	if wanted == name && inPool(i) {
		return root{path: i.Path}, nil
	}
	return root{optionOf(i), i.Path}, nil
}

// noImage says what to do about an image that there is not.
func noImage(err error, name, wanted string) error {
	if !errors.Is(err, machine1.ErrNoSuchImage) {
		return err
	}
	if wanted != name {
		return machine1.Errorf(machine1.ErrNoSuchImage, "There is no image '%s'", wanted)
	}
	return machine1.Errorf(machine1.ErrNoSuchImage,
		"There is no image '%s'; options 'image', 'directory', 'disk' and 'from' name another one", name)
}

// inPool reports whether the programs of every systemd find the image by its
// name.
func inPool(i image.Image) bool {
	dir, base := filepath.Split(i.Path)
	return filepath.Clean(dir) == machine1.PoolPath && (base == i.Name || base == i.Name+".raw")
}

// optionOf returns how an image's path is given.
func optionOf(i image.Image) string {
	switch i.Type {
	case image.TypeRaw, image.TypeBlock:
		return "image"
	case image.TypeMStack:
		return "mstack"
	}
	return "directory"
}

func (l *Launcher) cloneRoot(ctx context.Context, name string, o machd.StartOptions) (root, error) {
	if !machine1.ValidImageName(name) {
		return root{}, machine1.Errorf(machine1.ErrInvalidArgs, "Invalid image name '%s'", name)
	}
	if _, err := l.cfg.Images.Get(ctx, o.From); err != nil {
		return root{}, noImage(err, name, o.From)
	}
	switch i, err := l.cfg.Images.Get(ctx, name); {
	case err == nil:
		return root{}, machine1.Errorf(unix.EEXIST,
			"There is an image '%s' at %s already; without option 'from' it is started", name, i.Path)
	case !errors.Is(err, machine1.ErrNoSuchImage):
		return root{}, err
	}
	return root{path: filepath.Join(machine1.PoolPath, name)}, nil
}

func (l *Launcher) freeRoot(name string, o machd.StartOptions, r root, fits func(fs.FileMode) bool) (root, error) {
	stat, err := os.Stat(r.path)
	if err != nil {
		return root{}, machine1.Errorf(machine1.ErrFileNotFound, "There is no '%s' on this host", r.path)
	}
	if !fits(stat.Mode()) {
		want := "a directory"
		if r.option == "image" {
			want = "a file or block device"
		}
		return root{}, machine1.Errorf(machine1.ErrInvalidArgs, "'%s' is not %s", r.path, want)
	}
	return r, l.rootIsFree(name, o, r.path)
}

// rootIsFree refuses what another machine runs on.
func (l *Launcher) rootIsFree(name string, o machd.StartOptions, path string) error {
	if o.Ephemeral || o.Overlay {
		return nil
	}
	for m := range l.cfg.Machines.View().All() {
		over := isDead(m.Leader) && (m.Supervisor == nil || isDead(m.Supervisor)) // and not dropped yet
		if m.Name != name && m.Class != machine1.ClassHost && m.RootDirectory == path && !over {
			return machine1.Errorf(machine1.ErrMachineExists,
				"'%s' is in use by machine '%s'; options 'from', 'ephemeral' and 'overlay' leave it to that one", path, m.Name)
		}
	}
	return nil
}

// settingsDirs are where systemd-nspawn looks for settings that it believes, in
// this order. Reference: systemd.nspawn(5).
var settingsDirs = []string{"/etc/systemd/nspawn", "/run/systemd/nspawn"}

// findSettings returns the .nspawn file that systemd-nspawn reads for the
// machine called name, or nil.
func findSettings(name string, r root) *settingsFile {
	dirs := settingsDirs
	if r.path != "" {
		dirs = append(dirs[:len(dirs):len(dirs)], filepath.Dir(r.path))
	}
	for i, dir := range dirs {
		if text, err := readSmall(filepath.Join(dir, name+".nspawn")); err == nil {
			return &settingsFile{trusted: i < len(settingsDirs), file: nspawnfile.Parse(text)}
		}
	}
	return nil
}
