// Package imagelock takes the locks under which images are used and changed:
// those that systemd-nspawn, systemd-importd, systemd-portabled and
// systemd-machined take too. It knows files only, no images and no machines.
//
// Every lock is an open file description lock on a file made for it, so it
// ends with its holder. There are three kinds:
//
//	local   DIR/.#NAME.lck beside the image, seen by every host that shares DIR
//	global  LOCKS/inode-DEV:INO or LOCKS/block-MAJOR:MINOR, the image by whatever name
//	name    LOCKS/name-NAME, an image that does not exist yet
//
// A lock that somebody else holds is never waited for.
package imagelock

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machine1"
)

// What the file of a local lock is called is the image's file name between these.
const (
	localPrefix = ".#"
	localSuffix = ".lck"
)

// A Lock is held until it is released or the process ends.
type Lock struct {
	files []*lockFile // in the order in which they were taken
}

// Path locks the image at path, absolute, exclusively or shared with other
// readers, with its local and its global lock. lockDir is
// /run/systemd/nspawn/locks; it is made if need be. The error is EBUSY while
// somebody else has a lock that excludes this one, and for an exclusive lock
// on "/", ENOENT if there is nothing at path, ENOTTY if that is no directory,
// file or block device, and EROFS for an exclusive lock in a directory that
// cannot be written.
//
// Reference: discover-image.c, image_path_lock.
func Path(lockDir, path string, exclusive bool) (*Lock, error) {
	if !filepath.IsAbs(path) {
		return nil, fmt.Errorf("cannot lock %q: the path is not absolute: %w", path, unix.EINVAL)
	}
	path = filepath.Clean(path)
	if disabled() {
		return &Lock{}, nil
	}
	if path == "/" {
		if exclusive {
			return nil, fmt.Errorf("cannot lock the host, which is in use: %w", unix.EBUSY)
		}
		return &Lock{}, nil
	}
	global, err := globalName(path)
	if err != nil {
		return nil, fmt.Errorf("cannot lock %s: %w", path, err)
	}
	lock := &Lock{}
	if err := lock.addPath(lockDir, path, global, exclusive); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot lock %s: %w", path, err), lock.Release())
	}
	return lock, nil
}

// Name locks the name of an image that is about to exist, exclusively. It is
// EBUSY while somebody else has it, and for ".host".
//
// Reference: discover-image.c, image_name_lock.
func Name(lockDir, name string) (*Lock, error) {
	if !machine1.ValidImageName(name) {
		return nil, fmt.Errorf("cannot lock the image name %q, which is not valid: %w", name, unix.EINVAL)
	}
	if disabled() {
		return &Lock{}, nil
	}
	if name == machine1.Host {
		return nil, fmt.Errorf("cannot lock the host, which is in use: %w", unix.EBUSY)
	}
	lock := &Lock{}
	if err := lock.addGlobal(lockDir, "name-"+name, true); err != nil {
		return nil, fmt.Errorf("cannot lock the image name %q: %w", name, err)
	}
	return lock, nil
}

// Beside takes the local lock alone, exclusively, of a name in dir that no image
// has and that need not exist. Nobody can turn these locks off.
func Beside(dir, name string) (*Lock, error) {
	lock := &Lock{}
	if err := lock.add(dir, localPrefix+name+localSuffix, true); err != nil {
		return nil, fmt.Errorf("cannot lock %s/%s: %w", dir, name, err)
	}
	return lock, nil
}

// CutBeside returns the name that a file of this name is the local lock of.
func CutBeside(file string) (name string, ok bool) {
	name, begins := strings.CutPrefix(file, localPrefix)
	name, ends := strings.CutSuffix(name, localSuffix)
	return name, begins && ends
}

// Release gives the lock up and removes its files where nobody else needs
// them. It may be called again, and on nil.
func (l *Lock) Release() error {
	if l == nil {
		return nil
	}
	var errs []error
	for i := len(l.files) - 1; i >= 0; i-- {
		errs = append(errs, l.files[i].release())
	}
	l.files = nil
	return errors.Join(errs...)
}

func (l *Lock) addPath(lockDir, path, global string, exclusive bool) error {
	if !strings.HasPrefix(path, "/dev/") { // nobody else would look for it there
		err := l.add(filepath.Dir(path), localPrefix+filepath.Base(path)+localSuffix, exclusive)
		if err != nil && (exclusive || !errors.Is(err, unix.EROFS)) {
			return err
		}
	}
	return l.addGlobal(lockDir, global, exclusive)
}

func (l *Lock) addGlobal(lockDir, name string, exclusive bool) error {
	if err := os.MkdirAll(lockDir, 0o700); err != nil {
		return err
	}
	return l.add(lockDir, name, exclusive)
}

func (l *Lock) add(dir, name string, exclusive bool) error {
	file, err := openLocked(dir, name, exclusive)
	if err != nil {
		return err
	}
	l.files = append(l.files, file)
	return nil
}

// globalName names the lock of what is at path by what it is. Numbers are as
// the kernel gives them, like everybody else's.
func globalName(path string) (string, error) {
	var stat unix.Stat_t
	if err := ignoringEINTR(func() error { return unix.Stat(path, &stat) }); err != nil {
		return "", err
	}
	switch stat.Mode & unix.S_IFMT {
	case unix.S_IFBLK:
		return fmt.Sprintf("block-%d:%d", unix.Major(stat.Rdev), unix.Minor(stat.Rdev)), nil
	case unix.S_IFDIR, unix.S_IFREG:
		return fmt.Sprintf("inode-%d:%d", stat.Dev, stat.Ino), nil
	}
	return "", unix.ENOTTY
}

// disabled reports whether the administrator has turned all image locks off,
// with systemd's variable.
func disabled() bool {
	switch strings.ToLower(os.Getenv("SYSTEMD_NSPAWN_LOCK")) {
	case "0", "no", "n", "false", "f", "off":
		return true
	}
	return false
}
