package filetree_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/filetree"
)

var (
	merge   = filetree.CopyOptions{Merge: true}
	replace = filetree.CopyOptions{Merge: true, Replace: true}
)

func TestWhatExistsWhereTheCopyGoes(t *testing.T) {
	t.Parallel()
	const file, dir, link = "file", "dir", "link"
	make := func(t *testing.T, path, kind, text string) {
		switch kind {
		case file:
			write(t, path, text)
		case dir:
			write(t, filepath.Join(path, text), text)
		case link:
			must(t, os.Symlink(text, path))
		}
	}
	for _, test := range []struct {
		name              string
		source, target    string
		o                 filetree.CopyOptions
		want              error
		wantTop, wantDeep bool // the content is the new one; at the top and one level down
	}{
		{"a file and nothing", file, "", merge, nil, true, true},
		{"a file and a file", file, file, filetree.CopyOptions{}, unix.EEXIST, false, false},
		{"a file and a file, merged", file, file, merge, unix.EEXIST, false, false},
		{"a file and a file, replaced", file, file, replace, nil, true, true},
		{"a file and a link, replaced", file, link, replace, nil, true, true},
		{"a file and a directory", file, dir, merge, unix.EEXIST, false, false},
		{"a file and a directory, replaced", file, dir, replace, unix.EEXIST, false, false},
		{"a link and a file, replaced", link, file, replace, nil, true, true},
		{"a directory and a directory", dir, dir, filetree.CopyOptions{}, unix.EEXIST, false, false},
		{"a directory and a directory, merged", dir, dir, merge, nil, true, true},
		{"a directory and a file, merged", dir, file, merge, unix.ENOTDIR, false, false},
		{"a directory and a file, replaced", dir, file, replace, unix.ENOTDIR, false, false},
		{"a directory and a link, replaced", dir, link, replace, unix.ENOTDIR, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			at := t.TempDir()
			for _, level := range []string{"", "outer"} {
				from, to := filepath.Join(at, "from", level), filepath.Join(at, "to", level)
				must(t, os.MkdirAll(from, 0o755))
				must(t, os.MkdirAll(to, 0o755))
				make(t, filepath.Join(from, "x"), test.source, "new")
				make(t, filepath.Join(to, "x"), test.target, "old")
			}
			err := copyPath(t, filepath.Join(at, "from/x"), filepath.Join(at, "to/x"), test.o)
			if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			check := func(level string, want bool) {
				to := filepath.Join(at, "to", level, "x")
				got := false
				switch test.source {
				case file:
					text, _ := os.ReadFile(to)
					got = string(text) == "new"
				case link:
					target, _ := os.Readlink(to)
					got = target == "new"
				case dir:
					got = exists(filepath.Join(to, "new"))
				}
				if got != want {
					t.Errorf("%q: new content is there: %v, want %v", to, got, want)
				}
				if entries, err := os.ReadDir(filepath.Dir(to)); err != nil || len(entries) > 2 {
					t.Errorf("something is left over: %v %v", entries, err)
				}
			}
			check("", test.wantTop)
			if !test.o.Merge {
				return
			}
			// One level down, other files that exist are no error.
			err = copyPath(t, filepath.Join(at, "from/outer"), filepath.Join(at, "to/outer"), test.o)
			want := test.want
			if want == unix.EEXIST {
				want = nil
			}
			if !errors.Is(err, want) || (err == nil) != (want == nil) {
				t.Errorf("one level down: got %v, want %v", err, want)
			}
			check("outer", test.wantDeep)
		})
	}
}

func TestAMergedDirectoryKeepsWhatItIs(t *testing.T) {
	t.Parallel()
	at := t.TempDir()
	write(t, at+"/from/sub/new", "new")
	write(t, at+"/from/sub/both", "new")
	must(t, os.Chmod(at+"/from/sub", 0o777))
	write(t, at+"/to/sub/both", "old")
	must(t, os.Chmod(at+"/to/sub", 0o710))
	must(t, copyPath(t, at+"/from", at+"/to", merge))
	info, err := os.Stat(at + "/to/sub")
	must(t, err)
	if info.Mode().Perm() != 0o710 {
		t.Errorf("mode is %v", info.Mode())
	}
	if read(t, at+"/to/sub/both") != "old" || read(t, at+"/to/sub/new") != "new" {
		t.Error("merged wrongly")
	}
}

func TestNamesOfOneFileAreReplacedTogether(t *testing.T) {
	t.Parallel()
	at := t.TempDir()
	write(t, at+"/from/a", "new")
	must(t, os.Link(at+"/from/a", at+"/from/b"))
	write(t, at+"/to/a", "old")
	write(t, at+"/to/b", "old")
	must(t, copyPath(t, at+"/from", at+"/to", replace))
	a, err := os.Stat(at + "/to/a")
	must(t, err)
	b, err := os.Stat(at + "/to/b")
	must(t, err)
	if !os.SameFile(a, b) || read(t, at+"/to/b") != "new" {
		t.Error("they are two files now")
	}
}

func TestACopyThatFailsNamesTheFileAndLeavesNothing(t *testing.T) {
	t.Parallel()
	needRoot(t)
	at := t.TempDir()
	write(t, at+"/from/sub/deep/odd", "x")
	must(t, os.Chown(at+"/from/sub/deep/odd", 4711, 4712))
	for i := range 100 {
		write(t, fmt.Sprintf("%s/from/sub/%d/file", at, i), "x")
	}
	o := filetree.CopyOptions{Owner: func(uid, gid uint32) (uint32, uint32, bool) { return uid, gid, uid != 4711 }}
	err := copyPath(t, at+"/from", at+"/to", o)
	if !errors.Is(err, unix.EOVERFLOW) || !strings.Contains(fmt.Sprint(err), "from/sub/deep/odd") || !strings.Contains(fmt.Sprint(err), "4711:4712") {
		t.Errorf("got %v", err)
	}
	if exists(at + "/to") {
		t.Error("a part of the copy is left")
	}
	o.Merge = true
	write(t, at+"/to/sub/deep/mine", "x")
	if err := copyPath(t, at+"/from", at+"/to", o); err == nil {
		t.Error("merging did not fail")
	}
	if !exists(at+"/to/sub/deep/mine") || exists(at+"/to/sub/deep/odd") {
		t.Error("merging left half a file, or took away what was there")
	}
}

