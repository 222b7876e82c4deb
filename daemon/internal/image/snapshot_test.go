package image_test

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/account"
	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/daemon/internal/imagelock"
	"github.com/machd/machd/pkg/machine1"
)

func (p place) read(path string) string {
	p.t.Helper()
	text, err := os.ReadFile(filepath.Join(p.root, path))
	must(p.t, err)
	return string(text)
}

func TestSnapshotsComeBack(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ image, content, beside string }{
		{"a", "pool/a/etc/hostname", "pool/a.nspawn"},
		{"r", "pool/r.raw", "pool/r.roothash"},
	} {
		p := newPlace(t, t.TempDir())
		p.make(c.content, "first")
		p.make(c.beside, "first")
		must(t, p.CreateSnapshot(t.Context(), p.get(c.image), "one"))
		if err := p.CreateSnapshot(t.Context(), p.get(c.image), "one"); !errors.Is(err, unix.EEXIST) {
			t.Errorf("%s: once more: %v", c.image, err)
		}
		p.make(c.content, "second")
		p.make(c.beside, "second")
		before, err := p.RestoreSnapshot(t.Context(), c.image, "one")
		must(t, err)
		if got := p.read(c.content) + " " + p.read(c.beside); got != "first first" {
			t.Errorf("%s: it is %q again", c.image, got)
		}
		if p.read("etc/a.nspawn") != "admin" {
			t.Error("the administrator's settings have changed")
		}
		_, err = p.RestoreSnapshot(t.Context(), c.image, before)
		must(t, err)
		if got := p.read(c.content) + " " + p.read(c.beside); got != "second second" {
			t.Errorf("%s: what it was before is %q", c.image, got)
		}
		must(t, p.Remove(t.Context(), p.get(c.image), image.RemoveSettings))
		before, err = p.RestoreSnapshot(t.Context(), c.image, "one")
		if got := p.read(c.content); err != nil || before != "" || got != "first" {
			t.Errorf("%s: it was removed, and is %q, before %q: %v", c.image, got, before, err)
		}
	}
}

