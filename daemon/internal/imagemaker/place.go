package imagemaker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/image"
)

// placeDir is where trees are mounted that are being worked on. Each unit sees
// its own.
const placeDir = "/run/machd/make"

// A place is where a tree is mounted, until release.
type place struct {
	path   string
	mounts []string // below it, in their order
}

// bindTree shows the tree that is being made at a path without any surprise.
func bindTree(w image.Workshop) (*place, error) {
	p := &place{path: filepath.Join(placeDir, "root")}
	if err := os.MkdirAll(placeDir, 0o700); err != nil {
		return nil, err
	}
	// What is put there is nobody else's, and goes with the process.
	if err := unix.Mount("tmpfs", placeDir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0700"); err != nil {
		return nil, fmt.Errorf("cannot mount %s: %w", placeDir, err)
	}
	if err := os.Mkdir(p.path, 0o700); err != nil {
		return nil, err
	}
	if err := p.mount(w.TreePath(), "", "", unix.MS_BIND, ""); err != nil {
		return nil, err
	}
	return p, nil
}

// mount mounts something at a path below the place.
func (p *place) mount(source, at, kind string, flags uintptr, data string) error {
	path := filepath.Join(p.path, at)
	if err := unix.Mount(source, path, kind, flags, data); err != nil {
		return fmt.Errorf("cannot mount %s on %s: %w", source, path, err)
	}
	p.mounts = append(p.mounts, path)
	return nil
}

// release unmounts everything, also what programs have mounted there: the
// namespace goes with the process anyway.
func (p *place) release() error {
	var errs []error
	for i := len(p.mounts) - 1; i >= 0; i-- {
		errs = append(errs, unix.Unmount(p.mounts[i], unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW))
	}
	return errors.Join(errs...)
}
