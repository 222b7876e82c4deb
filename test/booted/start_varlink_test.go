package booted

import (
	"strings"
	"testing"

	"github.com/machd/machd/pkg/machine1"
)

// The same over Varlink, where an error has room for its reason.
func TestMachdStartOverVarlink(t *testing.T) {
	t.Parallel()
	const name = "by-varlink"
	copyImage(t, "tiny", name)
	before := traces(t, name)
	start := func(parameters string) outcome {
		return observe(t, "varlinkctl", "call", "--json=short", machine1.VarlinkSocket, "org.machd.Machine.Start", parameters)
	}
	o := start(`{"name":"` + name + `","boot":"no","command":["sh","-c","echo oh dear; sleep 1; exit 3"],"wait":"no"}`)
	if o.Code != 0 || strings.TrimSpace(o.Stdout) != `{"unit":"machine-by\\x2dvarlink.service","state":"queued"}` {
		t.Errorf("exit status %d\n%s%s", o.Code, o.Stdout, o.Stderr)
	}
	wantNoTraces(t, before, name)
	o = start(`{"name":"` + name + `","boot":"no","command":["/nonexistent"]}`)
	for _, text := range []string{"org.machd.Machine.StartFailed", `machine-by\\x2dvarlink.service failed with result \"exit-code\", exit status 1`, "/nonexistent"} {
		if o.Code == 0 || !strings.Contains(o.Stdout+o.Stderr, text) {
			t.Errorf("exit status %d, and it does not say %s, but:\n%s%s", o.Code, text, o.Stdout, o.Stderr)
		}
	}
	o = start(`{"name":"` + name + `","memory":"0"}`)
	if o.Code == 0 || !strings.Contains(o.Stdout+o.Stderr, "memory") {
		t.Errorf("exit status %d\n%s%s", o.Code, o.Stdout, o.Stderr)
	}
	o = start(`{"name":"` + name + `","stopTimeout":60000000,"bindRo":["/srv:/srv"],"tasks":"50","wait":"registered"}`)
	if o.Code != 0 || !strings.Contains(o.Stdout, `"state":"registered"`) {
		t.Errorf("exit status %d\n%s%s", o.Code, o.Stdout, o.Stderr)
	}
	if got := run(t, "systemctl", "show", "-P", "TasksMax,TimeoutStopUSec", transientOf(name)); got != "1min\n50" && got != "50\n1min" {
		t.Errorf("its unit has %q", got)
	}
	run(t, "machctl", "stop", "--timeout=2", name)
	wantNoTraces(t, before, name)
}
