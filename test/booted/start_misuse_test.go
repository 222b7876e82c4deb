package booted

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/machd/machd/pkg/bus"
	machd1 "github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"

	"github.com/godbus/dbus/v5"
)

// What is wrong with a start is said clearly, and changes nothing.
func TestMachdStartMisused(t *testing.T) {
	t.Parallel()
	w := watch(t)
	const name, taken = "misused", "misused-taken"
	copyImage(t, "tiny", name)
	register(t, w, taken, startProcess(t, taken))
	copyImage(t, "tiny", taken)
	before := traces(t, name)
	for _, tt := range []struct {
		user string
		argv []string
		code int
		says []string
	}{
		{"root", []string{"misused-nope"}, 3, []string{`cannot start "misused-nope": `, `misused-nope`, "hint: "}},
		{"root", []string{name, "--image=misused-nope"}, 3, []string{"misused-nope"}},
		{"root", []string{taken}, 6, []string{"Machine '" + taken + "' is running already, in " + taken + "-process.service, registered by tester"}},
		{"root", []string{name, "--image=tiny", "--directory=/srv"}, 1, []string{"image", "directory"}},
		{"root", []string{name, "--memory=0"}, 1, []string{"memory"}},
		{"root", []string{name, "--cpus=-1"}, 1, []string{"cpus"}},
		{"root", []string{name, "--tasks=many"}, 1, []string{"tasks", "many"}},
		{"root", []string{name, "--property=NoSuchThing=1"}, 1, []string{"NoSuchThing"}},
		{"root", []string{name, "--bind=/misused/nope"}, 1, []string{"/misused/nope"}},
		{"root", []string{name, "--bind=nope"}, 1, []string{"nope"}},
		{"alice", []string{name}, 4, []string{`cannot start "` + name + `": `, "org.machd.start"}},
		{"alice", []string{"--no-ask-password", name}, 4, []string{`cannot start "` + name + `": `}},
	} {
		o := observeAs(t, tt.user, append([]string{"machctl", "start"}, tt.argv...)...)
		if o.Code != tt.code {
			t.Errorf("%q: exit status %d, want %d\n%s", tt.argv, o.Code, tt.code, o.Stderr)
		}
		for _, text := range tt.says {
			if !strings.Contains(o.Stderr, text) {
				t.Errorf("%q does not say %q, but:\n%s", tt.argv, text, o.Stderr)
			}
		}
	}
	// What no option of machctl stands for.
	call := func(options map[string]dbus.Variant) error {
		var unit, state, note string
		return bus.Call(t.Context(), w.conn, manager, machd1.ManagerInterface+".StartMachine", false, []any{name, options}, &unit, &state, &note)
	}
	err := call(map[string]dbus.Variant{"colour": dbus.MakeVariant("red")})
	if machine1.ErrorName(err) != machine1.ErrorName(machine1.ErrInvalidArgs) || err.Error() != "Unknown option 'colour'" {
		t.Errorf("an unknown option: %v", err)
	}
	err = call(map[string]dbus.Variant{"memory": dbus.MakeVariant(uint64(5))})
	if machine1.ErrorName(err) != machine1.ErrorName(machine1.ErrInvalidArgs) || !strings.Contains(err.Error(), "'memory'") {
		t.Errorf("an option of another type: %v", err)
	}
	wantNoTraces(t, before, name)
}

// An image that something else runs from.
func TestMachdStartOfAnImageOfAnother(t *testing.T) {
	t.Parallel()
	w := watch(t)
	const user, name = "in-use", "wants-it"
	startByHand(t, w, user)
	before := traces(t, name)
	o := observe(t, "machctl", "start", name, "--image="+user, "--no-boot", "--", "true")
	if o.Code == 0 || !strings.Contains(o.Stderr, "in use by machine '"+user+"'") {
		t.Errorf("exit status %d\n%s", o.Code, o.Stderr)
	}
	wantNoTraces(t, before, name)
}

// A unit that is started too often, and the way out.
func TestMachdStartLimit(t *testing.T) {
	t.Parallel()
	const name = "too-often"
	unit := serviceOf(name)
	copyImage(t, "tiny", name)
	dropIn := "/run/systemd/system/" + unit + ".d/test.conf"
	must(t, os.MkdirAll(filepath.Dir(dropIn), 0o755))
	must(t, os.WriteFile(dropIn, []byte("[Unit]\nStartLimitIntervalSec=1h\nStartLimitBurst=1\n[Service]\nExecStart=\nExecStart=false\nType=oneshot\n"), 0o644))
	run(t, "systemctl", "daemon-reload")
	t.Cleanup(func() {
		os.RemoveAll(filepath.Dir(dropIn))
		run(t, "systemctl", "daemon-reload")
	})
	o := observe(t, "machctl", "start", name)
	wantEnd(t, o, 1, unit+` failed with result "exit-code", exit status 1`)
	o = observe(t, "machctl", "start", name)
	wantEnd(t, o, 1, unit+` was started too often in a short time; "systemctl reset-failed `+unit+`" allows it again`)
	run(t, "systemctl", "reset-failed", unit)
	o = observe(t, "machctl", "start", name)
	wantEnd(t, o, 1, unit+` failed with result "exit-code", exit status 1`)
	observe(t, "systemctl", "reset-failed", unit)
}

// An image that is cloned for a start which fails goes again, and so does one
// there is no room for.
func TestMachdStartTakesItsCloneBack(t *testing.T) {
	const name = "clone-of-it"
	before := traces(t, name)
	// A program that fails may be seen running before it does.
	o := observe(t, "machctl", "start", name, "--from=tiny", "--no-boot", "--", "/no/such")
	wantEnd(t, o, 1, `exit status 1`)
	wantNoTraces(t, before, name)

	// A pool of its own that is as good as full.
	run(t, "mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", guests)
	t.Cleanup(func() { run(t, "umount", guests) })
	must(t, os.MkdirAll(filepath.Join(guests, "big/usr"), 0o755))
	must(t, os.WriteFile(filepath.Join(guests, "big/usr/data"), make([]byte, 3<<20), 0o644))
	full := traces(t, name)
	o = observe(t, "machctl", "start", name, "--from=big")
	wantEnd(t, o, 1, `cannot start "`+name+`": cannot make image '`+name+`' of 'big': `, "no space left on device")
	wantNoTraces(t, full, name)
}
