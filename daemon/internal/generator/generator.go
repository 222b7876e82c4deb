// Package generator tells PID 1 which machines depend on which, by what their
// settings say. It runs as a process of its own, at boot and whenever PID 1
// reloads, long before the daemon.
//
// Reference: systemd.generator(7).
package generator

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/pkg/nspawnfile"
)

// Argument makes a program run Run with the arguments that follow it.
const Argument = "--generator"

// settingsDirs are where administrators and programs put settings, the first one
// of a name counting. What came with an image says nothing about the host.
var settingsDirs = []string{"/etc/systemd/nspawn", "/run/systemd/nspawn"}

const (
	suffix = ".nspawn"
	// maxSettings bounds a settings file, bytes.
	maxSettings = 1 << 20
)

// Run writes drop-ins to the first of three directories, which PID 1 names.
func Run(args []string) error {
	if len(args) == 0 {
		return errors.New("a generator is run by PID 1, with the directory to write to")
	}
	return generate(args[0], settingsDirs)
}

func generate(to string, from []string) error {
	var failed []error
	for name, path := range find(from) {
		d, err := read(path)
		if err == nil {
			err = d.write(to, name)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("cannot order machine %q: %w", name, err))
		}
	}
	return errors.Join(failed...)
}

// find returns the settings files by the machines that they are for.
func find(dirs []string) map[string]string {
	files := map[string]string{}
	for _, dir := range dirs {
		entries, _ := os.ReadDir(dir) // there may be none
		for _, entry := range entries {
			name, isSettings := strings.CutSuffix(entry.Name(), suffix)
			if _, seen := files[name]; isSettings && !seen && machine1.ValidMachineName(name) {
				files[name] = filepath.Join(dir, entry.Name())
			}
		}
	}
	return files
}

// dependencies are the machines that one comes after, and those it needs.
type dependencies struct{ after, requires []string }

// read takes what a machine needs as what it comes after, too: that is all the
// use of it.
func read(path string) (d dependencies, err error) {
	stat, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist): // a link that leads nowhere
		return d, nil
	case err != nil:
		return d, err
	case !stat.Mode().IsRegular() || stat.Size() > maxSettings:
		return d, nil // such as /dev/null, which says that there are none
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return d, err
	}
	f := nspawnfile.Parse(string(text))
	d.requires = names(f.Values(nspawnfile.Own, "Requires"))
	d.after = append(names(f.Values(nspawnfile.Own, "After")), d.requires...)
	return d, nil
}

// names returns the names of machines in lists of words.
func names(lists []string) (all []string) {
	for _, list := range lists {
		for _, name := range strings.Fields(list) {
			if machine1.ValidMachineName(name) {
				all = append(all, name)
			}
		}
	}
	return all
}

// write makes the drop-ins of the machine called name: for the unit that stands
// for it, and for the one that machd starts it as.
func (d dependencies) write(to, name string) error {
	text := "# Of the settings of machine " + name + ".\n[Unit]\n"
	lines := assignment("After", d.after, name) + assignment("Requires", d.requires, name)
	if lines == "" {
		return nil
	}
	for _, unit := range []string{"machine@" + name + ".service", "machine-" + machine1.EscapeUnit(name) + ".service"} {
		dir := filepath.Join(to, unit+".d")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "50-machd.conf"), []byte(text+lines), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func assignment(key string, machines []string, self string) string {
	machines = slices.DeleteFunc(slices.Clone(machines), func(name string) bool { return name == self })
	slices.Sort(machines)
	machines = slices.Compact(machines)
	if len(machines) == 0 {
		return ""
	}
	for i, name := range machines {
		machines[i] = "machine@" + name + ".service"
	}
	return key + "=" + strings.Join(machines, " ") + "\n"
}