func TestACopyThatIsEndedLeavesNothing(t *testing.T) {
	t.Parallel()
	at := t.TempDir()
	for i := range 50 {
		write(t, fmt.Sprintf("%s/from/%d/file", at, i), "x")
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("changed my mind")
	o := filetree.CopyOptions{Owner: func(uid, gid uint32) (uint32, uint32, bool) { cancel(why); return uid, gid, true }}
	dir := openDir(t, at)
	if err := filetree.Copy(ctx, dir, "from", dir, "to", o); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
	if exists(at + "/to") {
		t.Error("a part of the copy is left")
	}
}

func TestACopyIntoItselfIsRefused(t *testing.T) {
	t.Parallel()
	at := t.TempDir()
	write(t, at+"/a/b/c/file", "x")
	for _, to := range []string{"/a/copy", "/a/b/c/copy", "/a"} {
		err := copyPath(t, at+"/a", at+to, merge)
		if !errors.Is(err, unix.ELOOP) {
			t.Errorf("%s: got %v", to, err)
		}
	}
	if exists(at+"/a/copy") || exists(at+"/a/b/c/copy") || !exists(at+"/a/b/c/file") {
		t.Error("it left something, or took something away")
	}
}

// Where mounts hide that the copy is inside of what is copied.
func TestACopyIntoItselfThroughAMountEnds(t *testing.T) {
	t.Parallel()
	at := tmpfs(t)
	write(t, at+"/a/b/file", "x")
	must(t, os.Mkdir(at+"/view", 0o755))
	must(t, unix.Mount(at+"/a/b", at+"/view", "", unix.MS_BIND, ""))
	t.Cleanup(func() { unix.Unmount(at+"/view", unix.MNT_DETACH) })
	if err := copyPath(t, at+"/a", at+"/view/copy", filetree.CopyOptions{}); !errors.Is(err, unix.ELOOP) {
		t.Errorf("got %v", err)
	}
	if exists(at + "/view/copy") {
		t.Error("it left something")
	}
}

func TestMountsInTheTree(t *testing.T) {
	t.Parallel()
	at := tmpfs(t)
	write(t, at+"/from/mounted/hidden", "x")
	must(t, unix.Mount("test", at+"/from/mounted", "tmpfs", 0, ""))
	t.Cleanup(func() { unix.Unmount(at+"/from/mounted", unix.MNT_DETACH) })
	write(t, at+"/from/mounted/shown", "x")
	must(t, copyPath(t, at+"/from", at+"/all", filetree.CopyOptions{}))
	must(t, copyPath(t, at+"/from", at+"/one", filetree.CopyOptions{SameMount: true}))
	if !exists(at + "/all/mounted/shown") {
		t.Error("what is mounted was not copied")
	}
	if !exists(at+"/one/mounted") || exists(at+"/one/mounted/shown") {
		t.Error("with SameMount: it is not an empty directory")
	}
	dir := openDir(t, at)
	if err := filetree.Remove(t.Context(), dir, "from"); !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), "from/mounted") {
		t.Errorf("removing: got %v", err)
	}
	if !exists(at + "/from/mounted/shown") {
		t.Error("what is mounted was removed")
	}
}

func TestDirectoriesThatMayNotBeFilled(t *testing.T) {
	t.Parallel()
	needRoot(t)
	at := t.TempDir()
	write(t, at+"/from/sub/file", "x")
	must(t, os.MkdirAll(at+"/to/sub", 0o755))
	must(t, os.Chown(at+"/to/sub", 7, 7))
	o := merge
	o.MayFill = func(uid, _, _ uint32) bool { return uid == 0 }
	if err := copyPath(t, at+"/from", at+"/to", o); !errors.Is(err, unix.EACCES) {
		t.Errorf("got %v", err)
	}
	if err := copyPath(t, at+"/from", at+"/to/sub/copy", o); !errors.Is(err, unix.EACCES) {
		t.Errorf("got %v", err)
	}
	if exists(at+"/to/sub/file") || exists(at+"/to/sub/copy") {
		t.Error("it was filled")
	}
}

func TestBadNames(t *testing.T) {
	t.Parallel()
	dir := openDir(t, t.TempDir())
	for _, name := range []string{"", ".", "..", "a/b", "/", "a\x00"} {
		if err := filetree.Copy(t.Context(), dir, name, dir, "x", merge); !errors.Is(err, unix.EINVAL) {
			t.Errorf("copy of %q: %v", name, err)
		}
		if err := filetree.Copy(t.Context(), dir, "x", dir, name, merge); !errors.Is(err, unix.EINVAL) {
			t.Errorf("copy to %q: %v", name, err)
		}
		if err := filetree.Remove(t.Context(), dir, name); !errors.Is(err, unix.EINVAL) {
			t.Errorf("removal of %q: %v", name, err)
		}
	}
	if err := filetree.Copy(t.Context(), dir, "none", dir, "x", merge); !errors.Is(err, unix.ENOENT) {
		t.Errorf("copy of nothing: %v", err)
	}
	if err := filetree.Remove(t.Context(), dir, "none"); !errors.Is(err, unix.ENOENT) {
		t.Errorf("removal of nothing: %v", err)
	}
}
