package machine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/machd/machd/pkg/machine1"
)

const (
	unitLinkPrefix  = "unit:"
	temporaryPrefix = ".#" // readers skip what begins with a dot

	// maxStateFile is far above what a machine can need: longest name, paths
	// of 4 KiB, and a thousand interfaces.
	maxStateFile = 64 << 10
)

// A stateDir is the directory of state files. Names given to it are valid
// machine names, and units have no slash, so none leads out of it.
type stateDir string

func (d stateDir) path(name string) string { return filepath.Join(string(d), name) }

func (d stateDir) link(unit string) string { return d.path(unitLinkPrefix + unit) }

// save writes m's file, and its link if it owns its unit. The file is put in
// place by rename even when it is new: libsystemd's monitors wait for
// IN_MOVED_TO and see no other way of appearing. An existing link is left
// alone; the file counts without it.
func (d stateDir) save(m *Machine) error {
	if err := d.replace(m.Name, encodeState(m)); err != nil {
		return fmt.Errorf("cannot save machine %q: %w", m.Name, err)
	}
	if m.OwnsUnit() {
		_ = os.Symlink(m.Name, d.link(m.Unit))
	}
	return nil
}

// holds reports whether the directory is as save would leave it.
func (d stateDir) holds(m *Machine) bool {
	if m.OwnsUnit() {
		if _, err := os.Lstat(d.link(m.Unit)); err != nil {
			return false
		}
	}
	info, err := os.Lstat(d.path(m.Name))
	if err != nil || info.Mode() != 0o644 || info.Size() > maxStateFile {
		return false
	}
	content, err := os.ReadFile(d.path(m.Name))
	return err == nil && bytes.Equal(content, encodeState(m))
}

func (d stateDir) replace(name string, content []byte) (err error) {
	f, err := os.CreateTemp(string(d), temporaryPrefix+name+"*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if err := writeAndClose(f, content); err != nil {
		return err
	}
	return os.Rename(f.Name(), d.path(name))
}

func writeAndClose(f *os.File, content []byte) error {
	_, err := f.Write(content)
	if err == nil {
		err = f.Chmod(0o644)
	}
	return errors.Join(err, f.Close())
}

// remove undoes save: link first, so that none is left without its file.
func (d stateDir) remove(m *Machine) error {
	var linkErr error
	if m.OwnsUnit() {
		linkErr = d.removeLink(m.Unit, m.Name)
	}
	return errors.Join(linkErr, ignoreMissing(os.Remove(d.path(m.Name))))
}

// removeLink removes the link of unit if it names the machine called name.
func (d stateDir) removeLink(unit, name string) error {
	target, err := os.Readlink(d.link(unit))
	if err != nil || target != name {
		return ignoreMissing(err)
	}
	return ignoreMissing(os.Remove(d.link(unit)))
}

// removeStaleLinks removes the links that lead to none of the owners.
func (d stateDir) removeStaleLinks(links map[string]string, owners []Machine) {
	live := map[string]string{}
	for _, m := range owners {
		if m.OwnsUnit() && links[m.Unit] == m.Name {
			live[m.Unit] = m.Name
		}
	}
	for unit := range links {
		if live[unit] == "" {
			os.Remove(d.link(unit))
		}
	}
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// contents is what a state directory has in it, by kind.
type contents struct {
	names     []string          // machines that have a file
	links     map[string]string // machine by unit
	leftovers []string          // temporary files of a writer that was killed
}

func (d stateDir) list() (contents, error) {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return contents{}, err
	}
	c := contents{links: map[string]string{}}
	for _, e := range entries {
		name := e.Name()
		unit, isLink := strings.CutPrefix(name, unitLinkPrefix)
		switch {
		case strings.HasPrefix(name, temporaryPrefix):
			c.leftovers = append(c.leftovers, name)
		case isLink:
			if target, err := os.Readlink(d.path(name)); err == nil {
				c.links[unit] = target
			}
		case e.Type().IsRegular() && machine1.ValidMachineName(name):
			c.names = append(c.names, name)
		}
	}
	return c, nil
}

// load reads the file of the machine called name.
func (d stateDir) load(name string) (Machine, error) {
	f, err := os.Open(d.path(name))
	if err != nil {
		return Machine{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxStateFile+1))
	if err != nil {
		return Machine{}, err
	}
	if len(data) > maxStateFile {
		return Machine{}, errors.New("file is too large")
	}
	return decodeState(name, data)
}
