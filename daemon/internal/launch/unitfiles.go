package launch

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/pkg/nspawnfile"
)

// UnitFiles are the files by which PID 1 knows machines that need not run: what
// is saved for the unit of one, and the links that have it start with the host.
// What else there is about a unit is the administrator's, and stays as it is.
type UnitFiles struct {
	Dir    string                      // where an administrator's are, /etc/systemd/system
	Reload func(context.Context) error // has PID 1 read them
}

// NewUnitFiles returns those of this host.
func NewUnitFiles(reload func(context.Context) error) UnitFiles { return UnitFiles{unitDir, reload} }

func (f UnitFiles) dropInPath(name string) string {
	return filepath.Join(f.Dir, machine1.ServiceUnit(name)+".d", dropInName)
}

// enabledTemplates are those whose instances start machines with the host.
var enabledTemplates = []string{dependedPrefix + dependedSuffix, containerTemplate, vmTemplate}

// instance returns the unit of a template that is for the machine called name.
func instance(template, name string) string { return strings.Replace(template, "@", "@"+name, 1) }

// An Enabled is a link that has a unit start a machine with the host.
type Enabled struct{ Machine, Unit, Path string }

// Enabled returns all there are. A unit that is a file of its own is left out: what
// it runs is for that to say.
func (f UnitFiles) Enabled() (all []Enabled) {
	for _, kind := range []string{"wants", "requires", "upholds"} {
		for _, template := range enabledTemplates {
			paths, _ := filepath.Glob(filepath.Join(f.Dir, "*."+kind, instance(template, "*")))
			prefix, suffix, _ := strings.Cut(template, "@")
			for _, path := range paths {
				unit := filepath.Base(path)
				name := strings.TrimSuffix(strings.TrimPrefix(unit, prefix+"@"), suffix)
				to, err := os.Readlink(path)
				if err == nil && filepath.Base(to) == template && machine1.ValidMachineName(name) {
					all = append(all, Enabled{name, unit, path})
				}
			}
		}
	}
	return all
}

func (f UnitFiles) enabled(name string) []Enabled {
	return slices.DeleteFunc(f.Enabled(), func(e Enabled) bool { return e.Machine != name })
}

// Own reports whether files say what the unit runs, other than its template.
func (e Enabled) Own(dir string) bool {
	if exists(filepath.Join(dir, e.Unit)) {
		return true
	}
	for _, unit := range []string{e.Unit, machine1.ServiceUnit(e.Machine)} {
		paths, _ := filepath.Glob(filepath.Join(dir, unit+".d", "*.conf"))
		for _, path := range paths {
			text, err := readSmall(path)
			if err != nil || len(nspawnfile.Parse(text).Values("Service", "ExecStart")) > 0 {
				return true
			}
		}
	}
	return false
}

// Rename makes what is there for one machine another one's, all of it or
// nothing; undo takes that back. Whoever was killed over it can do it again. It is
// EEXIST if something is saved for that one.
func (f UnitFiles) Rename(ctx context.Context, name, newName string) (undo func() error, err error) {
	c := &unitChange{f: f, ctx: context.WithoutCancel(ctx)}
	links := f.enabled(name)
	if len(links) == 0 && !(machine1.ValidMachineName(name) && exists(f.dropInPath(name))) {
		return c.takeBack, nil
	}
	if !machine1.ValidMachineName(newName) {
		return nil, machine1.Errorf(unix.EOPNOTSUPP, "options are saved for %q, or it starts with the host, and no machine can be called %q", name, newName)
	}
	if err = c.copyDropIn(name, newName); err == nil {
		err = c.remove(f.dropInPath(name))
	}
	for _, link := range links {
		if err == nil {
			err = c.moveLink(link, newName)
		}
	}
	return c.end(err)
}

