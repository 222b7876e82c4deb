package client

import (
	"os"
	"path/filepath"

	"github.com/machd/machd/pkg/machine1"
)

// A UnitFile is a file, or a link, by which PID 1 knows a machine that need not
// run.
type UnitFile struct {
	Path string
	// Enables says that it is a link that has the machine start with the host.
	Enables bool
	// Foreign says that machd has not written it.
	Foreign bool
}

// UnitFiles returns those of this host that are about the machine NAME alone.
// With machd they are renamed, and removed with its settings, as its image is;
// those that machd has not written stay.
func UnitFiles(name string) []UnitFile { return unitFiles("/", name) }

func unitFiles(root, name string) (files []UnitFile) {
	const saved = "50-machd.conf"
	if !machine1.ValidMachineName(name) {
		return nil
	}
	dir := filepath.Join(root, "etc/systemd/system")
	dropIns, _ := filepath.Glob(filepath.Join(dir, machine1.ServiceUnit(name)+".d", "*.conf"))
	for _, path := range dropIns {
		files = append(files, UnitFile{Path: path, Foreign: filepath.Base(path) != saved})
	}
	for _, unit := range []string{DependedUnit(name), machine1.ServiceUnit(name), VMUnit(name)} {
		for _, kind := range []string{"wants", "requires", "upholds"} {
			links, _ := filepath.Glob(filepath.Join(dir, "*."+kind, unit))
			for _, path := range links {
				to, err := os.Readlink(path)
				// What leads to a file of that unit alone is an administrator's.
				files = append(files, UnitFile{Path: path, Enables: true, Foreign: err != nil || filepath.Base(to) == unit})
			}
		}
	}
	return files
}
