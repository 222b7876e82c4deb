package proc

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Cgroup returns the cgroup of the process in the unified hierarchy, as an
// absolute path below the cgroup that PID 1 has as its root.
func (p *PIDFD) Cgroup() (string, error) {
	data, err := p.read("cgroup")
	if err != nil {
		return "", err
	}
	path, err := parseCgroup(data)
	if err != nil {
		return "", fmt.Errorf("cannot tell the cgroup of process %d: %w", p.pid, err)
	}
	return belowRoot(path, cgroupRoot()), nil
}

// parseCgroup takes the unified hierarchy's path out of a /proc/PID/cgroup
// file, which has lines of older hierarchies beside it on some hosts.
func parseCgroup(data []byte) (string, error) {
	for line := range bytes.Lines(data) {
		if path, ok := bytes.CutPrefix(bytes.TrimSuffix(line, []byte("\n")), []byte("0::")); ok {
			if len(path) == 0 || path[0] != '/' {
				return "", fmt.Errorf("path %q is not absolute", path)
			}
			return string(bytes.TrimSuffix(path, []byte(" (deleted)"))), nil
		}
	}
	return "", fmt.Errorf("it is in no unified hierarchy: %w", unix.ENODATA)
}

// cgroupRoot returns what PID 1 has above its own tree: "" unless it runs in
// a container without a cgroup namespace.
//
// Reference: cgroup-util.c, cg_get_root_path.
var cgroupRoot = sync.OnceValue(func() string {
	data, err := os.ReadFile("/proc/1/cgroup")
	if err != nil {
		return ""
	}
	path, err := parseCgroup(data)
	if err != nil {
		return ""
	}
	for _, own := range []string{"/init.scope", "/system.slice", "/system"} {
		if rest, ok := strings.CutSuffix(path, own); ok {
			path = rest
			break
		}
	}
	return strings.TrimSuffix(path, "/")
})

func belowRoot(path, root string) string {
	rest, ok := strings.CutPrefix(path, root)
	switch {
	case !ok || rest != "" && rest[0] != '/':
		return path
	case rest == "":
		return "/"
	}
	return rest
}

// UnitOf splits a cgroup path into the unit that owns it and the sub-cgroup
// below that unit, "" for the unit's own. Leading slices are skipped. The
// error wraps unix.ENXIO if the path lies in no unit.
//
// Reference: cgroup-util.c, cg_path_get_unit_full.
func UnitOf(cgroup string) (unit, subgroup string, err error) {
	rest := strings.Trim(cgroup, "/")
	for {
		var first string
		first, rest, _ = strings.Cut(rest, "/")
		first = unescapeCgroup(first)
		if strings.HasSuffix(first, ".slice") && validUnit(first) {
			continue
		}
		if !validUnit(first) {
			return "", "", fmt.Errorf("cgroup %q belongs to no unit: %w", cgroup, unix.ENXIO)
		}
		return first, strings.Trim(rest, "/"), nil
	}
}

// unescapeCgroup removes the '_' that keeps a unit's name from being taken for
// a file of the kernel's.
func unescapeCgroup(name string) string { return strings.TrimPrefix(name, "_") }

const maxUnitName = 255 // bytes

// unitTypes are the types that have a cgroup.
var unitTypes = map[string]bool{
	"service": true, "scope": true, "slice": true, "socket": true, "mount": true, "swap": true,
}

// validUnit reports whether name is that of a unit that can have processes.
func validUnit(name string) bool {
	dot := strings.LastIndexByte(name, '.')
	if dot <= 0 || len(name) > maxUnitName || name[0] == '@' {
		return false
	}
	for i := range dot {
		c := name[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && !strings.ContainsRune(`:-_.\@`, rune(c)) {
			return false
		}
	}
	return unitTypes[name[dot+1:]]
}
