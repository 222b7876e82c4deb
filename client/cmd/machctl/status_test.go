package main

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/machd/machd/client/internal/machine1test"
)

// busy returns a world with a machine that has more processes than a screen has
// lines.
func busy(t *testing.T, processes int) *machine1test.World {
	t.Helper()
	w := machine1test.New(t)
	m := machine1test.C8NS()
	m.Properties["Unit"] = "c8-ns.service"
	w.Add(m)
	const cgroup = "/machine.slice/c8-ns.service"
	w.SetUnit("c8-ns.service", machine1test.Unit{Properties: map[string]any{"ActiveState": "active", "ControlGroup": cgroup}})
	for i := range processes {
		w.AddProcess("c8-ns.service", machine1test.Process{
			Cgroup: fmt.Sprintf("%s/payload/system.slice/s%02d.service", cgroup, i/2), PID: uint32(1000 + i), Command: fmt.Sprintf("/usr/bin/work %d", i),
		})
	}
	return w
}

// TestStatusIsOneScreen looks at a terminal of 24 rows.
func TestStatusIsOneScreen(t *testing.T) {
	t.Parallel()
	const processes = 60
	w := busy(t, processes)
	shown := func(text string) int { return strings.Count(text, "/usr/bin/work") }

	tm := runOnTerminal(t, w, 80, "PAGER=false", "status", "-n0", "c8-ns")
	tm.exits(0)
	text := tm.text()
	if lines := strings.Count(text, "\n"); lines > 23 {
		t.Errorf("it has %d lines:\n%s", lines, text)
	}
	if n := shown(text); n == 0 || !strings.HasSuffix(text, fmt.Sprintf("\t\t  … %d more; --full shows all\r\n", processes-n)) {
		t.Errorf("%d processes are shown:\n%s", n, text)
	}
	if before, _, _ := strings.Cut(text, "\t\t  …"); !strings.Contains(before[strings.LastIndex(strings.TrimSuffix(before, "\r\n"), "\n"):], "work") {
		t.Errorf("a group is shown without what is in it:\n%s", text)
	}

	piped, err := command(w, "status", "-n0", "c8-ns").Output()
	if err != nil || shown(string(piped)) != processes {
		t.Errorf("in a pipe: %v\n%s", err, piped)
	}
	stock := exec.Command(machinectl, "status", "-n0", "c8-ns")
	stock.Env = append(command(w).Env, "SYSTEMD_PAGER=")
	for name, cmd := range map[string]*exec.Cmd{
		"--full":     command(w, "status", "-n0", "--full", "--no-pager", "c8-ns"),
		"-a":         command(w, "status", "-n0", "-a", "--no-pager", "c8-ns"),
		"machinectl": stock,
	} {
		tm := putOnTerminal(t, 80, cmd)
		tm.exits(0)
		if n := shown(tm.text()); n != processes {
			t.Errorf("%s shows %d processes:\n%s", name, n, tm.text())
		}
	}
}

// What fits is shown, down to the last line.
func TestStatusCutsNothingThatFits(t *testing.T) {
	t.Parallel()
	tm := runOnTerminal(t, busy(t, 3), 80, "PAGER=false", "status", "-n0", "c8-ns")
	tm.exits(0)
	if text := tm.text(); strings.Contains(text, "more;") || !strings.Contains(text, "/usr/bin/work 2") {
		t.Errorf("it is\n%s", text)
	}
}
