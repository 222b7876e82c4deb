package image_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/daemon/internal/imagelock"
	"github.com/machd/machd/daemon/internal/throwaway"
)

// A ramfs has no flags, and so no directory on it can be read-only.
func TestAnImageThatCannotBeFinishedIsNotThere(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	mount(t, "ramfs", root, "ramfs", 0, "")
	p := newPlace(t, root)
	fill := func(_ context.Context, w image.Workshop) error {
		return errors.Join(w.MakeTree(), os.WriteFile(w.TreePath()+"/file", nil, 0o644))
	}
	if err := p.Make(t.Context(), "new", true, nil, fill); !errors.Is(err, unix.EOPNOTSUPP) {
		t.Errorf("it ended with %v", err)
	}
	if _, err := os.Lstat(p.pool + "/new"); err == nil {
		t.Error("it is there")
	}
	must(t, p.Make(t.Context(), "new", false, nil, fill))
}

func TestADraftIsNoRootOfAMachine(t *testing.T) {
	t.Parallel()
	p := newPlace(t, t.TempDir())
	var draft string
	must(t, p.Make(t.Context(), "run-tests", false, nil, func(_ context.Context, w image.Workshop) error {
		draft = filepath.Base(w.Dir.Name())
		return w.MakeTree()
	}))
	if machine, ok := throwaway.IsDir(draft); ok {
		t.Errorf("%s is taken for that of %s", draft, machine)
	}
	p.make("pool/"+draft+"/root/file", "half of an image")
	for _, name := range []string{"killed", "held"} {
		p.make("locks/name-"+name, "")
	}
	held, err := imagelock.Name(filepath.Join(p.root, "locks"), "held")
	must(t, err)
	defer held.Release()
	must(t, p.Sweep(t.Context(), "killed", "held", "never-there"))
	for _, path := range []string{filepath.Join(p.pool, draft), filepath.Join(p.root, "locks/name-killed")} {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s is left", path)
		}
	}
	if _, err := os.Lstat(filepath.Join(p.root, "locks/name-held")); err != nil {
		t.Error(err)
	}
}
