package doctor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machine1"
)

// startTime is how long systemd-nspawn may take from its first mount to the
// registration.
const startTime = 30 * time.Second

// checkExports looks for the mounts by which containers show their sockets to
// the host. systemd-nspawn that is killed leaves its own, and the next one of
// that name refuses to start over it.
func checkExports(_ context.Context, v *visit) (found []finding, applies bool) {
	stray := v.unregistered()
	for _, e := range v.exports() {
		age, mounted := mountAge(e.path)
		if !mounted || v.starting[e.machine] || (&visit{machines: v.cfg.Machines()}).knows(e.machine) {
			continue
		}
		f := doubt(fmt.Sprintf("%s is still mounted for %s, and there is no such machine", e.path, e.machine),
			"systemd-nspawn was killed. It refuses to start a container of that name over it.",
			fmt.Sprintf("umount -l %s && rmdir %s", e.path, e.path)).about(e.path)
		switch {
		case len(stray) > 0:
			f.Why = fmt.Sprintf("It may be the mount of %s, which runs a container that is not registered, or is about to be.", describe(stray[0]))
		case age > v.startTime:
			f = f.mendedBy(func(context.Context) error { return v.removeExport(e) })
		}
		found = append(found, f)
	}
	return found, true
}

// An export is what may be such a mount.
type export struct{ machine, path string }

// exports are those of systemd-nspawn before 258, and those of later ones.
func (v *visit) exports() (all []export) {
	old := filepath.Join(v.cfg.Paths.Nspawn, "unix-export")
	entries, _ := os.ReadDir(old)
	for _, e := range entries {
		all = append(all, export{e.Name(), filepath.Join(old, e.Name())})
	}
	entries, _ = os.ReadDir(v.cfg.Paths.Nspawn)
	for _, e := range entries {
		if path := filepath.Join(v.cfg.Paths.Nspawn, e.Name(), "unix-export"); e.IsDir() && machine1.ValidMachineName(e.Name()) {
			all = append(all, export{e.Name(), path})
		}
	}
	return all
}

func (v *visit) removeExport(e export) error {
	if len(v.unregistered()) > 0 || (&visit{machines: v.cfg.Machines()}).knows(e.machine) {
		return fmt.Errorf("somebody may use it now")
	}
	if err := unix.Unmount(e.path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return err
	}
	return unix.Rmdir(e.path)
}

// mountAge returns how long ago the root of what is mounted at path was made, and
// whether anything is.
func mountAge(path string) (time.Duration, bool) {
	var s unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_BTIME, &s)
	if err != nil || s.Attributes&unix.STATX_ATTR_MOUNT_ROOT == 0 {
		return 0, false
	}
	return time.Since(time.Unix(s.Btime.Sec, int64(s.Btime.Nsec))), true
}
