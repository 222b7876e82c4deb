package proc

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// Hierarchy returns where the unified hierarchy of cgroups is mounted. The
// second place is that of hosts which have the older hierarchies beside it.
//
// Reference: cgroup-util.c, cg_unified_cached.
var Hierarchy = sync.OnceValues(func() (string, error) {
	for _, path := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var fs unix.Statfs_t
		if unix.Statfs(path, &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC {
			return path, nil
		}
	}
	return "", fmt.Errorf("cannot find the unified cgroup hierarchy below /sys/fs/cgroup: %w", unix.ENOENT)
})

// Frozen reports whether the process stands still with all others of its cgroup.
func (p *PIDFD) Frozen() (bool, error) {
	mount, err := Hierarchy()
	if err != nil {
		return false, err
	}
	cgroup, err := p.Cgroup()
	if err != nil {
		return false, err
	}
	path, err := InHierarchy(cgroup)
	if err != nil {
		return false, err
	}
	events, err := os.ReadFile(filepath.Join(mount, path, "cgroup.events"))
	if err != nil {
		return false, fmt.Errorf("cannot tell whether process %d stands still: %w", p.PID(), err)
	}
	return bytes.Contains(events, []byte("frozen 1\n")), nil
}