// Remove removes what is saved for the unit of a machine and, if disable says so,
// that it starts with the host. What cannot be removed stays.
func (f UnitFiles) Remove(ctx context.Context, name string, disable bool) (undo func() error) {
	c := &unitChange{f: f, ctx: context.WithoutCancel(ctx)}
	if !machine1.ValidMachineName(name) {
		return c.takeBack
	}
	_ = c.remove(f.dropInPath(name))
	if disable {
		for _, link := range f.enabled(name) {
			_ = c.unlink(link.Path)
		}
	}
	_ = c.reload()
	return c.takeBack
}

// A unitChange is a change of such files, and how to take it back.
type unitChange struct {
	f    UnitFiles
	ctx  context.Context
	done undo
}

func (c *unitChange) takeBack() error {
	if len(c.done) == 0 {
		return nil
	}
	return errors.Join(c.done.run(c.ctx), c.f.Reload(c.ctx))
}

// reload has PID 1 know of what was changed.
func (c *unitChange) reload() error {
	if len(c.done) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(c.ctx, undoLimit)
	defer cancel()
	return c.f.Reload(ctx)
}

func (c *unitChange) end(err error) (func() error, error) {
	if err == nil {
		err = c.reload()
	}
	if err != nil {
		return nil, errors.Join(err, c.takeBack())
	}
	return c.takeBack, nil
}

// copyDropIn copies what is saved for the unit of one machine for another one.
func (c *unitChange) copyDropIn(name, newName string) error {
	saved, err := fileBefore(File{Path: c.f.dropInPath(name)})
	if err != nil || !saved.Existed {
		return err
	}
	made := File{c.f.dropInPath(newName), []byte(forMachine(string(saved.Content), name, newName)), saved.Mode}
	before, err := fileBefore(made)
	switch {
	case err != nil:
		return err
	case before.Existed && string(before.Content) == string(made.Content):
		return nil
	case before.Existed:
		return machine1.Errorf(unix.EEXIST, "there is %s, which was saved for another machine of that name; without it, %s could be that", made.Path, saved.Path)
	}
	if err := made.write(); err != nil {
		return err
	}
	c.done.add(func(context.Context) error { return before.restore() })
	return nil
}

// forMachine returns what is saved for the unit of one machine as it is for
// another one: a saved command line names the machine, and may name its image.
func forMachine(text, name, newName string) string {
	const section, key = "Service", "ExecStart"
	file := nspawnfile.Parse(text)
	for _, value := range file.Values(section, key) {
		words, err := splitWords(value)
		if err != nil {
			continue
		}
		before := slices.Clone(words)
		for i, word := range words {
			switch image := filepath.Join(machine1.PoolPath, name); word {
			case "--machine=" + name:
				words[i] = "--machine=" + newName
			case "--directory=" + image, "--image=" + image + ".raw":
				words[i] = strings.Replace(word, image, filepath.Join(machine1.PoolPath, newName), 1)
			}
		}
		if !slices.Equal(words, before) {
			file.Remove(section, key, value)
			file.Add(section, key, quoteWords(words))
		}
	}
	return file.String()
}

// remove removes a file, if it is there, and its directory if nothing else is in it.
func (c *unitChange) remove(path string) error {
	before, err := fileBefore(File{Path: path})
	if err != nil || !before.Existed {
		return err
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	os.Remove(filepath.Dir(path))
	c.done.add(func(context.Context) error { return before.restore() })
	return nil
}

// moveLink has the unit of another machine start where this one's did.
func (c *unitChange) moveLink(link Enabled, newName string) error {
	to, err := os.Readlink(link.Path)
	if err != nil {
		return err
	}
	path := filepath.Join(filepath.Dir(link.Path), instance(filepath.Base(to), newName))
	switch err := os.Symlink(to, path); {
	case err == nil:
		c.done.add(func(context.Context) error { return os.Remove(path) })
	case !errors.Is(err, fs.ErrExist):
		return err
	}
	return c.unlink(link.Path)
}

func (c *unitChange) unlink(path string) error {
	to, err := os.Readlink(path)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	c.done.add(func(context.Context) error { return os.Symlink(to, path) })
	return nil
}