func TestListOfSnapshots(t *testing.T) {
	t.Parallel()
	p := newPlace(t, t.TempDir())
	for _, name := range []string{"two", "one"} {
		must(t, p.CreateSnapshot(t.Context(), p.get("a"), name))
	}
	must(t, p.CreateSnapshot(t.Context(), p.get("r"), "three"))
	p.make("pool/.hidden/x", "")
	names := func(image string) (names []string) {
		all, err := p.Snapshots(t.Context(), image)
		must(t, err)
		for _, s := range all {
			names = append(names, s.Image+" "+s.Name)
			if s.Usage == 0 || s.Created == 0 || s.Kind == "" {
				t.Errorf("%+v", s)
			}
		}
		return names
	}
	if got := names("a"); !slices.Equal(got, []string{"a one", "a two"}) {
		t.Errorf("those of a: %q", got)
	}
	if got := names(""); !slices.Equal(got, []string{"a one", "a two", "r three"}) {
		t.Errorf("all: %q", got)
	}
	var cleaned []string
	must(t, p.Clean(t.Context(), image.CleanHidden, func(r image.Removed) { cleaned = append(cleaned, r.Name) }))
	if !slices.Equal(cleaned, []string{".hidden"}) || len(names("")) != 3 {
		t.Errorf("cleaned %q, left %q", cleaned, names(""))
	}
	must(t, p.RemoveSnapshot(t.Context(), "a", "one"))
	if err := p.RemoveSnapshot(t.Context(), "a", "one"); !errors.Is(err, machine1.ErrNoSuchImage) {
		t.Errorf("removed once more: %v", err)
	}
	for _, bad := range []string{"", ".x", "a/b", "a@b", "-x"} {
		if err := p.CreateSnapshot(t.Context(), p.get("a"), bad); !errors.Is(err, machine1.ErrInvalidArgs) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestNothingIsRestoredInUse(t *testing.T) {
	t.Parallel()
	p := newPlace(t, t.TempDir())
	must(t, p.CreateSnapshot(t.Context(), p.get("a"), "one"))
	lock, err := imagelock.Path(filepath.Join(p.root, "locks"), p.get("a").Path, false)
	must(t, err)
	defer lock.Release()
	before := p.files()
	if _, err := p.RestoreSnapshot(t.Context(), "a", "one"); !errors.Is(err, unix.EBUSY) {
		t.Errorf("it is in use: %v", err)
	}
	if err := p.SetPassword(t.Context(), p.get("a"), "root", account.Password{Hash: "!"}); !errors.Is(err, unix.EBUSY) {
		t.Errorf("a password: %v", err)
	}
	if got := p.files(); !slices.Equal(got, before) {
		t.Errorf("files are %q, were %q", got, before)
	}
}

// What is beside an image can be what keeps it from being restored; by then its
// content has been exchanged.
func TestRestoreIsAllOrNothing(t *testing.T) {
	t.Parallel()
	p := newPlace(t, t.TempDir())
	p.make("pool/r.raw", "first")
	must(t, p.CreateSnapshot(t.Context(), p.get("r"), "one"))
	p.make("pool/r.raw", "second")
	stuck := filepath.Join(p.root, "pool/r.roothash")
	p.make("pool/r.roothash", "second")
	makeImmutable(t, stuck)
	before := p.files()
	if _, err := p.RestoreSnapshot(t.Context(), "r", "one"); err == nil || !strings.Contains(err.Error(), "cannot restore r.roothash") {
		t.Errorf("r.roothash cannot be moved: %v", err)
	}
	if got := p.read("pool/r.raw"); got != "second" {
		t.Errorf("it is %q, was second", got)
	}
	if got := p.files(); !slices.Equal(got, before) {
		t.Errorf("files are %q, were %q", got, before)
	}
}

// Of an image that is not made whole nobody sees anything, then and afterwards.
func TestMakeIsAllOrNothing(t *testing.T) {
	t.Parallel()
	p := newPlace(t, t.TempDir())
	before := p.files()
	failure := errors.New("half way")
	half := func(_ context.Context, w image.Workshop) error {
		must(t, w.MakeTree())
		must(t, os.WriteFile(filepath.Join(w.TreePath(), "half"), nil, 0o644))
		if _, err := p.Get(t.Context(), "new"); !errors.Is(err, machine1.ErrNoSuchImage) {
			t.Errorf("half of it is an image: %v", err)
		}
		if err := p.Make(t.Context(), "new", false, nil, nil); !errors.Is(err, unix.EBUSY) {
			t.Errorf("a second one is made: %v", err)
		}
		return failure
	}
	if err := p.Make(t.Context(), "new", false, nil, half); !errors.Is(err, failure) {
		t.Error(err)
	}
	if got := p.files(); !slices.Equal(got, before) {
		t.Errorf("files are %q, were %q", got, before)
	}
	a := p.get("a")
	whole := func(ctx context.Context, w image.Workshop) error { return w.CopyImage(ctx, a) }
	must(t, p.Make(t.Context(), "new", false, &a, whole))
	if p.read("pool/new/etc/hostname") != "a" || p.read("etc/new.nspawn") != "admin" {
		t.Error("it is not like the other one")
	}
}

// A daemon that is killed between names leaves settings of a snapshot that there
// is not. They are in nobody's way; a snapshot whose name looks like theirs is.
func TestWhatIsLeftOfASnapshotKeepsNobodyFromIt(t *testing.T) {
	t.Parallel()
	p := newPlace(t, t.TempDir())
	p.make("pool/.a@one.nspawn", "left")
	p.make("pool/.a@one.roothash", "left")
	must(t, p.CreateSnapshot(t.Context(), p.get("a"), "one"))
	if got := p.read("pool/.a@one.nspawn"); got != "beside" {
		t.Errorf("settings of the snapshot are %q", got)
	}
	p.want(append([]string{"pool/.a@one/etc/hostname", "pool/.a@one.nspawn"}, original...)...)

	must(t, p.CreateSnapshot(t.Context(), p.get("a"), "two.nspawn"))
	before := p.files()
	if err := p.CreateSnapshot(t.Context(), p.get("a"), "two"); !errors.Is(err, unix.EEXIST) {
		t.Errorf("another snapshot is in the way: %v", err)
	}
	if got := p.files(); !slices.Equal(got, before) {
		t.Errorf("files are %q, were %q", got, before)
	}
}

// What waits beside the place of an image that is gone may be somebody's.
func TestRestoreLeavesTheSettingsThatWaitForIt(t *testing.T) {
	t.Parallel()
	p := newPlace(t, t.TempDir())
	must(t, p.CreateSnapshot(t.Context(), p.get("a"), "one"))
	must(t, p.Remove(t.Context(), p.get("a"), image.RemoveSettings))
	p.make("pool/a.nspawn", "mine")
	if _, err := p.RestoreSnapshot(t.Context(), "a", "one"); !errors.Is(err, unix.EEXIST) {
		t.Errorf("with settings in the way: %v", err)
	}
	if got := p.read("pool/a.nspawn"); got != "mine" {
		t.Errorf("they are %q now", got)
	}
}

// Between the names that an image and what belongs to it get there is nothing
// that takes long: a daemon that is killed there leaves what nobody sweeps.
func TestNamesComeAtOnce(t *testing.T) {
	t.Parallel()
	p := newPlace(t, t.TempDir())
	p.make("pool/a.roothash", "beside")
	a := p.get("a")
	for name, change := range map[string]func() error{
		"clone":    func() error { return p.Clone(t.Context(), a, "b", false) },
		"snapshot": func() error { return p.CreateSnapshot(t.Context(), a, "one") },
		"make": func() error {
			return p.Make(t.Context(), "c", false, &a, func(ctx context.Context, w image.Workshop) error { return w.CopyImage(ctx, a) })
		},
	} {
		since, err := watchNames(t, p.pool)
		must(t, err)
		must(t, change())
		named := false
		for _, e := range since() {
			switch {
			case e.Mask&unix.IN_MOVED_TO != 0:
				named = true
			case named && e.Mask&unix.IN_CREATE != 0:
				t.Errorf("%s: something is made after the first name was given", name)
			}
		}
		if !named {
			t.Errorf("%s: nothing got a name", name)
		}
	}
}

// watchNames returns what returns the events of names in a directory since.
func watchNames(t *testing.T, dir string) (since func() []unix.InotifyEvent, err error) {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { unix.Close(fd) })
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_CREATE|unix.IN_MOVED_TO); err != nil {
		return nil, err
	}
	return func() (events []unix.InotifyEvent) {
		text := make([]byte, 1<<16)
		n, err := unix.Read(fd, text)
		must(t, err)
		for text = text[:n]; len(text) > 0; {
			var e unix.InotifyEvent
			size, err := binary.Decode(text, binary.NativeEndian, &e)
			must(t, err)
			events = append(events, e)
			text = text[size+int(e.Len):]
		}
		return events
	}, nil
}
