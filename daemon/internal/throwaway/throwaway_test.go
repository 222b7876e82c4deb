package throwaway

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/btrfs"
	"github.com/machd/machd/daemon/internal/btrfs/btrfstest"
	"github.com/machd/machd/pkg/machd"
)

func TestUsersComeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	for _, want := range []Users{{}, {Pick: true}, {Base: 0x90000}, {Base: 1<<32 - 1}} {
		if got, err := ParseUsers(want.String()); err != nil || got != want {
			t.Errorf("%+v came back as %+v, %v", want, got, err)
		}
	}
	for _, text := range []string{"", "yes", "-1", "4294967296", "1:2"} {
		if u, err := ParseUsers(text); err == nil {
			t.Errorf("%q is %+v", text, u)
		}
	}
}

// systemd-nspawn takes the ids of a root only if they are a range of its own.
func TestPickedIDsAreARangeOfNspawns(t *testing.T) {
	t.Parallel()
	seen := map[uint32]bool{}
	for range 100 {
		base := Users{Pick: true}.base()
		if base%rangeSize != 0 || base < firstBase || base > lastBase {
			t.Errorf("the first id is %#x", base)
		}
		seen[base] = true
	}
	if len(seen) < 50 {
		t.Errorf("of 100 machines, %d have ids of their own", len(seen))
	}
	if got := (Users{Base: 7}).base(); got != 7 {
		t.Errorf("a given id became %d", got)
	}
}

func TestDirectoriesTellTheirMachine(t *testing.T) {
	t.Parallel()
	p := Place{Pool: "/pool", Machine: "a-b.c"}
	if name, ok := IsDir(filepath.Base(p.Dir())); !ok || name != p.Machine {
		t.Errorf("%s is of %q, %v", p.Dir(), name, ok)
	}
	if !strings.HasPrefix(p.Root(), p.Dir()+"/") {
		t.Errorf("the root %s is not in %s", p.Root(), p.Dir())
	}
	for _, name := range []string{"a", ".#machd-a.x", ".#run-a"} {
		if of, ok := IsDir(name); ok {
			t.Errorf("%s is of %q", name, of)
		}
	}
}

// mounted makes a root of an image in a mount namespace of the test's thread.
// It takes root.
func mounted(t *testing.T, users Users) (p Place, image string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting takes root")
	}
	p = Place{Pool: t.TempDir(), Machine: "m"}
	// An overlay does not write to another one, as a container's is.
	must(t, unix.Unshare(unix.CLONE_NEWNS))
	must(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	must(t, unix.Mount("pool", p.Pool, "tmpfs", 0, "mode=0755"))
	image = filepath.Join(p.Pool, "image")
	must(t, os.MkdirAll(filepath.Join(image, "etc"), 0o755))
	must(t, os.Chmod(image, 0o711))
	must(t, os.WriteFile(filepath.Join(image, "etc/file"), []byte("image\n"), 0o640))
	must(t, os.Chown(filepath.Join(image, "etc/file"), 1000, 4))
	must(t, p.make(t.Context(), image, users))
	return p, image
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// onThread runs f on a thread of its own, which ends with it, and its mount
// namespace too.
func onThread(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and is not unlocked
		f(t)
	}()
	<-done
}

func ownerOf(t *testing.T, path string) [2]uint32 {
	t.Helper()
	var s unix.Stat_t
	must(t, unix.Lstat(path, &s))
	return [2]uint32{s.Uid, s.Gid}
}

// The root has the machine's owners, and takes what is written; the image keeps
// its own, and what is in it.
func TestRootHasTheMachinesOwners(t *testing.T) {
	onThread(t, func(t *testing.T) {
		const base = 0x90000
		p, image := mounted(t, Users{Base: base})
		file := filepath.Join(p.Root(), "etc/file")
		for path, want := range map[string][2]uint32{p.Root(): {base, base}, file: {base + 1000, base + 4}} {
			if got := ownerOf(t, path); got != want {
				t.Errorf("%s is owned by %v, want %v", path, got, want)
			}
		}
		info, err := os.Stat(p.Root())
		must(t, err)
		if info.Mode().Perm() != 0o711 {
			t.Errorf("the root's mode is %v", info.Mode())
		}
		must(t, os.WriteFile(file, []byte("machine\n"), 0))
		must(t, os.Rename(filepath.Join(p.Root(), "etc"), filepath.Join(p.Root(), "etc2")))
		if got := ownerOf(t, filepath.Join(p.Root(), "etc2/file")); got != [2]uint32{base + 1000, base + 4} {
			t.Errorf("a file that was written to is owned by %v", got)
		}
		text, err := os.ReadFile(filepath.Join(image, "etc/file"))
		must(t, err)
		if string(text) != "image\n" || ownerOf(t, filepath.Join(image, "etc/file")) != [2]uint32{1000, 4} {
			t.Errorf("the image has %q, owned by %v", text, ownerOf(t, filepath.Join(image, "etc/file")))
		}
	})
}

