package foreign

import (
	"os/exec"
	"slices"
	"syscall"
	"testing"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/coreos/go-systemd/v22/machine1"
	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/test/live"
)

// TestGoSystemd makes every call of the package that Go programs use, but for
// GetMachineAddresses: that one expects an object path, and fails everywhere.
func TestGoSystemd(t *testing.T) {
	conn, err := machine1.New()
	live.Must(t, err)
	defer conn.Close()
	if !conn.Connected() {
		t.Error("it is not connected")
	}
	id := []byte("0123456789abcdef")
	const class, service = "container", "go-systemd"
	pid := startSleep(t, "registered-by-go")
	live.Must(t, conn.RegisterMachine("go-1", id, service, class, pid, "/"))
	path, err := conn.GetMachine("go-1")
	live.Must(t, err)
	byPID, err := conn.GetMachineByPID(uint(pid))
	if err != nil || path != byPID || path != "/org/freedesktop/machine1/machine/go_2d1" {
		t.Errorf("the machine is %s by name, %s by process: %v", path, byPID, err)
	}
	if err := conn.RegisterMachine("go-1", id, service, class, pid, "/"); err == nil {
		t.Error("a name can be had twice")
	}
	props, err := conn.DescribeMachine("go-1")
	live.Must(t, err)
	for key, want := range map[string]any{"Name": "go-1", "Service": service, "Class": class, "Leader": uint32(pid),
		"RootDirectory": "/", "State": "running", "Unit": "registered-by-go.service"} {
		if props[key] != want {
			t.Errorf("%s is %#v, want %#v", key, props[key], want)
		}
	}

	other := startSleep(t, "registered-by-go-too")
	live.Must(t, conn.RegisterMachineWithNetwork("go-2", id, service, class, other, "", []int{1}))
	created := startProcess(t)
	live.Must(t, conn.CreateMachine("go-3", id, service, class, created, "/", []systemd.Property{
		{Name: "Description", Value: dbus.MakeVariant("made by Go")}}))
	last := startProcess(t)
	live.Must(t, conn.CreateMachineWithNetwork("go-4", nil, service, "vm", last, "", []int{1}, nil))
	list, err := conn.ListMachines()
	live.Must(t, err)
	for _, name := range []string{".host", "go-1", "go-2", "go-3", "go-4"} {
		if !slices.ContainsFunc(list, func(m machine1.MachineStatus) bool { return m.Name == name }) {
			t.Errorf("%s is not in the list: %v", name, list)
		}
	}
	images, err := conn.ListImages()
	if err != nil || !slices.ContainsFunc(images, func(i machine1.ImageStatus) bool {
		return i.Name == "tiny" && i.ImageType == "directory" && i.JobPath == "/org/freedesktop/machine1/image/tiny"
	}) {
		t.Errorf("the images are %v, %v", images, err)
	}
	if path, err := conn.GetImage("tiny"); err != nil || path != "/org/freedesktop/machine1/image/tiny" {
		t.Errorf("an image is %s, %v", path, err)
	}
	for _, name := range []string{"go-1", "go-3"} {
		live.Must(t, conn.KillMachine(name, "leader", syscall.SIGKILL))
	}
	for _, name := range []string{"go-2", "go-4"} {
		live.Must(t, conn.TerminateMachine(name))
	}
	live.Eventually(t, "the machines are gone", func() error {
		for _, name := range []string{"go-1", "go-2", "go-3", "go-4"} {
			if path, err := conn.GetMachine(name); err == nil {
				return dbus.NewError(string(path), nil)
			}
		}
		return nil
	})
	if _, err := conn.GetMachineByPID(uint(pid)); err == nil {
		t.Error("a dead process is of a machine")
	}
}

// startSleep starts a service that does nothing and returns its process.
func startSleep(t *testing.T, name string) int {
	t.Helper()
	live.Run(t, "systemd-run", "-q", "--collect", "--slice=machine.slice", "--unit="+name, "sleep", "infinity")
	t.Cleanup(func() { live.Observe(t, "systemctl", "stop", name) })
	return number(t, live.Run(t, "systemctl", "show", "-P", "MainPID", name))
}

// startProcess starts a process that does nothing until the test's end.
func startProcess(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("sleep", "infinity")
	live.Must(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd.Process.Pid
}
