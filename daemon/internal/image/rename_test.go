package image_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/daemon/internal/imagelock"
)

// unitFiles notes what is asked of it.
type unitFiles struct {
	calls []string
	err   error // of Rename
}

func (u *unitFiles) note(words ...string) { u.calls = append(u.calls, strings.Join(words, " ")) }

func (u *unitFiles) undo() error {
	u.note("undo")
	return nil
}

func (u *unitFiles) Rename(_ context.Context, name, newName string) (func() error, error) {
	u.note("rename", name, newName)
	return u.undo, u.err
}

func (u *unitFiles) Remove(_ context.Context, name string, disable bool) func() error {
	if disable {
		u.note("disable")
	}
	u.note("remove", name)
	return u.undo
}

// withUnits is a place whose machines have files of units.
func withUnits(t *testing.T) (place, *unitFiles) {
	t.Helper()
	p, u := newPlace(t, t.TempDir()), &unitFiles{}
	p.Store = image.NewStore(image.Config{
		Dirs: []string{p.pool}, Pool: p.pool, LockDir: filepath.Join(p.root, "locks"),
		Settings: []string{filepath.Join(p.root, "etc"), filepath.Join(p.root, "run")}, Units: u,
	})
	return p, u
}

func (u *unitFiles) want(t *testing.T, calls ...string) {
	t.Helper()
	if diff := cmp.Diff(calls, u.calls); diff != "" {
		t.Errorf("asked of units (-want +got):\n%s", diff)
	}
	u.calls = nil
}

func TestRenameTakesSnapshotsAlong(t *testing.T) {
	t.Parallel()
	p, u := withUnits(t)
	must(t, p.CreateSnapshot(t.Context(), p.get("a"), "one"))
	must(t, p.CreateSnapshot(t.Context(), p.get("r"), "of-another"))
	must(t, p.Rename(t.Context(), p.get("a"), "b"))
	u.want(t, "rename a b")
	renamed := []string{
		"pool/b/etc/hostname", "pool/b.nspawn", "etc/b.nspawn", "run/b.nspawn",
		"pool/.b@one/etc/hostname", "pool/.b@one.nspawn", "pool/.r@of-another.raw",
	}
	p.want(renamed...)
	p.make("pool/b/etc/hostname", "changed")
	if _, err := p.RestoreSnapshot(t.Context(), "b", "one"); err != nil || p.read("pool/b/etc/hostname") != "a" {
		t.Errorf("by its new name it is not restored: %v", err)
	}
}

// Whatever is in the way of a part, nothing is renamed.
func TestASnapshotInTheWayOfARenameKeepsAllOfIt(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		newName string
		hinder  func(p place) (undo func() error)
		want    error
		says    string
	}{
		"a stranger's snapshot": {"b", func(p place) func() error {
			p.make("pool/.b@one/etc/hostname", "of another b")
			return nil
		}, unix.EEXIST, "machctl snapshot remove b one"},
		"one in use": {"b", func(p place) func() error {
			lock, err := imagelock.Path(filepath.Join(p.root, "locks"), p.get(".a@one").Path, false)
			must(t, err)
			return lock.Release
		}, unix.EBUSY, `snapshot "one" of "a" is in use`},
		"a name that is too long with it": {strings.Repeat("b", 249), func(place) func() error { return nil },
			nil, `"one" of "a"`},
	} {
		p, u := withUnits(t)
		must(t, p.CreateSnapshot(t.Context(), p.get("a"), "one"))
		undo := c.hinder(p)
		before := p.files()
		err := p.Rename(t.Context(), p.get("a"), c.newName)
		if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", what, err)
		}
		u.want(t)
		if diff := cmp.Diff(before, p.files()); diff != "" {
			t.Errorf("%s: files (-before +after):\n%s", what, diff)
		}
		if undo != nil {
			must(t, undo())
		}
	}
}

func TestRenameIsTakenBackAsAWhole(t *testing.T) {
	t.Parallel()
	p, u := withUnits(t)
	must(t, p.CreateSnapshot(t.Context(), p.get("a"), "one"))
	before := p.files()
	u.err = unix.EIO
	if err := p.Rename(t.Context(), p.get("a"), "b"); !errors.Is(err, unix.EIO) {
		t.Errorf("the files of units cannot be renamed: %v", err)
	}
	u.want(t, "rename a b")
	if diff := cmp.Diff(before, p.files()); diff != "" {
		t.Errorf("files (-before +after):\n%s", diff)
	}
}

func TestRemoveAndTheFilesOfUnits(t *testing.T) {
	t.Parallel()
	p, u := withUnits(t)
	must(t, p.Remove(t.Context(), p.get("a"), image.KeepSettings))
	u.want(t)
	p.make("pool/a/etc/hostname", "a")
	must(t, p.Remove(t.Context(), p.get("a"), image.RemoveSettings))
	u.want(t, "remove a")
	p.make("pool/a/etc/hostname", "a")
	must(t, p.Remove(t.Context(), p.get("a"), image.RemoveAll))
	u.want(t, "disable", "remove a")

	p.make("pool/a/etc/hostname", "a")
	on := filepath.Join(p.pool, "a/mnt")
	must(t, os.Mkdir(on, 0o755))
	mount(t, "tmpfs", on, "tmpfs", 0, "")
	if err := p.Remove(t.Context(), p.get("a"), image.RemoveAll); !errors.Is(err, unix.EBUSY) {
		t.Errorf("with something mounted in it: %v", err)
	}
	u.want(t, "disable", "remove a", "undo")
}
