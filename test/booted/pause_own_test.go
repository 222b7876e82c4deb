package booted

import (
	"strings"
	"testing"
	"time"
)

// A container that is paused stands still, goes on as if nothing had been, and
// can be stopped as it is.
func TestMachdPause(t *testing.T) {
	t.Parallel()
	const name = "paused-guest"
	copyImage(t, "c8-ns", name)
	run(t, "machctl", "start", name)
	t.Cleanup(func() { observe(t, "machctl", "stop", "--force", name) })
	frozen := func() string {
		t.Helper()
		return strings.TrimSpace(run(t, "systemctl", "show", "-P", "FreezerState", transientOf(name)))
	}

	run(t, "machctl", "pause", name)
	if got := frozen(); got != "frozen" {
		t.Errorf("the unit of a paused machine is %s", got)
	}
	run(t, "machctl", "list") // asks nothing of it that it would have to answer
	run(t, "machctl", "resume", name)
	if got := run(t, "machctl", "exec", name, "echo", "on it goes"); strings.TrimSpace(got) != "on it goes" {
		t.Errorf("a machine that was resumed says %q", got)
	}
	shell := openTerminal(t, "machctl", "shell", name)
	talk(t, shell, [2]string{`:~# `, "exit\n"})
	must(t, shell.Wait())

	run(t, "machctl", "pause", name)
	begin := time.Now()
	o := observe(t, "machctl", "stop", name)
	if o.Code != 0 || time.Since(begin) > 30*time.Second {
		t.Errorf("the stop of a paused machine took %v: %+v", time.Since(begin), o)
	}
	if o := observe(t, "machctl", "status", name); o.Code != 3 {
		t.Errorf("it is still there: %+v", o)
	}
	if o := observe(t, "machctl", "pause", name); o.Code != 3 {
		t.Errorf("what does not run is paused: %+v", o)
	}
}
