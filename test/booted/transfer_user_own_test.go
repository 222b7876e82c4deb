package booted

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/machd/machd/test/live"
)

// TestMachdTransfersOfAUser has a user's own systemd-importd bring images to where
// his own machd finds them, on hosts that have such.
func TestMachdTransfersOfAUser(t *testing.T) {
	const home = "/home/alice"
	forget := func() { must(t, os.RemoveAll(home+"/.local")) }
	forget()
	t.Cleanup(forget)
	alice := newOwn(t, "alice")
	dir := workDirectory(t)
	disk := bytes.Repeat([]byte("disk"), 1<<18)
	m := serveImages(t, map[string][]byte{"pulled.raw": disk})
	file := write(t, dir+"/imported.raw", disk)
	want := func(code int, stderr string, args ...string) string {
		t.Helper()
		o := observe(t, alice.Command(append([]string{"machctl", "--user"}, args...)...).Args...)
		if o.Code != code || !strings.Contains(o.Stderr, stderr) {
			t.Errorf("machctl --user %s: exit status %d\n%s%s\nwant %d and %q", strings.Join(args, " "), o.Code, o.Stdout, o.Stderr, code, stderr)
		}
		return o.Stdout
	}
	if live.Host.Version < 259 {
		for _, args := range [][]string{{"list-transfers"}, {"import-raw", file}, {"pull-raw", m.URL + "/pulled.raw"}, {"cancel-transfer", "1"}} {
			want(7, "there is a systemd-importd for users since systemd 259", args...)
		}
		return
	}
	want(1, `hint: "mkdir -p ~/.local/state"`, "import-raw", file)
	alice.run("mkdir", "-p", home+"/.local/state")
	want(0, "imported "+file+" as imported", "import-raw", file)
	want(0, "pulled", "pull-raw", "--verify=checksum", "-N", m.URL+"/pulled.raw")
	if got := want(0, "", "list-images", "--format", "{{.name}} {{.type}}"); got != "imported raw\npulled raw\n" {
		t.Errorf("the user has %q", got)
	}
	if got := run(t, "machctl", "list-images", "--format", "{{.name}}"); strings.Contains(got, "imported") {
		t.Errorf("the system has %q", got)
	}
	if out := want(0, "exported", "export-raw", "pulled", "-"); out != string(disk) {
		t.Errorf("%d bytes come back, which are others than the %d", len(out), len(disk))
	}
	want(3, "No transfer by id 77", "cancel-transfer", "77")
}
