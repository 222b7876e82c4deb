package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/imagelock"
)

// checkLocks looks for locks of images that nobody needs: files that a killed
// program has left, and locks of programs that run no machine.
func checkLocks(ctx context.Context, v *visit) (found []finding, applies bool) {
	held := map[string]bool{}
	for _, path := range v.lockFiles() {
		switch locked, err := isLocked(path); {
		case errors.Is(err, os.ErrNotExist):
		case err != nil:
			found = append(found, unknown(path, err)...)
		case locked:
			held[path] = true
		default:
			found = append(found, doubt(fmt.Sprintf("the lock %s is held by nobody", filepath.Base(path)),
				"A program that used the image was killed. Nobody waits for it, and nobody removes the file.", "rm "+path).
				about(path).mendedBy(func(context.Context) error { return removeLock(path) }))
		}
	}
	if len(held) == 0 {
		return found, true
	}
	return append(found, v.strangeHolders(ctx, held)...), true
}

// strangeHolders are about locks of images that no machine runs from, by those
// who should run one.
func (v *visit) strangeHolders(ctx context.Context, held map[string]bool) (found []finding) {
	idle := v.unregistered()
	for path, holders := range v.holding(ctx, held) {
		for _, h := range holders {
			if !slices.Contains(idle, h) && slices.Contains(lockers, h.comm) {
				continue
			}
			found = append(found, doubt(fmt.Sprintf("%s holds the lock %s, and runs no machine", describe(h), filepath.Base(path)),
				"The image can be neither started nor changed meanwhile. The process may be what an ended machine has left.",
				fmt.Sprintf("kill %d", h.pid)).about(path))
		}
	}
	slices.SortFunc(found, func(a, b finding) int { return strings.Compare(a.What, b.What) })
	return found
}

func describe(p process) string { return fmt.Sprintf("process %d (%s)", p.pid, p.comm) }

// lockers are the programs that lock images, as the kernel calls them.
var lockers = []string{nspawn, "systemd-vmspawn", "machd", "systemd-machine", "systemd-importd", "systemd-pull", "systemd-import",
	"systemd-export", "systemd-portabl", "systemd-dissect"}

// lockFiles are those of all images and names, and those beside images.
func (v *visit) lockFiles() (paths []string) {
	entries, _ := os.ReadDir(v.cfg.Paths.Locks)
	for _, e := range entries {
		paths = append(paths, filepath.Join(v.cfg.Paths.Locks, e.Name()))
	}
	for _, dir := range v.cfg.Paths.Images {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if _, ok := imagelock.CutBeside(e.Name()); ok {
				paths = append(paths, filepath.Join(dir, e.Name()))
			}
		}
	}
	return paths
}

func openLock(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

// isLocked reports whether somebody has a file locked.
func isLocked(path string) (bool, error) {
	fd, err := openLock(path)
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(uintptr(fd), unix.F_OFD_GETLK, &lock); err != nil {
		return false, err
	}
	return lock.Type != unix.F_UNLCK, nil
}

// removeLock removes the file as its last holder would: while holding it alone,
// so that nobody can have locked it in between.
func removeLock(path string) error {
	fd, err := openLock(path)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
		return fmt.Errorf("somebody has it now: %w", err)
	}
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil || stat.Nlink == 0 {
		return err
	}
	return os.Remove(path)
}
