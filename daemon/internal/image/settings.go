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
	// RemoveSettings removes them wherever they are, as systemd-machined does,
	// and what is saved for the machine's unit.
	RemoveSettings Settings = iota
	// KeepSettings leaves those below /etc, which a human wrote, and below
	// /usr, which a package brought.
	KeepSettings
	// RemoveAll is RemoveSettings, and the machine does not start with the host
	// any more.
	RemoveAll
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
func (s *Store) setFilesAside(ctx context.Context, a *aside, h *held, i Image, keep Settings) {
	if keep != KeepSettings {
		a.undo.add(s.cfg.Units.Remove(ctx, i.Name, keep == RemoveAll))
	}
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
func (s *Store) cloneFilesOf(i Image, pool *os.File, newName string, made *copies) error {
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
		return made.add(b, i.Name, to, newName, true)
	})
}

// copies are those of what belongs to an image, for one that is being made. They
// get their names when all is whole, right before the image gets its own: the
// names of a process that was killed in between would stay.
type copies []waiting

// waiting is a copy that is to be called name.
type waiting struct {
	*draft
	name   string
	yields bool // to what is called so by then
}

// add copies what belongs to the image called name.
func (c *copies) add(b belonging, name string, to *os.File, newName string, yields bool) error {
	d, err := newDraft(to, newName+b.suffix)
	if err == nil {
		*c = append(*c, waiting{d, newName + b.suffix, yields})
		err = filetree.Copy(context.Background(), b.dir, name+b.suffix, to, d.name, filetree.CopyOptions{})
	}
	if err != nil {
		return fmt.Errorf("cannot copy %s: %w", b.path(name), err)
	}
	return nil
}

// become gives them their names.
func (c *copies) become(done *undo) error {
	for _, w := range *c {
		err := w.draft.become(w.name)
		if w.yields && errors.Is(err, unix.EEXIST) {
			continue
		}
		if err != nil {
			return err
		}
		path := filepath.Join(w.dir.Name(), w.name)
		done.add(func() error { return os.RemoveAll(path) })
	}
	return nil
}

// release removes those that have got no name.
func (c *copies) release() {
	for _, w := range *c {
		_ = w.remove(context.Background()) // or sweep does
		w.draft.release()
	}
}

func openMade(path string) (*os.File, error) {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, err
	}
	return openDir(path)
}

func isBelow(path, dir string) bool { return strings.HasPrefix(path, dir+"/") }
