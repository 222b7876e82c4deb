package booted

import (
	"bufio"
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// What machctl tells programs of a machine is what there is.
func TestMachdTellsProgramsOfAMachine(t *testing.T) {
	t.Parallel()
	const name = "told-guest"
	copyImage(t, "c8-ns", name)
	run(t, "machctl", "start", name, "-n", "-p", "18380:80")
	t.Cleanup(func() { observe(t, "machctl", "stop", name) })

	type machine struct {
		Name, Class, Service, State, OS, Unit string
		Leader                                uint32
		Since                                 time.Time
		Link                                  string
		Ports                                 []any
		Addresses                             []string
	}
	leader := watch(t).properties(t, name)["Leader"]
	one := func(argv ...string) (m machine) {
		t.Helper()
		var list []machine
		must(t, json.Unmarshal([]byte(run(t, argv...)), &list))
		if len(list) != 1 {
			t.Fatalf("%q tells of %d machines: %+v", argv, len(list), list)
		}
		return list[0]
	}
	want := machine{Name: name, Class: "container", Service: "systemd-nspawn", State: "running", OS: "debian", Unit: transientOf(name)}
	for _, argv := range [][]string{
		{"machctl", "list", "--json", "--filter", "name=" + name},
		{"machctl", "status", "--json", name},
	} {
		got := one(argv...)
		if got.Leader != leader || time.Since(got.Since) > 10*time.Minute || len(got.Ports) != 1 || len(got.Addresses) < 2 {
			t.Errorf("%q tells %+v", argv, got)
		}
		if argv[1] == "list" && (got.Ports[0] != "18380:80/tcp" || got.Link != "ve-"+name) {
			t.Errorf("%q tells %+v of its network", argv, got)
		}
		got.Leader, got.Since, got.Link, got.Ports, got.Addresses = 0, time.Time{}, "", nil, nil
		if gotText, wantText := encoded(t, got), encoded(t, want); gotText != wantText {
			t.Errorf("%q tells %s, want %s", argv, gotText, wantText)
		}
	}

	wide := run(t, "machctl", "list", "-o", "wide", "--filter", "name="+name, "--no-legend")
	for _, word := range []string{"running", transientOf(name), "18380:80/tcp"} {
		if !slices.Contains(strings.Fields(wide), word) {
			t.Errorf("the wide list has no %q: %s", word, wide)
		}
	}
	if got := run(t, "machctl", "list", "--filter", "name="+name, "--format", "{{.unit}} {{len .addresses}}"); !strings.HasPrefix(got, transientOf(name)+" ") {
		t.Errorf("the template makes %q", got)
	}
}

func encoded(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	must(t, err)
	return string(text)
}

// A list that is watched is printed again when a port comes, and when the
// machine goes.
func TestMachdWatchesAList(t *testing.T) {
	t.Parallel()
	const name = "watched-guest"
	copyImage(t, "tiny", name)
	run(t, "machctl", "start", name, "-n")
	t.Cleanup(func() { observe(t, "machctl", "stop", name) })

	watch := exec.Command("machctl", "list", "--watch", "--json", "--columns", "name,ports", "--filter", "name="+name)
	out, err := watch.StdoutPipe()
	must(t, err)
	must(t, watch.Start())
	defer watch.Wait()
	defer watch.Process.Kill()
	defer time.AfterFunc(patience, func() { watch.Process.Kill() }).Stop()
	lines := bufio.NewScanner(out)
	await := func(want string) {
		t.Helper()
		for lines.Scan() {
			if lines.Text() == want {
				return
			}
		}
		t.Fatalf("%s was not printed: %v", want, lines.Err())
	}
	await(`[{"name":"` + name + `","ports":[]}]`)
	run(t, "machctl", "port", "add", name, "18381:80")
	await(`[{"name":"` + name + `","ports":["18381:80/tcp"]}]`)
	run(t, "machctl", "port", "remove", name, "18381:80")
	await(`[{"name":"` + name + `","ports":[]}]`)
	run(t, "machctl", "stop", name)
	await("[]")
}
