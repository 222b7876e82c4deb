package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/filetree"
)

// Settings says what becomes of an image's settings files when the image is
// removed.
type Settings int

const (
	// RemoveSettings removes them wherever they are, as systemd-machined does.
	RemoveSettings Settings = iota
	// KeepSettings leaves those below /etc, which a human wrote, and below
	// /usr, which a package brought.
	KeepSettings
)

const settingsSuffix = ".nspawn"

// besideSuffixes are those of the files that belong to an image and are in its
// directory.
//
// Reference: discover-image.c, auxiliary_suffixes_nulstr [262].
var besideSuffixes = []string{
	settingsSuffix, ".oci-config", ".roothash", ".roothash.p7s", ".usrhash", ".usrhash.p7s", ".verity",
	".raw.tpmstate", ".raw.efinvramstate",
}

// A belonging is a file, or a tree, of an image.
type belonging struct {
	dir    *os.File // O_PATH
	suffix string   // its name is the image's and this
	admin  bool     // it is where an administrator writes
}

func (b belonging) path(name string) string { return filepath.Join(b.dir.Name(), name+b.suffix) }

func (b belonging) exists(name string) bool {
	var stat unix.Stat_t
	return unix.Fstatat(int(b.dir.Fd()), name+b.suffix, &stat, unix.AT_SYMLINK_NOFOLLOW) == nil
}

// belongings calls do for every file that belongs to the image called name,
// whose own directory is beside, until one fails.
func (s *Store) belongings(beside *os.File, name string, do func(belonging) error) error {
	for _, suffix := range besideSuffixes {
		b := belonging{dir: beside, suffix: suffix}
		if b.exists(name) {
			if err := do(b); err != nil {
				return err
			}
		}
	}
	for n, path := range s.cfg.Settings {
		dir, err := openDir(path)
		if err != nil {
			continue // it need not be there
		}
		b := belonging{dir: dir, suffix: settingsSuffix, admin: n == 0}
		if b.exists(name) {
			err = do(b)
		}
		dir.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// setFilesAside sets aside what belongs to the image. What cannot be taken away
// stays.
func (s *Store) setFilesAside(a *aside, h *held, i Image, keep Settings) {
	_ = s.belongings(h.dir, i.Name, func(b belonging) error {
		if keep != KeepSettings || !b.admin && !underUsr(b.dir.Name()) {
			_ = a.take(b.dir, i.Name+b.suffix)
		}
		return nil
	})
}

// renameFilesOf renames what belongs to the image, but for what packages bring.
func (s *Store) renameFilesOf(h *held, i Image, newName string, done *undo) error {
	return s.belongings(h.dir, i.Name, func(b belonging) error {
		if underUsr(b.dir.Name()) {
			return nil
		}
		if err := rename(b.dir, i.Name+b.suffix, newName+b.suffix); err != nil {
			return err
		}
		dir := b.dir.Name() // b.dir is closed by the time that this is taken back
		done.add(func() error {
			return os.Rename(filepath.Join(dir, newName+b.suffix), filepath.Join(dir, i.Name+b.suffix))
		})
		return nil
	})
}

// cloneFilesOf copies what belongs to the image: to the clone's directory, and
// settings to where they were, or where an administrator looks for them if that
// is a package's place. Settings that wait for the clone already are somebody's
// and stay.
func (s *Store) cloneFilesOf(i Image, pool *os.File, newName string, done *undo) error {
	beside, err := openDir(filepath.Dir(i.Path))
	if err != nil {
		return err
	}
	defer beside.Close()
	return s.belongings(beside, i.Name, func(b belonging) error {
		to := b.dir
		switch {
		case b.dir == beside:
			to = pool
		case underUsr(b.dir.Name()):
			admin, err := openMade(s.cfg.Settings[0])
			if err != nil {
				return err
			}
			defer admin.Close()
			to = admin
		}
		err := copyWhole(b.dir, i.Name+b.suffix, to, newName+b.suffix)
		if errors.Is(err, unix.EEXIST) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot copy %s: %w", b.path(i.Name), err)
		}
		path := filepath.Join(to.Name(), newName+b.suffix)
		done.add(func() error { return os.RemoveAll(path) })
		return nil
	})
}

// copyWhole copies a file that belongs to an image. The copy has its name when
// it is whole.
func copyWhole(from *os.File, name string, to *os.File, newName string) error {
	d, err := newDraft(to, newName)
	if err != nil {
		return err
	}
	defer d.release()
	if err := filetree.Copy(context.Background(), from, name, to, d.name, filetree.CopyOptions{}); err != nil {
		return err
	}
	if err := d.become(newName); err != nil {
		return errors.Join(err, d.remove(context.Background()))
	}
	return nil
}

func openMade(path string) (*os.File, error) {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, err
	}
	return openDir(path)
}

func isBelow(path, dir string) bool { return strings.HasPrefix(path, dir+"/") }
