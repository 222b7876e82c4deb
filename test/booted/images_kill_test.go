package booted

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/machd/machd/pkg/machine1"
)

// bigImage makes an image that takes a while to be copied and removed, with all
// that may belong to it.
const bigImage = `set -e
mkdir -p /etc/systemd/nspawn /run/systemd/nspawn
cd /var/lib/machines; mkdir -p big/etc
python3 - <<END
import os
for d in range(60):
    os.mkdir('big/%d' % d)
    for f in range(100):
        open('big/%d/%d' % (d, f), 'w').write('content')
END
echo hash >big.roothash; echo beside >big.nspawn
echo '# by hand' >/etc/systemd/nspawn/big.nspawn; echo run >/run/systemd/nspawn/big.nspawn
`

// belongsTo are the files that bigImage makes beside the image.
func belongsTo(name string) []string {
	return []string{
		filepath.Join(guests, name+".roothash"), filepath.Join(guests, name+".nspawn"),
		"/etc/systemd/nspawn/" + name + ".nspawn", "/run/systemd/nspawn/" + name + ".nspawn",
	}
}

func installBigImage(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		run(t, "bash", "-c", "rm -rf /var/lib/machines/big* /var/lib/machines/.#*big* /etc/systemd/nspawn/big* /run/systemd/nspawn/big*")
	})
	run(t, "bash", "-c", bigImage)
}

// A tree is what there is of an image.
type tree int

const (
	absent tree = iota
	part        // not all of it
	whole       // like the one that bigImage made, with all that belongs to it
)

// stateOfTree also tells what is missing.
func stateOfTree(t *testing.T, name string) (is tree, missing string) {
	t.Helper()
	root := filepath.Join(guests, name)
	if _, err := os.Lstat(root); err != nil {
		return absent, ""
	}
	for _, path := range belongsTo(name) {
		if _, err := os.Stat(path); err != nil {
			return part, err.Error()
		}
	}
	if o := observe(t, "diff", "-r", filepath.Join(guests, "big"), root); o.Code != 0 {
		return part, fmt.Sprintf("%.500s", o.Stdout)
	}
	return whole, ""
}

// drafts returns what in the directories of images and settings is half done, with
// its locks.
func drafts(t *testing.T) (all []string) {
	t.Helper()
	for _, dir := range []string{guests, "/etc/systemd/nspawn", "/run/systemd/nspawn"} {
		for _, pattern := range []string{".#machd-*", ".#.#machd-*"} {
			found, err := filepath.Glob(filepath.Join(dir, pattern))
			must(t, err)
			all = append(all, found...)
		}
	}
	return all
}

// TestMachdKilledWhileItChangesImages kills the daemon at any moment of copies
// and removals: what is to be seen is always whole, and nothing is left.
func TestMachdKilledWhileItChangesImages(t *testing.T) {
	installBigImage(t)
	w := watch(t)
	start := time.Now()
	must(t, w.call(t, "CloneImage", []any{"big", "big2", false}))
	copying := time.Since(start)
	start = time.Now()
	must(t, w.call(t, "RemoveImage", []any{"big2"}))
	removing := time.Since(start)
	count := map[string]int{}
	for range 5 {
		killed := w.killDuring(t, copying, "CloneImage", "big", "big2", false)
		is, missing := stateOfTree(t, "big2")
		if is == part {
			t.Fatalf("half a clone is an image: %s", missing)
		}
		count[fmt.Sprint("clone killed=", killed, " whole=", is == whole)]++
		w.wantNothingLeft(t)
		if is == absent {
			for _, path := range belongsTo("big2") {
				os.Remove(path) // they may have been there a moment before the image
			}
			must(t, w.call(t, "CloneImage", []any{"big", "big2", false}))
		}
		killed = w.killDuring(t, removing, "RemoveImage", "big2")
		is, missing = stateOfTree(t, "big2")
		if is == part {
			t.Fatalf("half of what was removed is an image: %s", missing)
		}
		count[fmt.Sprint("removal killed=", killed, " whole=", is == whole)]++
		w.wantNothingLeft(t)
		if is == whole {
			must(t, w.call(t, "RemoveImage", []any{"big2"}))
		}
		for _, path := range belongsTo("big2") {
			if is == absent && killed {
				os.Remove(path) // they may be there a moment longer than the image
			}
			if _, err := os.Lstat(path); err == nil {
				t.Errorf("%s is left of an image that was removed", path)
			}
		}
	}
	t.Logf("copying takes %s, removing %s: %v", copying, removing, count)
}

