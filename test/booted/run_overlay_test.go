package booted

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// A full disk is the machine's trouble while it runs, and a reason not to begin.
func TestMachdRunOnAFullDisk(t *testing.T) {
	const name, image = "run-full", "/run/run-full-image"
	run(t, "cp", "-a", filepath.Join(guests, "tiny"), image)
	run(t, "mount", "-t", "tmpfs", "-o", "size=256k,nr_inodes=50,mode=0700", "tmpfs", guests)
	t.Cleanup(func() {
		run(t, "umount", guests)
		os.RemoveAll(image)
	})
	stdout, stderr, code := onPipes(t, "", "--name", name, image, "--", "sh", "-c", "yes >/big; exit 6")
	if code != 6 || !strings.Contains(stderr, "No space left on device") {
		t.Errorf("got %q, %q, %d", stdout, stderr, code)
	}
	wantNothingLeft(t, name)
	run(t, "sh", "-c", "cd "+guests+" && i=0; while touch $i 2>/dev/null; do i=$((i + 1)); done; test $i -gt 0")
	stdout, stderr, code = onPipes(t, "", "--name", name, image, "--", "true")
	if code != 125 || !strings.Contains(stderr, "no space left on device") {
		t.Errorf("got %q, %q, %d", stdout, stderr, code)
	}
	wantNothingLeft(t, name)
}

// A machine that is started on a root to be thrown away is like any other, and
// its image stays as it was.
func TestMachdStartOverlay(t *testing.T) {
	t.Parallel()
	for _, option := range []string{"--overlay", "--ephemeral"} {
		t.Run(option, func(t *testing.T) {
			t.Parallel()
			name := "run-start" + strings.TrimPrefix(option, "-")
			run(t, "machctl", "start", option, "--image=c8-ns", name)
			t.Cleanup(func() { observe(t, "machctl", "terminate", name) })
			run(t, "machctl", "exec", name, "--", "sh", "-c", "touch /new && chown 1000:1000 /new && test -u /usr/bin/su && su -s /bin/sh nobody -c id")
			if _, err := os.Lstat(filepath.Join(guests, "c8-ns/new")); err == nil {
				t.Error("the image has what the machine wrote")
			}
			var shift uint32
			w := watch(t)
			must(t, w.call(t, "GetMachineUIDShift", []any{name}, &shift))
			if shift == 0 {
				t.Error("it has the host's ids")
			}
			run(t, "machctl", "stop", name)
			wantGone(t, name)
		})
	}
}

// Of many machines at the same time each has its own command, and the daemon
// keeps nothing of them.
func TestMachdRunManyAtOnce(t *testing.T) {
	const rounds, atOnce = 4, 8
	w := watch(t)
	many := func() {
		var wait sync.WaitGroup
		for i := range atOnce {
			wait.Go(func() {
				want := strconv.Itoa(i)
				if out, errs, code := onPipes(t, want, "tiny", "--", "cat"); out != want || code != 0 {
					t.Errorf("got %q, %q, %d, want %q", out, errs, code, want)
				}
			})
		}
		wait.Wait()
	}
	fresh := goroutines(t, w) // which starts a new daemon
	many()
	daemon := pid(t)
	awaitRest(t, daemon)
	fds := descriptors(t, daemon)
	for range rounds {
		many()
	}
	eventually(t, "the descriptors are closed", func() error {
		if now := descriptors(t, daemon); now > fds {
			return fmt.Errorf("it has %d, had %d", now, fds)
		}
		return nil
	})
	awaitRest(t, daemon)
	if left := goroutines(t, w); left > fresh {
		t.Errorf("it has %d goroutines, had %d at its start", left, fresh)
	}
	left, err := filepath.Glob(guests + "/.#machd-run-*")
	must(t, err)
	if len(left) > 0 {
		t.Errorf("there is %q", left)
	}
}
