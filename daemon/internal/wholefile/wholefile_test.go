package wholefile_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/machd/machd/daemon/internal/wholefile"
)

func TestAFileIsReplacedOrStays(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	for _, c := range []struct {
		text string
		mode fs.FileMode
	}{{"first", 0o644}, {"second, and longer", 0o600}, {"", 0o644}} {
		if err := wholefile.Write(path, []byte(c.text), c.mode); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		info, statErr := os.Stat(path)
		if err != nil || statErr != nil || string(text) != c.text || info.Mode() != c.mode {
			t.Errorf("it has %q, %v, %v, want %+v", text, err, info, c)
		}
	}

	// A directory is no file that could be replaced.
	taken := filepath.Join(dir, "taken")
	if err := os.MkdirAll(filepath.Join(taken, "inside"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := wholefile.Write(taken, []byte("text"), 0o644); err == nil {
		t.Error("a directory is replaced")
	}
	if err := wholefile.Write(filepath.Join(dir, "nowhere", "file"), nil, 0o644); err == nil {
		t.Error("a file is written into a directory that is not there")
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".#*")); err != nil || len(left) > 0 {
		t.Errorf("drafts are left: %q, %v", left, err)
	}
}
