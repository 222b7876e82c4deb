package link

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/wholefile"
)

// A Sysctl is one switch of the kernel's that was changed.
type Sysctl struct {
	Path string // below /proc/sys
	Old  string // what it was
	New  string // what it was made
}

// String is the change as a person writes it.
func (c Sysctl) String() string { return fmt.Sprintf("%s = %s (was %s)", dotted(c.Path), c.New, c.Old) }

// A record is the file that says which switches are not what they were. It is
// written before they are changed, so it may name more than have been changed,
// and never less. What it says holds until the next boot.
type record struct{ path string }

// recordBoot begins the line that has the boot the record is of.
const recordBoot = "boot"

// read returns what the record says, nothing if it is of another boot or not
// there.
func (r record) read() ([]Sysctl, error) {
	text, err := os.ReadFile(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	boot, err := proc.BootID()
	if err != nil {
		return nil, err
	}
	var changes []Sysctl
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) == 2 && fields[0] == recordBoot:
			if fields[1] != boot {
				return nil, nil
			}
		case len(fields) == 3 && filepath.Clean(fields[0]) == fields[0] && strings.HasPrefix(fields[0], "net/"):
			changes = append(changes, Sysctl{fields[0], fields[1], fields[2]})
		default:
			return nil, fmt.Errorf("%s has a line %q", r.path, lines.Text())
		}
	}
	return changes, nil
}

// write replaces the record, or removes it if there is nothing to say.
func (r record) write(changes []Sysctl) error {
	if len(changes) == 0 {
		if err := os.Remove(r.path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	boot, err := proc.BootID()
	if err != nil {
		return err
	}
	text := fmt.Appendf(nil, "%s %s\n", recordBoot, boot)
	for _, c := range changes {
		text = fmt.Appendf(text, "%s %s %s\n", c.Path, c.Old, c.New)
	}
	return wholefile.Write(r.path, text, 0o644)
}

// without returns changes without those that drop is true for.
func without(changes []Sysctl, drop func(Sysctl) bool) []Sysctl {
	return slices.DeleteFunc(slices.Clone(changes), drop)
}
