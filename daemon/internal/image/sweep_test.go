package image_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/daemon/internal/imagelock"
)

// TestWhatAKilledProcessLeft is about names as a process has them that is killed
// while it copies and removes.
func TestWhatAKilledProcessLeft(t *testing.T) {
	p := newPlace(t, t.TempDir())
	p.make("pool/.#machd-half.abc/deep/file", "half of a copy")
	p.make("pool/.#machd-half.raw.abd", "half of a copy")
	p.make("pool/.#.#machd-gone.abe.lck", "")
	p.make("etc/.#machd-a.nspawn.abf", "removed with its image")
	p.make("pool/.#machd-live.abg/file", "somebody is at it")
	p.make("pool/.#machine.x0123/file", "of systemd-nspawn")
	live, err := imagelock.Beside(p.pool, ".#machd-live.abg")
	must(t, err)
	kept := append([]string{"pool/.#machine.x0123/file"}, original...)
	busy := append([]string{"pool/.#machd-live.abg/file", "pool/.#.#machd-live.abg.lck"}, kept...)

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- p.Run(ctx) }()
	p.await("pool/.#machd-half.abc", "pool/.#machd-half.raw.abd", "etc/.#machd-a.nspawn.abf")
	p.await("pool/.#.#machd-gone.abe.lck", "pool/.#.#machd-half.abc.lck", "pool/.#.#machd-half.raw.abd.lck", "etc/.#.#machd-a.nspawn.abf.lck")
	p.want(busy...)
	if _, err := p.Get(t.Context(), ".#machd-live.abg"); err == nil {
		t.Error("what is being copied is an image")
	}

	must(t, live.Release())
	must(t, p.Clone(t.Context(), p.get("a"), "b", false))
	must(t, p.Remove(t.Context(), p.get("b"), image.RemoveSettings))
	p.await("pool/.#machd-live.abg", "pool/.#.#machd-live.abg.lck")
	p.want(kept...)
	cancel()
	must(t, <-ended)
}

// await waits until none of the paths is there any more.
func (p place) await(paths ...string) {
	p.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for _, path := range paths {
		for {
			if _, err := os.Lstat(filepath.Join(p.root, path)); err != nil {
				break
			}
			if time.Now().After(deadline) {
				p.t.Fatalf("%s is still there", path)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// TestWhatBelongsToAnImageIsCleanedOnce is about state of a TPM, which looks like
// an image itself.
func TestWhatBelongsToAnImageIsCleanedOnce(t *testing.T) {
	t.Parallel()
	p := newPlace(t, t.TempDir())
	p.make("pool/a.raw.tpmstate/state", "secret")
	var removed []string
	must(t, p.Clean(t.Context(), image.CleanAll, func(r image.Removed) { removed = append(removed, r.Name) }))
	if len(removed) != 2 || removed[0] != "a" || removed[1] != "r" {
		t.Errorf("removed %q", removed)
	}
	for _, left := range p.files() {
		t.Errorf("%s is left", left)
	}
}

// TestSweepingIsInNobodysWay has changes go on while what is left is looked for.
func TestSweepingIsInNobodysWay(t *testing.T) {
	p := newPlace(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		for ctx.Err() == nil {
			once, stop := context.WithTimeout(ctx, time.Millisecond)
			must(t, p.Run(once))
			stop()
		}
		ended <- nil
	}()
	for range 50 {
		if err := p.Clone(t.Context(), p.get("a"), "b", false); err != nil {
			t.Errorf("clone: %v", err)
			break
		}
		if err := p.Remove(t.Context(), p.get("b"), image.RemoveSettings); err != nil {
			t.Errorf("remove: %v", err)
			break
		}
	}
	cancel()
	<-ended
	// A look whose time was up goes on until it notices.
	p.awaitNoDrafts()
	p.want(original...)
}

// awaitNoDrafts waits until nothing of a change is left, as nobody is at one.
func (p place) awaitNoDrafts() {
	p.t.Helper()
	for _, path := range p.files() {
		if strings.Contains(path, "#machd-") {
			p.await(path)
		}
	}
}
