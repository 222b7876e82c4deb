package booted

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machine1"
)

// installImage makes a small image, with a settings file that an administrator
// has written, and cleans up after all that it becomes.
func installImage(t *testing.T, name string) (settingsFile string) {
	t.Helper()
	must(t, os.MkdirAll("/etc/systemd/nspawn", 0o755))
	t.Cleanup(func() {
		for _, dir := range []string{guests, "/etc/systemd/nspawn", settings} {
			paths, _ := filepath.Glob(filepath.Join(dir, name+"*"))
			for _, path := range paths {
				os.RemoveAll(path)
			}
		}
	})
	run(t, "cp", "-a", filepath.Join(guests, "tiny"), filepath.Join(guests, name))
	settingsFile = "/etc/systemd/nspawn/" + name + ".nspawn"
	must(t, os.WriteFile(settingsFile, []byte("# by hand\n[Exec]\nBoot=no\n"), 0o644))
	return settingsFile
}

func wantFile(t *testing.T, path, want string) {
	t.Helper()
	switch text, err := os.ReadFile(path); {
	case want == "" && err == nil:
		t.Errorf("there is %s", path)
	case want != "" && string(text) != want:
		t.Errorf("%s has %q, %v; want %q", path, text, err, want)
	}
}

// TestMachdKeepsSettingsOfImages replaces an image by a newer build, as people do
// who have written settings for it.
func TestMachdKeepsSettingsOfImages(t *testing.T) {
	const byHand = "# by hand\n[Exec]\nBoot=no\n"
	file := installImage(t, "keep")
	in := func(name string) string { return strings.Replace(file, "keep", name, 1) }

	run(t, "machctl", "clone", "keep", "keep-b")
	wantFile(t, in("keep-b"), byHand)
	run(t, "machctl", "rename", "keep-b", "keep-c")
	wantFile(t, in("keep-b"), "")
	wantFile(t, in("keep-c"), byHand)

	run(t, "tar", "-b", "1", "-C", filepath.Join(guests, "keep"), "-cf", "/var/tmp/keep.tar", ".")
	t.Cleanup(func() { os.Remove("/var/tmp/keep.tar") })
	if o := observe(t, "machinectl", "import-tar", "/var/tmp/keep.tar", "keep"); o.Code == 0 {
		t.Error("an image is imported over another unasked")
	}
	if o := observe(t, "machctl", "remove", "keep"); o.Code != 0 || !strings.Contains(o.Stdout+o.Stderr, file) {
		t.Errorf("remove does not tell of %s that stays: %+v", file, o)
	}
	wantFile(t, file, byHand)
	run(t, "machinectl", "import-tar", "/var/tmp/keep.tar", "keep")
	wantFile(t, file, byHand)
	run(t, "machinectl", "import-tar", "--force", "/var/tmp/keep.tar", "keep")
	wantFile(t, file, byHand)
	if got := run(t, "machctl", "list-images", "--no-legend"); !strings.Contains(got, "keep ") {
		t.Errorf("the new image is not listed:\n%s", got)
	}

	run(t, "machctl", "remove", "--with-settings", "keep")
	wantFile(t, file, "")
	run(t, "machinectl", "remove", "keep-c") // as it always did
	wantFile(t, in("keep-c"), "")
}

// TestImageInUseStays has systemd-nspawn run from an image.
func TestImageInUseStays(t *testing.T) {
	w := watch(t)
	file := installImage(t, "use")
	must(t, os.RemoveAll(filepath.Join(guests, "use"))) // startByHand makes it
	startByHand(t, w, "use")
	before := run(t, "find", filepath.Join(guests, "use"), "-xdev", "-printf", "%p %s %m\n")

	for _, c := range []change{
		ofManager("RemoveImage", "use"), ofManager("RenameImage", "use", "use-b"), ofManager("MarkImageReadOnly", "use", true),
		ofManager("GetImageOSRelease", "use"), ofManager("GetImageHostname", "use"),
	} {
		if err := w.call(t, c.member, c.args); !errors.Is(err, unix.EBUSY) {
			t.Errorf("%s: %v", c, err)
		}
	}
	for _, argv := range [][]string{{"machinectl", "remove", "use"}, {"machinectl", "rename", "use", "use-b"}} {
		if o := observe(t, argv...); o.Code != 1 || o.Stderr == "" {
			t.Errorf("%q: %+v", argv, o)
		}
	}
	must(t, w.call(t, "CloneImage", []any{"use", "use-clone", false}))

	if after := run(t, "find", filepath.Join(guests, "use"), "-xdev", "-printf", "%p %s %m\n"); after != before {
		t.Errorf("the image has changed from\n%.500s\nto\n%.500s", before, after)
	}
	wantFile(t, file, "# by hand\n[Exec]\nBoot=no\n")
	if state := w.properties(t, "use")["State"]; state != "running" {
		t.Errorf("the machine is %v", state)
	}
}

// TestImageBeingImported has systemd-importd write an image while its name is
// asked for.
func TestImageBeingImported(t *testing.T) {
	installImage(t, "imp")
	w := watch(t)
	run(t, "tar", "-b", "1", "-C", filepath.Join(guests, "imp"), "-cf", "/var/tmp/imp.tar", ".")
	fifo := "/var/tmp/imp.fifo"
	must(t, unix.Mkfifo(fifo, 0o600))
	t.Cleanup(func() { os.Remove("/var/tmp/imp.tar"); os.Remove(fifo) })
	job := openTerminal(t, "sh", "-c", "machinectl import-tar - imp-new <"+fifo)
	pipe, err := os.OpenFile(fifo, os.O_WRONLY, 0)
	must(t, err)
	defer pipe.Close()
	text, err := os.ReadFile("/var/tmp/imp.tar")
	must(t, err)
	_, err = pipe.Write(text[:len(text)/2])
	must(t, err)

	var path string
	if err := w.call(t, "GetImage", []any{"imp-new"}, &path); !errors.Is(err, machine1.ErrNoSuchImage) {
		t.Errorf("what is being imported is an image: %q, %v", path, err)
	}
	must(t, w.call(t, "CloneImage", []any{"imp", "imp-other", false}))
	_, err = pipe.Write(text[len(text)/2:])
	must(t, err)
	must(t, pipe.Close())
	must(t, job.Wait())
	must(t, w.call(t, "GetImage", []any{"imp-new"}, &path))
	must(t, w.call(t, "RenameImage", []any{"imp-new", "imp-b"}))
}
