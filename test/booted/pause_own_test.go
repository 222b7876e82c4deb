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
	// None of it asks for anything that the machine would have to answer.
	for _, words := range [][]string{{"list", "--format={{.state}}", "--filter=name=" + name}, {"status", "--format={{.state}}", name}} {
		if got := run(t, append([]string{"machctl"}, words...)...); got != "paused" {
			t.Errorf("its state in %s is %q", words[0], got)
		}
	}
	goOn := "machctl resume " + name
	if got := run(t, "machctl", "status", name); !strings.Contains(got, goOn) {
		t.Errorf("its status does not say how it goes on:\n%s", got)
	}
	for _, words := range [][]string{{"exec", name, "true"}, {"shell", name, "/bin/true"}, {"reboot", name}} {
		if o := observe(t, append([]string{"machctl"}, words...)...); o.Code == 0 || !strings.Contains(o.Stderr, goOn) {
			t.Errorf("%s in a paused machine: %+v", words[0], o)
		}
	}
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
