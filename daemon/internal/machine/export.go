package machine

import (
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machine1"
)

// nspawn is how systemd-nspawn names itself when it registers.
const nspawn = "systemd-nspawn"

// removeExport removes the mount by which a container shows its sockets to the
// host, if the systemd-nspawn that made it was killed. nspawn removes it at its
// own end, and refuses to start over one that is there already: each kill would
// cost the container of that name its next start.
//
// A nspawn that reboots its container keeps the mount, so nothing is touched
// unless the supervisor is known to be dead. Nor is the mount of the next run,
// which may be there by now: it is younger than the machine.
func (m *Manager) removeExport(over Machine) {
	if m.nspawnDir == "" || over.Service != nspawn || over.Class != machine1.ClassContainer || over.UID != 0 ||
		over.supervisor.id == 0 || alive(over.Supervisor) || alive(over.Leader) {
		return
	}
	for _, path := range []string{
		filepath.Join(m.nspawnDir, "unix-export", over.Name), // of nspawn before 258
		filepath.Join(m.nspawnDir, over.Name, "unix-export"),
	} {
		if !isMountFrom(path, over.Realtime) {
			continue
		}
		err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if err == nil {
			err = unix.Rmdir(path)
		}
		m.log.Info("Removed what a killed systemd-nspawn left mounted.", "machine", over.Name, "path", path, "error", err)
	}
}

// isMountFrom reports whether a file system is mounted at path whose root is
// not younger than the given time, in µs.
func isMountFrom(path string, realtime uint64) bool {
	const flags = unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT
	var s unix.Statx_t
	if unix.Statx(unix.AT_FDCWD, path, flags, unix.STATX_BTIME, &s) != nil {
		return false
	}
	if s.Attributes&unix.STATX_ATTR_MOUNT_ROOT == 0 || s.Mask&unix.STATX_BTIME == 0 {
		return false
	}
	return !time.Unix(s.Btime.Sec, int64(s.Btime.Nsec)).After(time.UnixMicro(int64(realtime)))
}
