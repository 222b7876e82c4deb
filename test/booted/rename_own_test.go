package booted

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// unitFilesGoAfter removes what PID 1 knows of machines when the test is over.
func unitFilesGoAfter(t *testing.T, names ...string) {
	t.Helper()
	t.Cleanup(func() {
		for _, name := range names {
			observe(t, "systemctl", "disable", "machine@"+name+".service", serviceOf(name))
			removeSaved(t, name)
		}
	})
}

// A machine is the same under its new name, and the next one of the old name has
// nothing of it.
func TestMachdRenameTakesTheMachineAlong(t *testing.T) {
	const name, newName = "ren-old", "ren-new"
	imagesGoAfter(t, name, newName)
	unitFilesGoAfter(t, name, newName)
	installTiny(t, name)
	run(t, "machctl", "start", "--wait=registered", name, "--save", "--memory=300M", "--tasks=77", "--nspawn-arg=--network-veth-extra=ver:in")
	endAtOnce(t, transientOf(name))
	run(t, "machctl", "snapshot", "create", name, "pre")
	run(t, "machctl", "enable", name)
	run(t, "machinectl", "enable", name)
	if got := show(t, serviceOf(name), "TasksMax"); got != "77" {
		t.Fatalf("before it has %s tasks", got)
	}
	run(t, "machctl", "rename", name, newName)

	for unit, want := range map[string]string{serviceOf(name): "16384", serviceOf(newName): "77"} {
		if got := show(t, unit, "TasksMax"); got != want {
			t.Errorf("%s has %s tasks, want %s", unit, got, want)
		}
	}
	for unit, want := range map[string]string{
		"machine@" + name + ".service": "disabled", serviceOf(name): "disabled",
		"machine@" + newName + ".service": "enabled", serviceOf(newName): "enabled",
	} {
		if got := show(t, unit, "UnitFileState"); got != want {
			t.Errorf("%s is %s, want %s", unit, got, want)
		}
	}
	if wants := show(t, "machines.target", "Wants"); strings.Contains(wants, "@"+name+".") || !strings.Contains(wants, "machine@"+newName+".service") {
		t.Errorf("with the host start %s", wants)
	}
	if got := show(t, serviceOf(newName), "ExecStart"); strings.Contains(got, name) || !strings.Contains(got, "--machine="+newName+" ") {
		t.Errorf("it runs %s", got)
	}
	for _, machine := range []string{name, newName} {
		want := map[string]string{newName: newName + " pre\n"}[machine]
		if got := observe(t, "machctl", "snapshot", "list", machine, "--format", "{{.image}} {{.snapshot}}").Stdout; got != want {
			t.Errorf("snapshots of %s are %q", machine, got)
		}
	}
	run(t, "machctl", "start", "--wait=registered", newName)
	if got := show(t, serviceOf(newName), "MemoryMax"); got != "314572800" {
		t.Errorf("it runs with %s", got)
	}
	endAtOnce(t, serviceOf(newName))
	run(t, "machctl", "snapshot", "restore", newName, "pre")

	// Where something of it cannot be renamed, nothing is.
	for _, path := range []string{"/etc/systemd/system/" + serviceOf(name) + ".d/50-machd.conf", filepath.Join(guests, "."+name+"@pre/etc/os-release")} {
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte("[Service]\nTasksMax=5\n"), 0o644))
		o := observe(t, "machctl", "rename", newName, name)
		if o.Code != 6 || !strings.Contains(o.Stderr, "another") || strings.Contains(o.Stderr, "machctl remove") {
			t.Errorf("with %s in the way: %+v", path, o)
		}
		for _, stays := range []string{filepath.Join(guests, newName), filepath.Join(guests, "."+newName+"@pre"), "/etc/systemd/system/machines.target.wants/machine@" + newName + ".service"} {
			if _, err := os.Lstat(stays); err != nil {
				t.Errorf("with %s in the way: %v", path, err)
			}
		}
		must(t, os.RemoveAll(filepath.Dir(path)))
	}
}

// What is kept of an image that was removed is told, and with its settings all of
// it goes.
func TestMachdRemoveWithSettingsLeavesNothing(t *testing.T) {
	const name = "rem-all"
	imagesGoAfter(t, name)
	unitFilesGoAfter(t, name)
	dropIn := "/etc/systemd/system/" + serviceOf(name) + ".d/50-machd.conf"
	const links = "/etc/systemd/system/machines.target.wants/"
	files := []string{dropIn, links + "machine@" + name + ".service", links + serviceOf(name)}
	installTiny(t, name)
	run(t, "machctl", "start", "--wait=registered", name, "--save", "--tasks=77")
	endAtOnce(t, transientOf(name))
	run(t, "machctl", "enable", name)
	run(t, "machinectl", "enable", name)
	dry := observe(t, "machctl", "remove", name, "--dry-run", "--with-settings").Stdout
	kept := observe(t, "machctl", "remove", name).Stderr
	for _, file := range files {
		if !strings.Contains(dry, file) || !strings.Contains(kept, "kept "+file) {
			t.Errorf("%s is not told of:\n%s%s", file, dry, kept)
		}
		if _, err := os.Lstat(file); err != nil {
			t.Errorf("a removal takes it along: %v", err)
		}
	}
	wantFound(t, diagnose(t), "enabled", "no image "+name, "systemctl disable machine@"+name+".service")

	// The stock command leaves what starts the machine with the host.
	run(t, "cp", "-a", filepath.Join(guests, "tiny"), filepath.Join(guests, name))
	run(t, "machinectl", "remove", name)
	if got := show(t, serviceOf(name), "UnitFileState") + " " + show(t, serviceOf(name), "TasksMax"); got != "enabled 16384" {
		t.Errorf("after machinectl remove it is %s", got)
	}
	run(t, "cp", "-a", filepath.Join(guests, "tiny"), filepath.Join(guests, name))
	run(t, "machctl", "remove", name, "--with-settings")
	for _, file := range files {
		if _, err := os.Lstat(file); err == nil {
			t.Errorf("%s is still there", file)
		}
	}
	for _, f := range diagnose(t) {
		if f.Check == "enabled" && f.Subject == name {
			t.Errorf("the doctor says %+v", f)
		}
	}
}
