package image

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/machd/machd/pkg/machine1"
)

// A Config says where images are, and the files that belong to them. All paths
// are absolute; none need exist.
type Config struct {
	Dirs     []string // search path, most important first
	Pool     string   // where images are cloned to
	Settings []string // where NAME.nspawn files are, most important first
	LockDir  string   // locks that programs of all kinds share
	Host     bool     // list the host as ".host"

	Units UnitFiles // may be nil, for none
}

// SystemConfig returns the places of the system's images.
//
// Reference: discover-image.c, image_search_path.
func SystemConfig() Config {
	return Config{
		Dirs: []string{
			"/etc/machines",
			"/run/machines",
			machine1.PoolPath,
			"/var/lib/container",
			"/usr/local/lib/machines",
			"/usr/lib/machines",
		},
		Pool:     machine1.PoolPath,
		Settings: []string{"/etc/systemd/nspawn", "/run/systemd/nspawn", "/usr/lib/systemd/nspawn"},
		LockDir:  "/run/systemd/nspawn/locks",
		Host:     true,
	}
}

// UserConfig returns the places of the images of the user whom this process
// belongs to, from the environment. It fails without a home directory, and
// without $XDG_RUNTIME_DIR, which only the user's own manager sets up.
func UserConfig() (Config, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return Config{}, fmt.Errorf("cannot tell where the user's images are: %w", err)
	}
	runtime := os.Getenv("XDG_RUNTIME_DIR")
	if !filepath.IsAbs(runtime) {
		return Config{}, errors.New("cannot tell where the user's images are: $XDG_RUNTIME_DIR is no absolute path")
	}
	pool := filepath.Join(fromEnvironment("XDG_STATE_HOME", home, ".local/state"), "machines")
	return Config{
		Dirs: []string{
			filepath.Join(runtime, "machines"),
			pool,
			filepath.Join(home, ".local/lib/machines"),
		},
		Pool: pool,
		Settings: []string{
			filepath.Join(fromEnvironment("XDG_CONFIG_HOME", home, ".config"), "systemd/nspawn"),
			filepath.Join(runtime, "systemd/nspawn"),
			filepath.Join(fromEnvironment("XDG_DATA_HOME", home, ".local/share"), "systemd/nspawn"),
		},
		LockDir: filepath.Join(runtime, "systemd/nspawn/locks"),
	}, nil
}

// fromEnvironment returns the directory that a variable names. Anything but an
// absolute path is as good as nothing there.
func fromEnvironment(variable, home, standard string) string {
	if dir := os.Getenv(variable); filepath.IsAbs(dir) {
		return filepath.Clean(dir)
	}
	return filepath.Join(home, standard)
}
