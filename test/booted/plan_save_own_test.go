package booted

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// removeSaved takes away what was saved of a machine.
func removeSaved(t *testing.T, name string) {
	t.Helper()
	os.Remove("/etc/systemd/nspawn/" + name + ".nspawn")
	os.RemoveAll("/etc/systemd/system/" + serviceOf(name) + ".d")
	run(t, "systemctl", "daemon-reload")
}

// Options that are saved are those of every later start, by whatever program, as
// the unit that other programs know.
func TestMachdSavedOptionsAreThoseOfLaterStarts(t *testing.T) {
	const name, image = "plan-saved", "plan-saved-image"
	installGuest(t, name) // for what it cleans up
	must(t, os.Remove(filepath.Join(settings, name+".nspawn")))
	must(t, os.Rename(filepath.Join(guests, name), filepath.Join(guests, image)))
	must(t, os.Remove(filepath.Join(guests, image, "etc/hostname")))
	t.Cleanup(func() {
		observe(t, "systemctl", "kill", "--signal=KILL", transientOf(name))
		observe(t, "systemctl", "stop", transientOf(name))
		os.RemoveAll(filepath.Join(guests, image))
		removeSaved(t, name)
	})
	run(t, "machctl", "start", name, "--save", "--image="+image, "--bind-ro=/usr/lib:/mnt", "--env=WHO=a b", "--hostname=saved", "--private-users=no",
		"--memory=1G", "--tasks=777", "--cpus=0.5", "--property=MemoryHigh=900M", "--stop-timeout=40s", "--nspawn-arg=--network-veth-extra=vex:in")
	// machinectl would look for an image of the machine's name first.
	for _, start := range [][]string{nil, {"machctl", "start", name}, {"systemctl", "start", serviceOf(name)}} {
		unit := transientOf(name)
		if start != nil {
			run(t, start...)
			unit = serviceOf(name)
		}
		if got := watch(t).properties(t, name)["Unit"]; got != unit {
			t.Fatalf("%q: it runs in %v", start, got)
		}
		inside := func(script string) string { return run(t, "machctl", "exec", name, "--", "sh", "-c", script) }
		eventually(t, "its bus answers", func() error {
			if o := observe(t, "machctl", "exec", name, "--", "true"); o.Code != 0 {
				return fmt.Errorf("%+v", o)
			}
			return nil
		})
		for what, c := range map[string][2]string{
			"host name": {inside("hostname"), "saved"},
			"mount":     {inside("ls -d /mnt/os-release"), "/mnt/os-release"},
			"users":     {inside("cat /proc/self/uid_map | tr -s ' '"), " 0 0 4294967295"},
			"variable":  {inside("tr '\\0' '\\n' </proc/1/environ | grep WHO"), "WHO=a b"},
			"link":      {inside("ls /sys/class/net | grep -x in"), "in"},
			"memory":    {show(t, unit, "MemoryMax"), "1073741824"},
			"high":      {show(t, unit, "MemoryHigh"), "943718400"},
			"tasks":     {show(t, unit, "TasksMax"), "777"},
			"cpus":      {show(t, unit, "CPUQuotaPerSecUSec"), "500ms"},
			"stop":      {show(t, unit, "TimeoutStopUSec"), "40s"},
		} {
			if c[0] != c[1] {
				t.Errorf("%q: %s is %q, want %q", start, what, c[0], c[1])
			}
		}
		run(t, "machctl", "stop", name)
	}
}

// A start that fails saves nothing, and what was saved before stays.
func TestMachdAStartThatFailsSavesNothing(t *testing.T) {
	const name = "plan-unsaved"
	installTiny(t, name)
	t.Cleanup(func() { removeSaved(t, name) })
	before := planFiles(t)
	wrong := []string{"machctl", "start", name, "--save", "--tasks=9", "--hostname=new", "--nspawn-arg=--network-interface=nosuch0"}
	if o := observe(t, wrong...); o.Code == 0 {
		t.Fatal("it started")
	}
	eventually(t, "it leaves no file", func() error { // PID 1 forgets the unit when it has time
		if after := planFiles(t); !slices.Equal(after, before) {
			return fmt.Errorf("there is %q, was %q", after, before)
		}
		return nil
	})
	if got := show(t, serviceOf(name), "TasksMax"); got != "16384" {
		t.Errorf("PID 1 has read %s tasks", got)
	}
	run(t, "machctl", "start", "--wait=registered", name, "--save", "--tasks=77", "--hostname=old")
	endAtOnce(t, transientOf(name))
	if o := observe(t, wrong...); o.Code == 0 {
		t.Fatal("it started")
	}
	text, err := os.ReadFile("/etc/systemd/nspawn/" + name + ".nspawn")
	if must(t, err); string(text) != "[Exec]\nHostname=old\n" {
		t.Errorf("the settings are now\n%s", text)
	}
	if got := show(t, serviceOf(name), "TasksMax"); got != "77" {
		t.Errorf("PID 1 has read %s tasks", got)
	}
}
