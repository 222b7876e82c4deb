package client

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/machd/machd/pkg/machine1"
)

// SettingsDir is where an administrator writes .nspawn files.
const SettingsDir = "/etc/systemd/nspawn"

// settingsDirs are where systemd-nspawn looks for a container's settings; the
// first file that it finds is the only one that it reads.
//
// Reference: nspawn.c, load_settings.
var settingsDirs = []string{SettingsDir, "/run/systemd/nspawn", machine1.PoolPath}

// A SettingsFile is a file that says how a container is run.
type SettingsFile struct {
	Path string
	Text string
	// Shadowed says that it is not read, because of another one.
	Shadowed bool
	// Untrusted says that it came with the image: what could weaken the host is
	// not heeded.
	Untrusted bool
	// Unit says that it is a unit file, and not a .nspawn file.
	Unit bool
}

// SettingsFiles returns the files that say how the container NAME is run,
// beyond what is the same for all: its .nspawn files, the one that is read
// first, and what changes its unit. It reads the files of this host; none is no
// error.
func (c *Client) SettingsFiles(ctx context.Context, name string) ([]SettingsFile, error) {
	files, err := nspawnFiles("/", name)
	if err != nil {
		return nil, err
	}
	var dropIns []string
	err = c.unitProperty(ctx, machine1.ServiceUnit(name), unitInterface, "DropInPaths", &dropIns)
	if err != nil {
		return nil, err
	}
	for _, path := range dropIns {
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since PID 1 has looked
		}
		if err != nil {
			return nil, err
		}
		files = append(files, SettingsFile{Path: path, Text: string(text), Unit: true})
	}
	return files, nil
}

// NspawnFiles is SettingsFiles for .nspawn files alone, which takes no daemon. A
// shadowed one that cannot be read is left out.
func NspawnFiles(name string) ([]SettingsFile, error) { return nspawnFiles("/", name) }

// SettingsPaths is where systemd-nspawn looks for the settings of a container,
// in its order.
func SettingsPaths(name string) []string {
	paths := make([]string, len(settingsDirs))
	for i, dir := range settingsDirs {
		paths[i] = filepath.Join(dir, name+".nspawn")
	}
	return paths
}

func nspawnFiles(root, name string) ([]SettingsFile, error) {
	var files []SettingsFile
	for i, path := range SettingsPaths(name) {
		path = filepath.Join(root, path)
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) || err != nil && len(files) > 0 {
			continue // what is shadowed may be anybody's secret
		}
		if err != nil {
			return nil, err
		}
		files = append(files, SettingsFile{
			Path: path, Text: string(text),
			Shadowed: len(files) > 0, Untrusted: i == len(settingsDirs)-1,
		})
	}
	return files, nil
}
