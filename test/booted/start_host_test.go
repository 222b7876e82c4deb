package booted

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/pkg/machine1"
)

// transientOf is the unit that machd starts a machine in.
func transientOf(name string) string { return "machine-" + machine1.EscapeUnit(name) + ".service" }

// installImage makes a copy of an image that nothing is set up for.
func copyImage(t *testing.T, from, name string) (root string) {
	t.Helper()
	root = filepath.Join(guests, name)
	run(t, "cp", "-a", filepath.Join(guests, from), root)
	t.Cleanup(func() { clearAway(t, name) })
	return root
}

// clearAway ends a machine, whatever it runs in, and removes its image.
func clearAway(t *testing.T, name string) {
	t.Helper()
	for _, unit := range []string{transientOf(name), serviceOf(name)} {
		observe(t, "systemctl", "kill", "--signal=KILL", unit)
		observe(t, "systemctl", "stop", unit)
		observe(t, "systemctl", "reset-failed", unit)
	}
	eventually(t, "its mounts are gone", func() error { return os.RemoveAll(filepath.Join(guests, name)) })
}

// bootsInto has an image's system run these units of its own, by name.
func bootsInto(t *testing.T, root string, units map[string]string) {
	t.Helper()
	dir := filepath.Join(root, "etc/systemd/system")
	must(t, os.MkdirAll(filepath.Join(dir, "multi-user.target.wants"), 0o755))
	for unit, content := range units {
		must(t, os.WriteFile(filepath.Join(dir, unit), []byte(content), 0o644))
		must(t, os.Symlink("../"+unit, filepath.Join(dir, "multi-user.target.wants", unit)))
	}
}

// traces are what machines of these names can leave on a host: units, mounts,
// interfaces, control groups, network namespaces, files.
func traces(t *testing.T, names ...string) []string {
	t.Helper()
	var found []string
	add := func(kind, text string) {
		for line := range strings.Lines(text) {
			for _, name := range names {
				if strings.Contains(line, name) || strings.Contains(line, machine1.EscapeUnit(name)) {
					found = append(found, kind+" "+strings.Join(strings.Fields(line), " "))
				}
			}
		}
	}
	add("unit", observe(t, "systemctl", "list-units", "--all", "--plain", "--no-legend").Stdout)
	add("mount", readFile(t, "/proc/self/mounts"))
	add("link", observe(t, "ip", "-o", "link").Stdout)
	add("netns", observe(t, "ip", "netns").Stdout)
	for _, dir := range []string{"/sys/fs/cgroup", "/run/systemd/nspawn", "/run/systemd/machines", "/run/systemd/transient",
		"/run/machd", "/etc/systemd/nspawn", "/etc/systemd/system", guests} {
		depth := "5"
		if dir == guests {
			depth = "1"
		}
		add("file", observe(t, "find", dir, "-maxdepth", depth).Stdout)
	}
	sort.Strings(found)
	return found
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	must(t, err)
	return string(content)
}

// wantNothingLeft checks that a host is as before, once PID 1 has come round to it.
func wantNoTraces(t *testing.T, before []string, names ...string) {
	t.Helper()
	eventually(t, "nothing is left", func() error {
		if diff := cmp.Diff(before, traces(t, names...)); diff != "" {
			return fmt.Errorf("(-before +after):\n%s", diff)
		}
		return nil
	})
}

// wantOutcome checks how a command ended, and that it says all of this to a
// person.
func wantEnd(t *testing.T, o outcome, code int, says ...string) {
	t.Helper()
	if o.Code != code {
		t.Errorf("exit status %d, want %d\n%s%s", o.Code, code, o.Stdout, o.Stderr)
	}
	for _, text := range says {
		if !strings.Contains(o.Stderr, text) {
			t.Errorf("it does not say %q, but:\n%s", text, o.Stderr)
		}
	}
}
