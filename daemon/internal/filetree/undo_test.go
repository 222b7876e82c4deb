package filetree_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/filetree"
)

// endedCopy copies from to to, both in at, and calls off the copy when it has asked
// for n owners, after it called before. It returns what is left, but directories.
func endedCopy(t *testing.T, at string, n int32, before func()) (left []string) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("changed my mind")
	var asked atomic.Int32
	o := merge
	o.Owner = func(uid, gid uint32) (uint32, uint32, bool) {
		if asked.Add(1) == n {
			before()
			cancel(why)
		}
		return uid, gid, true
	}
	dir := openDir(t, at)
	if err := filetree.Copy(ctx, dir, "from", dir, "to", o); !errors.Is(err, why) {
		t.Fatalf("got %v", err)
	}
	must(t, filepath.WalkDir(at+"/to", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			left = append(left, strings.TrimPrefix(path, at+"/to/"))
		}
		if path == at+"/to" && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}))
	return left
}

func TestWhatOthersPutIntoACopyStays(t *testing.T) {
	t.Parallel()
	at := t.TempDir()
	for i := range 50 {
		write(t, fmt.Sprintf("%s/from/%d/file", at, i), "x")
		must(t, os.Link(fmt.Sprintf("%s/from/%d/file", at, i), fmt.Sprintf("%s/from/%d/again", at, i)))
		must(t, os.Symlink("file", fmt.Sprintf("%s/from/%d/link", at, i)))
		must(t, unix.Mkfifo(fmt.Sprintf("%s/from/%d/pipe", at, i), 0o600))
	}
	var in string
	left := endedCopy(t, at, 60, func() {
		dirs, _ := filepath.Glob(at + "/to/*")
		in = filepath.Base(dirs[0])
		write(t, dirs[0]+"/mine", "mine")
		write(t, at+"/to/theirs/theirs", "theirs")
	})
	if want := []string{in + "/mine", "theirs/theirs"}; len(left) != 2 || left[0] != want[0] || left[1] != want[1] {
		t.Errorf("left is %q, want %q", left, want)
	}
	if dirs, _ := filepath.Glob(at + "/to/*"); len(dirs) != 2 {
		t.Errorf("left are %q", dirs)
	}
	must(t, os.RemoveAll(at+"/to"))
	if left := endedCopy(t, at, 60, func() {}); len(left) > 0 || exists(at+"/to") {
		t.Errorf("of a copy for itself there is left %q", left)
	}
}

// In a tree where not all directories may be open.
func TestWhatOthersPutIntoADeepCopyStays(t *testing.T) {
	t.Parallel()
	const depth = 120
	at := t.TempDir()
	unix.Close(deepTree(t, at, "from", depth))
	want := map[string]bool{}
	left := endedCopy(t, at, 3*depth, func() {
		for dir := at + "/to"; exists(dir); dir += "/d" {
			write(t, dir+"/mine", "mine")
			want[strings.TrimPrefix(dir+"/mine", at+"/to/")] = true
		}
	})
	if len(want) < 60 || len(left) != len(want) {
		t.Errorf("there are %d left, want %d", len(left), len(want))
	}
	for _, path := range left {
		if !want[path] {
			t.Errorf("%s is left", path)
		}
	}
}
