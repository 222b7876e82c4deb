package booted

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// What start has returned for can be used, by programs that know nothing of
// machd, at that very moment.
func TestMachdStartedIsUsable(t *testing.T) {
	t.Parallel()
	const name = "usable"
	copyImage(t, "c8-ns", name)
	before := traces(t, name)
	for range 3 {
		run(t, "machctl", "start", name)
		run(t, "machinectl", "-q", "shell", name, "/bin/true")
		if got := run(t, "systemctl", "-M", name, "is-system-running", "--wait"); got != "running" {
			t.Errorf("its system is %s", got)
		}
		if got := run(t, "machctl", "show", "-P", "Unit", name); got != transientOf(name) {
			t.Errorf("it is in %s", got)
		}
		run(t, "machctl", "stop", name)
		wantNoTraces(t, before, name)
	}
}

// A system of which some part failed can be used all the same.
func TestMachdStartsADegradedSystem(t *testing.T) {
	t.Parallel()
	const name = "degraded"
	root := copyImage(t, "c8-ns", name)
	bootsInto(t, root, map[string]string{"fails.service": "[Service]\nType=oneshot\nExecStart=false\n"})
	o := observe(t, "machctl", "start", name)
	wantEnd(t, o, 0, `"`+name+`": some of its units failed`)
}

// An init that ends at once is told within the time that somebody waits for it,
// with the reason, and leaves nothing.
func TestMachdStartOfABrokenSystem(t *testing.T) {
	t.Parallel()
	const name = "start-broken"
	root := copyImage(t, "tiny", name)
	script := "#!/bin/sh\necho there is no disk\nexit 7\n"
	must(t, os.Remove(filepath.Join(root, "usr/sbin/init")))
	must(t, os.WriteFile(filepath.Join(root, "usr/sbin/init"), []byte(script), 0o755))
	before := traces(t, name)
	start := time.Now()
	o := observe(t, "machctl", "start", name)
	if took := time.Since(start); took > 15*time.Second {
		t.Errorf("it took %s", took)
	}
	wantEnd(t, o, 1, `cannot start "`+name+`": `+transientOf(name)+` failed with result "exit-code", exit status 7`+"\n",
		"  there is no disk\n", `hint: "machctl logs `+name+`" says more`)
	wantNoTraces(t, before, name)
}

// A system that does not get ready in time is ended, unless that was not waited
// for.
func TestMachdStartOfASystemThatIsNeverReady(t *testing.T) {
	t.Parallel()
	const name = "never"
	root := copyImage(t, "c8-ns", name)
	bootsInto(t, root, map[string]string{"hangs.service": "[Unit]\nDefaultDependencies=no\nBefore=systemd-user-sessions.service\n" +
		"[Service]\nType=oneshot\nExecStart=sleep infinity\n"})
	before := traces(t, name)
	o := observe(t, "machctl", "start", "--timeout=14", name)
	wantEnd(t, o, 5, transientOf(name)+" was ended again: the limit of 14s is over", `its system is "starting"`,
		"wait=registered does not wait for that")
	wantNoTraces(t, before, name)

	run(t, "machctl", "start", "--wait=registered", name)
	if got := run(t, "machctl", "show", "-P", "State", name); got != "running" {
		t.Errorf("it is %s", got)
	}
}

// Another init than systemd, and none at all.
func TestMachdStartsWhatIsNoSystemd(t *testing.T) {
	t.Parallel()
	const name = "plain"
	copyImage(t, "tiny", name)
	before := traces(t, name)
	o := observe(t, "machctl", "start", name)
	wantEnd(t, o, 0, "its init is not systemd")
	run(t, "machctl", "stop", "--timeout=2", name)
	wantNoTraces(t, before, name)

	run(t, "machctl", "start", name, "--no-boot", "--", "sleep", "infinity")
	run(t, "machctl", "stop", "--timeout=2", name)
	wantNoTraces(t, before, name)
	// What has done its work before anybody could look did not fail.
	run(t, "machctl", "start", name, "--no-boot", "--", "true")
	wantNoTraces(t, before, name)
	o = observe(t, "machctl", "start", name, "--no-boot", "--", "/nonexistent")
	wantEnd(t, o, 1, `failed with result "exit-code", exit status 1`, "/nonexistent")
	wantNoTraces(t, before, name)
}
