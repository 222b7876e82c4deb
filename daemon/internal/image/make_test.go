package image_test

import (
	"context"
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/image"
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
