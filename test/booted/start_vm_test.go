package booted

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A virtual machine is started as a container is, by systemd-vmspawn. This one
// has an empty disk and stays in its firmware.
func TestMachd262StartsVirtualMachines(t *testing.T) {
	t.Parallel()
	const name, image = "real-vm", "real-vm-disk"
	disk := filepath.Join(guests, image+".raw")
	must(t, os.WriteFile(disk, nil, 0o600))
	t.Cleanup(func() { os.Remove(disk) })
	must(t, os.Truncate(disk, 16<<20))
	before := traces(t, name)
	start := func(options ...string) outcome {
		return observe(t, append([]string{"machctl", "start", name, "--vm", "--image=" + image}, options...)...)
	}

	o := start("--memory=512M", "--nspawn-arg=--kvm=no", "--nspawn-arg=--firmware=bios", "--nspawn-arg=--vsock=no",
		"--nspawn-arg=--tpm=no", "--nspawn-arg=--ram=128M", "--nspawn-arg=--notify-ready=no")
	t.Cleanup(func() { observe(t, "machctl", "terminate", name) })
	wantEnd(t, o, 0, "what it has inside is for --ram= of systemd-vmspawn")
	unit := transientOf(name)
	for property, want := range map[string]string{"Class": "vm", "Service": "systemd-vmspawn", "Unit": unit, "State": "running"} {
		if got := run(t, "machctl", "show", "-P", property, name); got != want {
			t.Errorf("its %s is %q, want %q", property, got, want)
		}
	}
	if got := show(t, unit, "MemoryMax"); got != "536870912" {
		t.Errorf("its limit is %s", got)
	}
	leader := run(t, "machctl", "show", "-P", "Leader", name)
	if command, err := os.ReadFile("/proc/" + leader + "/cmdline"); err != nil || !strings.Contains(string(command), "qemu") {
		t.Errorf("its leader is %q, %v", command, err)
	}
	wantEnd(t, observe(t, "machctl", "exec", name, "--", "true"), 125, "without a way in by ssh")

	told := listenTo(t, "/run/systemd/vmspawn/"+name+"/control")
	for _, verb := range []string{"pause", "resume", "pause"} {
		run(t, "machctl", verb, name)
		if status := run(t, "machctl", "status", name); strings.Contains(status, "State: paused; ") != (verb == "pause") {
			t.Errorf("after %s:\n%s", verb, status)
		}
	}
	// Its system could not hear of a shutdown while it is paused.
	wantEnd(t, observe(t, "machctl", "stop", "--timeout=3", name), 0, "did not shut down by itself")
	if got, want := told(), "STOP RESUME STOP RESUME POWERDOWN "; !strings.Contains(got, want) { // its first start is told, or has been
		t.Errorf("to the machine came %q, want %q", got, want)
	}
	wantNoTraces(t, before, name)

	for option, says := range map[string]string{
		"--nspawn-arg=--machine=x":      "--machine is not for it to decide, but for the machine's name",
		"--nspawn-arg=--reg=no":         "--register is not for it to decide",
		"--nspawn-arg=-n":               "'-n' is no option of systemd-vmspawn in the form",
		"--nspawn-arg=--no-such-option": "unrecognized option '--no-such-option'",
		"--capability=all":              "'capability' is for containers",
	} {
		wantEnd(t, start(option), 1, says)
	}
	wantNoTraces(t, before, name)
}

// listenTo has what runs a virtual machine tell of what happens to its processors
// and its power button. The function returned waits for the machine's end.
func listenTo(t *testing.T, socket string) (told func() string) {
	t.Helper()
	listener := exec.Command("varlinkctl", "--more", "--json=short", "call", socket, "io.systemd.MachineInstance.SubscribeEvents",
		`{"filter":["READY","STOP","RESUME","POWERDOWN"]}`)
	out, err := listener.StdoutPipe()
	must(t, err)
	must(t, listener.Start())
	t.Cleanup(func() {
		_ = listener.Process.Kill()
		_ = listener.Wait()
	})
	lines := bufio.NewScanner(out)
	if !lines.Scan() || !strings.Contains(lines.Text(), "READY") { // it listens
		t.Fatalf("it begins with %q", lines.Text())
	}
	return func() (events string) {
		for lines.Scan() {
			events += between(lines.Text(), `"event":"`, `"`) + " "
		}
		return events
	}
}
