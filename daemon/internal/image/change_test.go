package image_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/btrfs/btrfstest"
	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/daemon/internal/imagelock"
	"github.com/machd/machd/pkg/machine1"
)

// A place is a pool with the settings directories around it.
type place struct {
	*image.Store
	t    *testing.T
	root string
	pool string
}

func newPlace(t *testing.T, root string) place {
	t.Helper()
	p := place{t: t, root: root, pool: filepath.Join(root, "pool")}
	p.Store = image.NewStore(image.Config{
		Dirs: []string{p.pool}, Pool: p.pool, LockDir: filepath.Join(root, "locks"), Host: true,
		Settings: []string{filepath.Join(root, "etc"), filepath.Join(root, "run")},
	})
	p.make("pool/a/etc/hostname", "a")
	p.make("pool/a.nspawn", "beside")
	p.make("pool/r.raw", strings.Repeat("raw", 100000))
	p.make("etc/a.nspawn", "admin")
	p.make("run/a.nspawn", "run")
	return p
}

func (p place) make(path, text string) {
	p.t.Helper()
	path = filepath.Join(p.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

func (p place) get(name string) image.Image {
	p.t.Helper()
	i, err := p.Get(p.t.Context(), name)
	if err != nil {
		p.t.Fatal(err)
	}
	return i
}

// files are all there are, but locks.
func (p place) files() []string {
	p.t.Helper()
	var found []string
	err := filepath.WalkDir(p.root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !strings.Contains(path, "/locks/") {
			found = append(found, strings.TrimPrefix(path, p.root+"/"))
		}
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	slices.Sort(found)
	return found
}

func (p place) want(files ...string) {
	p.t.Helper()
	files = append(files, "pool/r.raw")
	slices.Sort(files)
	files = slices.Compact(files)
	if diff := cmp.Diff(files, p.files()); diff != "" {
		p.t.Errorf("files (-want +got):\n%s", diff)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var original = []string{"pool/a/etc/hostname", "pool/a.nspawn", "etc/a.nspawn", "run/a.nspawn"}

func TestCloneTakesEverythingAlong(t *testing.T) {
	t.Parallel()
	p := newPlace(t, t.TempDir())
	must(t, p.Clone(t.Context(), p.get("a"), "b", false))
	p.want(append([]string{"pool/b/etc/hostname", "pool/b.nspawn", "etc/b.nspawn", "run/b.nspawn"}, original...)...)
	must(t, p.Clone(t.Context(), p.get("r"), "s", true))
	if s := p.get("s"); !s.ReadOnly || s.Type != image.TypeRaw || s.Limit != 300000 {
		t.Errorf("%+v", s)
	}
	if err := p.Clone(t.Context(), p.get("a"), "r", false); !errors.Is(err, unix.EEXIST) {
		t.Errorf("onto a raw image: %v", err)
	}
	if err := p.Clone(t.Context(), p.get("a"), "x/y", false); !errors.Is(err, machine1.ErrInvalidArgs) {
		t.Errorf("to a bad name: %v", err)
	}
}

func TestCloneLeavesTheSettingsThatWaitForIt(t *testing.T) {
	t.Parallel()
	p := newPlace(t, t.TempDir())
	p.make("etc/b.nspawn", "mine")
	must(t, p.Clone(t.Context(), p.get("a"), "b", false))
	if text, _ := os.ReadFile(filepath.Join(p.root, "etc/b.nspawn")); string(text) != "mine" {
		t.Errorf("the administrator's file is %q now", text)
	}
}

func TestACloneThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	p := newPlace(t, t.TempDir())
	before := p.files()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Clone(ctx, p.get("a"), "b", false); err == nil {
		t.Error("a clone that was called off succeeded")
	}
	if diff := cmp.Diff(before, p.files()); diff != "" {
		t.Errorf("files (-before +after):\n%s", diff)
	}
}

func TestRenameTakesEverythingAlongOrNothing(t *testing.T) {
	t.Parallel()
	p := newPlace(t, t.TempDir())
	p.make("run/b.nspawn", "in the way")
	if err := p.Rename(t.Context(), p.get("a"), "b"); !errors.Is(err, unix.EEXIST) {
		t.Errorf("with settings in the way: %v", err)
	}
	p.want(append([]string{"run/b.nspawn"}, original...)...)

	must(t, os.Remove(filepath.Join(p.root, "run/b.nspawn")))
	must(t, p.Rename(t.Context(), p.get("a"), "b"))
	p.want("pool/b/etc/hostname", "pool/b.nspawn", "etc/b.nspawn", "run/b.nspawn")
	must(t, p.Rename(t.Context(), p.get("r"), "s"))
	if s := p.get("s"); filepath.Base(s.Path) != "s.raw" {
		t.Errorf("%+v", s)
	}
}

func TestWhatIsFoundByAnotherNameIsNotRenamed(t *testing.T) {
	t.Parallel()
	p := newPlace(t, t.TempDir())
	must(t, os.Symlink("a", filepath.Join(p.pool, "link")))
	p.make("pool/v.v/v_1/etc/hostname", "v")
	before := p.files()
	for _, name := range []string{"link", "v"} {
		if err := p.Rename(t.Context(), p.get(name), "b"); !errors.Is(err, unix.EOPNOTSUPP) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if diff := cmp.Diff(before, p.files()); diff != "" {
		t.Errorf("files (-before +after):\n%s", diff)
	}
}

func TestRemoveAndTheAdministratorsSettings(t *testing.T) {
	t.Parallel()
	p := newPlace(t, t.TempDir())
	must(t, p.Remove(t.Context(), p.get("a"), image.KeepSettings))
	p.want("etc/a.nspawn")

	q := newPlace(t, t.TempDir())
	must(t, q.Remove(t.Context(), q.get("a"), image.RemoveSettings))
	q.want()
}

func TestWhatCannotBeRemovedKeepsItsName(t *testing.T) {
	p := newPlace(t, t.TempDir())
	on := filepath.Join(p.pool, "a/mnt")
	must(t, os.Mkdir(on, 0o755))
	mount(t, "tmpfs", on, "tmpfs", 0, "")
	if err := p.Remove(t.Context(), p.get("a"), image.RemoveSettings); !errors.Is(err, unix.EBUSY) {
		t.Errorf("with something mounted in it: %v", err)
	}
	p.get("a")
	if _, err := os.Stat(filepath.Join(p.root, "etc/a.nspawn")); err != nil {
		t.Errorf("its settings: %v", err)
	}
}

func TestWhatIsInUseStays(t *testing.T) {
	t.Parallel()
	p := newPlace(t, t.TempDir())
	a := p.get("a")
	lock, err := imagelock.Path(filepath.Join(p.root, "locks"), a.Path, false)
	must(t, err)
	p.make("pool/.busy/etc/hostname", "busy")
	p.make("pool/.idle/etc/hostname", "idle")
	busy, err := imagelock.Path(filepath.Join(p.root, "locks"), p.get(".busy").Path, false)
	must(t, err)
	var cleaned []string
	must(t, p.Clean(t.Context(), image.CleanHidden, func(r image.Removed) { cleaned = append(cleaned, r.Name) }))
	if diff := cmp.Diff([]string{".idle"}, cleaned); diff != "" {
		t.Errorf("cleaned (-want +got):\n%s", diff)
	}
	must(t, busy.Release())
	changes := map[string]error{
		"remove":    p.Remove(t.Context(), a, image.RemoveSettings),
		"rename":    p.Rename(t.Context(), a, "b"),
		"read-only": p.SetReadOnly(t.Context(), a, true),
	}
	for what, err := range changes {
		if !errors.Is(err, unix.EBUSY) {
			t.Errorf("%s: %v", what, err)
		}
	}
	must(t, p.Clone(t.Context(), a, "b", false))
	must(t, lock.Release())
	must(t, p.Remove(t.Context(), a, image.RemoveSettings))
}

func TestReadOnlyAndBack(t *testing.T) {
	t.Parallel()
	p := newPlace(t, t.TempDir())
	for _, name := range []string{"a", "r"} {
		err := p.SetReadOnly(t.Context(), p.get(name), true)
		if errors.Is(err, unix.EOPNOTSUPP) && name == "a" {
			continue // tmpfs has no such flag everywhere
		}
		must(t, err)
		if !p.get(name).ReadOnly {
			t.Errorf("%s is not read-only", name)
		}
		if name == "a" { // what is immutable can be renamed, and stays so
			must(t, p.Rename(t.Context(), p.get("a"), "b"))
			if !p.get("b").ReadOnly {
				t.Error("it is writable under its new name")
			}
			must(t, p.Rename(t.Context(), p.get("b"), "a"))
		}
		must(t, p.SetReadOnly(t.Context(), p.get(name), false))
		if p.get(name).ReadOnly {
			t.Errorf("%s is still read-only", name)
		}
	}
}

func TestTheOperatingSystemStays(t *testing.T) {
	t.Parallel()
	p := newPlace(t, t.TempDir())
	host := p.get(machine1.Host)
	for what, err := range map[string]error{
		"remove":    p.Remove(t.Context(), host, image.RemoveSettings),
		"rename":    p.Rename(t.Context(), host, "b"),
		"read-only": p.SetReadOnly(t.Context(), host, true),
		"limit":     p.SetLimit(t.Context(), host, 1<<30),
	} {
		if !errors.Is(err, unix.EROFS) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestClean(t *testing.T) {
	t.Parallel()
	p := newPlace(t, t.TempDir())
	p.make("pool/.old/etc/hostname", "old")
	var removed []string
	tell := func(r image.Removed) { removed = append(removed, r.Name) }
	must(t, p.Clean(t.Context(), image.CleanHidden, tell))
	p.want(original...)
	must(t, p.Clean(t.Context(), image.CleanAll, tell))
	if diff := cmp.Diff([]string{".old", "a", "r"}, removed); diff != "" {
		t.Errorf("removed (-want +got):\n%s", diff)
	}
	if err := p.Clean(t.Context(), "some", tell); !errors.Is(err, machine1.ErrInvalidArgs) {
		t.Errorf("unknown mode: %v", err)
	}
}

func TestOnBtrfs(t *testing.T) {
	root := btrfstest.Mount(t)
	// Nothing is known of limits while the kernel counts for the first time.
	run(t, "btrfs", "quota", "enable", root)
	run(t, "btrfs", "quota", "rescan", "-w", root)
	p := newPlace(t, root)
	must(t, p.Clone(t.Context(), p.get("a"), "b", false))
	if b := p.get("b"); b.Type != image.TypeSubvolume {
		t.Fatalf("a directory's clone is a %s", b.Type)
	}
	must(t, p.Clone(t.Context(), p.get("b"), "c", true))
	if c := p.get("c"); c.Type != image.TypeSubvolume || !c.ReadOnly {
		t.Errorf("%+v", c)
	}
	must(t, p.SetLimit(t.Context(), p.get("b"), 1<<30))
	if b := p.get("b"); b.Limit != 1<<30 {
		t.Errorf("limit %d", b.Limit)
	}
	must(t, p.SetLimit(t.Context(), p.get("b"), image.Unknown))
	if b := p.get("b"); b.Limit != image.Unknown {
		t.Errorf("limit %d", b.Limit)
	}
	if err := p.SetLimit(t.Context(), p.get("a"), 1<<30); !errors.Is(err, unix.EOPNOTSUPP) {
		t.Errorf("limit of a directory: %v", err)
	}
	must(t, p.SetReadOnly(t.Context(), p.get("c"), false))
	must(t, p.Rename(t.Context(), p.get("c"), "d"))
	must(t, p.Remove(t.Context(), p.get("d"), image.RemoveSettings))
	must(t, p.Remove(t.Context(), p.get("b"), image.RemoveSettings))
	p.want(original...)
}

// TestReadOnlyCloneToAnotherFileSystem has a subvolume become a directory,
// which is read-only by other means.
func TestReadOnlyCloneToAnotherFileSystem(t *testing.T) {
	from := newPlace(t, btrfstest.Mount(t))
	must(t, from.Clone(t.Context(), from.get("a"), "b", false))
	pool := filepath.Join(t.TempDir(), "pool")
	to := image.NewStore(image.Config{
		Dirs: []string{pool, from.pool}, Pool: pool, LockDir: filepath.Join(from.root, "locks"),
	})
	b, err := to.Get(t.Context(), "b")
	must(t, err)
	must(t, to.Clone(t.Context(), b, "c", true))
	c, err := to.Get(t.Context(), "c")
	must(t, err)
	if c.Type != image.TypeDirectory || !c.ReadOnly || b.Type != image.TypeSubvolume {
		t.Errorf("%+v became %+v", b, c)
	}
	must(t, to.SetReadOnly(t.Context(), c, false))
}

func TestThePoolOfOtherFileSystemsHasNoLimit(t *testing.T) {
	t.Parallel()
	p := newPlace(t, t.TempDir())
	if err := p.SetPoolLimit(t.Context(), 1<<30); !errors.Is(err, machine1.ErrNotSupported) {
		t.Errorf("limit: %v", err)
	}
	if err := p.SetPoolLimit(t.Context(), 1<<63); !errors.Is(err, machine1.ErrInvalidArgs) {
		t.Errorf("limit out of range: %v", err)
	}
	pool, err := p.Pool(t.Context())
	must(t, err)
	if pool != (image.Pool{Path: p.pool, Usage: image.Unknown, Limit: image.Unknown}) {
		t.Errorf("%+v", pool)
	}
}
