package booted

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/machine1"
)

// A process is a service of this host that does nothing, to be registered.
type process struct {
	unit string
	pid  int
}

// startProcess starts one in machine.slice, where machines live.
func startProcess(t *testing.T, name string, options ...string) process {
	t.Helper()
	p := process{unit: name + "-process.service"}
	argv := append([]string{"systemd-run", "-q", "--collect", "--slice=machine.slice", "--unit=" + p.unit}, options...)
	run(t, append(argv, "sleep", "infinity")...)
	t.Cleanup(func() { observe(t, "systemctl", "stop", p.unit) })
	pid, err := strconv.Atoi(run(t, "systemctl", "show", "-P", "MainPID", p.unit))
	if err != nil || pid == 0 {
		t.Fatalf("%s has no process: %v", p.unit, err)
	}
	p.pid = pid
	return p
}

func register(t *testing.T, w *watcher, name string, p process) {
	t.Helper()
	var path string
	must(t, w.call(t, "RegisterMachine", []any{name, []byte{}, "tester", "container", uint32(p.pid), "/"}, &path))
}

const (
	guests   = "/var/lib/machines"
	settings = "/run/systemd/nspawn"
)

// installGuest makes a copy of c8-ns that says when its systemd is up.
func installGuest(t *testing.T, name string) {
	t.Helper()
	must(t, os.MkdirAll(settings, 0o755))
	file := filepath.Join(settings, name+".nspawn")
	must(t, os.WriteFile(file, []byte("[Exec]\nNotifyReady=yes\n"), 0o644))
	run(t, "cp", "-a", filepath.Join(guests, "c8-ns"), filepath.Join(guests, name))
	must(t, os.WriteFile(filepath.Join(guests, name, "etc/hostname"), []byte(name+"\n"), 0o644))
	t.Cleanup(func() {
		observe(t, "systemctl", "kill", "--signal=KILL", serviceOf(name))
		observe(t, "systemctl", "stop", serviceOf(name))
		os.RemoveAll(filepath.Join(guests, name))
		os.Remove(file)
	})
}

func serviceOf(name string) string { return machine1.ServiceUnit(name) }

// startGuest boots a copy of c8-ns as systemd-nspawn@NAME.service and returns
// when its systemd is up.
func startGuest(t *testing.T, name string) {
	t.Helper()
	installGuest(t, name)
	run(t, "machinectl", "start", name)
}

// startByHand starts a container without systemd as a user would who types
// systemd-nspawn with these options, in a scope of its own, and returns when it
// is registered.
func startByHand(t *testing.T, w *watcher, name string, options ...string) {
	t.Helper()
	root := filepath.Join(guests, name)
	run(t, "cp", "-a", filepath.Join(guests, "tiny"), root)
	argv := append([]string{"-q", "-M", name, "-D", root}, options...)
	cmd := exec.Command("systemd-nspawn", append(argv, "sleep", "infinity")...)
	output := &strings.Builder{}
	cmd.Stdout, cmd.Stderr = output, output
	must(t, cmd.Start())
	scope := ""
	t.Cleanup(func() {
		// The container outlives a killed systemd-nspawn.
		observe(t, "systemctl", "kill", "--signal=KILL", scope)
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("systemd-nspawn -M %s said:\n%s", name, output)
		}
		os.RemoveAll(root)
	})
	w.await(t, "MachineNew", name)
	eventually(t, name+" runs", func() error {
		p := w.properties(t, name)
		scope = p["Unit"].(string)
		if p["State"] != "running" {
			return fmt.Errorf("it is %v", p["State"])
		}
		return nil
	})
}

// startOutlived makes a machine by CreateMachine whose leader is dead, while
// another process keeps its scope alive.
func startOutlived(t *testing.T, w *watcher, name string) {
	t.Helper()
	cmd := exec.Command("sh", "-c", "read line; sleep infinity & read line")
	cmd.Stdout = nil
	in, err := cmd.StdinPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { observe(t, "systemctl", "stop", machine1.ScopeName(name)) })
	create(t, w, name, cmd.Process.Pid)
	// Both lines are read only now, when the shell is in the scope.
	_, err = in.Write([]byte("\n\n"))
	must(t, err)
	must(t, cmd.Wait())
}

func create(t *testing.T, w *watcher, name string, leader int) {
	t.Helper()
	var path string
	must(t, w.call(t, "CreateMachine", []any{name, []byte{}, "tester", "container", uint32(leader), "/", []machine1.Property{}}, &path))
}

// list returns the names of the machines, without the host's.
func (w *watcher) list(t *testing.T) []string {
	t.Helper()
	var rows []machine1.ListedMachine
	must(t, w.call(t, "ListMachines", nil, &rows))
	return namesOf(rows)
}

// namesOf returns the names of all but the host.
func namesOf(rows []machine1.ListedMachine) []string {
	var names []string
	for _, row := range rows {
		if row.Name != machine1.Host {
			names = append(names, row.Name)
		}
	}
	return names
}

func (w *watcher) properties(t *testing.T, name string) map[string]any {
	t.Helper()
	properties, err := w.lookUp(t, name)
	must(t, err)
	return properties
}

// lookUp is properties of a machine that may end meanwhile.
func (w *watcher) lookUp(t *testing.T, name string) (map[string]any, error) {
	var values map[string]dbus.Variant
	target := bus.Target{Name: machine1.BusName, Path: machine1.MachinePath(name)}
	err := bus.Call(t.Context(), w.conn, target, "org.freedesktop.DBus.Properties.GetAll", false, []any{machine1.MachineInterface}, &values)
	properties := map[string]any{}
	for key, value := range values {
		properties[key] = value.Value()
	}
	return properties, err
}

// lasting are the properties that every daemon of any version tells, and that
// stay as they are as long as the machine lives.
var lasting = []string{"Name", "Id", "Timestamp", "TimestampMonotonic", "Service", "Unit", "Leader", "Class", "RootDirectory",
	"NetworkInterfaces", "State"}

// snapshot is what there is, by machine and property.
func (w *watcher) snapshot(t *testing.T) map[string]map[string]any {
	t.Helper()
	all := map[string]map[string]any{}
	for _, name := range w.list(t) {
		all[name] = map[string]any{}
		properties := w.properties(t, name)
		for _, key := range lasting {
			all[name][key] = properties[key]
		}
	}
	return all
}

// stateFiles returns what is in the directory of state files, by name; the
// value is a link's target.
func stateFiles(t *testing.T) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(machine1.StateDir)
	must(t, err)
	files := map[string]string{}
	for _, e := range entries {
		target, _ := os.Readlink(filepath.Join(machine1.StateDir, e.Name()))
		files[e.Name()] = target
	}
	return files
}
