package machine

import (
	"errors"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machine1"
)

func TestByPID(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	service := newUnit(t, "payload")
	owner, below, sibling, stranger := start(t, service), start(t, service+"/payload"), start(t, service), start(t, "")
	w.register("owner", owner)
	w.register("below", below)

	byName := map[string]struct {
		process *process
		want    string
	}{
		"the leader of a unit's owner":     {owner, "owner"},
		"the leader of a subgroup":         {below, "below"},
		"another process of an owned unit": {sibling, "owner"},
		"a stranger":                       {stranger, ""},
	}
	for name, tt := range byName {
		p := tt.process.open()
		m, err := w.ByPID(t.Context(), p)
		if m.Name != tt.want || (err != nil) != (tt.want == "") || err != nil && !errors.Is(err, machine1.ErrNoMachineForPID) {
			t.Errorf("%s: got %q, %v, want %q", name, m.Name, err, tt.want)
		}
		p.Close()
	}
}

// TestByPIDOfADescendant finds the machine by the process's grandparent.
func TestByPIDOfADescendant(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	service := newUnit(t, "payload")
	cmd := exec.Command("sh", "-c", "sh -c 'sleep 600 & echo $!; wait'; :")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	leader := &process{t, cmd}
	line := make([]byte, 16)
	n, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(line[:n])))
	if err != nil {
		t.Fatal(err)
	}
	sleep, err := proc.Open(pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		sleep.Signal(9)
		sleep.Close()
		leader.kill()
	})
	m := synthetic("a", leader.pid())
	m.leader.id, m.Unit, m.Subgroup = 0, service, "payload"
	mustAdd(t, w.registry, m)
	if got, err := w.ByPID(t.Context(), sleep); got.Name != "a" {
		t.Errorf("got %q, %v", got.Name, err)
	}
}
