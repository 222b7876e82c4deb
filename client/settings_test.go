package client

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSettingsFilesInTheirOrder(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write := func(dir, text string) {
		t.Helper()
		dir = filepath.Join(root, dir)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "web.nspawn"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	path := func(dir string) string { return filepath.Join(root, dir, "web.nspawn") }
	check := func(what string, want ...SettingsFile) {
		t.Helper()
		got, err := nspawnFiles(root, "web")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	check("without any")
	write("/var/lib/machines", "image's")
	beside := SettingsFile{Path: path("/var/lib/machines"), Text: "image's", Untrusted: true}
	check("beside the image", beside)
	write("/run/systemd/nspawn", "run's")
	beside.Shadowed = true
	check("for this boot", SettingsFile{Path: path("/run/systemd/nspawn"), Text: "run's"}, beside)
	write("/etc/systemd/nspawn", "admin's")
	check("the administrator's", SettingsFile{Path: path("/etc/systemd/nspawn"), Text: "admin's"},
		SettingsFile{Path: path("/run/systemd/nspawn"), Text: "run's", Shadowed: true}, beside)
	// Nobody is the worse off for what is not read anyway.
	unreadable := path("/run/systemd/nspawn")
	if err := errors.Join(os.Remove(unreadable), os.Mkdir(unreadable, 0o755)); err != nil {
		t.Fatal(err)
	}
	check("what is shadowed cannot be read", SettingsFile{Path: path("/etc/systemd/nspawn"), Text: "admin's"}, beside)
	if err := os.Remove(path("/etc/systemd/nspawn")); err != nil {
		t.Fatal(err)
	}
	if files, err := nspawnFiles(root, "web"); err == nil {
		t.Errorf("what counts cannot be read, and there are %v", files)
	}
}
