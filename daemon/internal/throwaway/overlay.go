package throwaway

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// overlay mounts one on the root, in a mount namespace that this thread is in
// from now on. Its owners are the machine's already: systemd-nspawn, which
// cannot map those of an overlay, takes the ids from there.
func (p Place) overlay(image string, base uint32) error {
	if err := p.ownNamespace(); err != nil {
		return fmt.Errorf("cannot have mounts of its own: %w", err)
	}
	if err := unix.Chdir(p.Dir()); err != nil {
		return err
	}
	for _, dir := range []string{lowerDir, storeDir, rootDir} {
		if err := os.Mkdir(dir, private); err != nil {
			return err
		}
	}
	err := overlayOf(image, base, "")
	if base != 0 && errors.Is(err, unix.EINVAL) {
		// The image's file system, or this kernel's overlay, cannot map owners:
		// systemd-nspawn changes them all, of which the overlay keeps a note each.
		err = overlayOf(image, 0, ",metacopy=on")
	}
	return err
}

// overlayOf mounts an overlay of the image with owners from base on in the
// working directory. It is EINVAL if owners cannot be mapped.
func overlayOf(image string, base uint32, options string) error {
	if err := mountLower(image, base); err != nil {
		return err
	}
	err := mountOverlay(options)
	if errors.Is(err, unix.EINVAL) {
		// The pool's file system cannot take what an overlay writes, as another
		// overlay or NFS cannot. Memory can.
		if err := unix.Mount("throwaway", storeDir, "tmpfs", 0, "mode=0700"); err != nil {
			return err
		}
		err = mountOverlay(options)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("cannot mount an overlay: %w", err), unix.Unmount(lowerDir, unix.MNT_DETACH))
	}
	return nil
}

// ownNamespace moves to a mount namespace where what is mounted in the pool
// stays: the host does not see it, and it ends with the namespace. All other
// mounts still come and go here and on the host as they did: the sockets that
// systemd-nspawn mounts for a machine below /run are the host's to use.
func (p Place) ownNamespace() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	dir, err := filepath.EvalSymlinks(p.Pool)
	if err != nil {
		return err
	}
	for {
		root, err := isMountRoot(dir)
		if err != nil {
			return err
		}
		if root {
			return unix.Mount("", dir, "", unix.MS_SLAVE, "")
		}
		dir = filepath.Dir(dir)
	}
}

func isMountRoot(path string) (bool, error) {
	var stat unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, 0, &stat); err != nil {
		return false, fmt.Errorf("cannot look at %s: %w", path, err)
	}
	return stat.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0 || path == "/", nil
}

// mountLower mounts the image with owners from base on.
func mountLower(image string, base uint32) error {
	fd, err := unix.OpenTree(unix.AT_FDCWD, image, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return fmt.Errorf("cannot open it: %w", err)
	}
	defer unix.Close(fd)
	attr := unix.MountAttr{Propagation: unix.MS_PRIVATE}
	if base != 0 {
		users, err := userNamespace(base)
		if err != nil {
			return err
		}
		defer users.Close()
		attr.Attr_set, attr.Userns_fd = unix.MOUNT_ATTR_IDMAP, uint64(users.Fd())
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return err
	}
	return unix.MoveMount(fd, "", unix.AT_FDCWD, lowerDir, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

// mountOverlay mounts the overlay in the working directory.
func mountOverlay(options string) error {
	if err := makeStore(); err != nil {
		return err
	}
	var on unix.Statfs_t
	if err := unix.Statfs(lowerDir, &on); err != nil {
		return err
	}
	// The numbers of these flags are the same for both calls. What the image's
	// mount forbids stays forbidden; the overlay itself asks the lower file
	// system only, not its mount.
	flags := uintptr(on.Flags) & (unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	const layers = "lowerdir=" + lowerDir + ",upperdir=" + storeDir + upperDir + ",workdir=" + storeDir + workDir
	return unix.Mount("overlay", rootDir, "overlay", flags, layers+",redirect_dir=on,volatile"+options)
}

// makeStore makes the directories that the overlay writes to. Its top directory
// is that of the upper one.
func makeStore() error {
	for _, dir := range []string{upperDir, workDir} {
		if err := os.Mkdir(storeDir+dir, private); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	var top unix.Stat_t
	if err := unix.Stat(lowerDir, &top); err != nil {
		return err
	}
	if err := os.Chown(storeDir+upperDir, int(top.Uid), int(top.Gid)); err != nil {
		return err
	}
	return unix.Chmod(storeDir+upperDir, top.Mode&^unix.S_IFMT)
}