// killDuring makes a call of the Manager and kills the daemon at some moment of
// it, or soon after. It returns whether the call failed for that.
func (w *watcher) killDuring(t *testing.T, takes time.Duration, member string, args ...any) bool {
	t.Helper()
	answer := make(chan error, 1)
	go func() { answer <- call(t, w.conn, member, args) }()
	time.Sleep(rand.N(takes * 5 / 4))
	w.kill(t)
	err := <-answer
	if err != nil && !errors.Is(err, machine1.ErrNoReply) && !errors.Is(err, machine1.ErrDisconnected) {
		t.Errorf("%s: %v", member, err)
	}
	return err != nil
}

// wantNothingLeft has the daemon started again, which removes what was left.
func (w *watcher) wantNothingLeft(t *testing.T) {
	t.Helper()
	w.list(t)
	eventually(t, "what was left is removed", func() error {
		if left := drafts(t); len(left) > 0 {
			return fmt.Errorf("there is %q", left)
		}
		return nil
	})
}

// TestMachdShowsNoHalfOfAnImage looks at images while one is copied and while it
// is removed.
func TestMachdShowsNoHalfOfAnImage(t *testing.T) {
	installBigImage(t)
	conn := dial(t)
	isHalfDone := func() bool {
		return slices.ContainsFunc(drafts(t), func(path string) bool { return strings.HasPrefix(path, guests+"/.#machd-draft-big2.") })
	}
	// A change may be over before it is looked at.
	seen := map[string]bool{}
	for attempt := 0; len(seen) < 2; attempt++ {
		if attempt == 10 {
			t.Fatalf("only of %v something was seen half done", seen)
		}
		for _, c := range []change{ofManager("CloneImage", "big", "big2", false), ofManager("RemoveImage", "big2")} {
			ended := make(chan error, 1)
			go func() { ended <- call(t, conn, c.member, c.args) }()
			eventually(t, "something is half done", func() error {
				if !isHalfDone() && len(ended) == 0 {
					return errors.New("there is nothing")
				}
				return nil
			})
			var path string
			err := call(t, conn, "GetImage", []any{"big2"}, &path)
			if isHalfDone() {
				seen[c.member] = true
				if !errors.Is(err, machine1.ErrNoSuchImage) {
					t.Errorf("in the middle of %s: GetImage says %q, %v", c.member, path, err)
				}
			}
			if o := observe(t, "machinectl", "start", "big2"); o.Code == 0 {
				t.Errorf("in the middle of %s: it can be started", c.member)
			}
			must(t, <-ended)
		}
	}
}

// TestImageChangesOutliveTheirClient: who is killed has asked for it all the same.
func TestImageChangesOutliveTheirClient(t *testing.T) {
	installBigImage(t)
	for _, change := range []struct {
		argv []string
		want tree
	}{
		{[]string{"machinectl", "clone", "big", "big2"}, whole},
		{[]string{"machinectl", "remove", "big2"}, absent},
	} {
		before := entriesIn(t, guests) + entriesIn(t, filepath.Join(guests, "big2"))
		client := exec.Command(change.argv[0], change.argv[1:]...)
		must(t, client.Start())
		eventually(t, fmt.Sprintf("%q begins", change.argv), func() error {
			if entriesIn(t, guests)+entriesIn(t, filepath.Join(guests, "big2")) == before {
				return errors.New("nothing has changed")
			}
			return nil
		})
		must(t, client.Process.Kill())
		if client.Wait() == nil {
			t.Logf("%q was faster", change.argv)
		}
		eventually(t, fmt.Sprintf("%q is done", change.argv), func() error {
			if is, missing := stateOfTree(t, "big2"); is != change.want {
				return fmt.Errorf("it is not: %s", missing)
			}
			return nil
		})
	}
}

// entriesIn names what is in a directory, which need not exist.
func entriesIn(t *testing.T, dir string) (names string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		must(t, err)
	}
	for _, e := range entries {
		names += e.Name() + "\n"
	}
	return names
}
