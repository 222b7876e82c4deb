package filetree_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/filetree"
)

// foreign is the place of somebody who may have anything put there.
var foreign = filetree.CopyOptions{MayFill: func(_, _, _ uint32) bool { return true }}

// bind mounts a file or directory on another one until the test is over.
func bind(tb testing.TB, from, to string) {
	tb.Helper()
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		tb.Skipf("cannot mount here: %v", err)
	}
	tb.Cleanup(func() { unix.Unmount(to, unix.MNT_DETACH) })
}

// Whoever owns the place can mount a directory of the host on the one that was
// just made, or move one of somebody else's there.
func TestADirectoryThatCameInThePlaceOfTheNewOne(t *testing.T) {
	t.Parallel()
	needRoot(t)
	at := tmpfs(t)
	write(t, at+"/source/file", "public")
	must(t, os.Chown(at+"/source", 7, 7))
	mine := func(dir *os.File, name string) error { return unix.Mkdirat(int(dir.Fd()), name, 0o755) }
	for name, o := range map[string]filetree.CopyOptions{
		"mounted": {MakeRoot: func(dir *os.File, name string) error {
			err := mine(dir, name)
			bind(t, at+"/mounted-host", at+"/mounted/"+name)
			return err
		}},
		"moved": {MayFill: foreign.MayFill, MakeRoot: func(dir *os.File, name string) error {
			return os.Rename(at+"/moved-host", at+"/moved/"+name)
		}},
	} {
		host, place := at+"/"+name+"-host", at+"/"+name
		must(t, os.Mkdir(host, 0o755))
		must(t, os.Chown(host, 8, 8))
		must(t, os.Mkdir(place, 0o755))
		if err := copyPath(t, at+"/source", place+"/copy", o); !errors.Is(err, unix.ESTALE) {
			t.Errorf("%s: it ended with %v", name, err)
		}
		if name == "moved" {
			host = place + "/copy" // not ours to take away either
		}
		var stat unix.Stat_t
		must(t, unix.Stat(host, &stat))
		if stat.Uid != 8 || stat.Mode&0o777 != 0o755 || exists(host+"/file") {
			t.Errorf("%s: it is of %d, with mode %o", name, stat.Uid, stat.Mode)
		}
	}
}

func TestAFileThatCameInThePlaceOfTheNewOne(t *testing.T) {
	t.Parallel()
	needRoot(t)
	at := tmpfs(t)
	for _, name := range []string{"source", "host", "mounted", "moved", "own"} {
		must(t, unix.Mkfifo(filepath.Join(at, name), 0o666))
	}
	must(t, os.Chown(at+"/source", 7, 7))
	must(t, os.Chown(at+"/moved", 8, 8))
	bind(t, at+"/host", at+"/mounted")
	for name, o := range map[string]filetree.CopyOptions{"mounted": {}, "moved": foreign, "own": foreign} {
		err := filetree.FinishSpecial(at+"/source", openDir(t, at), name, 0, o)
		if name == "own" {
			must(t, err)
			continue
		}
		if !errors.Is(err, unix.ESTALE) {
			t.Errorf("%s: it ended with %v", name, err)
		}
	}
	for name, want := range map[string]uint32{"host": 0, "own": 7} {
		var stat unix.Stat_t
		must(t, unix.Lstat(filepath.Join(at, name), &stat))
		if stat.Uid != want {
			t.Errorf("%s is of %d, want %d", name, stat.Uid, want)
		}
	}
}
