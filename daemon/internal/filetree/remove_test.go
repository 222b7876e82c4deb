package filetree_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/filetree"
)

func TestRemoveTakesEverythingAndNothingElse(t *testing.T) {
	t.Parallel()
	needRoot(t)
	at := t.TempDir()
	write(t, at+"/outside/secret", "x")
	write(t, at+"/tree/a/b/c/file", "x")
	must(t, os.Symlink(at+"/outside", at+"/tree/a/link"))
	must(t, os.Symlink("../../../outside/secret", at+"/tree/a/b/link"))
	must(t, unix.Mkfifo(at+"/tree/fifo", 0o600))
	must(t, os.Chmod(at+"/tree/a/b", 0))
	for i := range 3000 {
		write(t, fmt.Sprintf("%s/tree/many/%d", at, i), "")
	}
	must(t, filetree.Remove(t.Context(), openDir(t, at), "tree"))
	if exists(at + "/tree") {
		t.Error("the tree is still there")
	}
	if read(t, at+"/outside/secret") != "x" {
		t.Error("a link was followed")
	}
	write(t, at+"/file", "x")
	must(t, os.Symlink("outside", at+"/link"))
	must(t, filetree.Remove(t.Context(), openDir(t, at), "file"))
	must(t, filetree.Remove(t.Context(), openDir(t, at), "link"))
	if exists(at+"/file") || exists(at+"/link") || !exists(at+"/outside/secret") {
		t.Error("single files are not removed as they should")
	}
}

func TestMarkedFilesAreRemoved(t *testing.T) {
	t.Parallel()
	needRoot(t)
	at := loop(t, "ext4")
	write(t, at+"/tree/a/file", "x")
	write(t, at+"/tree/log", "x")
	for flag, path := range map[string]string{"+i": at + "/tree/a/file", "+a": at + "/tree/log"} {
		if out, err := exec.Command("chattr", flag, path).CombinedOutput(); err != nil {
			t.Skipf("cannot mark files here: %v %s", err, out)
		}
	}
	must(t, exec.Command("chattr", "+i", at+"/tree/a", at+"/tree").Run())
	must(t, filetree.Remove(t.Context(), openDir(t, at), "tree"))
	if exists(at + "/tree") {
		t.Error("the tree is still there")
	}
}

func TestSubvolumesAreRemoved(t *testing.T) {
	t.Parallel()
	needRoot(t)
	at := loop(t, "btrfs")
	must(t, os.MkdirAll(at+"/tree/a", 0o755))
	for _, path := range []string{"/tree/a/sub", "/tree/a/sub/inner", "/tree/snap"} {
		if out, err := exec.Command("btrfs", "subvolume", "create", at+path).CombinedOutput(); err != nil {
			t.Skipf("no subvolumes here: %v %s", err, out)
		}
		write(t, at+path+"/file", "x")
	}
	must(t, exec.Command("btrfs", "property", "set", at+"/tree/snap", "ro", "true").Run())
	must(t, filetree.Remove(t.Context(), openDir(t, at), "tree"))
	if exists(at + "/tree") {
		t.Error("the tree is still there")
	}
}

func TestARemovalThatIsEnded(t *testing.T) {
	t.Parallel()
	at := t.TempDir()
	write(t, at+"/tree/file", "x")
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("changed my mind")
	cancel(why)
	if err := filetree.Remove(ctx, openDir(t, at), "tree"); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
	if !exists(at + "/tree/file") {
		t.Error("it was removed")
	}
}
