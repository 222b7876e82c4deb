package launch

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/pkg/nspawnfile"
)

// SavePorts writes ports to a machine's settings, for later starts.
func (l *Launcher) SavePorts(name string, ports []machd.Port, inward bool) error {
	return changePorts(name, inward, "added", func(s *savedPorts) { s.add(ports) })
}

// ForgetPorts takes ports out of a machine's settings.
func (l *Launcher) ForgetPorts(name string, ports []machd.Port, inward bool) error {
	return changePorts(name, inward, "removed", func(s *savedPorts) { s.remove(ports) })
}

// changePorts changes the file of a machine that has changed itself already, as
// what was done says.
func changePorts(name string, inward bool, done string, change func(*savedPorts)) error {
	if !machine1.ValidMachineName(name) {
		return machine1.Errorf(machine1.ErrNotSupported, "Machine '%s' has no settings", name)
	}
	s := findSettings(name, root{path: filepath.Join(machine1.PoolPath, name)})
	if err := changeSettings(SettingsPath(name), s, inward, change); err != nil {
		return fmt.Errorf("the ports of '%s' are %s now, but not for later starts: %w", name, done, err)
	}
	return nil
}

// changeSettings changes a file of settings, which goes if nothing is left in it.
// instead are those that are read as long as there is none.
func changeSettings(path string, instead *settingsFile, inward bool, change func(*savedPorts)) error {
	d, err := openDraft(path, instead, readIfThere)
	if err != nil {
		return err
	}
	change(&savedPorts{file: d.file, inward: inward})
	switch text, err := d.changed(); {
	case err != nil || text == "":
		return err
	case strings.TrimSpace(text) == "["+nspawnfile.Own+"]":
		return os.Remove(path)
	default:
		return File{Path: path, Content: []byte(text), Mode: savedMode}.write()
	}
}

// savedPorts are those in a machine's settings.
type savedPorts struct {
	file   *nspawnfile.File
	inward bool
}

// keys are where they are. systemd-nspawn's own is read as well.
func (s *savedPorts) keys() []string {
	if s.inward {
		return []string{nspawnfile.Own + "/ExposeHost"}
	}
	return []string{nspawnfile.Own + "/Publish", "Network/Port"}
}

func (s *savedPorts) text(p machd.Port) string {
	if s.inward {
		return p.InwardString()
	}
	return p.String()
}

// of returns the ports of one word of a setting; what makes no sense has none.
func (s *savedPorts) of(word string) []machd.Port {
	ports, _ := machd.ParsePortList([]string{word}, s.inward)
	return ports
}

func (s *savedPorts) add(ports []machd.Port) {
	var have []machd.Port
	for _, key := range s.keys() {
		section, key, _ := strings.Cut(key, "/")
		for _, value := range s.file.Values(section, key) {
			for word := range strings.FieldsSeq(value) {
				have = append(have, s.of(word)...)
			}
		}
	}
	section, key, _ := strings.Cut(s.keys()[0], "/")
	for _, p := range ports {
		if !slices.Contains(have, p) {
			s.file.Add(section, key, s.text(p))
		}
	}
}

// remove takes ports away. What is left of a line that names others besides, as
// a range does, is a line for each of those.
func (s *savedPorts) remove(ports []machd.Port) {
	for _, key := range s.keys() {
		section, key, _ := strings.Cut(key, "/")
		for _, value := range s.file.Values(section, key) {
			var left []string
			concerned := false
			for word := range strings.FieldsSeq(value) {
				of := s.of(word)
				if !slices.ContainsFunc(of, func(p machd.Port) bool { return slices.Contains(ports, p) }) {
					left = append(left, word)
					continue
				}
				concerned = true
				for _, p := range of {
					if !slices.Contains(ports, p) {
						left = append(left, s.text(p))
					}
				}
			}
			if !concerned {
				continue
			}
			s.file.Remove(section, key, value)
			for _, word := range left {
				s.file.Add(section, key, word)
			}
		}
	}
}
