package proc

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync/atomic"

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
		return "", fmt.Errorf("cannot tell the cgroup of process %d: %w", p.PID(), err)
	}
	root, err := cgroupRoot()
	if err != nil {
		return "", err
	}
	return belowRoot(path, root), nil
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

// knownRoot is what cgroupRoot returns, once it is known: PID 1 stays where it is.
var knownRoot atomic.Pointer[string]

// cgroupRoot returns what PID 1 has above its own tree: "" unless it runs in
// a container without a cgroup namespace.
func cgroupRoot() (string, error) {
	if root := knownRoot.Load(); root != nil {
		return *root, nil
	}
	data, err := os.ReadFile("/proc/1/cgroup")
	if err != nil {
		return "", fmt.Errorf("cannot read the cgroup of PID 1: %w", err)
	}
	path, err := parseCgroup(data)
	if err != nil {
		return "", fmt.Errorf("cannot tell the cgroup of PID 1: %w", err)
	}
	root := rootOf(path)
	knownRoot.Store(&root)
	return root, nil
}

// rootOf returns the root of a tree from the cgroup that PID 1 has in it. Very
// old versions of systemd put themselves elsewhere than into init.scope.
//
// Reference: cgroup-util.c, cg_get_root_path.
func rootOf(initCgroup string) string {
	for _, own := range []string{"/init.scope", "/system.slice", "/system"} {
		if root, ok := strings.CutSuffix(initCgroup, own); ok {
			return root
		}
	}
	return strings.TrimSuffix(initCgroup, "/")
}

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

// InHierarchy returns the path that a cgroup, as Cgroup tells it, has below the
// mount of the unified hierarchy.
func InHierarchy(cgroup string) (string, error) {
	root, err := cgroupRoot()
	if err != nil {
		return "", err
	}
	return root + cgroup, nil
}

// UnitOf splits a cgroup path into the unit that owns it and the sub-cgroup
// below that unit, "" for the unit's own. Leading slices are skipped. The
// error wraps unix.ENXIO if the path lies in no unit.
//
// Reference: cgroup-util.c, cg_path_get_unit_full.
func UnitOf(cgroup string) (unit, subgroup string, err error) {
	rest := cgroup
	for {
		var first string
		first, rest, _ = strings.Cut(strings.TrimLeft(rest, "/"), "/")
		name := unescapeCgroup(first)
		if !validUnit(name) {
			return "", "", fmt.Errorf("cgroup %q belongs to no unit: %w", cgroup, unix.ENXIO)
		}
		if !strings.HasSuffix(name, ".slice") {
			return name, strings.Trim(rest, "/"), nil
		}
	}
}

// BelowUser returns the part of a cgroup path that a user's service manager
// knows: what is below the manager's own unit user@UID.service, or below a
// session's scope. The error wraps unix.ENXIO if the path is in neither.
//
// Reference: cgroup-util.c, skip_user_prefix.
func BelowUser(cgroup string) (string, error) {
	unit, below, err := UnitOf(cgroup)
	if err != nil {
		return "", err
	}
	manager := strings.HasPrefix(unit, "user@") && strings.HasSuffix(unit, ".service")
	session := strings.HasPrefix(unit, "session-") && strings.HasSuffix(unit, ".scope")
	if !manager && !session {
		return "", fmt.Errorf("cgroup %q belongs to no user's service manager: %w", cgroup, unix.ENXIO)
	}
	return "/" + below, nil
}

// unescapeCgroup removes the '_' that keeps a unit's name from being taken for
// a file of the kernel's.
func unescapeCgroup(name string) string { return strings.TrimPrefix(name, "_") }

const maxUnitName = 255 // bytes

// unitTypes are the types that have a cgroup.
var unitTypes = map[string]bool{
	"service": true, "scope": true, "slice": true, "socket": true, "mount": true, "swap": true,
}

// validUnit reports whether name is that of a unit that can have processes:
// templates cannot.
//
// Reference: unit-name.c, unit_name_is_valid.
func validUnit(name string) bool {
	dot := strings.LastIndexByte(name, '.')
	if dot <= 0 || len(name) > maxUnitName || !unitTypes[name[dot+1:]] {
		return false
	}
	for i := range dot {
		c := name[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && strings.IndexByte(`:-_.\@`, c) < 0 {
			return false
		}
	}
	at := strings.IndexByte(name, '@')
	return at < 0 || at > 0 && at+1 < dot && name[dot:] != ".slice"
}
