package main

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/client/internal/machine1test"
)

// await MEMBER waits until somebody has called it.
func scriptAwait(ts *testscript.TestScript, _ bool, args []string) {
	worldOf(ts).AwaitCall(args[0])
}

// importd VERSION [STEP…] puts a systemd-importd on the bus whose transfers
// take these steps from now on. VERSION is new, old or oci.
func scriptImportd(ts *testscript.TestScript, _ bool, args []string) {
	w := worldOf(ts)
	w.StopImportd()
	ts.Check(w.StartImportd(args[0]))
	w.Plan(args[1:]...)
}

func worldWithImportd(t *testing.T, steps ...string) *machine1test.World {
	t.Helper()
	w := machine1test.New(t)
	if err := w.StartImportd("new"); err != nil {
		t.Fatal(err)
	}
	w.Plan(steps...)
	return w
}

const cleared = "\r\x1b[K\x1b]9;4;0;0\x1b\\"

func TestATransferShowsABarAndClearsIt(t *testing.T) {
	t.Parallel()
	tm := runOnTerminal(t, worldWithImportd(t, "progress 0.42", "wait"), 40, "pull-raw", "--verify=no", "http://s/disk.raw.xz")
	tm.await("machctl: pulling http://s/disk.raw.xz as disk (transfer 1)\r\n")
	tm.await("\x1b]9;4;1;42\x1b\\\rdisk ")
	tm.await("⣿⣿⣿")
	tm.await("  42%\x1b[K")
	tm.typed("\x03")
	tm.exits(exitSignal + int(unix.SIGINT))
	tm.await(cleared + "machctl: transfer 1 goes on in the background\r\n")
	tm.await(`machctl: hint: "machctl cancel-transfer 1" ends it`)
}

func TestATransferThatFailsClearsItsBar(t *testing.T) {
	t.Parallel()
	w := worldWithImportd(t, "progress 0.07", "wait")
	tm := runOnTerminal(t, w, 20, "LC_ALL=C", "NO_COLOR=1", "TERM=linux", "pull-raw", "http://s/disk.raw")
	tm.await("\rdisk   7%\x1b[K")
	if text := tm.text(); strings.ContainsAny(text, "\a⣿") || strings.Contains(text, "\x1b]") || strings.Contains(text, "\x1b[3") {
		t.Errorf("the screen shows %q", text)
	}
	cancel := command(w, "cancel-transfer", "1")
	if err := cancel.Run(); err != nil {
		t.Fatal(err)
	}
	tm.exits(exitFailure)
	tm.await("\r\x1b[Kmachctl: cannot pull http://s/disk.raw: it was canceled\r\n")
}

func TestATransferOnATerminalThatKnowsNothingPrintsLines(t *testing.T) {
	t.Parallel()
	for _, term := range []string{"TERM=dumb", "TERM="} {
		tm := runOnTerminal(t, worldWithImportd(t, "progress 0.42", "wait"), 80, term, "pull-raw", "http://s/disk.raw")
		tm.await("machctl: disk: 42%")
		tm.typed("\x03")
		tm.exits(exitSignal + int(unix.SIGINT))
		if escape := regexp.MustCompile("\x1b|\r[^\n]"); escape.MatchString(tm.text()) {
			t.Errorf("%s: the screen shows %q", term, tm.text())
		}
	}
}

func TestAStockTransferSaysWhatTheStockCommandSays(t *testing.T) {
	t.Parallel()
	w := worldWithImportd(t, "log 30 Pulling.", "progress 0.5", "wait")
	stock := exec.Command(machinectl, "pull-raw", "http://s/disk.raw")
	stock.Env = command(w).Env
	tm := putOnTerminal(t, 80, stock)
	tm.await("Enqueued transfer job 1. Press C-c to continue download in background.\r\n")
	tm.await("Pulling.\r\n")
	tm.await(" 50%")
	tm.typed("\x03")
	tm.exits(exitFailure)
	tm.await(cleared + `Continuing download in the background. Use "machinectl cancel-transfer 1" to abort transfer.`)
}

func TestAnImageDoesNotGoToATerminalNorComeFromOne(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"export-tar", "c8-ns"}, {"import-tar", "-", "c8-ns"}} {
		tm := runOnTerminal(t, worldWithImportd(t), 80, args...)
		tm.exits(exitUsage)
		tm.await("is a terminal: an image ")
	}
}

func TestImageNames(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		kind        archive
		given, from string
		want        string
	}{
		{tarArchive, "", "/a/web.tar", "web"},
		{tarArchive, "", "web.tar.zst", "web"},
		{tarArchive, "", "web.tgz", "web"},
		{tarArchive, "", "web.tar.tar", "web.tar"},
		{tarArchive, "", "web.zip", "web.zip"},
		{tarArchive, "other.tar.xz", "web.tar", "other"},
		{tarArchive, "", ".tar", ""},
		{tarArchive, "", "/", ""},
		{rawArchive, "", "disk.raw.xz", "disk"},
		{rawArchive, "", "disk.qcow2.img.bin.gz", "disk"},
		{rawArchive, "", "ext.sysext.raw", "ext"},
		{rawArchive, "", "disk.tar", "disk.tar"},
		{noArchive, "", "/srv/web/", "web"},
		{noArchive, "", "/srv/web.tar", "web.tar"},
		{noArchive, "../x", "/srv/web", ""},
	} {
		got, err := row.kind.imageName(row.given, row.from)
		if got != row.want || (err != nil) != (row.want == "") {
			t.Errorf("imageName(%q, %q) = %q, %v, want %q", row.given, row.from, got, err, row.want)
		}
	}
}

func TestReferencesOfOCIImages(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"debian": "debian", "debian:13": "debian", "quay.io/fedora/fedora:42": "fedora", "localhost:5000/web": "web",
		"web@sha256:00": "web", "": "", "https://quay.io/web": "", "web:": "", "quay.io/": "", "a b": "",
	} {
		if got, err := checkReference(text); got != want || (err != nil) != (want == "") {
			t.Errorf("checkReference(%q) = %q, %v, want %q", text, got, err, want)
		}
	}
}
