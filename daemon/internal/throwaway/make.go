package throwaway

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/btrfs"
	"github.com/machd/machd/daemon/internal/filetree"
)

// Make does what MakeCommand was told; args are what comes after MakeArgument.
// It returns only if it fails.
func Make(ctx context.Context, args []string) error {
	if len(args) < 5 {
		return fmt.Errorf("%s is for units of throw-away machines only", MakeArgument)
	}
	p, image, argv := Place{Pool: args[0], Machine: args[1]}, args[2], args[4:]
	users, err := ParseUsers(args[3])
	if err != nil {
		return err
	}
	if err := p.make(ctx, image, users); err != nil {
		return fmt.Errorf("cannot make a throw-away root of %s: %w", image, err)
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	path, err := exec.LookPath(argv[0]) // as PID 1 would
	if err == nil {
		err = unix.Exec(path, argv, os.Environ())
	}
	return fmt.Errorf("cannot run %s: %w", argv[0], err)
}

// make leaves what it has made when it fails: the unit removes it.
func (p Place) make(ctx context.Context, image string, users Users) error {
	// What the machine has had in an earlier life, if that was cut short.
	if err := p.Remove(ctx); err != nil {
		return err
	}
	if err := os.Mkdir(p.Dir(), private); err != nil {
		return err
	}
	if err := os.Symlink(image, filepath.Join(p.Dir(), imageLink)); err != nil {
		return err
	}
	done, err := p.snapshot(ctx, image)
	if err != nil || done {
		return err
	}
	return p.overlay(image, users.base())
}

// snapshot makes the root if the image is a subvolume of the pool's file system.
func (p Place) snapshot(ctx context.Context, image string) (done bool, err error) {
	source, err := os.Open(image)
	if err != nil {
		return false, err
	}
	defer source.Close()
	dir, err := os.Open(p.Dir())
	if err != nil {
		return false, err
	}
	defer dir.Close()
	err = btrfs.Snapshot(ctx, source, dir, rootDir, false)
	if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EXDEV) {
		return false, nil
	}
	return err == nil, err
}

// Remove removes what the place holds, if there is anything.
func (p Place) Remove(ctx context.Context) error {
	pool, err := os.OpenFile(p.Pool, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer pool.Close()
	err = filetree.Remove(ctx, pool, filepath.Base(p.Dir()))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Discard is Remove of what a machine that is over has left, with a name that no
// machine has. Whoever removes unfinished images removes it if we are killed.
func (p Place) Discard(ctx context.Context) error {
	pool, err := os.OpenFile(p.Pool, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer pool.Close()
	name := discardPrefix + strings.ToLower(rand.Text())
	if err := os.Rename(p.Dir(), filepath.Join(p.Pool, name)); err != nil {
		return err
	}
	return filetree.Remove(ctx, pool, name)
}

// RunRemove does what RemoveCommand was told; args are what comes after
// RemoveArgument.
func RunRemove(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("%s is for units of throw-away machines only", RemoveArgument)
	}
	removeExports(args[1])
	return Place{Pool: args[0], Machine: args[1]}.Remove(ctx)
}

// removeExports removes what a systemd-nspawn that was killed leaves mounted, for
// sockets of the machine's, and other directories of the machine's. Most often
// there is nothing.
func removeExports(machine string) {
	const nspawn = "/run/systemd/nspawn/"
	for _, path := range []string{
		"unix-export/" + machine, "propagate/" + machine, // of systemd before 258
		machine + "/unix-export", machine + "/propagate", machine,
	} {
		_ = unix.Unmount(nspawn+path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		_ = unix.Rmdir(nspawn + path)
	}
}
