package booted

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/test/live"
)

// The settings of a container are shown with where they come from, and edited
// where an administrator has them.
func TestMachdSettingsAreShownAndEdited(t *testing.T) {
	const name = "shown"
	admin := "/etc/systemd/nspawn/" + name + ".nspawn"
	beside := "/var/lib/machines/" + name + ".nspawn"
	dropIn := "/etc/systemd/system/systemd-nspawn@" + name + ".service.d/memory.conf"
	t.Cleanup(func() {
		for _, path := range []string{admin, beside, dropIn} {
			os.Remove(path)
		}
		os.Remove(filepath.Dir(dropIn))
		run(t, "systemctl", "daemon-reload")
	})

	o := observe(t, "machctl", "cat", name)
	wantOutcome(t, o, 1, "", "machctl: there are no settings for \"shown\"\nmachctl: hint: \"machctl edit shown\" writes some; "+
		"without, it is run as its unit says, which \"systemctl cat systemd-nspawn@shown.service\" shows\n")

	must(t, os.WriteFile(beside, []byte("[Exec]\nBoot=yes\nBot=no"), 0o644))
	o = observe(t, "machctl", "cat", name)
	wantOutcome(t, o, 0, "# "+beside+"\n[Exec]\nBoot=yes\nBot=no\n", "machctl: "+beside+" came with the image: what could weaken the host is not heeded; "+
		"/etc/systemd/nspawn is the place for that\nmachctl: "+beside+":3: section [Exec] has no Bot=, so nobody acts on it\n")

	// The editor changes one line; what came with the image stays.
	o = edit(t, name, `sed -i -e s/Bot=no/Hostname=other/ "$1"`)
	wantOutcome(t, o, 0, "", "")
	text, err := os.ReadFile(admin)
	must(t, err)
	if got := string(text); got != "[Exec]\nBoot=yes\nHostname=other" {
		t.Errorf("%s is %q", admin, got)
	}
	must(t, os.MkdirAll(filepath.Dir(dropIn), 0o755))
	must(t, os.WriteFile(dropIn, []byte("[Service]\nMemoryMax=1G\n"), 0o644))
	run(t, "systemctl", "daemon-reload")
	o = observe(t, "machctl", "cat", name)
	wantOutcome(t, o, 0, "# "+admin+"\n[Exec]\nBoot=yes\nHostname=other\n# "+beside+"\n[Exec]\nBoot=yes\nBot=no\n# "+dropIn+"\n[Service]\nMemoryMax=1G\n",
		"machctl: "+beside+" is not read, because of the file before it\nmachctl: "+beside+":3: section [Exec] has no Bot=, so nobody acts on it\n")

	var values []struct {
		File, Key, Value string
		Line             int
		Read             bool
	}
	must(t, json.Unmarshal([]byte(run(t, "machctl", "cat", "-q", "-o", "json", name)), &values))
	if len(values) != 5 || values[1].Line != 3 || !values[1].Read || values[1].Value != "other" || values[2].Read || values[4].File != dropIn {
		t.Errorf("as JSON: %+v", values)
	}

	// What changes nothing, or must not.
	before := run(t, "sh", "-c", "ls -lA /etc/systemd/nspawn; cat /etc/systemd/nspawn/*")
	wantOutcome(t, edit(t, name, ":"), 0, "", "machctl: the settings of \"shown\" are as they were\n")
	wantOutcome(t, edit(t, name, `: >"$1"`), 0, "", "machctl: the settings of \"shown\" were left empty, so nothing is changed\n")
	wantOutcome(t, edit(t, name, "exit 3"), 1, "", "machctl: nothing is changed: the editor "+editor+": exit status 3\n")
	if o := observeAs(t, "alice", "env", "EDITOR=true", "machctl", "edit", name); o.Code != 4 {
		t.Errorf("alice: exit status %d: %s", o.Code, o.Stderr)
	}
	if diff := cmp.Diff(before, run(t, "sh", "-c", "ls -lA /etc/systemd/nspawn; cat /etc/systemd/nspawn/*")); diff != "" {
		t.Errorf("what changes nothing (-before +after):\n%s", diff)
	}
}

const editor = "/run/machd-test-editor"

// edit edits the settings of a machine by a script, whose argument is the file.
func edit(t *testing.T, name, script string) live.Outcome {
	t.Helper()
	must(t, os.WriteFile(editor, []byte("#!/bin/sh\n"+script+"\n"), 0o755))
	t.Cleanup(func() { os.Remove(editor) })
	return observe(t, "env", "EDITOR="+editor, "machctl", "edit", name)
}

func wantOutcome(t *testing.T, o live.Outcome, code int, stdout, stderr string) {
	t.Helper()
	if diff := cmp.Diff(live.Outcome{Code: code, Stdout: stdout, Stderr: stderr}, o); diff != "" {
		t.Errorf("it ended otherwise (-want +got):\n%s", diff)
	}
}
