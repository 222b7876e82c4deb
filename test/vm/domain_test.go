package vm

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machine1"
)

// patience is how long anything may take here, on a slow machine too.
const patience = time.Minute

// A domain is a guest that libvirt runs, and the machine that it is.
type domain struct {
	name    string
	pid     int    // of its qemu
	machine string // as of libvirt: qemu-ID-NAME
	scope   string
}

// xml is what libvirt is told of a guest: processor and firmware, nothing else.
func xml(name, devices string) string {
	return `<domain type='qemu'>
  <name>` + name + `</name>
  <memory unit='MiB'>32</memory>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <devices>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>` + devices + `
  </devices>
</domain>`
}

// create starts a guest and returns when libvirt says that it runs.
func create(t *testing.T, name, devices string) domain {
	t.Helper()
	if out, err := attemptCreate(t, name, devices); err != nil {
		t.Fatalf("libvirt does not start %s: %v\n%s", name, err, out)
	}
	id := run(t, "virsh", "domid", name)
	pid, err := os.ReadFile(filepath.Join("/run/libvirt/qemu", name+".pid"))
	must(t, err)
	d := domain{name: name, machine: "qemu-" + id + "-" + name}
	d.scope = scopeOf(d.machine)
	d.pid, err = strconv.Atoi(strings.TrimSpace(string(pid)))
	must(t, err)
	return d
}

func attemptCreate(t *testing.T, name, devices string) (string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), name+".xml")
	must(t, os.WriteFile(path, []byte(xml(name, devices)), 0o644))
	t.Cleanup(func() { attempt(t, "virsh", "destroy", name) })
	return attempt(t, "virsh", "create", path)
}

// scopeOf returns the unit that libvirt expects a machine in. It escapes the
// name itself, as PID 1 does.
func scopeOf(machine string) string {
	return "machine-" + strings.ReplaceAll(machine, "-", `\x2d`) + ".scope"
}

// takeScope starts something in a scope of this name.
func takeScope(t *testing.T, scope string) {
	t.Helper()
	holder := exec.CommandContext(t.Context(), "systemd-run", "-q", "--scope", "--unit="+scope, "sh", "-c", "echo; exec sleep infinity")
	out, err := holder.StdoutPipe()
	must(t, err)
	must(t, holder.Start())
	t.Cleanup(func() { holder.Wait() })
	if n, err := out.Read(make([]byte, 1)); n != 1 {
		t.Fatalf("cannot take %s: %v", scope, err)
	}
}

// qemu returns a descriptor of the guest's process, for wantExit.
func (d domain) qemu(t *testing.T) int {
	t.Helper()
	fd, err := unix.PidfdOpen(d.pid, 0)
	must(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// wantExit returns when the process of a pidfd has ended.
func wantExit(t *testing.T, pidfd int) {
	t.Helper()
	ended := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for deadline := time.Now().Add(patience); ; {
		n, err := unix.Poll(ended, int(time.Until(deadline).Milliseconds()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			t.Fatalf("the guest's process has not ended: %v", err)
		}
		return
	}
}

// wantListed checks the machine's row in every client's list: the book shows
// its name, class and service.
func (d domain) wantListed(t *testing.T) {
	t.Helper()
	want := d.machine + " vm libvirt-qemu - - -"
	for _, client := range clients() {
		if rows := list(t, client); !strings.Contains(rows, "\n"+want+"\n") {
			t.Errorf("%s has no row %q, but these:%s", client, want, rows)
		}
	}
}

// wantGone checks that nothing tells of the machine any more.
func (d domain) wantGone(t *testing.T) {
	t.Helper()
	for _, client := range clients() {
		if rows := list(t, client); strings.Contains(rows, d.machine) {
			t.Errorf("%s still has %s in these rows:%s", client, d.machine, rows)
		}
	}
	for _, name := range []string{d.machine, "unit:" + d.scope} {
		if _, err := os.Lstat(filepath.Join(machine1.StateDir, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still in %s: %v", name, machine1.StateDir, err)
		}
	}
	if state := run(t, "systemctl", "show", "-P", "ActiveState", d.scope); state != "inactive" {
		t.Errorf("%s is %s", d.scope, state)
	}
}

// list returns a client's rows, each after a newline, without its padding.
func list(t *testing.T, client string) string {
	t.Helper()
	rows := "\n"
	for line := range strings.Lines(run(t, client, "list", "--no-legend")) {
		rows += strings.Join(strings.Fields(line), " ") + "\n"
	}
	return rows
}

// run runs a command that must succeed and returns its output.
func run(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := attempt(t, argv...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return out
}

// attempt runs a command and returns what it printed, on both outputs.
func attempt(t *testing.T, argv ...string) (string, error) {
	t.Helper()
	// Clean-ups run commands too, after the test's context has ended.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
