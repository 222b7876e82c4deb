package booted

import (
	"encoding/xml"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/bus"
	machd1 "github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// asAlice calls a method of the Manager as a user without rights.
func asAlice(t *testing.T, argv ...string) string {
	t.Helper()
	call := append([]string{"runuser", "-u", "alice", "--", "busctl", "call", "--", "org.freedesktop.machine1",
		"/org/freedesktop/machine1", "org.freedesktop.machine1.Manager"}, argv...)
	out, err := exec.CommandContext(t.Context(), call[0], call[1:]...).CombinedOutput()
	if err == nil {
		t.Fatalf("alice may call %q", argv)
	}
	return strings.TrimSpace(string(out))
}

func TestUsersMayLookButNotTouch(t *testing.T) {
	t.Parallel()
	const name = "policy-user"
	w, p := watch(t), startProcess(t, name)
	register(t, w, name, p)
	run(t, "runuser", "-u", "alice", "--", "machinectl", "show", name)

	got := asAlice(t, "KillMachine", "ssi", name, "all", "15")
	if !strings.Contains(strings.ToLower(got), "interactive authentication") {
		t.Errorf("alice's KillMachine says %q", got)
	}
	if got := run(t, "systemctl", "is-active", p.unit); got != "active" {
		t.Errorf("the process's unit is %s", got)
	}
}

// The bus must let every method through, so that the daemon can ask polkit: the
// policy of systemd 257 does not. A call with wrong arguments gets as far as
// that, and no further.
func TestMachdLetsUsersAskForEverything(t *testing.T) {
	t.Parallel()
	w, alice := watch(t), dialAs(t, "alice")
	for _, c := range []struct {
		path  dbus.ObjectPath
		iface string
		want  int
	}{
		{machine1.ObjectPath, machine1.ManagerInterface, 42},
		{machine1.MachinePath(machine1.Host), machine1.MachineInterface, 15},
		{machine1.ImagePath(machine1.Host), machine1.ImageInterface, 9},
		{machine1.ObjectPath, machd1.ManagerInterface, 31},
		{machine1.MachinePath(machine1.Host), machd1.MachineInterface, 14},
	} {
		target := bus.Target{Name: machine1.BusName, Path: c.path}
		methods := methodsOf(t, w.conn, target, c.iface)
		if len(methods) != c.want {
			t.Errorf("%s has the methods %q, want %d", c.iface, methods, c.want)
		}
		for _, method := range methods {
			err := bus.Call(t.Context(), alice, target, c.iface+"."+method, false, []any{byte(1), byte(2)})
			if !errors.Is(err, machine1.ErrInvalidArgs) {
				t.Errorf("%s.%s: alice gets %v", c.iface, method, err)
			}
		}
		var all map[string]dbus.Variant
		must(t, bus.Call(t.Context(), alice, target, "org.freedesktop.DBus.Properties.GetAll", false, []any{c.iface}, &all))
		for name := range all {
			err := bus.Call(t.Context(), alice, target, "org.freedesktop.DBus.Properties.Set", false, []any{c.iface, name, dbus.MakeVariant("x")})
			if !errors.Is(err, machine1.ErrAccessDenied) {
				t.Errorf("alice sets %s.%s: %v", c.iface, name, err)
			}
		}
	}
}

func methodsOf(t *testing.T, conn *dbus.Conn, target bus.Target, iface string) []string {
	t.Helper()
	var text string
	must(t, bus.Call(t.Context(), conn, target, "org.freedesktop.DBus.Introspectable.Introspect", false, nil, &text))
	var object introspected
	must(t, xml.Unmarshal([]byte(text), &object))
	var names []string
	for _, i := range object.Interfaces {
		if i.Name != iface {
			continue
		}
		for _, m := range i.Methods {
			names = append(names, m.Name)
		}
	}
	return names
}

// Nobody but root writes what is for root.
func TestMachdLogLevelIsRoots(t *testing.T) {
	t.Parallel()
	target := bus.Target{Name: machine1.BusName, Path: "/org/freedesktop/LogControl1"}
	for _, name := range []string{"LogLevel", "LogTarget"} {
		err := bus.Call(t.Context(), dialAs(t, "alice"), target, "org.freedesktop.DBus.Properties.Set", false,
			[]any{"org.freedesktop.LogControl1", name, dbus.MakeVariant("debug")})
		if !errors.Is(err, machine1.ErrAccessDenied) {
			t.Errorf("alice sets %s: %v", name, err)
		}
	}
}

// defaults are the actions, and what polkit says to an active user without a
// rule. Any other user is to be an administrator, or to give his password.
var defaults = map[string]string{
	"org.freedesktop.machine1.login": "auth_admin_keep", "org.freedesktop.machine1.host-login": "yes",
	"org.freedesktop.machine1.shell": "auth_admin_keep", "org.freedesktop.machine1.host-shell": "auth_admin_keep",
	"org.freedesktop.machine1.open-pty": "auth_admin_keep", "org.freedesktop.machine1.host-open-pty": "auth_admin_keep",
	"org.freedesktop.machine1.manage-machines": "auth_admin_keep", "org.freedesktop.machine1.inspect-machines": "auth_admin_keep",
	"org.freedesktop.machine1.create-machine": "auth_admin_keep", "org.freedesktop.machine1.register-machine": "yes",
	"org.freedesktop.machine1.manage-images": "auth_admin_keep", "org.freedesktop.machine1.inspect-images": "auth_admin_keep",
	"org.machd.bind": "auth_admin_keep", "org.machd.copy": "auth_admin_keep", "org.machd.manage-images": "auth_admin_keep",
	"org.machd.start": "auth_admin_keep", "org.machd.stop": "auth_admin_keep", "org.machd.exec": "auth_admin_keep", "org.machd.set-limits": "auth_admin_keep",
	"org.machd.manage-network": "auth_admin_keep",
}

func TestMachdPolkitKnowsEveryAction(t *testing.T) {
	t.Parallel()
	for action, active := range defaults {
		got := strings.Join(strings.Fields(run(t, "pkaction", "--verbose", "--action-id", action)), " ")
		for _, want := range []string{"implicit any: auth_admin implicit", "implicit inactive: auth_admin implicit", "implicit active: " + active} {
			if !strings.Contains(got+" ", want+" ") {
				t.Errorf("%s is\n%s\nwant %q", action, got, want)
			}
		}
	}
}

// matrixFile is who may call what, as polkit is asked. The daemon's own tests
// make it.
const matrixFile = "../../daemon/internal/busapi/testdata/matrix.txt"

// polkit refuses what it does not know to everybody but root.
func TestMachdAsksForActionsThatThereAre(t *testing.T) {
	t.Parallel()
	matrix, err := os.ReadFile(matrixFile)
	must(t, err)
	asked := 0
	for line := range strings.Lines(string(matrix)) {
		for _, field := range strings.Fields(line)[1:3] {
			name := field
			if !strings.Contains(name, ".") {
				name = "org.freedesktop.machine1." + name
			}
			if _, ok := defaults[name]; ok {
				asked++
			} else if strings.Contains(field, "-") && field != "-" {
				t.Errorf("%s is no action", field)
			}
		}
	}
	if asked < 50 {
		t.Errorf("%s has only %d actions", matrixFile, asked)
	}
}
