package booted

import (
	"os"
	"regexp"
	"testing"
)

// tableCommand is the last column of a row that has a command of ours.
var tableCommand = regexp.MustCompile("(?m)\\| `(machctl [^`]*)`[^|]* \\|$")

// notRun are the commands of the tables that are not run, and why.
var notRun = map[string]string{
	"machctl create alpine --from oci:docker.io/library/alpine:3": elsewhere,
	"machctl create web --from debian:13":                         elsewhere,
	"machctl shell c8-ns":                                         forPeople,
	"machctl shell web":                                           forPeople,
	"machctl login web":                                           forPeople,
	"machctl top":                                                 forPeople,
	"machctl events":                                              forPeople,
}

const (
	elsewhere = "it takes what is on the Internet"
	forPeople = "it goes on for as long as somebody likes"
)

// The tables for those who come from podman and Incus are what they say: each
// does what it should, one after the other.
func TestMachdMigratingTables(t *testing.T) {
	text, err := os.ReadFile("../../docs/migrating.md")
	must(t, err)
	tables := regexp.MustCompile(`(?s)## From podman.*## From go-systemd`).FindString(string(text))
	// Of the host's own root, an overlay, nothing can be shown in a machine.
	run(t, "mount", "-t", "tmpfs", "srv", "/srv")
	t.Cleanup(func() {
		run(t, "umount", "/srv")
		for _, name := range []string{"c8-ns", "web", "web2"} {
			observe(t, "machctl", "terminate", name)
		}
		for _, name := range []string{"copy", "other", "web", "web2"} {
			observe(t, "busctl", "call", "org.freedesktop.machine1", "/org/freedesktop/machine1", "org.freedesktop.machine1.Manager", "RemoveImage", "s", name)
		}
	})
	rows := tableCommand.FindAllStringSubmatch(tables, -1)
	if len(rows) < 30 {
		t.Fatalf("there are %d commands in\n%s", len(rows), tables)
	}
	skipped := 0
	for _, row := range rows {
		if notRun[row[1]] != "" {
			skipped++
			continue
		}
		o := observe(t, "timeout", "120", "sh", "-c", row[1]+" </dev/null")
		if o.Code != 0 {
			t.Errorf("%s: exit status %d: %s%s", row[1], o.Code, o.Stdout, o.Stderr)
		}
	}
	if skipped != len(notRun) {
		t.Errorf("%d commands of the list of those that are not run are in the tables", skipped)
	}
}
