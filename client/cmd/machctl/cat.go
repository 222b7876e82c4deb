package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/machd/machd/client"
	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/pkg/nspawnfile"
)

const catHelp = `The files that say how NAME is run are shown, each below its path: the .nspawn file
and what changes its unit. What is written where nobody acts on it is told. With
--output=json it is one list of values, with the file and the line of each.`

// errNoSettings says that nothing is written about a machine.
func errNoSettings(name string) error {
	return stocked(&hintedError{
		machine1.Errorf(machine1.ErrFileNotFound, "there are no settings for %q", name),
		fmt.Sprintf(`"machctl edit %s" writes some; without, it is run as its unit says, which "systemctl cat %s" shows`, name, machine1.ServiceUnit(name)),
	}, "No settings file found for machine '%s'.", name)
}

// errVMSettings says that there is nothing to look at or to change.
var errVMSettings = machine1.Errorf(machine1.ErrNotSupported, "systemd-vmspawn reads no settings")

// cat shows settings with where they come from.
func (a *app) cat(ctx context.Context, names []string) error {
	if a.launch.VM {
		return stocked(errVMSettings, "Cat is only supported for --runner=nspawn")
	}
	plain := a.stock && !a.structured()
	if err := checkNames(names, machine1.ValidMachineName); err != nil && !plain {
		return err
	}
	if err := a.connect(ctx); err != nil && !errors.Is(err, machine1.ErrDisconnected) {
		return err
	}
	if plain {
		return a.stockCat(ctx, names)
	}
	values := []settingsValue{}
	err := each(names, func(name string) error {
		files, err := a.settingsFiles(ctx, name)
		if err != nil {
			return fmt.Errorf("cannot read the settings of %q: %w", name, err)
		}
		if len(files) == 0 {
			return errNoSettings(name)
		}
		for _, file := range files {
			values = append(values, a.showSettings(name, file)...)
		}
		return nil
	})
	if a.structured() {
		return join(err, printList(a, settingsList, values))
	}
	return err
}

// settingsFiles makes do with .nspawn files where no service manager can tell
// of others.
func (a *app) settingsFiles(ctx context.Context, name string) ([]client.SettingsFile, error) {
	if a.client == nil || a.stock {
		return client.NspawnFiles(name)
	}
	return a.client.SettingsFiles(ctx, name)
}

// A settingsValue is a line of the list in which settings are structured.
type settingsValue struct {
	machine, file string
	line          int
	section       string
	key, value    string
	read          bool // false: another file is read in its place
}

var settingsList = listing[settingsValue]{what: "settings", columns: []column[settingsValue]{
	{key: "machine", head: "MACHINE", value: func(v settingsValue) any { return v.machine }},
	{key: "file", head: "FILE", value: func(v settingsValue) any { return v.file }},
	{key: "line", head: "LINE", value: func(v settingsValue) any { return v.line }},
	{key: "section", head: "SECTION", value: func(v settingsValue) any { return v.section }},
	{key: "key", head: "KEY", value: func(v settingsValue) any { return v.key }},
	{key: "value", head: "VALUE", value: func(v settingsValue) any { return v.value }},
	{key: "read", head: "READ", value: func(v settingsValue) any { return v.read }},
}}

// showSettings prints a file, unless JSON is wanted, and returns its values.
func (a *app) showSettings(name string, file client.SettingsFile) []settingsValue {
	parsed := nspawnfile.Parse(file.Text)
	if !a.structured() {
		a.ui.print(a.ui.styled("# "+file.Path, styleBlue) + "\n" + withEnd(file.Text))
	}
	a.noticeSettings(file, parsed)
	var values []settingsValue
	for e := range parsed.Entries() {
		values = append(values, settingsValue{name, file.Path, e.Line, e.Section, e.Key, e.Value, !file.Shadowed})
	}
	return values
}

// noticeSettings tells what in a file is not acted on.
func (a *app) noticeSettings(file client.SettingsFile, parsed *nspawnfile.File) {
	switch {
	case a.stock:
		return
	case file.Shadowed:
		a.ui.notice(file.Path + " is not read, because of the file before it")
	case file.Untrusted:
		a.ui.notice(file.Path + " came with the image: what could weaken the host is not heeded; /etc/systemd/nspawn is the place for that")
	}
	if file.Unit {
		return // PID 1 tells what it does not like of those
	}
	for _, p := range parsed.Problems() {
		a.ui.notice(fmt.Sprintf("%s:%d: %s, so nobody acts on it", file.Path, p.Line, p.Text))
	}
}

func withEnd(text string) string {
	if text == "" || strings.HasSuffix(text, "\n") {
		return text
	}
	return text + "\n"
}