// A pool that an overlay cannot write to, as another overlay, is passed over.
func TestRootWhereTheDiskTakesNoOverlay(t *testing.T) {
	onThread(t, func(t *testing.T) {
		p, _ := mounted(t, Users{})
		// The root itself is an overlay.
		inner := Place{Pool: p.Root(), Machine: "inner"}
		must(t, inner.make(t.Context(), filepath.Join(p.Root(), "etc"), Users{}))
		must(t, os.WriteFile(filepath.Join(inner.Root(), "new"), nil, 0o644))
		entries, err := os.ReadDir(filepath.Join(p.Root(), "etc"))
		must(t, err)
		if slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == "new" }) {
			t.Error("it was written to the image")
		}
	})
}

// What is left goes, and what is not there is no failure.
func TestRemove(t *testing.T) {
	t.Parallel()
	for _, remove := range []func(Place) error{
		func(p Place) error { return p.Remove(t.Context()) }, func(p Place) error { return p.Discard(t.Context()) },
	} {
		p := Place{Pool: t.TempDir(), Machine: "m"}
		must(t, os.MkdirAll(filepath.Join(p.Dir(), "store/upper/etc"), 0o700))
		must(t, remove(p))
		if entries, err := os.ReadDir(p.Pool); err != nil || len(entries) > 0 {
			t.Errorf("there is %v, %v", entries, err)
		}
	}
	p := Place{Pool: t.TempDir(), Machine: "m"}
	must(t, p.Remove(t.Context()))
}

// Where there are snapshots, the root is one, with the image's own owners:
// systemd-nspawn can map those.
func TestRootIsASnapshotWhereThereAreSome(t *testing.T) {
	p := Place{Pool: btrfstest.Mount(t), Machine: "m"}
	image := filepath.Join(p.Pool, "image")
	dir, err := os.Open(p.Pool)
	must(t, err)
	defer dir.Close()
	must(t, btrfs.Create(dir, "image"))
	must(t, os.WriteFile(filepath.Join(image, "file"), []byte("image\n"), 0o640))
	must(t, p.make(t.Context(), image, Users{Pick: true}))
	copied := filepath.Join(p.Root(), "file")
	must(t, os.WriteFile(copied, []byte("machine\n"), 0))
	text, err := os.ReadFile(filepath.Join(image, "file"))
	must(t, err)
	if string(text) != "image\n" || ownerOf(t, copied) != [2]uint32{0, 0} {
		t.Errorf("the image has %q; the copy is owned by %v", text, ownerOf(t, copied))
	}
	must(t, p.Remove(t.Context()))
	if _, err := os.Lstat(p.Dir()); !os.IsNotExist(err) {
		t.Errorf("the snapshot is left: %v", err)
	}
}

// Clients learn from the command which image is below a machine.
func TestTheCommandTellsTheImage(t *testing.T) {
	t.Parallel()
	argv := Place{Pool: "/pool", Machine: "m"}.MakeCommand("/machd", "/pool/base", Users{}, []string{"systemd-nspawn"})
	if got := machd.ThrowawayImage(argv); got != "/pool/base" {
		t.Errorf("%q tells of %q", argv, got)
	}
	if root := (Place{Pool: "/pool", Machine: "m"}).Root(); !machd.IsThrowaway(root) || machd.IsThrowaway("/pool/base") {
		t.Errorf("%s is not told apart", root)
	}
	if got := machd.ThrowawayImage([]string{"systemd-nspawn", "--quiet", "-D", "/pool/base", "x"}); got != "" {
		t.Errorf("another command tells of %q", got)
	}
}
