package booted

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestMachdTransfersLeaveWhatRuns has images replaced, but not those that machines
// run from, and says the same of what else would be lost.
func TestMachdTransfersLeaveWhatRuns(t *testing.T) {
	dir := workDirectory(t, "tr")
	imagesGoAfter(t, "tr", "tr-above")
	archive := write(t, dir+"/tr.tar", archiveOf(t, transferred, 0))
	m := serveImages(t, map[string][]byte{"tr.tar": archiveOf(t, transferred, 0)})
	tree := filepath.Join(guests, "tr")
	run(t, "cp", "-a", filepath.Join(guests, "tiny"), tree)
	write(t, tree+"/etc/state", []byte("kept"))
	run(t, "machctl", "snapshot", "create", "tr", "one")
	run(t, "machctl", "start", "tr")

	const inUse = "image \"tr\" is in use by machine tr\nmachctl: hint: \"machctl stop tr\" ends it first\n"
	wantTransfer(t, 1, "cannot import "+archive+": "+inUse, "import-tar", "--force", archive)
	wantTransfer(t, 1, inUse, "import-raw", "--force", archive, "tr")
	wantTransfer(t, 1, inUse, "import-fs", "--force", filepath.Join(guests, "tiny"), "tr")
	wantTransfer(t, 1, "cannot pull "+m.URL+"/tr.tar: "+inUse, "pull-tar", "--force", "--verify=no", m.URL+"/tr.tar")
	for _, argv := range [][]string{{"remove", "tr"}, {"snapshot", "restore", "tr", "one"}} {
		if o := wantTransfer(t, 1, inUse, append(argv, "--dry-run")...); !strings.Contains(o.Stdout, "in use by tr") {
			t.Errorf("%q: %+v", argv, o)
		}
		wantTransfer(t, 1, `image "tr" is in use`, append(argv, "-y")...)
	}
	if o := wantTransfer(t, 0, "", "clean", "--all", "--dry-run", "--columns=name", "--no-legend"); strings.Contains("\n"+o.Stdout, "\ntr\n") {
		t.Errorf("it would be cleaned away: %+v", o)
	}
	wantImageFile(t, "tr", "etc/state", "kept")

	run(t, "machctl", "stop", "tr")
	run(t, "machctl", "start", "tr-above", "--image", "tr", "--overlay")
	if o := observe(t, "machctl", "list-images", "--filter=name=tr", "--format", "{{.machines}}"); o.Stdout != "[tr-above]\n" {
		t.Errorf("while a machine is above it: %+v", o)
	}
	wantTransfer(t, 1, `image "tr" is in use by machine tr-above`, "import-tar", "--force", archive)
	wantImageFile(t, "tr", "etc/state", "kept")

	run(t, "machctl", "stop", "tr-above")
	wantTransfer(t, 0, "", "remove", "tr", "--dry-run")
	wantTransfer(t, 0, "", "import-tar", "--force", archive)
	wantImageFile(t, "tr", "etc/hostname", "transferred\n")
}
