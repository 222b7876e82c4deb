package launch

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// removeExport removes what a killed systemd-nspawn has left for a machine that
// is not listed: the mount by which it showed sockets to the host, over which
// no other starts, and the directory for mounts into the machine. What is known
// of the machine's end is removed with the machine; this is for one that
// nobody saw. It leaves everything alone while there is a systemd-nspawn that
// may be using it.
func (l *Launcher) removeExport(name string) {
	if l.cfg.NspawnDir == "" {
		return
	}
	propagate := filepath.Join(l.cfg.NspawnDir, "propagate", name)
	var left []string
	for _, path := range []string{
		filepath.Join(l.cfg.NspawnDir, "unix-export", name), // of nspawn before 258
		filepath.Join(l.cfg.NspawnDir, name, "unix-export"),
	} {
		if isMount(path) {
			left = append(left, path)
		}
	}
	if len(left) == 0 && !exists(propagate) || l.mayBeUsed(name) {
		return
	}
	for _, path := range left {
		err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		l.cfg.Log.Info("Removed what a killed systemd-nspawn left mounted.", "machine", name, "path", path, "error", err)
		os.Remove(path)
		os.Remove(filepath.Dir(path)) // 258 and later, unless there is more
	}
	os.Remove(propagate)
}

func isMount(path string) bool {
	var s unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, 0, &s)
	return err == nil && s.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// mayBeUsed reports whether some systemd-nspawn may run the machine: it is
// listed, or there is one that belongs to no machine that is.
func (l *Launcher) mayBeUsed(name string) bool {
	view := l.cfg.Machines.View()
	if _, ok := view.Get(name); ok {
		return true
	}
	known := map[int]bool{}
	for m := range view.All() {
		if m.Supervisor != nil {
			known[m.Supervisor.PID()] = true
		}
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return true
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || known[pid] {
			continue
		}
		comm, err := os.ReadFile(filepath.Join("/proc", e.Name(), "comm"))
		if err == nil && strings.HasPrefix(string(comm), nspawn) && !runsAnother(e.Name(), name) {
			return true
		}
	}
	return false
}

// runsAnother reports whether a process says on its command line that it runs a
// machine of another name.
func runsAnother(pid, name string) bool {
	line, err := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
	if err != nil {
		return false
	}
	for arg := range strings.SplitSeq(string(line), "\x00") {
		if other, ok := strings.CutPrefix(arg, "--machine="); ok {
			return other != name
		}
	}
	return false
}
